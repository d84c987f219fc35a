"""Dynamics and the policy away from the tabletop: in PushT, which is pushed, and in physics, which is watched.

    forward-dynamics-pusht    a picture and 16 targets of the disc -> the film      inverse-dynamics-pusht   the reverse
    forward-dynamics-physics  a picture, the camera stands -> what falls, rolls and topples
    drift-pusht               64 frames of PushT, each chunk from the last imagined picture
    policy-pusht              the model pushes (``pushing.py``)

The same measurements as on the tabletop (``dynamics.py``), asked for by name. Lives are of held-out seeds and kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count as numbers
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from armillary.closed_loop.drive import drive
from armillary.embodiments import Embodiment
from armillary.evaluation.bootstrap import Figure, mean
from armillary.evaluation.drift import CHAINED, KINDS, drift_figures, measure_drift
from armillary.evaluation.drift import FRAMES as LONG
from armillary.evaluation.dynamics import (
    ForwardScore,
    InverseScore,
    forward_figures,
    inverse_figures,
    measure_forward,
    measure_inverse,
    rounded,
)
from armillary.evaluation.held_out import FRAMES, HELD_OUT, MOVED_SHARE, HeldClip, kept
from armillary.evaluation.other_worlds import fingerprint
from armillary.evaluation.pushing import SPECS, UNSEEN, Resting, body_of, policy_pusht, unknown_body
from armillary.records import Array, Episode
from armillary.steps import in_steps
from armillary.worlds import pusht
from armillary.worlds.labels import project
from armillary.worlds.physics import STILL, Physics
from armillary.worlds.pusht_planner import TABLE, off_target
from armillary.worlds.pusht_record import record_pusht

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result

Section = Callable[["Bench"], "Result"]
STEPS = 100  # of a life of PushT, at most
WINDOWS = 3  # of a life of PushT, so that many lives take part
TURN = ("expert", "expert", "clumsy")


@dataclass(frozen=True, kw_only=True)
class Aimed(InverseScore):
    """``disc_steps``: where the disc really was a step later, t 2; who sees it there and takes that for the target."""

    disc_steps: list[list[float]]


def forward(world: str, bench: "Bench") -> "Result":
    """The section ``forward-dynamics-WORLD``: ``pusht`` or ``physics``."""
    count, acted = bench.plan.clips, world == "pusht"
    body, told = body_of(bench, world), bench.told(f"forward dynamics, {world}", count)
    found = moving(lives_folder(bench.folder, world), world, bench.plan.seed, body)
    clips = bench.first(f"moving clips of {world}", count, found)
    scores = measure_forward(bench.omni, clips, embodiment=body.name, shuffled=acted, on_done=told)
    if acted:
        return scores, pusht_figures(scores), [
            f"Clips: {FRAMES} frames of PushT, two expert lives to each clumsy one, at most {WINDOWS} of a life; the "
            f"T's corners (root mean square) or the disc go at least {MOVED_SHARE:.0%} of the width. {UNSEEN}",
            "where_the_t_moves: those of them in which the T goes so far.",
        ]  # fmt: skip
    return scores, forward_figures(scores), [
        f"Clips: {FRAMES} frames of physics, one of a life, the camera stands; a thing's middle, where the camera "
        f"shows it, goes at least {MOVED_SHARE:.0%} of the width. {UNSEEN}",
        "Nobody acts: all actions are alike, so there are no figures with another clip's.",
    ]  # fmt: skip


def drift_pusht(bench: "Bench") -> "Result":
    """The section ``drift-pusht``."""
    count = bench.plan.clips
    found = long_pushes(bench.folder, bench.held.seed_of("drift", 0), body_of(bench, "pusht"))
    lives = bench.first("long lives of PushT", count, found)
    scores = measure_drift(bench.omni, lives, on_done=bench.told("drift in PushT", count))
    return scores, drift_figures(scores), [
        f"The first {LONG} frames of lives of PushT, two of the expert to a clumsy and a random one; those in which "
        f"the T lies on its target sooner are passed over. {UNSEEN}",
        CHAINED,
    ]  # fmt: skip


def inverse_pusht(bench: "Bench") -> "Result":
    """The section ``inverse-dynamics-pusht``."""
    share, body = -(-bench.plan.clips // len(pusht.KINDS)), body_of(bench, "pusht")
    clips, lives = [], []
    for kind in pusht.KINDS:
        for number in range(share):
            life = pusht_life(lives_folder(bench.folder, "pusht"), kind, bench.held.seed_of(kind, number), body)
            lives.append(life)
            clips.append(drawn_clip(life))
            bench.tell("lives of PushT", len(clips), share * len(pusht.KINDS))
    read = measure_inverse(bench.omni, clips, embodiment=body.name, on_done=bench.told("targets read off", len(clips)))
    scores = [Aimed(**asdict(score), disc_steps=rounded(disc_after(life, score.start)))
              for score, life in zip(read, lives, strict=True)]  # fmt: skip
    return scores, aimed_figures(scores), [
        f"R2 of the disc's two numbers, told as {body.name}; one window of each life, its start drawn by the life's "
        f"seed. {UNSEEN}",
        "disc: the R2 of who sees where the disc really is a step later, and takes that for where it was sent.",
    ]  # fmt: skip


def where_known(world: str, section: Section, bench: "Bench") -> "Result":
    """A section, for a checkpoint that was trained with that world's body; else one sentence that says so."""
    strange = unknown_body(bench, world)
    return ([], {}, [strange]) if strange else section(bench)


