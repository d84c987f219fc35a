"""What people do: walk, wave, sit down, bend, carry; each act gives all angles of a body for a whole episode.

    in    an act's name, who does it, where, and a generator
    out   ``Act``: rows ``t q`` at ``GAIT_HZ``, when which foot stands, and what it is called

Acts that stay in place keep both ankles where they are; pelvis and back move, the legs follow in closed form.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.humans_body import ANKLE, HIP_OUT, SIDES, STANDING, Look, place_rows
from armillary.worlds.humans_gait import GAIT_HZ, walk

Array = NDArray[np.float64]
ACTS = ("walk", "wave", "sit", "bend", "carry")
DOING = {"walk": "walks", "wave": "waves", "sit": "sits down", "bend": "bends down and straightens up",
         "carry": "carries a box"}  # fmt: skip
SEAT_HIPS = 0.53  # height of the hips of somebody 1.75 m tall who sits; the seat lies 0.1 m below


@dataclass(frozen=True, kw_only=True, eq=False)
class Act:
    """One person's episode: ``rows`` t q, ``planted`` per side t; ``when``: from and to in seconds."""

    name: str
    rows: Array
    planted: Mapping[str, NDArray[np.bool_]]
    when: tuple[float, float]
    place: Array  # x, y, heading at the beginning
    side: str = ""  # the waving hand


def make_act(name: str, look: Look, place: Array, seconds: float, rng: np.random.Generator) -> Act:
    """``place``: x, y, heading. Walkers go ahead from there."""
    if name in ("walk", "carry"):
        return _going(name, look, place, seconds, rng)
    clock = np.arange(round(seconds * GAIT_HZ)) / GAIT_HZ
    begin, end = float(rng.uniform(0.4, 1.0)), seconds - float(rng.uniform(0.4, 0.9))
    share = _rise(clock, begin, begin + 1.0) - (0.0 if name == "sit" else 1.0) * _rise(clock, end - 1.0, end)
    sway = 0.03 * np.sin(2 * np.pi * 0.3 * clock + rng.uniform(0, 6))
    bends: dict[str, Array] = {"neck turn": 0.3 * sway, "left shoulder out": 0.1 + 0 * clock,
                               "right shoulder out": 0.1 + 0 * clock, "left elbow": 0.15 + 0 * clock,
                               "right elbow": 0.15 + 0 * clock}  # fmt: skip
    back, low, side = np.zeros(len(clock)), np.zeros(len(clock)), ""
    if name == "wave":
        side = str(rng.choice(SIDES))
        hand = np.sin(2 * np.pi * float(rng.uniform(1.1, 1.5)) * clock)
        bends |= {f"{side} shoulder out": 0.1 + 1.45 * share, f"{side} shoulder twist": 1.5 * share,
                  f"{side} elbow": 0.15 + share * (1.15 + 0.4 * hand)}  # fmt: skip
    elif name == "bend":
        deep = float(rng.uniform(1.0, 1.3))
        bends |= {"spine bend": deep * share, "left shoulder flex": 0.95 * deep * share,
                  "right shoulder flex": 0.95 * deep * share}  # fmt: skip
        back, low = 0.14 * share, 0.06 * share
    else:
        share = _rise(clock, begin, begin + 1.5)
        middle = share * (1 - share) * 4
        bends |= {"spine bend": 0.75 * middle + 0.05 * share, "left shoulder flex": 0.5 * share + 0.4 * middle,
                  "right shoulder flex": 0.5 * share + 0.4 * middle, "left elbow": 0.15 + 0.5 * share,
                  "right elbow": 0.15 + 0.5 * share}  # fmt: skip
        back, low, end = 0.41 * share, (STANDING - SEAT_HIPS) * share, begin + 1.5
    rows = _staying(look, place, (back, low + 0.01), bends)
    still = {one: np.ones(len(clock), bool) for one in SIDES}
    return Act(name=name, rows=rows, planted=still, when=(begin, end), place=place, side=side)


def _rise(clock: Array, begin: float, end: float) -> Array:
    share = np.clip((clock - begin) / (end - begin), 0, 1)
    risen: Array = share**3 * (10 - 15 * share + 6 * share**2)
    return risen


def _staying(look: Look, place: Array, moved: tuple[Array, Array], bends: Mapping[str, Array]) -> Array:
    """Both feet stay; the pelvis goes ``moved`` back and down (metres of somebody 1.75 m tall)."""
    s, (back, low), count = look.scale, moved, len(moved[0])
    ahead = np.array([np.cos(place[2]), np.sin(place[2])])
    left = np.array([-ahead[1], ahead[0]])
    feet = {side: np.tile([*(place[:2] + sign * 0.1 * s * left), ANKLE * s], (count, 1))
            for side, sign in (("left", 1), ("right", -1))}  # fmt: skip
    ground = place[:2] - (back * s)[:, None] * ahead
    pelvis = np.concatenate([ground, ((STANDING - low) * s)[:, None]], axis=1)
    yaw = np.full(count, place[2])
    assert HIP_OUT < 0.1
    return place_rows(pelvis, yaw, feet, dict.fromkeys(SIDES, yaw), bends, scale=s)


def _going(name: str, look: Look, place: Array, seconds: float, rng: np.random.Generator) -> Act:
    """Walk ahead on a gently bent line, with swinging arms or with a box between the hands."""
    begin, length = float(rng.uniform(0.2, 0.6)), float(rng.uniform(2.8, 3.4))
    along = np.linspace(0, length, 24)
    bend = float(rng.uniform(-0.12, 0.12)) * along
    heading = place[2] + np.concatenate([[0.0], np.cumsum(np.diff(bend) * 0.5)])
    line = place[:2] + np.concatenate(
        [[[0.0, 0.0]], np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1)[:-1] * (length / 23), axis=0)]
    )
    gait = walk(line, seconds, begin=begin, scale=look.scale, pace=float(rng.uniform(0.9, 1.1)))
    flat = np.ones(len(gait.yaw))
    held = {f"{side} {hinge}": value * flat for side in SIDES
            for hinge, value in (("shoulder flex", 0.35), ("elbow", 1.25), ("shoulder out", 0.05))}  # fmt: skip
    moving = np.flatnonzero(~gait.planted["left"] | ~gait.planted["right"])
    end = float(moving[-1] / GAIT_HZ) if len(moving) else begin
    return Act(name=name, rows=gait.rows(held if name == "carry" else None), planted=gait.planted, when=(begin, end),
               place=place)  # fmt: skip
