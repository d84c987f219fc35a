"""Drift: how long an imagination stays near the truth when it goes on from what it imagined itself.

    a first picture and 63 actions  ->  four chunks, each from the last imagined picture  ->  64 frames
                                    ->  four frames at a time, as the actions come        ->  64 frames

The second way (``sampling/onwards.py``) is only asked of who has learnt it. Beside both: repeating the first picture,
the video tokenizer's reconstruction of the truth, and the film of another life's actions. Every frame is marked by
itself; a horizon of 33 means frames 2 to 33 together, and "frames 18 to 33" the second chunk alone. The actions are the
true ones throughout, so nothing corrects what went wrong before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armillary.evaluation.bootstrap import Figure, mean
from armillary.evaluation.dynamics import BATCH, other_episodes, reconstructed
from armillary.evaluation.held_out import long_life
from armillary.evaluation.pixels import psnr
from armillary.records import Array, Episode
from armillary.sampling.requests import FRAMES_A_LATENT

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

HORIZONS = (17, 33, 49, 64)  # frames, the first included
FRAMES = HORIZONS[-1]
KINDS = ("expert", "expert", "clumsy", "random")  # in turn
CHAINED = "Chained: chunks of 16 actions, each from the last imagined picture. A horizon counts all frames up to it."
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DriftScore:
    """One life: PSNR in dB of each frame from the second on (63), imagined and by what it is measured against."""

    seed: int
    kind: str
    psnr: list[float]
    psnr_still: list[float]
    psnr_codec: list[float]
    psnr_shuffled: list[float]
    psnr_going_on: list[float] | None = None  # four frames at a time; None where that was not learnt


def drift(bench: "Bench") -> "Result":
    """The section of the suite: as many lives as there are to be clips."""
    count = bench.plan.clips
    lives = []
    for number in range(count):
        lives.append(drift_life(bench, number))
        bench.tell("long lives", number + 1, count)
    scores = measure_drift(bench.omni, lives, on_done=bench.told("drift", count))
    return scores, drift_figures(scores), [
        f"Lives of {FRAMES} frames, two of the expert to a clumsy and a random one, from their first picture on; "
        "who succeeds goes on. Nothing was chosen by whether something moves.",
        CHAINED,
    ]  # fmt: skip


def drift_life(bench: "Bench", number: int) -> Episode:
    """The number-th long life of this bench."""
    kind = KINDS[number % len(KINDS)]
    return long_life(bench.episodes, kind, bench.held.seed_of("drift", number), frames=FRAMES)


def measure_drift(
    omni: "Omni", lives: Sequence[Episode], *, on_done: Callable[[int], None] | None = None
) -> list[DriftScore]:
    """Imagine every life from its first picture and its actions, and with the actions of another life."""
    strangers = other_episodes([life.seed for life in lives])
    scores: list[DriftScore] = []
    for first in range(0, len(lives), BATCH):
        batch = list(lives[first : first + BATCH])
        own = chained(omni, batch, [life.actions for life in batch], seed=first)
        wrong = [lives[i].actions for i in strangers[first : first + BATCH]]
        shuffled = chained(omni, batch, wrong, seed=first)
        for number, (life, film, other) in enumerate(zip(batch, own, shuffled, strict=True), start=first):
            truth = seen(life)
            on = going_on(omni, life, seed=number) if omni.parts.goes_on else None
            scores.append(DriftScore(
                seed=life.seed, kind=life.recipe["controller"], psnr=by_frame(film, truth),
                psnr_still=by_frame(np.broadcast_to(truth[:1], truth.shape), truth),
                psnr_codec=by_frame(_coded(omni, truth), truth), psnr_shuffled=by_frame(other, truth),
                psnr_going_on=None if on is None else by_frame(on, truth),
            ))  # fmt: skip
        if on_done is not None:
            on_done(len(scores))
    return scores


def chained(omni: "Omni", lives: Sequence[Episode], actions: Sequence[Array], *, seed: int) -> list[Array]:
    """What the model sees happen after each life's first picture, chunk after chunk: uint8 t+1 h w 3."""
    requests = [
        {"mode": "forward-dynamics", "image": seen(life)[0], "actions": done, "embodiment": life.embodiment,
         "seed": seed + i}
        for i, (life, done) in enumerate(zip(lives, actions, strict=True))
    ]  # fmt: skip
    return [rollout.video for rollout in omni.imagine_many(requests) if rollout.video is not None]


