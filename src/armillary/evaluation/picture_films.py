"""Films from a picture and words: does happen what the words tell, and does what lies there stay what it is?

    a life's first frame, and the words of what happens   ->   a film, beside the first 17 frames of that life

It is imagined as the checkpoint usually does it; where somebody acts out the words also ``plain``, by a walk of the
film's own; where that wears an adapter also ``slow``, without one, in the mode's own steps with guidance; and with the
words of another life (``exchanged``). Beside these stand repeating the first frame and the video tokenizer's
reconstruction of the truth. The first frame is given and therefore not marked.

Words do not say when the arm will be where, so no film can be expected to come near the tokenizer's. What does not hang
on that: how much of the picture has changed by the last frame (``moved``), and whether the things that the first frame
shows are still there in it, in their colour and shape (``kept``; shapes.py, which is asked about true films as well).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from armillary.datasets.told import told_of
from armillary.evaluation.bootstrap import Figure, Floats, bootstrap, mean, ratio
from armillary.evaluation.dynamics import BATCH, other_episodes, reconstructed
from armillary.evaluation.films import search_for
from armillary.evaluation.held_out import CAMERA, FRAMES, recorded
from armillary.evaluation.pixels import psnr
from armillary.evaluation.shapes import ShapeJudge
from armillary.modes import MODES
from armillary.records import Array, Episode, Rollout, World
from armillary.sampling.adapters import NONE
from armillary.worlds.tabletop import Tabletop

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

Number = TypeVar("Number", int, float)
MODE = MODES["image-to-video"]
KIND = "expert"  # whose lives these are
USUAL, PLAIN, SLOW, EXCHANGED = "usual", "plain", "slow", "exchanged"  # imagined
STILL, CODEC, TRUE = "still", "codec", "true"  # not imagined
LONG = 49  # frames of a film whose actions are done in physics: three plans
CHANGED = 30  # of 255: a pixel that differs by more than that in any channel has changed


@dataclass(frozen=True, kw_only=True)
class PictureScore:
    """One life, and under the name of each film: ``psnr`` in dB over the 16 frames that are not given (of all films but
    the true one), ``moved``, the share of pixels in which its last frame differs from its first, and ``kept``, how many
    of the ``things`` that the first true frame shows are there in its last. ``done``: of films that were acted out, of
    the life's own words and of another's, whether their actions do in physics what the life's words tell."""

    seed: int
    things: int
    psnr: Mapping[str, float]
    moved: Mapping[str, float]
    kept: Mapping[str, int]
    done: Mapping[str, bool] = field(default_factory=dict)


def picture_films(bench: "Bench") -> "Result":
    """The section of the suite: as many lives as there are to be clips."""
    judge = ShapeJudge.of_lives(bench.known())
    lives = bench.first("lives from a picture", bench.plan.clips, picture_lives(bench))
    told = bench.told("films from a picture", len(lives))
    with closing(Tabletop(views=())) as world:
        scores = measure_picture_films(bench.omni, lives, judge, world=world, on_done=told)
    return scores, picture_figures(scores), [
        f"The first {FRAMES} frames of the expert's lives that last so long; given are the first frame and the caption "
        "of the life, which names what lies there and the deed. Nothing was chosen by whether something moves.",
        "plain: nobody acts out the words (docs/acting.md); only told where the checkpoint does. slow: nor is an "
        f"adapter worn, {MODE.steps} steps with guidance {MODE.guidance:g}; only told where one is. exchanged words: "
        "another life's caption, beside the same picture and seed.",
        f"moved: the share of pixels that differ by more than {CHANGED} of 255 in any channel between a film's first "
        "and last frame. things kept: the share of the things seen in the first frame whose colour and shape are "
        "judged to be there in the last, by a linear judge fitted on true pictures of training seeds; an arm may hide "
        "a thing, so true films do not keep all. Who shows what stands still as given (steady) may keep more than the "
        "tokenizer alone.",
        f"done in physics: of films of {LONG} frames that were acted out, whether their actions, planned from the "
        "first picture and what was imagined since, do in physics what the life's words tell; exchanged: those of "
        "another life's words.",
    ]  # fmt: skip


