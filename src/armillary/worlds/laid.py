"""A table as it is laid: first nothing on it, then one thing more in every picture.

    in    a seed
    out   an ``Episode`` whose k-th frame shows the first k things, and whose caption ``laid k`` names the k-th

What a picture from words is learnt from where it is painted thing by thing. The arm rests as in the seed's first
picture; things that are not there yet lie far below the table. Nothing moves in time, so the actions are zeros.
"""

import numpy as np

from armillary.records import Episode
from armillary.worlds.camera import mujoco
from armillary.worlds.captions import captions, seen_boxes
from armillary.worlds.tabletop import SPEC, Tabletop

OUT_OF_SIGHT = 5.0  # metres below its place


def laid_tabletop(seed: int, *, size: tuple[int, int] = SPEC.size) -> Episode:
    """The table of a seed, its k things laid in an order that the seed draws: k + 1 frames of the front camera."""
    world = Tabletop(size=size, views=("front",), extras=("segmentation",))
    try:
        first = world.reset(seed)
        model, data = world._model, world._data
        heights = [int(model.jnt_qposadr[model.body_jntadr[model.body(name).id]]) + 2 for name in world.names]
        order = np.random.default_rng([seed, 31]).permutation(len(world.names)).tolist()
        stood = data.qpos.copy()
        frames, boxes = [], []
        for count in range(len(order) + 1):
            data.qpos[:] = stood
            for number in order[count:]:
                data.qpos[heights[number]] -= OUT_OF_SIGHT
            mujoco.mj_forward(model, data)
            moment = world._moment(None)
            assert moment.segmentation is not None
            frames.append(moment.frames["front"])
            boxes.append(seen_boxes(world, moment.segmentation["front"]))
        laid = {f"laid {count}": world.names[number] for count, number in enumerate(order, start=1)}
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment, frames={"front": np.stack(frames)},
            actions=np.zeros((len(order), SPEC.action_size), np.float32), states={}, instruction=first.instruction,
            captions=captions(world, list(boxes[-1]), succeeded=False) | laid, boxes=boxes,
            recipe={"world": SPEC.name, "seed": seed, "controller": "laid", "parameters": world.parameters},
        )  # fmt: skip
    finally:
        world.close()
