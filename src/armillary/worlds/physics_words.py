"""True words about a life in ``physics``: events, and captions in every style.

    in    the world after its last step, its moments with segmentation of the main camera, the boxes seen in each
    out   events (seconds, seconds, words), captions by style; questions are made of both in ``physics_questions``

Events come from the contacts and the states, never from the family's name. Only what the main camera sees is asked
about, with one exception: what is hidden behind something, where the camera saw it go. Directions are the camera's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment
from armillary.worlds.items import matrix
from armillary.worlds.labels import Box, in_camera
from armillary.worlds.materials import MATERIALS
from armillary.worlds.physics import Physics
from armillary.worlds.physics_twins import SUPPORTS
from armillary.worlds.questions import clock, listed, report, structured

HIT_SPEED, FALL_SPEED, FALLEN = 0.35, 0.9, 0.5  # m/s, m/s, cosine of the turn
WAYS = ("left", "right", "towards the camera", "away from the camera", "up", "down")
Event = tuple[float, float, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """A life as words are made from it: its world, moments, boxes of the main camera, calibrations per moment."""

    world: Physics
    moments: Sequence[Moment]
    boxes: Sequence[Mapping[str, Box]]
    calibrations: Sequence[Mapping[str, Any]]
    fps: float

    def movable(self, frame: int) -> list[str]:
        """Names of things that can move and are seen at this frame."""
        fixed = {item.name for item in self.world.items if item.fixed}
        return [name for name in self.boxes[frame] if name not in fixed]

    def places(self, frame: int) -> NDArray[np.float64]:
        """Places n 3 of all items in the main camera's axes: right, down, forward."""
        return in_camera(self.moments[frame].state["positions"], self.calibrations[frame])

    def number(self, name: str) -> int:
        """Which item has that name."""
        return self.world.names.index(name)


def events(told: Told) -> list[Event]:
    """What happens, in order: hits, falls, and what cannot be."""
    found = _hits(told) + _topples(told)
    spell = told.world.spell
    if spell:
        when = (spell.step + 1) / told.fps
        found = [event for event in found if event[0] <= when or told.world.names[spell.item] not in event[2]]
        found.append((when, when, spell.words(told.world.items)))
    return sorted(found)


