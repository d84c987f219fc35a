"""Which laws a recorded life breaks, found from its states alone: nothing is known here of how the life was made.

vanishes          a thing that was there is not there any more
changes colour    a thing's colour is another
floats            a thing that touches nothing does not fall as everything falls
passes through    two solid things are in one place, or have exchanged sides

broken(episode)   every break: (seconds, thing, law), the first of each thing and law
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Episode

GRAVITY = 9.81
FALL_ERROR = 0.12  # m/s a step: what integration may be off by
DEEP = 0.62  # things overlap when a middle part of this share of one does so with the other
BETWEEN = 4  # places looked at between two frames


def broken(episode: Episode) -> list[tuple[float, str, str]]:
    """Every law of nature this life breaks; an empty list for a possible one."""
    things, states = episode.recipe["parameters"]["items"], episode.states
    free = [n for n, thing in enumerate(things) if not thing["fixed"]]
    roped = [n for n in free if things[n]["name"] in episode.recipe["parameters"]["ropes"]]
    found: dict[tuple[int, str], int] = {}
    for frame in range(1, len(states["positions"])):
        for n in free:
            if not states["there"][frame, n]:
                if states["there"][frame - 1, n]:
                    found.setdefault((n, "vanishes"), frame)
                continue
            if np.abs(states["rgb"][frame, n] - states["rgb"][frame - 1, n]).max() > 0.02:
                found.setdefault((n, "changes colour"), frame)
            if n not in roped and not _falls(states, frame, n):
                found.setdefault((n, "floats"), frame)
        for one, other in _overlapping(things, states, frame, free):
            found.setdefault((one, "passes through"), frame)
            found.setdefault((other, "passes through"), frame)
    return sorted((frame / episode.fps, things[n]["name"], law) for (n, law), frame in found.items())


def _falls(states: Mapping[str, NDArray[Any]], frame: int, n: int) -> bool:
    """Whether a thing that touched nothing between two frames changed its velocity as gravity says."""
    if states["touched"][frame, n] or states["touched"][frame - 1, n]:
        return True
    change = states["velocities"][frame, n] - states["velocities"][frame - 1, n]
    return bool(np.abs(change - (0, 0, -GRAVITY * 0.1)).max() < FALL_ERROR)


def _overlapping(things: Any, states: Mapping[str, NDArray[Any]], frame: int, free: list[int]) -> list[tuple[int, int]]:
    """Pairs that share a place at this frame or on the straight way to it from the frame before."""
    before, after = states["positions"][frame - 1], states["positions"][frame]
    reach = np.linalg.norm(states["halves"][frame], axis=1)
    found = []
    for one in free:
        for other in range(len(things)):
            if other == one or (other in free and other < one):
                continue
            if not (states["there"][frame, one] and states["there"][frame, other]):
                continue
            travelled = np.linalg.norm(after[one] - before[one]) + np.linalg.norm(after[other] - before[other])
            if np.linalg.norm(after[one] - after[other]) > reach[one] + reach[other] + travelled:
                continue
            for share in np.linspace(1 / BETWEEN, 1, BETWEEN):
                places = before + share * (after - before)
                turns = _between(states["quaternions"], frame, share)
                if _shared(things, states["halves"][frame], (one, other), places, turns):
                    found.append((one, other))
                    break
    return found


def _between(quaternions: NDArray[np.float64], frame: int, share: float) -> NDArray[np.float64]:
    """Orientations n 4 on the way from the frame before to this one."""
    before, after = quaternions[frame - 1], quaternions[frame]
    same = np.sign((before * after).sum(axis=1, keepdims=True))
    return np.asarray((1 - share) * before + share * np.where(same == 0, 1, same) * after)


def _shared(
    things: Any, halves: NDArray[np.float64], pair: tuple[int, int], places: NDArray[np.float64], turns: NDArray[Any]
) -> bool:
    """Whether the middle part of either thing reaches into the middle part of the other."""
    for inner, outer in (pair, pair[::-1]):
        points = _points(things[inner]["shape"], halves[inner] * DEEP)
        world = points @ _rotation(turns[inner]).T + places[inner]
        local = (world - places[outer]) @ _rotation(turns[outer])
        if _within(things[outer]["shape"], local / (halves[outer] * DEEP)).any():
            return True
    return False


def _points(shape: str, half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points through a thing, in its own axes: a grid of seven a side, cut to its shape."""
    steps = np.linspace(-1, 1, 7)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    kept: NDArray[np.float64] = grid[_within(shape, grid * 0.999)] * half
    return kept


def _within(shape: str, unit: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points, in half sizes, lie in a ball, a cylinder or pin standing along z, or a box."""
    if shape == "ball":
        return np.asarray((unit**2).sum(axis=1) < 1)
    if shape in ("cylinder", "pin"):
        return np.asarray(((unit[:, :2] ** 2).sum(axis=1) < 1) & (np.abs(unit[:, 2]) < 1))
    return np.asarray((np.abs(unit) < 1).all(axis=1))


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