SECTIONS: Mapping[str, Section] = {
    f"{name}-{world}": partial(where_known, world, section)
    for name, world, section in (
        ("forward-dynamics", "pusht", partial(forward, "pusht")),
        ("forward-dynamics", "physics", partial(forward, "physics")),
        ("drift", "pusht", drift_pusht),
        ("inverse-dynamics", "pusht", inverse_pusht),
        ("policy", "pusht", policy_pusht),
    )
}


def lives_folder(folder: Path, world: str) -> Path:
    """Where a measurement keeps that world's lives."""
    return folder / f"{world}-{fingerprint()}"


def clip_again(bench: "Bench", section: str, score: ForwardScore | InverseScore) -> HeldClip:
    """The clip that a sample of one of these sections is about."""
    world = section.rpartition("-")[2]
    folder = lives_folder(bench.folder, world)
    if world == "pusht":
        return pusht_clip(pusht_life(folder, score.kind, score.seed, body_of(bench, world)), score.start)
    return physics_clip(physics_life(folder, score.seed), score.start)


def moving(folder: Path, world: str, seed: int, body: Embodiment | None = None) -> Iterator[HeldClip]:
    """Clips in which something moves, of lives kept in ``folder``, without end; ``seed``: the first life's.

    ``body``: whose actions those of PushT are to be.
    """
    for number in numbers():
        if world == "pusht":
            kind = TURN[number % len(TURN)]
            yield from moving_pushes(pusht_life(folder, kind, seed + number, body))
        else:
            life = physics_life(folder, seed + number)
            starts = [i for i in range(len(life.actions) + 2 - FRAMES) if physics_clip(life, i).moved]
            if starts:
                yield physics_clip(life, int(np.random.default_rng([life.seed, 53]).choice(starts)))


def pusht_life(folder: Path, kind: str, seed: int, body: Embodiment | None = None) -> Episode:
    """One life of PushT of at most ``STEPS`` steps, kept in ``folder``; its actions are those of ``body``."""
    life = kept(folder / f"{kind}_{seed:07d}_of_{STEPS}.npz",
                lambda: replace(record_pusht(seed, kind, max_steps=STEPS), events=()))  # fmt: skip
    return life if body is None else in_steps(life, body)


def long_pushes(folder: Path, seed: int, body: Embodiment | None = None) -> Iterator[Episode]:
    """Lives of PushT that are so long, of seeds from there on, two of the expert to a clumsy and a random one."""
    for number in numbers():
        life = long_push(folder, KINDS[number % len(KINDS)], seed + number, body)
        if len(life.actions) == LONG - 1:
            yield life


def long_push(folder: Path, kind: str, seed: int, body: Embodiment | None = None) -> Episode:
    """The first ``LONG`` frames of a life of PushT, fewer where it ends before; kept in a measurement's folder."""
    life = pusht_life(lives_folder(folder, "pusht"), kind, seed, body)
    films = {camera: film[:LONG] for camera, film in life.frames.items()}
    return replace(life, frames=films, actions=life.actions[: LONG - 1])


def moving_pushes(life: Episode) -> list[HeldClip]:
    """At most ``WINDOWS`` windows of a life, drawn by its seed, which do not overlap and in which something moves."""
    starts = range(0, len(life.actions) + 2 - FRAMES, FRAMES - 1)
    found = [clip for clip in (pusht_clip(life, start) for start in starts) if clip.moved]
    chosen = np.random.default_rng([life.seed, 53]).permutation(len(found))[:WINDOWS]
    return [found[i] for i in sorted(chosen)]


def pusht_clip(life: Episode, start: int) -> HeldClip:
    """The window that begins at ``start``. ``moved``: T or disc, the T where it goes far enough."""
    disc, block = (life.states[name][[start, start + FRAMES - 1]] for name in ("disc", "block"))
    ways = {"T": float(off_target(block[1], block[0])), "disc": float(np.linalg.norm(disc[1] - disc[0]))}
    return _clip(life, start, next((name for name, way in ways.items() if way >= MOVED_SHARE * TABLE), None))


def drawn_clip(life: Episode) -> HeldClip:
    """A window of a life of PushT that its seed draws, whatever happens in it."""
    start = int(np.random.default_rng([life.seed, 53]).integers(len(life.actions) + 2 - FRAMES))
    return pusht_clip(life, start)


