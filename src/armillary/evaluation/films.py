"""Text-to-video: is what the words say there: each thing, its colour, how many there are, how two of them lie?

    measure_films   a held-out table's caption, and a sentence about two of its things -> a film; its first frame is
                    asked atomic yes/no questions, those of its own words and those of another table's (exchanged)

objects    one of the largest patches of a thing's colour (as many as the words name things of that colour) looks like
           a thing and is judged to have its shape (shapes.py)
colours    there is a thing of that colour
count      there are as many things as are named
relation   the patches of the two things lie as the sentence says

The same questions to the true pictures, and to the video tokenizer's reconstruction of them, say how good the judge
is; those of another table to the true pictures, how many answers are yes by chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from armillary.evaluation.bootstrap import Figure, bootstrap, ratio
from armillary.evaluation.dynamics import other_episodes, reconstructed
from armillary.evaluation.held_out import Scene
from armillary.evaluation.pixels import HUES, blobs_of, centre_of, centre_of_box
from armillary.evaluation.shapes import LEAST_PIXELS, ShapeJudge
from armillary.prompts import lying, relation
from armillary.records import Array

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

BATCH = 16
SEARCHES = ("film", "exchanged", "true", "codec", "exchanged_true")
FACTS = ("objects", "colours", "count", "relation")
APART = 0.12  # of the picture's side, from which on a sentence says how two things lie


@dataclass(frozen=True, kw_only=True)
class Named:
    """One question asked of one picture: ``search`` film, exchanged, true, codec or exchanged_true; ``what`` it asks
    for, in words; ``there``: yes."""

    seed: int
    search: str
    fact: str
    what: str
    there: bool


class Lie(NamedTuple):
    """How two things of a scene lie to one another."""

    one: str
    how: str
    other: str

    @property
    def sentence(self) -> str:
        return lying(*self)


def lie_of(scene: Scene) -> Lie | None:
    """How the first two things lie of which that can be said at a look: each the only one of its colour."""
    colours = [name.split()[0] for name in scene.boxes]
    alone = [name for name in scene.boxes if colours.count(name.split()[0]) == 1]
    height, width = scene.picture.shape[:2]
    for one in alone:
        for other in alone:
            right, down = (centre_of_box(scene.boxes[one]) - centre_of_box(scene.boxes[other])) / (width, height)
            if one != other and (how := relation(right, down, clear=APART)):
                return Lie(one, how, other)
    return None


def measure_films(
    omni: "Omni", scenes: Sequence[Scene], judge: ShapeJudge, *, on_done: Callable[[int], None] | None = None
) -> list[Named]:
    """Make a film of every caption and ask."""
    strangers = other_episodes([scene.seed for scene in scenes])
    found: list[Named] = []
    for first in range(0, len(scenes), BATCH):
        batch = scenes[first : first + BATCH]
        films = filmed(omni, batch, seed=first)
        again = reconstructed(omni, np.stack([scene.picture[None] for scene in batch]))
        for i, scene in enumerate(batch):
            other = scenes[strangers[first + i]]
            pictures = {"film": films[i][0], "exchanged": films[i][0], "true": scene.picture, "codec": again[i][0],
                        "exchanged_true": scene.picture}  # fmt: skip
            for search, picture in pictures.items():
                asked = other if search.startswith("exchanged") else scene
                found += facts_of(picture, asked, judge, seed=scene.seed, search=search)
        if on_done is not None:
            on_done(first + len(batch))
    return found


def facts_of(picture: Array, scene: Scene, judge: ShapeJudge, *, seed: int, search: str) -> list[Named]:
    """Every question that the words of ``scene`` lead to, asked of a picture h w 3."""
    names = list(scene.boxes)
    found = search_for(picture, names, judge, seed=seed, search=search)
    shapes = sum(len(judge.things(picture, colour, named=len(names))) for colour in HUES)
    asked = partial(Named, seed=seed, search=search)
    found.append(asked(fact="count", what=f"{len(names)} things", there=shapes == len(names)))
    if lie := lie_of(scene):
        patches = [blobs_of(picture, name.split()[0], least=LEAST_PIXELS)[:1] for name in (lie.one, lie.other)]
        holds = False
        if all(patches):
            right, down = (centre_of(patches[0][0]) - centre_of(patches[1][0])) / picture.shape[1::-1]
            holds = relation(right, down) == lie.how
        found.append(asked(fact="relation", what=lie.sentence, there=holds))
    return found


def filmed(omni: "Omni", scenes: Sequence[Scene], *, seed: int) -> list[Array]:
    """The model's film of every scene's words, uint8 t h w 3."""
    asked = [{"mode": "text-to-video", "prompt": words_of(scene), "seed": seed + i} for i, scene in enumerate(scenes)]
    return [rollout.video for rollout in omni.imagine_many(asked) if rollout.video is not None]


def words_of(scene: Scene) -> str:
    """Its dense caption, and how two of its things lie."""
    lie = lie_of(scene)
    return f"{scene.words} {lie.sentence}" if lie else scene.words


def search_for(picture: Array, names: Sequence[str], judge: ShapeJudge, *, seed: int, search: str) -> list[Named]:
    """Whether a picture h w 3 shows each thing named "colour shape", and a thing of its colour."""
    found = []
    for name in names:
        colour, shape = name.split()
        shapes = judge.things(picture, colour, named=sum(other.startswith(f"{colour} ") for other in names))
        asked = partial(Named, seed=seed, search=search)
        found.append(asked(fact="objects", what=name, there=shape in shapes))
        found.append(asked(fact="colours", what=colour, there=bool(shapes)))
    return found


def films_figures(found: Sequence[Named], *, seed: int = 0) -> dict[str, Figure]:
    """The share of questions answered yes for each search: of each fact, and of all pooled (``facts_``)."""
    figures: dict[str, Figure] = {}
    for search in SEARCHES:
        for fact in ("facts", *FACTS):
            own = [one for one in found if one.search == search and fact in ("facts", one.fact)]
            if own:
                groups = [one.seed for one in own]
                figures[f"{fact}_{search}"] = bootstrap([(o.there, 1) for o in own], groups, ratio, seed=seed)
    return figures
