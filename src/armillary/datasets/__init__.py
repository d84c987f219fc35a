"""What happened, kept: recordings as LeRobot folders, and the clips that training draws from them.

store.py        Episode -> LeRobotDataset v3.0 folder, and back without loss
lerobot.py      any LeRobotDataset v3.0 folder -> columns and frames; names every oddity on the way
droid.py        a DROID recording -> Episode, with pose steps made from its Cartesian poses
inspect.py      a folder -> a report of what is in it, what is odd about it, what can be played
clips.py        Episode -> Clips at one frame rate and size
mixture.py      several sources of clips -> one endless, seeded, resumable order
loader.py       that order -> batches of one layout
"""
