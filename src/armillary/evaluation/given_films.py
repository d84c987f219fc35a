"""Films of which more is given than a picture: how near do those that go on, and those between two pictures, come?

    a life's first 5 frames, and the words of what happens                 ->   12 more frames       (``continued``)
    a life's first frame and its 17th, and the words of what happens       ->   the 15 between them  (``between``)

Both beside the first 17 frames of that life, and imagined as the checkpoint usually does it; again with the words of
another life (``exchanged``). Beside these stand the last frame given, repeated (between two pictures: the first),
between two pictures also a linear cross-fade from the one to the other, and the video tokenizer's reconstruction of
the truth. Frames that are given are not marked. The lives are like those of picture_films.py, of seeds of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from armillary.evaluation.bootstrap import Figure, Floats, mean
from armillary.evaluation.dynamics import BATCH, other_episodes, reconstructed
from armillary.evaluation.held_out import FRAMES
from armillary.evaluation.picture_films import (
    CHANGED,
    CODEC,
    EXCHANGED,
    STILL,
    TRUE,
    USUAL,
    beginning,
    moved,
    picture_lives,
    words_told,
)
from armillary.evaluation.pixels import psnr
from armillary.modes import MODES
from armillary.records import Array, Episode
from armillary.tokenizers.video import TIME

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

CONTINUED, BETWEEN = MODES["video-to-video"].name, MODES["first-last-frame"].name
GIVEN = 1 + TIME * (MODES[CONTINUED].given_latent_frames - 1)  # frames with which a film that goes on begins
FADE = "fade"  # not imagined, as STILL, CODEC and TRUE are not


@dataclass(frozen=True, kw_only=True)
class Way:
    """A mode as this section tells of it: how its figures end, which frames are found and marked, and from the first to
    the last of which frames things are seen to move."""

    end: str
    found: slice
    seen: slice


WAYS: Mapping[str, Way] = {
    CONTINUED: Way(end="_continued", found=slice(GIVEN, FRAMES), seen=slice(GIVEN - 1, FRAMES)),
    BETWEEN: Way(end="_between", found=slice(1, FRAMES - 1), seen=slice(0, FRAMES // 2 + 1)),
}


@dataclass(frozen=True, kw_only=True)
class GivenScore:
    """One life in one mode, and under the name of each film: ``psnr`` in dB over the frames that are not given (of all
    films but the true one), and ``moved``, the share of pixels that differ between two of its frames: the last given
    and the last of a film that goes on, the first and the middle one between two pictures."""

    seed: int
    mode: str
    psnr: Mapping[str, float]
    moved: Mapping[str, float]


def given_films(bench: "Bench") -> "Result":
    """The section of the suite: as many lives as there are to be clips, each in both modes."""
    lives = bench.first("lives that are begun", bench.plan.clips, picture_lives(bench, seeds="given"))
    told = bench.told("films of which more is given", len(lives) * len(WAYS))
    scores = measure_given_films(bench.omni, lives, on_done=told)
    return scores, given_figures(scores), [
        f"The first {FRAMES} frames of the expert's lives that last so long, and the caption of the life. Continued: "
        f"the first {GIVEN} frames are given, marked are the other {FRAMES - GIVEN}. Between: the first and the last "
        f"are given, marked are the {FRAMES - 2} between them. Nothing was chosen by whether something moves.",
        f"Between two pictures the last {TIME} frames are one latent, given as the last picture standing still; "
        f"the {TIME - 1} of them that are not that picture are marked all the same.",
        "repeat: the last frame given, between two pictures the first; cross-fade: every frame a mixture of the two "
        "pictures, the later one's share growing evenly. exchanged words: another life's caption, beside the same "
        "frames and seed.",
        f"moved: the share of pixels that differ by more than {CHANGED} of 255 in any channel, continued from the last "
        "frame given to the last, between from the first to the middle one.",
    ]  # fmt: skip


def measure_given_films(
    omni: "Omni", lives: Sequence[Episode], *, on_done: Callable[[int], None] | None = None
) -> list[GivenScore]:
    """Imagine every life in both modes, with its own and with another's words, and mark the films."""
    words = [words_told(life) for life in lives]
    others = [words[i] for i in other_episodes([life.seed for life in lives])]
    scores: list[GivenScore] = []
    for first in range(0, len(lives), BATCH):
        part = slice(first, first + BATCH)
        batch = lives[part]
        truth = np.stack([beginning(life) for life in batch])
        again = reconstructed(omni, truth)
        for mode in WAYS:
            own = imagined_given(omni, batch, words[part], mode, seed=first)
            strange = imagined_given(omni, batch, others[part], mode, seed=first)
            for i, life in enumerate(batch):
                films = {USUAL: own[i], EXCHANGED: strange[i], CODEC: again[i], TRUE: truth[i]}
                scores.append(_marked(life.seed, mode, films | untouched(mode, truth[i])))
            if on_done is not None:
                on_done(len(scores))
    return scores


