"""A drive as an ``Episode``, with everything that is known about it.

in    a seed and who drives
out   ``Episode``: two cameras, actions, states, true words, boxes, events, and the recipe that makes it again
"""

from collections.abc import Mapping

import numpy as np

from armillary.records import Array, Episode
from armillary.worlds.driving import SPEC, Driving
from armillary.worlds.driving_drivers import driver
from armillary.worlds.driving_words import Drive, captions, events, questions
from armillary.worlds.labels import boxes
from armillary.worlds.record import LEAST_STEPS, live
from armillary.worlds.stacked import stacked


def record_driving(
    seed: int, kind: str = "expert", *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
    extras: tuple[str, ...] = ("depth", "segmentation", "sound"), max_steps: int = SPEC.max_steps,
    fixed: Mapping[str, str] | None = None,
) -> Episode:  # fmt: skip
    """One drive. ``fixed``: scenario, weather, hour, where the seed shall not draw them; size: height, width in pixels.

    Raises ``RequestError`` for an unknown driver or scenario. Words need the front camera's segmentation, so that is
    drawn whenever ``front`` is among the views.
    """
    world = Driving(size=size, views=views, extras=tuple({*extras, "segmentation"}), **dict(fixed or {}))
    policy = driver(world, kind, seed=seed)
    try:
        lived = list(live(world, policy, seed, max_steps=max_steps, least_steps=LEAST_STEPS))
        drive = Drive(world=world, moments=[moment for moment, _ in lived])
        happened = events(drive)
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
            **stacked(drive.moments, [action for _, action in lived[1:]], extras),
            captions=captions(drive, happened, size, kind),
            questions=questions(drive, happened, np.random.default_rng([seed, 53])) if "front" in views else (),
            events=happened,
            boxes=[_boxes(moment.segmentation, world.names) for moment in drive.moments] if views else None,
            cameras=world.calibrations() if views else None,
            success=any(moment.success for moment in drive.moments),
            recipe={"world": SPEC.name, "seed": seed, "controller": kind, "size": list(size),
                    "fixed": dict(fixed or {}), "parameters": world.parameters},
        )  # fmt: skip
    finally:
        world.close()


def _boxes(marks: Mapping[str, Array] | None, names: list[str]) -> dict[str, tuple[int, int, int, int]]:
    """What the first camera sees."""
    return boxes(next(iter(marks.values())), names) if marks else {}
