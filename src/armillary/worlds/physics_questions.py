"""Questions about a life in ``physics``: many candidates, of which a fair few are chosen.

    candidates   everything that has one clear answer: looks, places, sizes, motion, what happens when and why
    chosen       at most three of each template, answers drawn evenly, so that none can be guessed

No question has yes or no for an answer. Comparisons are made only where the difference can be seen.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from armillary.records import Question
from armillary.worlds.items import volume
from armillary.worlds.labels import box_words
from armillary.worlds.materials import COLOURS
from armillary.worlds.physics_twins import TWINS
from armillary.worlds.physics_words import WAYS, Event, Told, chain, describe, heading
from armillary.worlds.questions import NUMBERS, ask, clock, extreme, fair, listed, sentence

SIDES = ("left", "right", "nearer", "further")
NOTHING = "nothing impossible happens"
IMPOSSIBLE = (NOTHING, *(f"something {kind}" for kind in TWINS))
CLEAR_METRES, CLEAR_SPEED = 0.3, 0.5


def candidates(told: Told, happened: Sequence[Event], rng: np.random.Generator, *, conjured: bool) -> list[Question]:
    """Everything that can be asked. ``conjured``: somebody may have done the impossible, so that is asked too."""
    last = len(told.moments) - 1
    asked: list[Question] = []
    for frame in sorted({0, last // 3, 2 * last // 3, last}):
        names = told.movable(frame)
        asked += _looks(told, names, frame) + _relations(told, names, frame) + _motion(told, names, frame)
    asked += _counts(told, rng) + _times(told, happened, rng) + _causes(told, rng) + _hidden(told)
    if conjured:
        spell = told.world.spell
        answer = f"something {spell.kind}" if spell else NOTHING
        asked.append(ask("plausibility", "What impossible thing happens here?", answer, (0, last), IMPOSSIBLE))
    return asked


def chosen(asked: Sequence[Question], told: Told, rng: np.random.Generator) -> list[Question]:
    """A fair few of the candidates."""
    return fair(asked, rng, each=3, names=[*told.world.names, *COLOURS])


def _looks(told: Told, names: Sequence[str], frame: int) -> list[Question]:
    asked, size = [], told.moments[frame].frames["main"].shape[:2]
    for name in names:
        words = box_words(told.boxes[frame][name], (size[0], size[1]))
        asked.append(ask("box", f"Where is the {name}?", words, frame))
        colour, _, noun = name.partition(" ")
        unchanged = told.moments[frame].state["rgb"][told.number(name)].tolist() == list(COLOURS[colour])
        if unchanged and sum(one.endswith(f" {noun}") for one in told.world.names) == 1:
            asked.append(ask("describe", f"What colour is the {noun}?", colour, frame, COLOURS))
        if heading(told, name, frame) != "unclear" and frame < len(told.moments) - 1 and not told.world.spell:
            asked.append(ask("describe", f"Describe the {name}.", sentence(describe(told, name, frame)), frame))
    return asked


def _relations(told: Told, names: Sequence[str], frame: int) -> list[Question]:
    """Places and sizes of two things, compared."""
    asked, places = [], told.places(frame)
    for one in names:
        for other in names:
            if one == other:
                continue
            right, _, away = places[told.number(one)] - places[told.number(other)]
            ways = {"left": -right, "right": right, "nearer": -away, "further": away}
            way = extreme(ways, margin=0.2)
            if way and ways[way] > CLEAR_METRES:
                words = f"Seen from the camera, where is the {one}: left or right of the {other}, nearer or further?"
                asked.append(ask("relation", words, way, frame, SIDES))
            big, small = (volume(i.shape, i.half) for i in (told.world.items[told.number(n)] for n in (one, other)))
            if one < other and max(big, small) > 1.8 * min(big, small):
                larger = one if big > small else other
                asked.append(ask("size", f"Which is larger, the {one} or the {other}?", f"the {larger}", frame))
    distance = {name: float(places[told.number(name)][2]) for name in names}
    near = extreme(distance, margin=CLEAR_METRES, largest=False)
    if near and len(names) > 1:
        asked.append(ask("distance", "Which thing is nearest to the camera?", f"the {near}", frame))
    return asked


def _motion(told: Told, names: Sequence[str], frame: int) -> list[Question]:
    asked: list[Question] = []
    if frame == len(told.moments) - 1:
        return asked
    for name in names:
        way = heading(told, name, frame)
        if way in WAYS:
            frames = (frame, min(frame + 4, len(told.moments) - 1))
            asked.append(ask("trajectory", f"Which way does the {name} move?", way, frames, WAYS))
    velocities = told.moments[frame].state["velocities"]
    speeds = {name: float(np.linalg.norm(velocities[told.number(name)])) for name in names}
    fastest = extreme(speeds, margin=CLEAR_SPEED)
    if fastest and len(names) > 1:
        asked.append(ask("trajectory", "Which thing is moving fastest?", f"the {fastest}", (frame, frame + 1)))
    return asked


def _counts(told: Told, rng: np.random.Generator) -> list[Question]:
    asked, seen = [], told.movable(0)
    nouns = {name.split(" ", 1)[1] for name in told.world.names if name.split(" ")[0] in COLOURS}
    for noun in sorted(nouns):
        all_of_them = [name for name in told.world.names if name.endswith(f" {noun}")]
        visible = [name for name in seen if name.endswith(f" {noun}")]
        if len(all_of_them) == len(visible) and (len(visible) > 1 or rng.random() < 0.3):
            words = f"How many {noun if noun != 'domino' else 'dominoe'}s are there?"
            asked.append(ask("count", words, NUMBERS[len(visible)], 0, NUMBERS[1:10]))
    return asked


def _times(told: Told, happened: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    """When something happens, and what happens next among things that happen at some time."""
    asked, last = [], len(told.moments) - 1
    once = [event for event in happened if sum(other[2] == event[2] for other in happened) == 1]
    for when, _, words in once:
        asked.append(ask("when", f"At what time {_asked(words)}?", clock(when), (0, last)))
    for number, (before, after) in enumerate(pairwise(once)):
        frame, then = int((before[0] + 1e-6) * told.fps) + 1, [event[0] for event in once[number + 2 :]]
        if after[0] - before[0] > 0.12 and frame / told.fps <= after[0] and min(then, default=99) > after[0] + 0.05:
            others = [event[2] for event in once if event is not after]
            picks = [others[i] for i in rng.permutation(len(others))[:3]]
            offered = [[after[2], *picks][i] for i in rng.permutation(1 + len(picks))]
            asked.append(ask("next", f"Which of these happens next: {'; '.join(offered)}?", after[2], frame, offered))
    if len(once) > 2:
        offered = [once[i][2] for i in rng.permutation(len(once))[:4]]
        first = min((event for event in once if event[2] in offered), key=lambda event: event[0])
        others_start = sorted(event[0] for event in once if event[2] in offered)
        if others_start[1] - others_start[0] > 0.1:
            words = f"Which of these happens first: {'; '.join(offered)}?"
            asked.append(ask("when", words, first[2], (0, last), offered))
    return asked


def _asked(words: str) -> str:
    """``the red ball hits the floor`` as ``does the red ball hit the floor``."""
    if " has fallen over" in words:
        return f"has {words.removesuffix(' has fallen over')} fallen over"
    for says, asks in ((" hits ", " hit "), (" vanishes", " vanish"), (" turns ", " turn "), (" floats ", " float "),
                       (" passes ", " pass ")):  # fmt: skip
        if says in words:
            return "does " + words.replace(says, asks, 1)
    return f"is it that {words}"


def _causes(told: Told, rng: np.random.Generator) -> list[Question]:
    """What set a thing in motion; and what in this scene could not happen at all."""
    asked: list[Question] = []
    last, seen = len(told.moments) - 1, told.movable(0)
    if told.world.spell:
        return asked
    for target in seen:
        way = chain(told, target)
        if way and all(name in seen for name in way):
            asked.append(ask("common sense", f"What hits the {target} first?", f"the {way[-2]}", (0, last)))
            steps = [f"the {a} hits the {b}" for a, b in pairwise(way)]
            plan = f"Set the {way[0]} in motion; {', then '.join(steps)}."
            asked.append(ask("plan", f"How can the {target} be set in motion without touching it?", plan, 0))
    if len(seen) > 1:
        names = [seen[i] for i in rng.permutation(len(seen))[:3]]
        cannot = (f"the {names[0]} vanishes", f"the {names[0]} goes through the floor",
                  f"the {names[0]} rises to the ceiling by itself")[int(rng.integers(3))]  # fmt: skip
        can = [f"the {name} comes to rest" for name in names[1:]] + [f"the {names[0]} is heard when it is struck"]
        offered = [[cannot, *can][i] for i in rng.permutation(1 + len(can))]
        asked.append(ask("common sense", f"Which of these cannot happen: {'; '.join(offered)}?", cannot, 0, offered))
    asked.append(ask("caption", "What happens here?", told.world.scene.words, (0, last)))
    asked.append(ask("report", "What is there to see at first?", sentence(listed(seen)), 0))
    return asked


def _hidden(told: Told) -> list[Question]:
    """What is behind something, where the camera saw it before and another camera still sees it."""
    asked = []
    balls = [name for name in told.movable(0) if name.endswith("ball")]
    for frame in range(2, len(told.moments), 2):
        marks = told.moments[frame].segmentation
        if marks is None or "high" not in marks:
            continue
        gone = [n for n in balls if not (marks["main"] == told.number(n) + 1).any()]
        known = [n for n in gone if (marks["high"] == told.number(n) + 1).any()]
        if known and gone == known and "screen" in told.boxes[frame]:
            inside = [n for n in known if _behind(told, n, frame)]
            if inside == known:
                words = "Which of the balls that were there is hidden now?"
                asked.append(ask("visibility", words, listed(known, article="the"), (0, frame)))
    return asked


def _behind(told: Told, name: str, frame: int) -> bool:
    """Whether a thing's middle is within the picture of the main camera, though hidden."""
    right, down, ahead = told.places(frame)[told.number(name)]
    numbers = np.asarray(told.calibrations[frame]["intrinsics"])
    height, width = told.moments[frame].frames["main"].shape[:2]
    column, row = numbers[0, 0] * right / ahead + numbers[0, 2], numbers[1, 1] * down / ahead + numbers[1, 2]
    return bool(ahead > 0 and 0 < column < width and 0 < row < height)
