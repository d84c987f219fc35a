"""A trained model learns a new body and new pictures from somebody's recordings.

recordings.py   a folder of recordings -> episodes at the model's size, a part to learn from and a part held out
pictures.py     the video tokenizer learns pictures it does not know
figures.py      what the model can do on the held-out part, with intervals
mixed.py        recordings of a world to try it on
finetune.py     all of it in order: before, learning, after
"""
