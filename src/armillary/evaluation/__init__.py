"""How good is it, on what it has never seen, and what would chance have scored?

held_out.py    episodes, clips and scenes of seeds that no training uses, made once and kept
dynamics.py    forward dynamics beside the physics, inverse dynamics beside the true actions
behaviour.py   the policy in physics, beside chance and beside itself told the wrong words
answers.py     questions, beside the best guess that never looks
films.py       text-to-video: are the named things there? judged by shapes.py, which knows pictures only
codec.py       the video tokenizer alone
pixels.py      PSNR, and where in a picture a colour is
bootstrap.py   every figure with its 95 % interval over episodes
suite.py       all of it in one run, each section kept; report.py prints the table
"""
