"""Impossible twins: is the model more surprised by what cannot be than by what goes on as it must?

    a life of ``physics``, and the same life until something impossible happens   --measure_twins-->   their surprises

A film is foreseen four frames at a time, a latent frame after the two before it (the first after the one): how far
what comes is from what the model expects (``expect.py``), mean square error in latents, is its surprise. A pair is told
apart if the impossible film surprises more in the four frames in which it happens. Before them both films are the same;
after them one may just move more than the other, as what floats does: ``by_whole_film`` has those in it. Beside the
model stand those that know no model: the next frames will be as the last one, in pixels or in latents, or go on as the
last two.

The reasoner is asked as well: of every four moments of a film, what impossible thing happens there, and how likely it
holds it that something does (``weigh``).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armillary.datasets.whereabouts import STRANGE, WINDOW
from armillary.evaluation.bootstrap import Figure, bootstrap, difference, drawn, mean, ratio
from armillary.evaluation.held_out import kept
from armillary.evaluation.other_worlds import fingerprint
from armillary.records import Array, Episode
from armillary.sampling.expect import expected, latents_of
from armillary.tokenizers.video import TIME
from armillary.worlds.physics import SPEC, STILL, Physics
from armillary.worlds.physics_questions import IMPOSSIBLE as ANSWERS
from armillary.worlds.physics_twins import TWINS

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result
    from armillary.sampling.omni import Omni

CAMERA = "main"
POSSIBLE, IMPOSSIBLE = "possible", "impossible"
GIVEN = 2  # latent frames that are known where one is expected; of the film's first four frames its first one
NOISES = (0,)  # seeds of the noise that the expectation begins from
MODEL, BLIND = "model", ("repeat", "repeat_latents", "linear")
SHARE = 5  # of so many clips one pair
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TwinScore:
    """One pair. ``possible``, ``impossible``: who is surprised -> the surprise of every four frames after the first.

    ``step``: the last frame that both have, counted from 0. ``what``: the impossible thing, in words.
    ``held_possible``, ``held_impossible``: how likely the reasoner holds it that something impossible happens in the
    ``WINDOW`` moments from each on.
    """

    seed: int
    kind: str
    family: str
    what: str
    step: int
    possible: dict[str, list[float]]
    impossible: dict[str, list[float]]
    held_possible: list[float] = field(default_factory=list)
    held_impossible: list[float] = field(default_factory=list)


def twins(bench: "Bench") -> "Result":
    """The section of the suite: a fifth as many pairs as clips, the kinds in turn."""
    count = -(-bench.plan.clips // SHARE)
    lived = lived_pairs(pairs_folder(bench.folder), bench.held.seed_of("twins", 0))
    pairs = bench.first("twins", count, lived)
    scores = measure_twins(bench.omni, pairs, on_done=bench.told("surprise", count))
    return scores, twins_figures(scores), [
        f"Films of {len(pairs[0].frames[POSSIBLE])} frames of physics, the camera stands; kinds in turn, each of the "
        "next seed whose life has room for it. Where the card names no data of this world, the model has never seen "
        "it.",
        f"Surprise: mean square error in latents of what the model expects of every {TIME} frames after the "
        f"{1 + TIME * (GIVEN - 1)} before them, in one evaluation at pure noise, no words. Compared are the {TIME} in "
        "which it happens; by_whole_film: all together.",
        f"by_asking: of any {WINDOW} moments the reasoner is asked {STRANGE!r}, and how likely something does is "
        "compared, the most of those that show the last possible frame and the next (by_asking_of_any: of the film).",
        "repeat, repeat_latents: as the last frame given, in pixels or in latents; linear: on as its change from the "
        "one before. Guessing tells half apart. times_repeat_latents: the model's error in possible films over "
        "repeat's; above 1 it foresees this world worse than who expects no change.",
    ]  # fmt: skip


def pairs_folder(folder: Path) -> Path:
    """Where a measurement keeps its pairs."""
    return folder / f"twins-{fingerprint()}"


def lived_pairs(folder: Path, seed: int) -> Iterator[Episode]:
    """Pairs of seeds from there on, the kinds in turn, without end; seeds whose life has no room are passed over."""
    number = 0
    while True:
        kind = TWINS[number % len(TWINS)]
        if (folder / file_of(kind, seed)).is_file() or has_room(kind, seed):
            yield lived_pair(folder, kind, seed)
            number += 1
        seed += 1


def has_room(kind: str, seed: int) -> bool:
    """Whether something of that kind can happen in that seed's life."""
    with ExitStack() as stack:
        world = Physics(views=(), twin=kind)
        stack.callback(world.close)
        world.reset(seed)
        return world.spell is not None


