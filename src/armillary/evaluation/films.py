"""Text-to-video: is what the words name there, in its colour and its shape?

    measure_films   a held-out table's caption -> a film; its first frame is searched for every named thing,
                    and for the things that another table's caption names (prompts exchanged)

A thing is there if one of the largest patches of its colour (as many as the words name things of that colour) looks
like a thing and is judged to have its shape (shapes.py). The same search in the true pictures, and in the video
tokenizer's reconstruction of them, says how good the judge is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.evaluation.bootstrap import Figure, bootstrap, ratio
from armillary.evaluation.dynamics import other_episodes, reconstructed
from armillary.evaluation.held_out import Scene
from armillary.evaluation.shapes import ShapeJudge
from armillary.records import Array

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

BATCH = 16
SEARCHES = ("film", "exchanged", "true", "codec")


@dataclass(frozen=True, kw_only=True)
class Named:
    """One named thing, searched for in one picture: ``search`` film, exchanged, true or codec."""

    seed: int
    search: str
    colour: str
    shape: str
    colour_there: bool
    there: bool


def measure_films(
    omni: "Omni", scenes: Sequence[Scene], judge: ShapeJudge, *, on_done: Callable[[int], None] | None = None
) -> list[Named]:
    """Make a film of every caption and search it."""
    strangers = other_episodes([scene.seed for scene in scenes])
    found: list[Named] = []
    for first in range(0, len(scenes), BATCH):
        batch = scenes[first : first + BATCH]
        films = filmed(omni, batch, seed=first)
        again = reconstructed(omni, np.stack([scene.picture[None] for scene in batch]))
        for i, scene in enumerate(batch):
            other = scenes[strangers[first + i]]
            pictures = {"film": films[i][0], "exchanged": films[i][0], "true": scene.picture, "codec": again[i][0]}
            for search, picture in pictures.items():
                names = list((other if search == "exchanged" else scene).boxes)
                found += search_for(picture, names, judge, seed=scene.seed, search=search)
        if on_done is not None:
            on_done(first + len(batch))
    return found


def filmed(omni: "Omni", scenes: Sequence[Scene], *, seed: int) -> list[Array]:
    """The model's film of every scene's caption, uint8 t h w 3."""
    requests = [{"mode": "text-to-video", "prompt": scene.words, "seed": seed + i} for i, scene in enumerate(scenes)]
    return [rollout.video for rollout in omni.imagine_many(requests) if rollout.video is not None]


def search_for(picture: Array, names: Sequence[str], judge: ShapeJudge, *, seed: int, search: str) -> list[Named]:
    """Whether a picture h w 3 shows each thing named "colour shape"."""
    found = []
    for name in names:
        colour, shape = name.split()
        shapes = judge.things(picture, colour, named=sum(other.startswith(f"{colour} ") for other in names))
        found.append(Named(
            seed=seed, search=search, colour=colour, shape=shape, colour_there=bool(shapes), there=shape in shapes,
        ))  # fmt: skip
    return found


def films_figures(found: Sequence[Named], *, seed: int = 0) -> dict[str, Figure]:
    """The share of named things that are there, and of named colours, for each search."""
    figures: dict[str, Figure] = {}
    for search in SEARCHES:
        own = [one for one in found if one.search == search]
        if own:
            groups = [one.seed for one in own]
            figures[f"named_there_{search}"] = bootstrap([(o.there, 1) for o in own], groups, ratio, seed=seed)
            figures[f"colour_there_{search}"] = bootstrap([(o.colour_there, 1) for o in own], groups, ratio, seed=seed)
    return figures
