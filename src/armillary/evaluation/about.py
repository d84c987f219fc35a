"""What stands above each section of a measurement's page: its title, and what is measured, in plain words."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class About:
    """What stands above a section's films: its title, what is measured, and how to do it oneself."""

    title: str
    lead: str


ABOUT = {
    "forward-dynamics": About(
        title="What actions do: forward dynamics",
        lead="A first picture and sixteen actions are given, no words. Left physics, right what the model imagines; "
        "in dB over a film in which nothing moves.",
    ),
    "drift": About(
        title="Going on from what was imagined: drift",
        lead="The same for 64 frames: four chunks, each from the last imagined picture. The curves are means over all "
        "lives, the band is the 95 % interval of the imagined one; going on four frames at a time has a curve of its "
        "own.",
    ),
    "inverse-dynamics": About(
        title="Which actions were done: inverse dynamics",
        lead="A film is given; the actions are read off it. Whole lines were done, broken ones read off.",
    ),
    "policy": About(
        title="Acting: the policy in closed loop",
        lead="The model sees, hears an instruction, plans sixteen actions, does them and looks again. The first lives "
        "in order of their seeds, lived again for this page.",
    ),
    "questions": About(
        title="Questions with one true answer",
        lead="Of each task one answered rightly and one wrongly, where there are such.",
    ),
    "plans": About(
        title="What is left to do: plans in steps",
        lead="Moments of an expert's episodes. Of each kind of task one plan that is right as a whole, and one not.",
    ),
    "text-to-video": About(
        title="From words: text to video",
        lead="Nothing is given but the words. The share of named things that a judge of shapes and colours finds.",
    ),
    "picture-films": About(
        title="What the words tell, from a picture: image to video",
        lead="A first picture and the words of what happens are given, no actions. Left physics, then what the model "
        "imagines as it usually does; if it acts out the words for that, also where it does not; and if it wears an "
        "adapter then, slowly without it. In dB over a film in which nothing moves.",
    ),
    "given-films": About(
        title="What comes next, and what lay between: films of which more is given",
        lead="The first five frames and the words of what happens are given, or the first and the last frame and these "
        "words. Left physics, then what the model imagines; between two pictures, right, the one faded into the other. "
        "In dB over repeating the last frame given, between two pictures over fading.",
    ),
    "sound": About(
        title="Contacts, seen and heard",
        lead="A contact is heard if an onset lies within a frame of it. Imagined beside the true sound, another's, and "
        "the sound tokenizer alone.",
    ),
    "sound-to-video": About(
        title="What is heard happens: films by their sound",
        lead="A first picture, the words and a sound are given. Left physics, then what the model imagines by that "
        "sound, and without any; in dB over a film in which nothing moves.",
    ),
    "looks": About(
        title="Looks and combinations nobody has trained on",
        lead="The same life, action by action, in every look: what happens is the same, what is seen is not.",
    ),
    "twins": About(
        title="What cannot be: is it more surprising?",
        lead="Two films of physics, alike until something impossible happens in one. They are told apart if the "
        "model is more surprised there; the reasoner is asked as well. Curves: the surprise of every four frames, and "
        "how likely the reasoner holds something impossible in the four from each on; whole lines: the possible film.",
    ),
    "forward-dynamics-pusht": About(
        title="What actions do in PushT",
        lead="A first picture and sixteen places to which the disc is to go are given, no words. Left physics, right "
        "what the model imagines; in dB over a film in which nothing moves.",
    ),
    "forward-dynamics-physics": About(
        title="What happens by itself: physics that is watched",
        lead="A first picture is given, and that the camera stands. Left physics, right what the model imagines; in dB "
        "over a film in which nothing moves.",
    ),
    "drift-pusht": About(
        title="Going on from what was imagined in PushT",
        lead="The same for 64 frames: four chunks, each from the last imagined picture.",
    ),
    "inverse-dynamics-pusht": About(
        title="Which actions were done in PushT",
        lead="A film is given; where the disc was to go is read off it. Whole lines were done, broken ones read off.",
    ),
    "policy-pusht": About(
        title="Acting in PushT",
        lead="The model sees the board, plans sixteen places for the disc, goes there and looks again.",
    ),
}