def lived_pair(folder: Path, kind: str, seed: int) -> Episode:
    """A life whose two cameras are its two endings, ``possible`` and ``impossible``; kept in ``folder``."""

    def lived() -> Episode:
        films = {POSSIBLE: _filmed(Physics(views=(CAMERA,)), seed)}
        world = Physics(views=(CAMERA,), twin=kind)
        films[IMPOSSIBLE] = _filmed(world, seed)
        assert world.spell is not None, "the seed's life has room for it"
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment, frames=films,
            actions=STILL[None].repeat(len(films[POSSIBLE]) - 1, axis=0).astype(np.float32), states={}, instruction="",
            recipe={"world": SPEC.name, "seed": seed, "family": world.scene.family, "kind": kind,
                    "step": world.spell.step, "what": world.spell.words(world.items)},
        )  # fmt: skip

    return kept(folder / file_of(kind, seed), lived)


def file_of(kind: str, seed: int) -> str:
    """The name of a pair's file."""
    return f"{kind.replace(' ', '-')}_{seed:07d}.npz"


def _filmed(world: Physics, seed: int) -> Array:
    with ExitStack() as stack:
        stack.callback(world.close)
        moments = [world.reset(seed), *(world.step(STILL) for _ in range(SPEC.max_steps))]
        return np.stack([moment.frames[CAMERA] for moment in moments])


def measure_twins(
    omni: "Omni", pairs: Sequence[Episode], *, on_done: Callable[[int], None] | None = None
) -> list[TwinScore]:
    """The surprises of both films of every pair."""
    scores: list[TwinScore] = []
    for pair in pairs:
        told, one, other = pair.recipe, pair.frames[POSSIBLE], pair.frames[IMPOSSIBLE]
        shared = moment_of(told["step"])
        possible = surprises(omni, one, fps=pair.fps)
        impossible = surprises(omni, other, fps=pair.fps, since=shared)
        impossible = {name: possible[name][:shared] + values for name, values in impossible.items()}
        first = first_window(told["step"])
        held = strange(omni, one)
        scores.append(TwinScore(
            seed=pair.seed, kind=told["kind"], family=told["family"], what=told["what"], step=told["step"],
            possible=possible, impossible=impossible, held_possible=held,
            held_impossible=held[:first] + strange(omni, other, since=first),
        ))  # fmt: skip
        if on_done is not None:
            on_done(len(scores))
    return scores


def moment_of(step: int) -> int:
    """Which four frames hold the first that is impossible, the one after ``step``; those before are the same."""
    return step // TIME


def first_window(step: int) -> int:
    """Where the first window begins that shows the moment after ``step``; those before are the same in both films."""
    return max(0, step + 2 - WINDOW)


def strange(omni: "Omni", film: Array, *, since: int = 0) -> list[float]:
    """How likely something impossible happens in the ``WINDOW`` moments from each moment of a film t h w 3 on.

    ``since``: the first of these.
    """
    starts = range(since, len(film) - WINDOW + 1)
    windows = [{"question": STRANGE, "video": film[start : start + WINDOW]} for start in starts]
    return [round(1 - shares[0], 6) for shares in omni.weigh(windows, ANSWERS)]


