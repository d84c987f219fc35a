"""A life in ``spatial`` as an ``Episode``: three cameras with all labels, true words, and the recipe.

tour     the main camera goes about the room in an arc and looks at its middle
walk     it walks in, turning its head         still     it stands        random    it drifts anywhere
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.records import Episode, Moment
from armillary.worlds.items import turned
from armillary.worlds.labels import pose_looking, pose_step
from armillary.worlds.materials import MATERIALS
from armillary.worlds.physics import STILL
from armillary.worlds.physics_record import stacked
from armillary.worlds.questions import clock, listed, report, structured
from armillary.worlds.record import live
from armillary.worlds.spatial import SPEC, Spatial
from armillary.worlds.spatial_questions import Room, appearances, candidates, chosen, look
from armillary.worlds.spatial_things import Thing

KINDS = ("tour", "walk", "still", "random")
CAMERA_WORDS = {"tour": "the camera goes about the room in an arc", "walk": "the camera walks into the room",
                "still": "the camera stands still", "random": "the camera drifts about"}  # fmt: skip


class Carrier:
    """Carries the main camera in one of the ways of ``KINDS``."""

    def __init__(self, world: Spatial, kind: str, seed: int) -> None:
        self._world, self._kind, self._rng = world, kind, np.random.default_rng([seed, 37])
        self.reset()

    def reset(self) -> None:
        self._pace = float(self._rng.choice([-1, 1]) * self._rng.uniform(0.02, 0.04))  # radians a step
        self._stride = float(self._rng.uniform(0.05, 0.1))  # metres a step
        self._turn = float(self._rng.uniform(-0.02, 0.02))

    def __call__(self, moment: Moment) -> NDArray[np.float64]:
        pose = self._world.pose
        if self._kind == "tour":
            cos, sin, away = np.cos(self._pace), np.sin(self._pace), pose[:3, 3]
            place = (cos * away[0] - sin * away[1], sin * away[0] + cos * away[1], away[2])
            return pose_step(pose, pose_looking(place, (0, 0.1, 0.35)))
        if self._kind == "walk":
            ahead = np.array([pose[0, 2], pose[1, 2], 0.0])
            ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-9)
            cos, sin = np.cos(self._turn), np.sin(self._turn)
            gaze = (cos * pose[0, 2] - sin * pose[1, 2], sin * pose[0, 2] + cos * pose[1, 2], pose[2, 2])
            there = pose[:3, 3] + self._stride * ahead
            return pose_step(pose, pose_looking(there, there + np.array(gaze)))
        if self._kind == "random":
            step = STILL.copy()
            step[:3] = self._rng.normal(0, 0.05, 3)
            w, x, y, z = turned(self._rng.normal(size=3), float(self._rng.normal(0, 0.02)))
            step[3:9] = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y),
                         2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]  # fmt: skip
            return step
        return STILL.copy()


def record_spatial(
    seed: int, kind: str = "tour", *, size: tuple[int, int] = SPEC.size,
    extras: tuple[str, ...] = ("depth", "segmentation"), max_steps: int = SPEC.max_steps,
) -> Episode:  # fmt: skip
    """One life with all that is known of it. ``size``: height, width in pixels. All three cameras are drawn.

    Raises ``RequestError`` for an unknown controller.
    """
    if kind not in KINDS:
        raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
    world = Spatial(size=size, extras=tuple(dict.fromkeys((*extras, "segmentation"))))
    try:
        lived: list[tuple[Moment, Any]] = []
        calibrations: list[Mapping[str, Any]] = []
        for pair in live(world, Carrier(world, kind, seed), seed, max_steps=max_steps):
            lived.append(pair)
            calibrations.append(world.calibrations()["main"])
        moments = [moment for moment, _ in lived]
        seen = [look(world, moment) for moment in moments]
        room = Room(world=world, moments=moments, seen=seen, calibrations=calibrations)
        actions = np.stack([action for _, action in lived[1:]]).astype(np.float32)
        return _episode(room, actions, seed=seed, kind=kind, extras=extras)
    finally:
        world.close()


def captions(room: Room, kind: str) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` and ``report``."""
    world, names = room.world, list(room.seen[0]["main"])
    inside = f"a room with a floor of {world.parameters['floor']} and walls of {world.parameters['wall']}"
    scene = f"{inside[0].upper()}{inside[1:]}, and in it {listed(names)}."
    short = f"{CAMERA_WORDS[kind][0].upper()}{CAMERA_WORDS[kind][1:]}."
    happened = events(room)
    story = " ".join(f"At {clock(a)} {words}." for a, _, words in happened) or "Nothing new comes into view."
    size = room.moments[0].frames["main"].shape[:2]
    subjects = [_subject(room.thing(name)) for name in names]
    extra = {"background_setting": inside, "lighting": {"conditions": "indoor, even", "shadows": "soft"}}
    full = structured(scene=scene, story=story, subjects=subjects, actions=happened, camera=CAMERA_WORDS[kind],
                      size=(size[0], size[1]), frames=len(room.moments), fps=SPEC.fps, extra=extra)  # fmt: skip
    missing = [name for name in world.names if not any(name in seen["main"] for seen in room.seen)]
    advice = [f"Look elsewhere: the {name} was not seen." for name in missing]
    return {"scene": scene, "short": short, "dense": f"{short} {scene} {story}", "structured": full,
            "report": report(f"{short} {scene}", happened, advice)}  # fmt: skip


def events(room: Room) -> list[tuple[float, float, str]]:
    """When things come into the main camera's view."""
    return [(seconds, seconds, f"the {name} comes into view") for seconds, name in appearances(room)]


def _subject(thing: Thing) -> dict[str, str]:
    x, y, _ = thing.place
    degrees = round(float(np.degrees(thing.yaw)))
    return {"description": f"a {thing.name}", "appearance_details": MATERIALS[thing.coat].name,
            "location": f"{x:.1f} m right and {y:.1f} m beyond the middle of the room",
            "relative_size": f"{2 * thing.half[2]:.1f} m tall",
            "orientation": f"turned by {degrees} degrees"}  # fmt: skip


def _episode(room: Room, actions: NDArray[np.float32], *, seed: int, kind: str, extras: tuple[str, ...]) -> Episode:
    moments, world = room.moments, room.world
    rng = np.random.default_rng([seed, 23])
    cameras = {name: dict(calibrated) for name, calibrated in world.calibrations().items()}
    cameras["main"] = dict(room.calibrations[0]) | {"poses": [c["camera_to_world"] for c in room.calibrations]}
    return Episode(
        world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment, actions=actions,
        frames={view: np.stack([m.frames[view] for m in moments]) for view in moments[0].frames},
        states={name: np.stack([m.state[name] for m in moments]) for name in moments[0].state},
        instruction=moments[0].instruction, captions=captions(room, kind),
        questions=chosen(candidates(room, rng), room, rng), events=events(room),
        boxes=[seen["main"] for seen in room.seen], cameras=cameras,
        depth=stacked([m.depth for m in moments]) if "depth" in extras else None,
        segmentation=stacked([m.segmentation for m in moments]) if "segmentation" in extras else None,
        success=moments[-1].success,
        recipe={"world": SPEC.name, "seed": seed, "controller": kind, "parameters": world.parameters},
    )  # fmt: skip