def going_on(omni: "Omni", life: Episode, *, seed: int) -> Array:
    """What it sees happen four frames at a time, as the actions come: uint8 t+1 h w 3."""
    film = omni.onwards(image=seen(life)[0], embodiment=life.embodiment, seed=seed)
    missing = -len(life.actions) % FRAMES_A_LATENT  # the last step is begun with the last action, and cut
    actions = np.concatenate([life.actions, life.actions[-1:].repeat(missing, axis=0)])
    return np.concatenate([seen(life)[:1], film.push(actions)])[: len(life.actions) + 1]


def seen(life: Episode) -> Array:
    """A life's film, t h w 3, as its first camera saw it."""
    return next(iter(life.frames.values()))


def by_frame(film: Array, truth: Array) -> list[float]:
    """PSNR in dB of each frame but the first, which is given."""
    return [round(psnr(one, other), 3) for one, other in zip(film[1:], truth[1:], strict=True)]


def drift_figures(scores: Sequence[DriftScore], *, seed: int = 0) -> dict[str, Figure]:
    """For each horizon the PSNR of all frames up to it, over and below the others; and over repeat in each chunk."""
    groups = [score.seed for score in scores]
    if gone := [score.psnr_going_on for score in scores if score.psnr_going_on is not None]:
        return _drifted(scores, groups, seed) | _going_on_figures(scores, gone, groups, seed)
    return _drifted(scores, groups, seed)


def _going_on_figures(
    scores: Sequence[DriftScore], gone: Sequence[list[float]], groups: Sequence[int], seed: int
) -> dict[str, Figure]:
    """The same of films that went on four frames at a time, and how much better they are than chunks, life by life."""
    on, chunks, still = (np.array(x) for x in (gone, [s.psnr for s in scores], [s.psnr_still for s in scores]))
    figures: dict[str, Figure] = {}
    for horizon in HORIZONS:
        own, chained_, repeated = (together(x[:, : horizon - 1]) for x in (on, chunks, still))
        named = {"psnr": own, "db_over_repeat_first_frame": own - repeated, "db_more_than_chunks": own - chained_}
        figures |= {f"{name}_going_on_to_frame_{horizon}": mean(values, groups, seed=seed)
                    for name, values in named.items()}  # fmt: skip
    return figures


def _drifted(scores: Sequence[DriftScore], groups: Sequence[int], seed: int) -> dict[str, Figure]:
    table = {name: np.array([vars(score)[name] for score in scores])
             for name in ("psnr", "psnr_still", "psnr_codec", "psnr_shuffled")}  # fmt: skip
    figures: dict[str, Figure] = {}
    for horizon in HORIZONS:
        up_to = {name: together(values[:, : horizon - 1]) for name, values in table.items()}
        for name, values in _compared(up_to).items():
            figures[f"{name}_to_frame_{horizon}"] = mean(values, groups, seed=seed)
    for start, end in zip((1, *HORIZONS), HORIZONS, strict=False):
        own = {name: together(values[:, start - 1 : end - 1]) for name, values in table.items()}
        name = f"db_over_repeat_first_frame_in_frames_{start + 1}_to_{end}"
        figures[name] = mean(own["psnr"] - own["psnr_still"], groups, seed=seed)
    return figures


def together(values: Floats) -> Floats:
    """The PSNR of frames taken as one film, n t to n: from the mean of their squared errors."""
    return np.asarray(-10 * np.log10(np.power(10.0, -values / 10).mean(axis=1)))


def _compared(found: Mapping[str, Floats]) -> dict[str, Floats]:
    return {
        "psnr": found["psnr"],
        "psnr_repeat_first_frame": found["psnr_still"],
        "db_over_repeat_first_frame": found["psnr"] - found["psnr_still"],
        "db_below_codec": found["psnr_codec"] - found["psnr"],
        "db_lost_with_shuffled_actions": found["psnr"] - found["psnr_shuffled"],
    }


def _coded(omni: "Omni", film: Array) -> Array:
    """The tokenizer's own reconstruction of a film of any length, t h w 3: windows of 17 frames that share one."""
    step = HORIZONS[0] - 1
    whole = np.concatenate([film, film[-1:].repeat(-(len(film) - 1) % step, axis=0)])
    windows = np.stack([whole[i : i + step + 1] for i in range(0, len(whole) - 1, step)])
    again = reconstructed(omni, windows)
    return np.concatenate([again[0][:1], *(window[1:] for window in again)])[: len(film)]