def surprises(omni: "Omni", film: Array, *, fps: float, since: int = 0) -> dict[str, list[float]]:
    """Who is surprised -> how much, by every four frames of a film uint8 t h w 3 from the ``since``-th four on."""
    fours = range(since, (len(film) - 1) // TIME)
    found: dict[str, list[float]] = {name: [] for name in (MODEL, *BLIND)}
    for given in range(1, GIVEN + 1):
        own = [i for i in fours if min(i + 1, GIVEN) == given]
        if own:
            windows = [film[TIME * (i + 1 - given) : TIME * (i + 1) + 1] for i in own]
            for name, values in _apart(omni, windows, fps=fps).items():
                found[name] += values
    return found


def _apart(omni: "Omni", windows: Sequence[Array], *, fps: float) -> dict[str, list[float]]:
    """How far the last four frames of each window are from what is expected of them."""
    latents = latents_of(omni.parts, windows)
    given = latents.shape[2] - 1
    foreseen = expected(omni.parts, latents, given=given, fps=fps, noises=NOISES)
    pixels = np.stack(windows).astype(np.float32) / 255
    last, after = pixels[:, -TIME - 1 : -TIME], pixels[:, -TIME:]
    before = pixels[:, -TIME - 2 : -TIME - 1] if given > 1 else last
    ahead = np.arange(1, TIME + 1)[:, None, None, None]
    away = {
        MODEL: (latents - foreseen)[:, :, given:].cpu().numpy(),
        "repeat": after - last,
        "repeat_latents": (latents[:, :, given] - latents[:, :, given - 1]).cpu().numpy(),
        "linear": after - np.clip(last + ahead * (last - before), 0, 1),
    }
    return {name: [round(float(one), 7) for one in (apart**2).reshape(len(apart), -1).mean(axis=1)]
            for name, apart in away.items()}  # fmt: skip


def twins_figures(scores: Sequence[TwinScore], *, seed: int = 0) -> dict[str, Figure]:
    """The share of pairs told apart, of all and of each kind, and the area under ROC; by the model and without one.

    ``times_repeat_latents``: how large the model's error is in possible films beside that of who expects no change.
    """
    figures: dict[str, Figure] = {}
    for kind in ("", *dict.fromkeys(score.kind for score in scores)):
        own = [score for score in scores if kind in ("", score.kind)]
        groups = [score.seed for score in own]
        for who in (MODEL, *BLIND):
            tail = "".join(f"_{part}" for part in (*kind.split(), *(() if who == MODEL else (who,))))
            one, other = now = np.array([at_the_moment(score, who) for score in own], np.float64).T
            figures[f"told_apart{tail}"] = mean(won(*now), groups, seed=seed)
            if kind:
                continue
            whole = np.array([(sum(score.possible[who]), sum(score.impossible[who])) for score in own], np.float64).T
            figures[f"told_apart_by_whole_film{tail}"] = mean(won(*whole), groups, seed=seed)
            figures[f"auroc{tail}"] = drawn(groups, partial(_area_of, one, other), n=2 * len(own), seed=seed)
    asked = [score for score in scores if score.held_possible]
    if asked:
        figures |= _asking_figures(asked, seed)
    for who in BLIND:
        figures[f"told_apart_more_than_{who}"] = difference(figures["told_apart"], figures[f"told_apart_{who}"])
    usual = [(sum(score.possible[MODEL]), sum(score.possible["repeat_latents"])) for score in scores]
    figures["times_repeat_latents"] = bootstrap(usual, [score.seed for score in scores], ratio, seed=seed)
    return figures


def _asking_figures(asked: Sequence[TwinScore], seed: int) -> dict[str, Figure]:
    """The pairs told apart by asking, of all and of each kind, by the windows about the moment and by any."""
    figures, seeds = dict[str, Figure](), [score.seed for score in asked]
    for kind in ("", *dict.fromkeys(score.kind for score in asked)):
        own = [score for score in asked if kind in ("", score.kind)]
        tail, held = "".join(f"_{part}" for part in kind.split()), np.array([by_asking(score) for score in own]).T
        figures[f"told_apart_by_asking{tail}"] = mean(won(*held), [score.seed for score in own], seed=seed)
    most = np.array([(max(score.held_possible), max(score.held_impossible)) for score in asked]).T
    figures["told_apart_by_asking_of_any"] = mean(won(*most), seeds, seed=seed)
    figures["auroc_by_asking_of_any"] = drawn(seeds, partial(_area_of, *most), n=2 * len(asked), seed=seed)
    return figures


def at_the_moment(score: TwinScore, who: str) -> tuple[float, float]:
    """The surprise of the four frames in which it happens, in the possible and in the impossible film."""
    four = moment_of(score.step)
    return score.possible[who][four], score.impossible[who][four]


def by_asking(score: TwinScore) -> tuple[float, float]:
    """The most that is held of windows with the last possible frame and the next, in either film."""
    windows = slice(first_window(score.step), score.step + 1)
    return max(score.held_possible[windows]), max(score.held_impossible[windows])


def margin(score: TwinScore) -> float:
    """How much more the model is surprised where it happens, as a share of its surprise there by the possible film."""
    possible, impossible = at_the_moment(score, MODEL)
    return impossible / max(possible, 1e-9) - 1


def won(possible: Floats, impossible: Floats) -> Floats:
    """1 where the impossible film surprises more, 0 where less, a half where both do alike."""
    return np.asarray((impossible > possible) + 0.5 * (impossible == possible))


def _area_of(possible: Floats, impossible: Floats, draw: NDArray[np.int64]) -> float:
    return area(possible[draw], impossible[draw])


def area(possible: Floats, impossible: Floats) -> float:
    """The area under ROC: how often an impossible film surprises more than a possible one of any pair."""
    return float(won(possible[:, None], impossible[None]).mean())