def captions(told: Told, happened: Sequence[Event], *, camera: str) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` and ``report``."""
    world, size = told.world, told.moments[0].frames["main"].shape[:2]
    names = told.movable(0)
    scene = f"A room with a floor of {world.scene.floor} and a wall of {world.scene.wall}, and in it {listed(names)}."
    short = world.scene.words
    spell = world.spell
    if spell:
        short = f"{short[:-1]}, and then {spell.words(world.items)}."
    told_events = [event for event in happened if _known(told, event)]
    story = " ".join(f"At {clock(a)} {words}." for a, _, words in told_events) or "Nothing touches anything else."
    subjects = [_subject(told, name) for name in names]
    extra = {
        "background_setting": f"a room with a floor of {world.scene.floor} and a wall of {world.scene.wall}",
        "lighting": {"conditions": "indoor, even", "shadows": "soft"},
        "audio_description": "sounds of impacts and of rolling" if world.hits else "silence",
    }
    full = structured(
        scene=scene, story=story, subjects=subjects, actions=told_events, camera=camera, size=(size[0], size[1]),
        frames=len(told.moments), fps=told.fps, extra=extra,
    )  # fmt: skip
    advice = [f"Look again at {clock(a)}: {words}, which cannot be." for a, _, words in told_events
              if spell and words == spell.words(world.items)]  # fmt: skip
    return {"scene": scene, "short": short, "dense": f"{short} {scene} {story}", "structured": full,
            "report": report(f"{short} {scene}", told_events, advice)}  # fmt: skip


def describe(told: Told, name: str, frame: int) -> str:
    """One thing in words: colour, what it is made of, how large, where in the picture, and how it moves."""
    item = told.world.items[told.number(name)]
    left, _, right, _ = told.boxes[frame][name]
    column = (left + right) / 2 / told.moments[frame].frames["main"].shape[1]
    where = "on the left" if column < 0.36 else "on the right" if column > 0.64 else "in the middle"
    wide = round(200 * max(item.half) / 5) * 5
    way = heading(told, name, frame)
    moves = {"": "it stays where it is"}.get(way, f"it moves {_towards(way)}")
    return f"{listed([name])} of {MATERIALS[item.coat].name}, about {wide} centimetres large, {where}; {moves}"


def heading(told: Told, name: str, frame: int, *, ahead: int = 4) -> str:
    """Which of ``WAYS`` a thing moves in the next frames; empty if it stays; ``unclear`` between two ways."""
    after, n = min(frame + ahead, len(told.moments) - 1), told.number(name)
    here, there = (told.moments[k].state["positions"][n] for k in (frame, after))
    away = in_camera([here, there], told.calibrations[frame])
    right, _, forward = away[1] - away[0]
    numbers = {"left": -right, "right": right, "up": there[2] - here[2], "down": here[2] - there[2]}
    numbers |= {"towards the camera": -forward, "away from the camera": forward}
    order = sorted(numbers, key=lambda way: numbers[way], reverse=True)
    if numbers[order[0]] < 0.04:
        return ""
    clear = numbers[order[0]] > 0.2 and numbers[order[0]] > 1.5 * numbers[order[1]]
    return order[0] if clear else "unclear"


def chain(told: Told, target: str) -> list[str]:
    """Who set whom in motion, from the first mover to ``target``; empty if nobody did, or they went in a circle."""
    world, names = told.world, told.world.names
    by: dict[int, int] = {}
    for hit in world.hits:
        if hit.other < 0 or hit.speed < HIT_SPEED or world.items[hit.one].fixed or world.items[hit.other].fixed:
            continue
        by.setdefault(hit.other, hit.one)
    way, n = [target], names.index(target)
    while n in by:
        n = by[n]
        if names[n] in way:
            return []
        way.insert(0, names[n])
    return way if len(way) > 1 else []


def _towards(way: str) -> str:
    if way == "unclear":
        return "somewhere between two directions"
    return f"to the {way}" if way in ("left", "right") else way


def _known(told: Told, event: Event) -> bool:
    """Whether the main camera sees something that the event names, just before or after it."""
    frame = min(int(event[0] * told.fps), len(told.moments) - 1)
    near = {name for k in (frame, min(frame + 1, len(told.moments) - 1)) for name in told.boxes[k]}
    mine = [name for name in told.world.names if f"the {name}" in event[2]]
    return bool(mine) and all(name in near for name in mine)


def _subject(told: Told, name: str) -> dict[str, str]:
    item = told.world.items[told.number(name)]
    left, top, right, bottom = told.boxes[0][name]
    height, width = told.moments[0].frames["main"].shape[:2]
    middle = f"({round(50 * (left + right) / width)}, {round(50 * (top + bottom) / height)}) of 100"
    return {"description": f"a {name}", "appearance_details": MATERIALS[item.coat].name, "location": middle,
            "relative_size": f"{round(100 * (right - left) / width)} % of the picture's width"}  # fmt: skip


def _hits(told: Told) -> list[Event]:
    """First meetings of two things, and first falls to the floor."""
    world, found, met = told.world, [], set()
    for hit in world.hits:
        when = (hit.seconds, hit.seconds)
        if hit.other < 0:
            name = world.names[hit.one]
            if hit.speed > FALL_SPEED and (hit.one, -1) not in met:
                met.add((hit.one, -1))
                found.append((*when, f"the {name} hits the floor"))
            continue
        fast, slow = pair = (hit.one, hit.other)
        least = FALL_SPEED if world.names[slow] in SUPPORTS else HIT_SPEED
        if hit.speed > least and not {pair, pair[::-1]} & met:
            met.add(pair)
            found.append((*when, f"the {world.names[fast]} hits the {world.names[slow]}"))
    return found


def _topples(told: Told) -> list[Event]:
    """When standing things have fallen over."""
    found = []
    for n, item in enumerate(told.world.items):
        if item.fixed or not item.name.endswith(("pin", "domino")):
            continue
        for k, moment in enumerate(told.moments):
            if matrix(moment.state["quaternions"][n])[2, 2] < FALLEN:
                found.append((k / told.fps, k / told.fps, f"the {item.name} has fallen over"))
                break
    return found


def seen_events(told: Told, happened: Sequence[Event]) -> list[Event]:
    """The events that the main camera shows."""
    return [event for event in happened if _known(told, event)]
