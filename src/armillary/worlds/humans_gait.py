"""Walking: from a line on the ground to footsteps, and from footsteps to where pelvis and ankles are at every time.

    in    a line ``n 2`` in metres, when to begin, and how tall somebody is
    out   ``Gait``: pelvis, heading, ankles and arm swing, at ``GAIT_HZ`` rows a second

Footsteps come first and stay where they are; the pelvis follows the middle of the feet, smoothed, and sinks as far
as the legs' length demands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.worlds.humans_body import ANKLE, HIP_OUT, SHIN, SIDES, STANDING, THIGH, place_rows

Array = NDArray[np.float64]
GAIT_HZ = 50
STRIDE_METRES, STEP_SECONDS, IN_THE_AIR = 0.57, 0.5, 0.8  # of somebody 1.75 m tall; share of a step that is swing
LIFT_METRES, ARM_SWING, HANG = 0.075, 0.5, 0.25  # metres, radians, radians


@dataclass(frozen=True, kw_only=True, eq=False)
class Gait:
    """Rows at ``GAIT_HZ``: ``pelvis`` t 3, ``yaw`` t, per side ``feet`` t 3, ``turns`` t and ``planted`` t (bool)."""

    scale: float
    pelvis: Array
    yaw: Array
    feet: Mapping[str, Array]
    turns: Mapping[str, Array]
    planted: Mapping[str, NDArray[np.bool_]]
    pitches: Mapping[str, Array]  # toes hang while a foot is in the air
    swing: Array  # -1 to 1, positive when the left foot is ahead

    @property
    def seconds(self) -> float:
        return len(self.yaw) / GAIT_HZ

    def rows(self, bends: Mapping[str, Array] | None = None) -> Array:
        """Numbers t q; ``bends`` replace the arms' swing and add to back and neck."""
        elbow = 0.25 + 0.12 * np.abs(self.swing)
        arms = {"left shoulder flex": -ARM_SWING * self.swing, "right shoulder flex": ARM_SWING * self.swing,
                "left elbow": elbow, "right elbow": elbow, "left shoulder out": np.full(len(self.yaw), 0.1),
                "right shoulder out": np.full(len(self.yaw), 0.1)}  # fmt: skip
        return place_rows(self.pelvis, self.yaw, self.feet, self.turns, arms | dict(bends or {}), scale=self.scale,
                          pitches=self.pitches)  # fmt: skip


def walk(line: Array, seconds: float, *, begin: float = 0.0, scale: float = 1.0, pace: float = 1.0) -> Gait:
    """Stand at the line's first point, set off after ``begin`` seconds, walk to its end and stand there.

    ``pace`` above 1 is quicker: steps both shorter in time and longer. ``seconds`` is how long the whole lasts.
    """
    line = np.asarray(line, np.float64)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    clock = np.arange(round(seconds * GAIT_HZ)) / GAIT_HZ
    stride, beat = STRIDE_METRES * scale * pace**0.5, STEP_SECONDS / pace**0.5
    count = max(1, round(lengths[-1] / stride)) if lengths[-1] > 0.05 else 0
    along = {side: np.zeros(len(clock)) for side in SIDES}
    lift = {side: np.zeros(len(clock)) for side in SIDES}
    planted = {side: np.ones(len(clock), bool) for side in SIDES}
    reached = dict.fromkeys(SIDES, 0.0)
    for step in range(1, count + 2 if count else 1):
        side, goal = SIDES[step % 2], min(step, count) * lengths[-1] / max(count, 1)
        share = np.clip((clock - begin - (step - 1) * beat) / (IN_THE_AIR * beat), 0, 1)
        along[side] += (goal - reached[side]) * share**3 * (10 - 15 * share + 6 * share**2)
        lift[side] += LIFT_METRES * scale * np.sin(np.pi * share) ** 2
        planted[side] &= (share <= 0) | (share >= 1)
        reached[side] = goal
    feet, turns = {}, {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        feet[side], turns[side] = _on_line(line, lengths, along[side], sign * 0.95 * HIP_OUT * scale)
        feet[side] = np.concatenate([feet[side], (ANKLE * scale + lift[side])[:, None]], axis=1)
    middle = _smooth((along["left"] + along["right"]) / 2, 0.35 * beat)
    ground, heading = _on_line(line, lengths, middle, 0.0)
    pelvis = np.concatenate([ground, _height(ground, heading, feet, scale)[:, None]], axis=1)
    swing = np.clip((along["left"] - along["right"]) / stride, -1, 1)
    pitches = {side: -HANG * lift[side] / (LIFT_METRES * scale) for side in SIDES}
    return Gait(scale=scale, pelvis=pelvis, yaw=heading, feet=feet, turns=turns, planted=planted, pitches=pitches,
                swing=_smooth(swing, 0.1))  # fmt: skip


def _on_line(line: Array, lengths: Array, along: Array, left: float) -> tuple[Array, Array]:
    """Points t 2 beside the line, ``left`` of it, and its smoothed heading there, t."""
    way = np.diff(line, axis=0)
    heading = np.unwrap(np.arctan2(way[:, 1], way[:, 0])) if lengths[-1] > 0 else np.zeros(len(way))
    middles = (lengths[1:] + lengths[:-1]) / 2
    turn = np.interp(along, middles, heading)
    points = np.stack([np.interp(along, lengths, line[:, k]) for k in (0, 1)], axis=1)
    return points + left * np.stack([-np.sin(turn), np.cos(turn)], axis=1), turn


def _height(ground: Array, yaw: Array, feet: Mapping[str, Array], scale: float) -> Array:
    """The hips' height t: standing, or as much lower as both feet need to be in reach."""
    limit = np.full(len(yaw), STANDING * scale)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        out = sign * HIP_OUT * scale
        hip = ground + np.stack([-np.sin(yaw) * out, np.cos(yaw) * out], axis=1)
        away = np.hypot(*(feet[side][:, :2] - hip).T)
        leg = 0.99 * (THIGH + SHIN) * scale
        limit = np.minimum(limit, feet[side][:, 2] + np.sqrt(np.maximum(leg**2 - away**2, 0.01)))
    return np.minimum(limit, _smooth(limit, 0.06))


def _smooth(values: Array, sigma_seconds: float) -> Array:
    reach = int(np.ceil(3 * sigma_seconds * GAIT_HZ))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_seconds * GAIT_HZ)) ** 2)
    padded = np.concatenate([np.full(reach, values[0]), values, np.full(reach, values[-1])])
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")