def picture_lives(bench: "Bench", *, seeds: str = "picture") -> Iterator[Episode]:
    """The lives of a section's range of ``seeds`` that last long enough, in their order, without end."""
    for number in count():
        life = recorded(bench.episodes, KIND, bench.held.seed_of(seeds, number))
        if len(life.actions) + 1 >= FRAMES:
            yield life


def words_told(life: Episode) -> str:
    """What is told of a life's first 17 frames; ``KeyError`` for a life without captions."""
    told = told_of(life, 0, FRAMES)
    assert told is not None  # from the first frame on some words always hold
    return told


def beginning(life: Episode) -> Array:
    """A life's first 17 frames as they really were, uint8 t h w 3."""
    return life.frames[CAMERA][:FRAMES]


def measure_picture_films(
    omni: "Omni", lives: Sequence[Episode], judge: ShapeJudge, *, world: World | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[PictureScore]:  # fmt: skip
    """Imagine every life from its first frame in every way that there is, and mark the films; ``world``: the physics
    in which the actions of films that were acted out are done, if that is asked."""
    words = [words_told(life) for life in lives]
    strangers = other_episodes([life.seed for life in lives])
    scores: list[PictureScore] = []
    for first in range(0, len(lives), BATCH):
        batch = lives[first : first + BATCH]
        films = imagined_ways(omni, batch, words[first : first + BATCH], seed=first)
        others = [words[i] for i in strangers[first : first + BATCH]]
        films[EXCHANGED] = _pictures(_filmed(omni, batch, others, seed=first))
        truth = np.stack([beginning(life) for life in batch])
        films[CODEC] = list(reconstructed(omni, truth))
        films[TRUE], films[STILL] = list(truth), list(np.broadcast_to(truth[:, :1], truth.shape))
        marked = [_marked(life, {name: own[i] for name, own in films.items()}, judge) for i, life in enumerate(batch)]
        if world is not None and PLAIN in films:
            told = {USUAL: words[first : first + BATCH], EXCHANGED: others}
            done = {way: done_in_physics(omni, batch, own, world, seed=first) for way, own in told.items()}
            marked = [replace(one, done={way: own for way, found in done.items() if (own := found[i]) is not None})
                      for i, one in enumerate(marked)]  # fmt: skip
        scores += marked
        if on_done is not None:
            on_done(len(scores))
    return scores


def imagined_ways(omni: "Omni", lives: Sequence[Episode], words: Sequence[str], *, seed: int) -> dict[str, list[Array]]:
    """What the model sees happen after each life's first frame, uint8 t h w 3: ``usual``, as the checkpoint does it
    where nobody says how, ``plain`` if it acted in any, and ``slow`` if it then wears an adapter. All of one seed."""
    found = _filmed(omni, lives, words, seed=seed)
    films = {USUAL: _pictures(found)}
    if any("acted" in rollout.provenance.get("request", {}) for rollout in found):
        found = _filmed(omni, lives, words, seed=seed, how={"acting": NONE})
        films[PLAIN] = _pictures(found)
    if any("adapter" in rollout.provenance for rollout in found):
        how = {"adapter": NONE, "steps": MODE.steps, "guidance": MODE.guidance}
        films[SLOW] = _pictures(_filmed(omni, lives, words, seed=seed, how=how))
    return films


def done_in_physics(
    omni: "Omni", lives: Sequence[Episode], words: Sequence[str], world: World, *, seed: int
) -> list[bool | None]:
    """Whether the actions of a film of ``LONG`` frames, acted out to these words from each life's first frame, do what
    the life's instruction asks in the life's own world; None for a film that was not acted out."""
    found: list[bool | None] = []
    for life, film in zip(lives, _filmed(omni, lives, words, seed=seed, how={"frames": LONG}), strict=True):
        if film.actions is None:
            found.append(None)
            continue
        moment = world.reset(life.seed, life.instruction)
        for action in film.actions:
            if moment.over:
                break
            moment = world.step(action)
        found.append(moment.success)
    return found


def moved(film: Array) -> float:
    """The share of pixels of a film, uint8 t h w 3, in which the last frame differs from the first."""
    apart = np.abs(film[-1].astype(np.int16) - film[0]).max(axis=-1)
    return float((apart > CHANGED).mean())


def picture_figures(scores: Sequence[PictureScore], *, seed: int = 0) -> dict[str, Figure]:
    """The figures of films from a picture, by name; those of the plain and the slow way where any life has such: the
    others', whose words tell no deed or which wear no adapter, are what the usual way is."""
    if not scores:
        return {}
    groups = [score.seed for score in scores]
    others = [way for way in (PLAIN, SLOW) if any(way in score.psnr for score in scores)]
    ways = {"": USUAL} | {f"_{way}": way for way in others}

    def db(film: str) -> Floats:
        return np.array([_mark(score.psnr, film) for score in scores])

    columns = {"psnr_repeat_first_frame": db(STILL), "psnr_codec": db(CODEC), "psnr_exchanged_words": db(EXCHANGED)}
    for end, film in ways.items():
        columns[f"psnr{end}"] = db(film)
        columns[f"db_over_repeat_first_frame{end}"] = db(film) - db(STILL)
        columns[f"db_below_codec{end}"] = db(CODEC) - db(film)
    columns["db_lost_with_exchanged_words"] = db(USUAL) - db(EXCHANGED)
    for way in others:
        columns[f"db_more_than_{way}"] = db(USUAL) - db(way)
    figures = {name: mean(values, groups, seed=seed) for name, values in columns.items()}
    for end, way in {"": USUAL, "_exchanged": EXCHANGED}.items():
        if own := [score for score in scores if way in score.done]:
            seeds = [score.seed for score in own]
            figures[f"done_in_physics{end}"] = mean([score.done[way] for score in own], seeds, seed=seed)
    for end, film in {**ways, "_true": TRUE, "_codec": CODEC}.items():
        figures[f"moved{end}"] = mean([_mark(score.moved, film) for score in scores], groups, seed=seed)
        if any(score.things for score in scores):
            rows = [(_mark(score.kept, film), score.things) for score in scores]
            figures[f"things_kept{end}"] = bootstrap(rows, groups, ratio, seed=seed)
    return figures


def _mark(marks: Mapping[str, Number], film: str) -> Number:
    """The mark of a film, that of the usual one where there is no such film of its own."""
    return marks.get(film, marks[USUAL])


def _filmed(
    omni: "Omni", lives: Sequence[Episode], words: Sequence[str], *, seed: int, how: Mapping[str, Any] | None = None
) -> list[Rollout]:
    """A film of each life's first frame and these words. ``how``: further fields of the requests."""
    return omni.imagine_many([
        {"mode": MODE.name, "image": (picture := beginning(life)[0]), "prompt": told, "frames": FRAMES,
         "fps": life.fps, "size": picture.shape[:2], "seed": seed + i, **(how or {})}
        for i, (life, told) in enumerate(zip(lives, words, strict=True))
    ])  # fmt: skip


def _pictures(rollouts: Sequence[Rollout]) -> list[Array]:
    return [rollout.video for rollout in rollouts if rollout.video is not None]


def _marked(life: Episode, films: Mapping[str, Array], judge: ShapeJudge) -> PictureScore:
    names, truth = list(life.boxes[0]) if life.boxes else [], films[TRUE]

    def kept(name: str) -> int:
        found = search_for(films[name][-1], names, judge, seed=life.seed, search=name)
        return sum(one.there for one in found if one.fact == "objects")

    return PictureScore(
        seed=life.seed, things=len(names), moved={name: moved(film) for name, film in films.items()},
        psnr={name: psnr(film[1:], truth[1:]) for name, film in films.items() if name != TRUE},
        kept={name: kept(name) for name in films},
    )  # fmt: skip
