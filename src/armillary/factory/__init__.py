"""From words to a labelled data set: scenarios become seeds, seeds become episodes, only good ones are kept.

facts.py      what is true of a life before it is lived: parameters, things, instruction
vocabulary.py which words a world understands, learnt from what it draws
scenario.py   words -> conditions; an unknown word is named, never ignored
seeds.py      conditions -> seeds whose lives fulfil them
gate.py       which episodes are good enough, and for what reason others are not
produce.py    all of it in a row, resumable, with lineage
"""
