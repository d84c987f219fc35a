"""A life in ``physics`` as an ``Episode``: frames, labels, sound, true words, and the recipe that makes it again.

still      the main camera stands              orbit      it is carried about the scene
conjurer   it stands, and in four of five lives something impossible happens: the twin of the same seed's ``still``
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.records import Episode, Moment
from armillary.worlds.labels import boxes, pose_looking, pose_step
from armillary.worlds.physics import SPEC, STILL, Physics
from armillary.worlds.physics_questions import candidates, chosen
from armillary.worlds.physics_words import Told, captions, events, seen_events
from armillary.worlds.record import live

KINDS = ("still", "orbit", "conjurer")
UNTOUCHED = 0.2  # share of lives that the conjurer leaves alone


class Operator:
    """Carries the main camera: not at all, or about the scene at a steady pace, always looking at the same point."""

    def __init__(self, world: Physics, kind: str, seed: int) -> None:
        self._world, self._rng, self._kind = world, np.random.default_rng([seed, 19]), kind
        self.reset()

    def reset(self) -> None:
        self._pace = float(self._rng.choice([-1, 1]) * self._rng.uniform(0.008, 0.025))  # radians a step
        self._rise = float(self._rng.uniform(-0.015, 0.02))  # metres a step

    def __call__(self, moment: Moment) -> NDArray[np.float64]:
        if self._kind != "orbit":
            return STILL.copy()
        pose = self._world.pose
        ahead = pose[:3, 2]
        middle = pose[:3, 3] + ahead * (-pose[1, 3] / max(float(ahead[1]), 0.1))  # where it looks at, above y = 0
        cos, sin, away = np.cos(self._pace), np.sin(self._pace), pose[:3, 3] - middle
        place = middle + (cos * away[0] - sin * away[1], sin * away[0] + cos * away[1], away[2] + self._rise)
        return pose_step(pose, pose_looking(place, middle))


def record_physics(
    seed: int, kind: str = "still", *, size: tuple[int, int] = SPEC.size,
    extras: tuple[str, ...] = ("depth", "segmentation", "sound"), family: str | None = None, twin: str | None = None,
    max_steps: int = SPEC.max_steps,
) -> Episode:  # fmt: skip
    """One life with all that is known of it. ``size``: height, width in pixels. Both cameras are drawn.

    ``family`` and ``twin`` fix what the seed would draw; a twin is the conjurer's, whatever ``kind`` says. Raises
    ``RequestError`` for an unknown controller, family or twin, or if nothing of that kind can happen in this life.
    """
    if kind not in KINDS:
        raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
    asked, conjured = twin, kind == "conjurer" or twin is not None
    if kind == "conjurer" and twin is None and np.random.default_rng([seed, 29]).random() >= UNTOUCHED:
        twin = "any"
    wanted = tuple(dict.fromkeys((*extras, "segmentation")))
    world = Physics(size=size, extras=wanted, family=family, twin=twin)
    try:
        operator = Operator(world, kind, seed)
        lived: list[tuple[Moment, Any]] = []
        calibrations: list[Mapping[str, Any]] = []
        for pair in live(world, operator, seed, max_steps=max_steps):
            lived.append(pair)
            calibrations.append(world.calibrations()["main"])
        if asked not in (None, "any") and world.spell is None:
            raise RequestError(
                f"in life {seed} of {world.scene.family} nothing {asked}: take another seed, or another twin."
            )
        return _episode(world, lived, calibrations, seed=seed, kind=kind, extras=extras, conjured=conjured)
    finally:
        world.close()


def _episode(
    world: Physics, lived: list[tuple[Moment, Any]], calibrations: list[Mapping[str, Any]], *, seed: int, kind: str,
    extras: tuple[str, ...], conjured: bool,
) -> Episode:  # fmt: skip
    moments = [moment for moment, _ in lived]
    seen = [boxes(m.segmentation["main"], world.names) for m in moments if m.segmentation is not None]
    told = Told(world=world, moments=moments, boxes=seen, calibrations=calibrations, fps=SPEC.fps)
    happened = events(told)
    rng = np.random.default_rng([seed, 23])
    asked = candidates(told, seen_events(told, happened), rng, conjured=conjured)
    moves = "the camera moves slowly about the scene" if kind == "orbit" else "the camera stands still"
    cameras = {name: dict(calibrated) for name, calibrated in world.calibrations().items()}
    cameras["main"] = dict(calibrations[0]) | {"poses": [c["camera_to_world"] for c in calibrations]}
    twin = world.parameters["twin"]
    return Episode(
        world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
        frames={view: np.stack([m.frames[view] for m in moments]) for view in moments[0].frames},
        actions=np.stack([action for _, action in lived[1:]]).astype(np.float32),
        states={name: np.stack([m.state[name] for m in moments]) for name in moments[0].state},
        instruction=moments[0].instruction, captions=captions(told, happened, camera=moves),
        questions=chosen(asked, told, rng), events=happened, boxes=seen, cameras=cameras,
        depth=stacked([m.depth for m in moments]) if "depth" in extras else None,
        segmentation=stacked([m.segmentation for m in moments]) if "segmentation" in extras else None,
        sound=np.concatenate([m.sound for m in moments if m.sound is not None], axis=1) if "sound" in extras else None,
        success=moments[-1].success,
        recipe={"world": SPEC.name, "seed": seed, "controller": kind, "family": world.scene.family, "twin": twin,
                "parameters": world.parameters},
    )  # fmt: skip


def stacked(pictures: list[Mapping[str, NDArray[Any]] | None]) -> dict[str, NDArray[Any]]:
    """Pictures of many moments by camera: t h w."""
    kept = [picture for picture in pictures if picture is not None]
    return {view: np.stack([picture[view] for picture in kept]) for view in kept[0]}
