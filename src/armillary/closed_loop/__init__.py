"""Acting and looking, again and again: a policy in a world, physics or imagined.

drive.py      a world, a policy -> moments, until it is over; several worlds side by side
policies.py   the model as a policy: it plans a chunk of actions, some are done, it plans again
"""