def disc_after(life: Episode, start: int) -> Array:
    """Where the disc is a step after each action of the window, t 2: told as the life's actions are."""
    disc = np.asarray(life.states["disc"][start : start + FRAMES])
    return disc[1:] if life.embodiment == SPECS["pusht"].embodiment else np.diff(disc, axis=0)


def physics_life(folder: Path, seed: int) -> Episode:
    """One life of physics seen by its main camera, which stands: pictures, and ``places``, where every thing's middle
    would be seen (t n 2, shares of the width; nan behind the camera). Kept in ``folder``."""
    spec = SPECS["physics"]
    camera = spec.cameras[0]

    def lived() -> Episode:
        with closing(Physics(views=(camera,))) as world:
            moments = list(drive(world, Resting(STILL), seed=seed, max_steps=spec.max_steps))
            calibrated, things = world.calibrations()[camera], list(world.names)
        seen = np.stack([project(moment.state["positions"], calibrated) for moment in moments])
        places = np.where(seen[..., 2:] > 0, seen[..., :2] / spec.size[1], np.nan)
        return Episode(
            world=spec.name, seed=seed, fps=spec.fps, embodiment=spec.embodiment, states={"places": places},
            frames={camera: np.stack([moment.frames[camera] for moment in moments])},
            actions=STILL[None].repeat(len(moments) - 1, axis=0).astype(np.float32), instruction="",
            recipe={"world": spec.name, "seed": seed, "controller": "still", "things": things},
        )  # fmt: skip

    return kept(folder / f"watched_{seed:07d}.npz", lived)


def physics_clip(life: Episode, start: int) -> HeldClip:
    """The window that begins at ``start``. ``moved``: of things in view at first the one that goes furthest."""
    first, last = life.states["places"][[start, start + FRAMES - 1]]
    seen = ((first >= 0) & (first <= 1)).all(axis=-1)
    ways = np.where(seen, np.nan_to_num(np.linalg.norm(last - first, axis=-1)), 0.0)
    furthest = int(ways.argmax())
    return _clip(life, start, life.recipe["things"][furthest] if ways[furthest] >= MOVED_SHARE else None)


def _clip(life: Episode, start: int, moved: str | None) -> HeldClip:
    (film,) = (life.frames[camera] for camera in SPECS[life.world].cameras[:1])
    return HeldClip(
        seed=life.seed, kind=life.recipe["controller"], start=start, instruction=life.instruction, moved=moved,
        video=film[start : start + FRAMES], actions=life.actions[start : start + FRAMES - 1], box=None, alone=False,
    )  # fmt: skip


def pusht_figures(scores: Sequence[ForwardScore], *, seed: int = 0) -> dict[str, Figure]:
    """``forward_figures``, and how far over repeat it is in those windows in which the T moves."""
    figures = forward_figures(scores, seed=seed)
    pushed = [score for score in scores if score.moved == "T"]
    if pushed:
        gains = [score.psnr - score.psnr_still for score in pushed]
        figures["db_over_repeat_first_frame_where_the_t_moves"] = mean(gains, [s.seed for s in pushed], seed=seed)
    return figures


def aimed_figures(scores: Sequence[Aimed], *, seed: int = 0) -> dict[str, Figure]:
    """R squared of the targets for each controller, and of the disc's true place taken for them."""
    seen = [replace(score, found_steps=score.disc_steps) for score in scores]
    return {**inverse_figures(scores, what="target", seed=seed), **inverse_figures(seen, what="disc", seed=seed)}


def held_out_elsewhere(world: str, count: int, *, seed: int = HELD_OUT) -> Iterator[tuple[Array, Array | None]]:
    """One clip 17 h w 3 of each of ``count`` lives of ``pusht`` or ``physics``, seeds from ``seed`` on; none is kept.

    Beside it the masks 17 h w of its things; None in PushT, whose T is grey. PushT's controllers
    take turns; physics is watched by the camera that stands. The window's place is drawn by the seed.
    """
    for number in range(seed, seed + count):
        if world == "pusht":
            life = record_pusht(number, pusht.KINDS[number % len(pusht.KINDS)], max_steps=STEPS)
            films: tuple[Array, Array | None] = life.frames[SPECS["pusht"].cameras[0]], None
        else:
            films = _with_masks(number)
        start = int(np.random.default_rng([number, 17]).integers(len(films[0]) + 1 - FRAMES))
        film, masks = (None if one is None else np.array(one[start : start + FRAMES]) for one in films)
        assert film is not None
        yield film, masks


def _with_masks(seed: int) -> tuple[Array, Array]:
    """A life of physics: its film t h w 3, and which thing every pixel shows (t h w, 0 for none)."""
    spec = SPECS["physics"]
    camera = spec.cameras[0]
    with closing(Physics(views=(camera,), extras=("segmentation",))) as world:
        moments = list(drive(world, Resting(STILL), seed=seed, max_steps=spec.max_steps))
    masks = [moment.segmentation[camera] for moment in moments if moment.segmentation is not None]
    return np.stack([moment.frames[camera] for moment in moments]), np.stack(masks).astype(np.uint8)
