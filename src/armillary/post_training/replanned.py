"""Recorded lives of PushT, and what the planner would do afresh from their moments.

    raw lives  ->  raw episodes of at most ``most`` pictures each, and for each of them the planner's next steps

A planner that is in the middle of a stroke does what it decided on long before: from one picture that cannot be known.
Asked anew, what it does depends on the moment alone, whoever came to it (data set aggregation: Ross, Gordon and
Bagnell, 2011, algorithm 3.1). ``CacheRun(stills=True, embodiment="pusht_steps")`` makes windows of these episodes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.records import Array, Episode, Moment
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.loop import Report
from armillary.training.made_from import begin
from armillary.worlds.pusht import SPEC, Pusher
from armillary.worlds.pusht_planner import RADIUS, clearance, pushed, rotation
from armillary.worlds.record import LEAST_STEPS

BODY = "pusht_steps"
HAND = 8  # seed of the planner's temper: a hurry and a pace from the middle of what it may have
SUBSTEPS, PULL, DRAG = 10, 100.0, 20.0  # gym-pusht: physics steps in one of ours, and what draws the disc to its aim


@dataclass(frozen=True, kw_only=True)
class ReplannedRun:
    """The lives in ``data``, at most ``most`` moments of each, evenly taken; with ``mirrored`` each of them twice."""

    data: Path
    out: Path
    most: int = 24
    mirrored: bool = True
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.most < 1:
            raise ConfigError(f"most={self.most}: take at least one moment of a life.")

    def start(self, report: Report = print) -> None:
        """Plan what was not planned yet; an episode appears whole. ``ConfigError`` for a folder that was begun with the
        mirror, or without, where this run is the other."""
        self.out.mkdir(parents=True, exist_ok=True)
        mine = raw_files(self.data)[self.share[0] :: self.share[1]]
        for count, path in enumerate(mine, start=1):
            if not (self.out / path.name).exists():
                begin(self.out, {"mirrored": "yes" if self.mirrored else "no"}, "episode_*.npz")
                made = replanned(load_raw(path), most=self.most)
                save_raw(self.out / path.name, with_mirrored(made) if self.mirrored else made)
            if count % SAY_EVERY == 0 or count == len(mine):
                report(f"{count} of {len(mine)} lives")


def replanned(life: Episode, *, most: int) -> Episode:
    """Pictures of ``life`` at most ``most`` times, evenly, with the planner's steps from there and no other state.

    ``states["plans"]`` n 16 2, in pixels, as the body ``pusht_steps`` takes them; ``recipe["planned_at"]`` which
    picture each is of, ``recipe["plans"]`` the words. ``DataError`` for a life of another world, or without its states.
    """
    needed = ("disc", "disc_velocity", "block")
    if life.world != SPEC.name or not set(needed) <= set(life.states):
        raise DataError(
            f"a life of {life.world!r} with the states {', '.join(life.states) or 'none'}: the planner needs PushT's "
            f"{', '.join(needed)}; simulate with world='pusht'."
        )
    length = len(life.states["disc"])
    chosen = np.unique(np.linspace(0, length - 1, min(most, length)).round().astype(int))
    plans = [plan_from(*(np.asarray(life.states[name][i]) for name in needed)) for i in chosen]
    places, words = list(range(len(chosen))), [life.instruction] * len(chosen)
    return replace(
        life, frames={camera: film[chosen] for camera, film in life.frames.items()}, events=(), questions=(),
        actions=np.zeros((0, load_embodiment(BODY).width), np.float32), embodiment=BODY, boxes=None,
        states={"plans": np.array(plans, np.float32)},
        recipe={**life.recipe, "controller": "replanned", "planned_at": places, "plans": words},
    )  # fmt: skip


def with_mirrored(made: Episode) -> Episode:
    """What ``replanned`` made, and behind it the same seen in the mirror that stands on the target's axis.

    The board, its target and the T are their own mirror images there (x to 512 - y and y to 512 - x), so what is right
    on one side is right on the other; captions hold for the first picture only, as they did.
    """
    films = {camera: film[:, ::-1, ::-1].transpose(0, 2, 1, 3) for camera, film in made.frames.items()}
    plans, places = made.states["plans"], made.recipe["planned_at"]
    return replace(
        made, frames={camera: np.concatenate([made.frames[camera], film]) for camera, film in films.items()},
        states={"plans": np.concatenate([plans, -plans[..., ::-1]])},
        recipe={
            **made.recipe, "planned_at": [*places, *(len(places) + i for i in places)],
            "plans": list(made.recipe["plans"]) * 2,
        },
    )  # fmt: skip


def plan_from(disc: Array, velocity: Array, block: Array, *, steps: int = LEAST_STEPS) -> Array:
    """What a planner that wakes up here does next: ``steps`` 2, from the disc to where it shall be, in pixels.

    The disc moves as in gym-pusht; the T as the planner takes it to move.
    """
    planner = Pusher(seed=HAND)
    disc, velocity, block = (np.asarray(one, np.float64).copy() for one in (disc, velocity, block))
    now, plan = Moment(frames={}, state={}, instruction="", reward=0.0, success=False, over=False), []
    for _ in range(steps):
        aim = planner(replace(now, state={"disc": disc, "block": block}))
        plan.append(aim - disc)
        for _ in range(SUBSTEPS):
            velocity = velocity + (PULL * (aim - disc) - DRAG * velocity) * SPEC.step_seconds / SUBSTEPS
            disc = disc + velocity * SPEC.step_seconds / SUBSTEPS
            if clearance(((disc - block[:2]) @ rotation(block[2]))[None])[0].min() < RADIUS:
                block = pushed(block[None], disc[None])[0]
    return np.array(plan)
