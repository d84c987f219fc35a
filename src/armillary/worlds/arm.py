"""The arm of the tabletop: where its joints must be for the gripper to be somewhere.

    in    the wanted tip, x y z in metres, and the gripper's turn about the vertical in radians
    out   five joint angles: yaw, shoulder, elbow, wrist, roll

The hand always points straight down, so two links in a vertical plane remain, solved in closed form.
The gripper's frame has z down and x along its opening; its pose is a 4x4 matrix.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BASE = np.array([0.0, 0.36, 0.22])
LINK = 0.32
HAND = 0.13
LOW = np.array([-0.23, -0.2, 0.018])
HIGH = np.array([0.23, 0.22, 0.26])
DOWN = np.diag([1.0, -1.0, -1.0])  # the gripper's frame at turn 0, in the world's


def joints_for(tip: Array, turn: float) -> Array:
    """Joint angles, radians, with the tip at ``tip`` (clipped to reach) and the gripper turned by ``turn``."""
    x, y = tip[0] - BASE[0], tip[1] - BASE[1]
    yaw = np.arctan2(x, -y)  # 0 points towards the front camera, along -y
    reach = np.hypot(x, y)
    height = tip[2] + HAND - BASE[2]
    distance = np.clip(np.hypot(reach, height), 0.05, 2 * LINK - 1e-6)
    bend = np.arccos(distance / (2 * LINK))
    shoulder = np.arctan2(height, reach) + bend
    elbow = -2 * bend
    wrist = -np.pi / 2 - shoulder - elbow
    return np.array([yaw, shoulder, elbow, wrist, yaw - turn])


def pose_of(tip: Array, turn: float) -> Array:
    """The gripper's pose in the world, 4 4."""
    pose = np.eye(4)
    cos, sin = np.cos(turn), np.sin(turn)
    pose[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ DOWN
    pose[:3, 3] = tip
    return pose


def tip_and_turn(pose: Array) -> tuple[Array, float]:
    """The reverse of ``pose_of``; a tilt is dropped, since this hand always points down."""
    return pose[:3, 3].copy(), float(np.arctan2(pose[1, 0], pose[0, 0]))


def step_action(before: Array, after: Array, openness: float) -> Array:
    """The 10 numbers that lead from one pose to another: translation, two rotation columns, gripper openness."""
    change = np.linalg.inv(before) @ after
    return np.concatenate([change[:3, 3], change[:3, 0], change[:3, 1], [openness]])


def apply_action(pose: Array, action: Array) -> Array:
    """The pose after one action; rotation columns are made orthonormal (Gram-Schmidt), the tip kept in reach."""
    first = action[3:6] / max(float(np.linalg.norm(action[3:6])), 1e-9)
    second = action[6:9] - first * float(first @ action[6:9])
    second = second / max(float(np.linalg.norm(second)), 1e-9)
    change = np.eye(4)
    change[:3, :3] = np.stack([first, second, np.cross(first, second)], axis=1)
    change[:3, 3] = action[:3]
    tip, turn = tip_and_turn(pose @ change)
    return pose_of(np.clip(tip, LOW, HIGH), float(np.clip(turn, -1.2, 1.2)))
