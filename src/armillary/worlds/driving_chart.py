"""The scenario map of a drive: lanes, crossings, lights and everybody as boxes, drawn as a camera would see them.

    in    a recorded drive (its recipe gives the streets, its states give everybody's place)
    out   a film uint8 t h w 3 from the front camera, the control of driving transfer (numbers.md)

Road edges are white, lane borders grey, crossings orange, stop lines red or green as the light is; vehicles are blue
boxes whose rear is lighter, people red ones. Nearer things cover farther ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from armillary.errors import DataError
from armillary.records import Episode
from armillary.worlds.driving import Driving
from armillary.worlds.driving_map import LANE, Line, Streets
from armillary.worlds.driving_traffic import PERSON
from armillary.worlds.labels import in_camera

Array = NDArray[np.float64]
Tone = tuple[int, int, int]
EDGE, BORDER, CROSSING, VEHICLE, REAR, PEOPLE = (
    (235, 235, 235), (130, 130, 140), (230, 150, 40), (40, 80, 220), (120, 160, 255), (220, 40, 50),
)  # fmt: skip
NEAR, FAR = 0.4, 90.0  # metres along the optical axis between which lines are drawn


def scenario_film(episode: Episode) -> NDArray[np.uint8]:
    """uint8 t h w 3, frame by frame beside the front camera's film. ``DataError`` unless the episode is a drive."""
    if episode.world != "driving" or not episode.cameras or "front" not in episode.cameras:
        raise DataError(
            f"an episode of {episode.world!r} came: a scenario map needs a drive with its front camera; "
            "record one with `armillary simulate driving OUT`."
        )
    world = Driving(views=(), **dict(episode.recipe["fixed"]))
    world.reset(episode.seed)
    size = (int(episode.recipe["size"][0]), int(episode.recipe["size"][1]))
    lines = _lines(world.scene.streets)
    sizes = [vehicle["size"] for vehicle in episode.recipe["parameters"]["vehicles"]]
    film = []
    for frame, pose in enumerate(episode.states["camera"]):
        view = {"intrinsics": episode.cameras["front"]["intrinsics"], "camera_to_world": pose}
        state = {name: values[frame] for name, values in episode.states.items()}
        film.append(_picture(lines, _boxes(state, sizes), view, (size, float(state["signal"][0]), world.scene.arm)))
    return np.stack(film)


def _lines(streets: Streets) -> list[tuple[Array, Tone | int]]:
    """Lines on the ground (points n 3) with their tones; a stop line has its arm's number instead."""
    found: list[tuple[Line, Tone | int]] = []
    for number, arm in enumerate(streets.arms):
        found += [(arm.shifted(side * streets.half), EDGE) for side in (-1, 1)]
        found += [(arm.shifted(lane * LANE), BORDER) for lane in range(1 - streets.lanes, streets.lanes)]
        if streets.box:
            where = arm.at(5.0)
            side = np.array([-np.sin(where[2]), np.cos(where[2])])
            found.append((Line(where[:2] + np.outer([0.2, streets.half], side)), number))
    found += [(crossing.shifted(side), CROSSING) for crossing in streets.crossings for side in (-1.3, 1.3)]
    drawn = []
    for line, tone in found:
        points = np.array([line.at(s) for s in np.arange(0, line.length + 0.5, 0.5)])
        points[:, 2] = 0
        drawn.append((points, tone))
    return drawn


def _boxes(state: Mapping[str, Array], sizes: Sequence[Sequence[float]]) -> list[tuple[Array, Array, Tone, Tone]]:
    """Everybody as eight corners and four of the rear, with two tones."""
    found = []
    for place, (length, width, height) in zip(state["vehicles"], sizes, strict=True):
        corners = _corners(place, (length, width, height))
        found.append((corners, corners[:4], VEHICLE, REAR))
    for place in state["people"]:
        corners = _corners(place, (PERSON, PERSON, 1.75))
        found.append((corners, corners[:4], PEOPLE, PEOPLE))
    return found


def _corners(place: Array, size: tuple[float, float, float]) -> Array:
    """Eight corners 8 3, the four of the rear first, each four in order around."""
    length, width, height = size
    rim = np.array([[x, y, z] for x in (-1, 1) for y, z in ((-1, 0), (1, 0), (1, 1), (-1, 1))], np.float64)
    rim = rim * (length / 2, width / 2, height)
    c, s = np.cos(place[2]), np.sin(place[2])
    corners = rim.copy()
    corners[:, 0], corners[:, 1] = place[0] + c * rim[:, 0] - s * rim[:, 1], place[1] + s * rim[:, 0] + c * rim[:, 1]
    return corners


def _picture(
    lines: Sequence[tuple[Array, Tone | int]], boxes: Sequence[tuple[Array, Array, Tone, Tone]],
    view: Mapping[str, Any], how: tuple[tuple[int, int], float, int],
) -> NDArray[np.uint8]:  # fmt: skip
    (height, width), signal, mine = how
    fine = 2  # drawn so many times finer, then averaged
    plane = Image.new("RGB", (fine * width, fine * height))
    draw = ImageDraw.Draw(plane)
    numbers = np.asarray(view["intrinsics"])

    def dots(points: Array) -> list[tuple[float, float]]:
        columns = points[:, 0] / points[:, 2] * numbers[0, 0] + numbers[0, 2]
        rows = points[:, 1] / points[:, 2] * numbers[1, 1] + numbers[1, 2]
        return [(fine * float(x), fine * float(y)) for x, y in zip(columns, rows, strict=True)]

    for points, tone in lines:
        seen = in_camera(points, view)
        ahead = (seen[:, 2] > NEAR) & (seen[:, 2] < FAR)
        if isinstance(tone, int):
            green = signal > 0 if tone == mine else False
            tone = (40, 200, 80) if green else (230, 60, 60)
        for run in np.split(np.arange(len(points)), np.flatnonzero(np.diff(ahead)) + 1):
            if ahead[run[0]] and len(run) > 1:
                draw.line(dots(seen[run]), fill=tone, width=fine)
    order = sorted(boxes, key=lambda box: -float(in_camera(box[0].mean(0), view)[0, 2]))
    for corners, rear, tone, light in order:
        seen = in_camera(corners, view)
        if seen[:, 2].min() < NEAR or seen[:, 2].min() > FAR:
            continue
        draw.polygon(_hull(dots(seen)), fill=tone)
        draw.polygon(dots(in_camera(rear, view)), fill=light, outline=tone)
    return np.asarray(plane.resize((width, height), Image.Resampling.BOX), np.uint8)


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The outline of points (monotone chain, Andrew 1979)."""

    def half(order: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        chain: list[tuple[float, float]] = []
        for point in order:
            while len(chain) > 1 and _left(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    order = sorted(points)
    return half(order) + half(order[::-1])


def _left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