def imagined_given(
    omni: "Omni", lives: Sequence[Episode], words: Sequence[str], mode: str, *, seed: int
) -> list[Array]:
    """What the model sees happen in each life where the mode's frames and these words are given, as the checkpoint does
    it where nobody says how: uint8 t h w 3."""
    asked = []
    for i, (life, told) in enumerate(zip(lives, words, strict=True)):
        film = beginning(life)
        asked.append({"mode": mode, **shown(mode, film), "prompt": told, "frames": FRAMES, "fps": life.fps,
                      "size": film.shape[1:3], "seed": seed + i})  # fmt: skip
    return [rollout.video for rollout in omni.imagine_many(asked) if rollout.video is not None]


def shown(mode: str, film: Array) -> dict[str, Any]:
    """What of a true film, uint8 t h w 3, a request of this mode is given."""
    return {"video": film[:GIVEN]} if mode == CONTINUED else {"image": film[0], "last_image": film[-1]}


def untouched(mode: str, film: Array) -> dict[str, Array]:
    """The films that need no model, made of what is given of a true one: ``still``, and between two pictures
    ``fade``."""
    last = GIVEN - 1 if mode == CONTINUED else 0
    films = {STILL: np.broadcast_to(film[last], film.shape)}
    return films if mode == CONTINUED else films | {FADE: cross_faded(film)}


def cross_faded(film: Array) -> Array:
    """As many frames as the film has, each a mixture of its first and its last; the last one's share grows evenly."""
    share = np.linspace(0.0, 1.0, len(film))[:, None, None, None]
    return ((1 - share) * film[0] + share * film[-1]).round().astype(np.uint8)


def given_figures(scores: Sequence[GivenScore], *, seed: int = 0) -> dict[str, Figure]:
    """The figures by name, those of each mode with its own ending."""
    figures: dict[str, Figure] = {}
    for mode, way in WAYS.items():
        if own := [score for score in scores if score.mode == mode]:
            groups = [score.seed for score in own]
            figures |= {f"{name}{way.end}": mean(values, groups, seed=seed) for name, values in _columns(own).items()}
    return figures


def _columns(own: Sequence[GivenScore]) -> dict[str, Floats]:
    """What is told of the lives of one mode, a number for each of them."""
    db = {film: np.array([score.psnr[film] for score in own]) for film in own[0].psnr}
    columns = {
        "psnr": db[USUAL], "psnr_repeat": db[STILL], "psnr_codec": db[CODEC], "psnr_exchanged_words": db[EXCHANGED],
        "db_over_repeat": db[USUAL] - db[STILL], "db_below_codec": db[CODEC] - db[USUAL],
        "db_lost_with_exchanged_words": db[USUAL] - db[EXCHANGED],
    }  # fmt: skip
    if FADE in db:
        columns |= {"psnr_crossfade": db[FADE], "db_over_crossfade": db[USUAL] - db[FADE]}
    for end, film in {"": USUAL, "_true": TRUE, "_codec": CODEC}.items():
        columns[f"moved{end}"] = np.array([score.moved[film] for score in own])
    return columns


def _marked(seed: int, mode: str, films: Mapping[str, Array]) -> GivenScore:
    way = WAYS[mode]
    return GivenScore(
        seed=seed, mode=mode, moved={name: moved(film[way.seen]) for name, film in films.items()},
        psnr={name: psnr(film[way.found], films[TRUE][way.found]) for name, film in films.items() if name != TRUE},
    )  # fmt: skip
