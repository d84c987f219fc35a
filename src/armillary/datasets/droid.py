"""A DROID recording as an ``Episode``: pose steps made from the Cartesian poses and the gripper that it holds.

    observation.state.cartesian_position   t 6   metres x y z, radians roll pitch yaw about fixed axes
    action.gripper_position                t     0 open .. 1 closed
        -> actions t-1 10: translation 3 and rotation 6 of T_i^-1 T_{i+1} (cosmos3.md 3.6), openness 1 - gripper

DROID's own actions are joint positions; where a recording's joint columns are broken, as in the published sample, the
poses are what remains. What was assumed stands in the episode's ``recipe["assumed"]``, a sentence each.
"""

from pathlib import Path

import numpy as np

from armillary.datasets.lerobot import LeRobotReader
from armillary.embodiments import pose_from_euler, relative_pose, rot6d_from_pose
from armillary.errors import DataError
from armillary.records import Array, Episode, check_episode

POSE = "observation.state.cartesian_position"
GRIPPER = "action.gripper_position"
SEEN_GRIPPER = "observation.state.gripper_position"


def is_droid(reader: LeRobotReader) -> bool:
    """Whether a folder holds DROID's columns, and no ``action`` that would say more."""
    return "action" not in reader.features and POSE in reader.features and GRIPPER in reader.features


def droid_actions(poses: Array, gripper: Array) -> Array:
    """Actions (t-1 10, float32) from poses (t 6) and a gripper (t, 0 open .. 1 closed).

    Action i's opening is the gripper's at row i: the command under which frame i+1 comes about.
    """
    if len(poses) != len(gripper) or len(poses) < 2 or poses.shape[1:] != (6,):
        raise DataError(f"poses {poses.shape} and gripper {gripper.shape} came: both need the same rows, at least two.")
    matrices = pose_from_euler(poses)
    steps = rot6d_from_pose(relative_pose(matrices[:-1], matrices[1:]))
    openness = 1.0 - np.clip(gripper.reshape(-1, 1)[:-1], 0.0, 1.0)
    return np.concatenate([steps, openness], axis=1).astype(np.float32)


def droid_episode(
    source: str | Path | LeRobotReader,
    *,
    index: int = 0,
    camera: str | None = None,
    size: tuple[int, int] | None = None,
) -> Episode:
    """One episode of a DROID folder, embodiment ``droid``.

    Only cameras with a film are there, or only ``camera`` (its last word, as ``exterior_image_2_left``). ``size``
    (height, width) resizes while decoding: 722 frames of 640x360 are half a gigabyte. ``DataError`` where columns
    or every film are missing.
    """
    reader = source if isinstance(source, LeRobotReader) else LeRobotReader(source)
    row = next((row for row in reader.episodes if row.index == index), None)
    if row is None:
        raise DataError(f"{reader.path} has no episode {index}: it has {len(reader.episodes)}, from 0 on.")
    columns = reader.columns(row)
    if missing := [name for name in (POSE, GRIPPER) if name not in columns]:
        raise DataError(f"{reader.path} lacks {', '.join(missing)}: a DROID folder has both; pose steps need them.")
    films = [key for key in row.films if camera in (None, key.split(".")[-1])]
    if not films:
        raise DataError(
            f"episode {index} of {reader.path} shows nothing of camera {camera or 'any'}: playable are "
            f"{[key.split('.')[-1] for key in row.films] or 'none'}."
        )
    assumed = [f"A step's pose is made from {POSE}, roll, pitch, yaw about fixed axes.", "The gripper is open at 0."]
    gripper = columns[GRIPPER].reshape(row.length)
    if np.ptp(gripper) == 0 and SEEN_GRIPPER in columns and np.ptp(columns[SEEN_GRIPPER]) > 0:
        gripper = np.append(columns[SEEN_GRIPPER].reshape(row.length)[1:], columns[SEEN_GRIPPER].reshape(-1)[-1])
        assumed.append(f"{GRIPPER} never changes: the opening is that of {SEEN_GRIPPER} one row later.")
    return check_episode(
        Episode(
            world="droid",
            seed=index,
            fps=reader.fps,
            frames={key.split(".")[-1]: reader.frames(row, key, size=size) for key in films},
            actions=droid_actions(columns[POSE], gripper),
            embodiment="droid",
            states={"pose": columns[POSE].astype(np.float64), "gripper": gripper.astype(np.float64).reshape(-1, 1)},
            instruction=row.task,
            recipe={"path": reader.path.name, "episode": index, "assumed": assumed},
        )
    )
