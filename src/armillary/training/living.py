"""Films that go on for long, learnt as they are lived: from what the model itself has said before.

    first picture, given                             -> latent frame 1   marked
    frames 0 to 1 as they were said, eight actions   -> latent frame 2   marked
    the last three as they were said, twelve actions -> latent frame 3   marked, and so on to the last

A step that only ever looks back on true frames meets its own mistakes for the first time when somebody uses it, and
they add up. Here every step looks back on what the steps before it said (self forcing: Huang et al., arXiv
2506.08009), laid out exactly as ``sampling/onwards.py`` lays it out, and each is marked against the truth. Gradients
may flow back through the frames that were said, ``through`` steps far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.embodiments import Embodiment
from armillary.errors import ConfigError
from armillary.model import TwoTowers, action_positions, video_positions
from armillary.model.shelf import Shelf
from armillary.prompts import action_prompt
from armillary.records import Episode, Segment
from armillary.steps import in_steps
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import TIER, VideoVAE
from armillary.training.flow import more_where_moving
from armillary.training.imagination import ONWARDS
from armillary.training.latents import ANY_TASK, LATENT, encode_windows, load_cache
from armillary.training.parallel import rows_of

ACTIONS = 4  # of a latent frame
CELLS = LATENT[1] * LATENT[2] // 4  # tokens of one


@dataclass(frozen=True, kw_only=True)
class LivingConfig:
    """``latents``: frames of a film, the first included. ``through``: how many steps gradients flow back through what
    was said. ``moving``: by how much more tokens count that differ from the first frame's."""

    latents: int = 16
    through: int = 0
    moving: float = 3.0

    def __post_init__(self) -> None:
        if self.latents < 2 or self.through < 0 or self.moving < 0:
            raise ConfigError(
                f"latents={self.latents}, through={self.through}, moving={self.moving}: a film has two latent frames "
                "or more, and the others are not negative."
            )


def long_film_of(
    episode: Episode, vae: VideoVAE, body: Embodiment, *, latents: int, camera: str, most: int = 1
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """As ``latents.windows_of``, of 4 ``latents`` - 3 frames each; nothing of an episode that is shorter.

    At most ``most`` of an episode, evenly taken.
    """
    episode = in_steps(episode, body)
    frames = 1 + ACTIONS * (latents - 1)
    last = len(episode.actions) + 1 - frames
    if last < 0:
        return {}, []
    starts = sorted(set(np.linspace(0, last, most).round().astype(int).tolist())) if most > 1 else [0]
    video = encode_windows(vae, episode.frames[camera], starts, frames)
    actions = np.stack([body.encode(episode.actions[s : s + frames - 1]) for s in starts])
    view = body.cameras[0].view if body.cameras else None
    row = {
        "task": view or "", "fps": episode.fps, "domain": body.domain_id, "width": body.width, "caption": "",
        "placed": "", "acts": False, "tells": False, "named": {},
    }  # fmt: skip
    rows = [row | {"start": s} for s in starts]
    return {"video": video.bfloat16(), "actions": torch.from_numpy(actions).float(),
            "things": torch.zeros(video.shape[:2])}, rows  # fmt: skip


class Films:
    """Long films to draw from: tokens n (latents x cells) d, actions n c 64, and whose they are."""

    def __init__(self, folders: Sequence[Path], tokenizers: Sequence[Path], config: LivingConfig) -> None:
        self.windows = load_cache(*folders, tokenizers=tokenizers)
        have = self.windows.video.shape[1] // CELLS
        if have < config.latents:
            raise ConfigError(f"latents={config.latents}, but these films have {have}: ask for fewer or make longer.")
        self.weight = more_where_moving(self.windows.video, CELLS, config.moving)

    def __len__(self) -> int:
        return len(self.windows)


class LivingSource:
    """Makes the losses of a step: some films, lived through from their first picture to their last frame."""

    def __init__(self, model: TwoTowers, tokenizer: TextTokenizer, films: Films, config: LivingConfig) -> None:
        self._model, self._films, self._config = model, films, config
        self._shelf, self._ids = Shelf(lambda: model, room=64), lru_cache(64)(tokenizer.prompt_ids)

    def losses(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """``loss`` is the mean over all steps; ``early`` and ``late`` are those of the first and the last third."""
        config = self._config
        rows = rng.integers(len(self._films), size=samples)
        chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
        truth = self._films.windows.video[rows].float().unflatten(1, (-1, CELLS))
        weight = self._films.weight[rows].unflatten(1, (-1, CELLS))
        said = [truth[:, 0]]
        marks: list[Tensor] = []
        for number in range(1, config.latents):
            ages = range(min(number, ONWARDS) - 1, -1, -1)  # of the frames that a step looks back on; 0: the last one
            known = [said[-1 - age] if age < config.through else said[-1 - age].detach() for age in ages]
            latest = self.step(rows, truth[:, 0], known, number, torch.randn(truth[:, 0].shape, generator=chance))
            marks.append((((latest - truth[:, number]) ** 2).mean(-1) * weight[:, number]).mean())
            said.append(latest)
        third = max(1, len(marks) // 3)
        return {
            "loss": torch.stack(marks).mean(), "early": torch.stack(marks[:third]).mean().detach(),
            "late": torch.stack(marks[-third:]).mean().detach(),
        }  # fmt: skip

    def step(
        self, rows: NDArray[np.int64], first: Tensor, known: Sequence[Tensor], number: int, noise: Tensor
    ) -> Tensor:
        """Latent frame ``number`` of films, tokens b cells d, in one step from noise, as ``Onwards`` lays it out.

        ``first``: their first frames; ``known``: the last one to three before it.
        """
        windows, count = self._films.windows, len(known)
        tokens = torch.cat([*known, noise], dim=1)
        level = torch.zeros(tokens.shape[:2])
        level[:, count * CELLS :] = 1
        fps = torch.tensor(windows.fps[rows], dtype=torch.float32)
        grid = (count + 1, *LATENT[1:])
        places = torch.stack([video_positions(grid, fps=float(f)) for f in fps])
        done = windows.actions[rows][:, ACTIONS * (number - count) : ACTIONS * number]
        segments = [
            Segment(modality="video", tokens=first, positions=places[:, :CELLS], level=torch.zeros(first.shape[:2])),
            Segment(modality="video", tokens=tokens, positions=places, level=level),
            Segment(
                modality="action", tokens=done, level=torch.zeros(done.shape[:2]),
                positions=torch.stack([action_positions(done.shape[1], fps=float(f)) for f in fps]),
                domain=torch.tensor(windows.domain[rows]),
            ),
        ]  # fmt: skip
        prompts = [self._prompt(windows.task[row], windows.fps[row], count) for row in rows]
        memory = self._shelf.batch([self._ids(prompt) for prompt in prompts])
        shown = [rows_of(part, slice(None), self._model.device) for part in segments]
        velocity = self._model.velocity(memory, shown, fps=fps.to(self._model.device))[1]
        return noise - velocity[:, count * CELLS :].float().to(noise.device)

    def _prompt(self, view: str, fps: float, count: int) -> str:
        return action_prompt(
            ANY_TASK, frames=1 + ACTIONS * count, fps=float(fps), height=TIER, width=TIER, view=view or None
        )
