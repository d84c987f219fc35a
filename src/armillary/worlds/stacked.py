"""The moments of a life, put together as an episode's arrays.

in    moments and the actions between them
out   the fields of ``Episode`` that are arrays: frames, actions, states, depth, segmentation, sound
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from armillary.records import Array, Moment


def stacked(moments: Sequence[Moment], actions: Sequence[Array], extras: Collection[str] = ()) -> dict[str, Any]:
    """Keyword arguments for ``Episode``; ``actions`` are one less than ``moments``.

    Of depth, segmentation and sound only those among ``extras`` are kept. States of another number of things in
    another moment do not occur: a world's things are the same from reset to close.
    """
    first = moments[0]
    fields: dict[str, Any] = {
        "frames": {view: np.stack([m.frames[view] for m in moments]) for view in first.frames},
        "actions": np.stack(actions).astype(np.float32),
        "states": {name: np.stack([m.state[name] for m in moments]) for name in first.state},
        "instruction": first.instruction,
    }
    if "depth" in extras and first.depth is not None:
        fields["depth"] = _pictures([m.depth for m in moments])
    if "segmentation" in extras and first.segmentation is not None:
        fields["segmentation"] = _pictures([m.segmentation for m in moments])
    heard = [m.sound for m in moments if m.sound is not None]
    if "sound" in extras and heard:
        fields["sound"] = np.concatenate(heard, axis=1)
    return fields


def _pictures(kept: Sequence[Mapping[str, Array] | None]) -> dict[str, Array]:
    known = [one for one in kept if one is not None]
    return {view: np.stack([one[view] for one in known]) for view in known[0]}
