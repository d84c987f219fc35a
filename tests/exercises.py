"""What exercises of the generator are drawn from in tests: made-up windows, and a model that remembers what it saw."""

import numpy as np
import torch

from armillary.model import TwoTowers
from armillary.prompts import action_prompt
from armillary.training.latents import FRAMES, Windows

SIZE = (5, 4, 4)  # latent frames, rows, columns: 4 tokens a frame


class Watched(TwoTowers):
    """The model, remembering what it was asked."""

    def velocity(self, memory, segments, *, fps):
        self.seen = (memory, list(segments), fps)
        self.said = super().velocity(memory, segments, fps=fps)
        return self.said


def windows(count, *, width=10, fps=10.0):
    rng = torch.Generator().manual_seed(3)
    actions = torch.randn(count, FRAMES - 1, 64, generator=rng)
    actions[:, :, width:] = 0
    told = {"frames": FRAMES, "fps": fps, "height": 256, "width": 256}
    return Windows(
        video=torch.randn(count, 20, 192, generator=rng).bfloat16(), actions=actions, domain=np.full(count, 6),
        width=np.full(count, width), fps=np.full(count, fps), acts=np.ones(count, bool), tells=np.ones(count, bool),
        task=[action_prompt(f"Push the red cube {i}", **told) for i in range(count)],
        caption=[f"A film {i}." for i in range(count)], placed=[""] * count, named=[{}] * count,
        things=torch.zeros(count, 20), size=SIZE, opening=np.arange(count) // 2 * 2,
    )  # fmt: skip
