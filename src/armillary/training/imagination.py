"""Stage two: the generator learns to imagine and to act, the reasoner frozen.

    in    a cache of windows, a checkpoint whose reasoner can read
    out   the same checkpoint with a generator

Every batch has one layout. With actions: forward dynamics, inverse dynamics and policy, drawn for each sample;
without: text-, image-, video- and first-last-frame-to-video, or a picture. Only the levels differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from armillary.model import TwoTowers, action_positions, video_positions
from armillary.model.shelf import Shelf
from armillary.prompts import action_prompt
from armillary.records import Segment
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import TIER
from armillary.training.flow import flow_loss, mix, sample_levels
from armillary.training.latents import ANY_TASK, FRAMES, Windows

PICTURES = 4  # as many pictures as this cost no more than one film


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """How exercises are drawn and marked. Shares need not add up to one.

    ``full_noise``: the share of samples with actions whose hidden tokens are pure noise (level 1, where sampling
    begins: a solver of few steps gives little but what the model says there; the schedule alone seldom draws it).
    ``policy_video``: the weight of a policy's film beside other films: what nobody can know teaches little.
    """

    action_share: float = 0.75
    modes: Mapping[str, float] = field(
        default_factory=lambda: {"forward-dynamics": 0.4, "inverse-dynamics": 0.15, "policy": 0.45}
    )
    films: Mapping[str, float] = field(
        default_factory=lambda: {
            "text-to-video": 0.5, "image-to-video": 0.1, "video-to-video": 0.05, "first-last-frame": 0.05,
            "text-to-image": 0.3,
        }
    )  # fmt: skip
    shift: float = 3.0
    full_noise: float = 0.4
    video_weight: float = 10.0
    policy_video: float = 0.25
    action_weight: float = 40.0
    moving_weight: float = 3.0  # more weight for tokens that differ from the first frame's
    drop_prompt: float = 0.1
    drop_task: float = 0.5  # of forward and inverse dynamics: told only to move


def drawn(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One name, by its share."""
    names = list(shares)
    weights = np.array([shares[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


class FlowSource:
    """Makes the losses of step i from the windows of one embodiment group."""

    def __init__(self, model: TwoTowers, tokenizer: TextTokenizer, windows: Windows, config: FlowConfig) -> None:
        self._model, self._windows, self._config = model, windows, config
        self._shelf, self._ids = Shelf(lambda: model, room=4000), lru_cache(4000)(tokenizer.prompt_ids)
        self._acting, self._telling = np.flatnonzero(windows.acts), np.flatnonzero(windows.tells)
        self._frames, self._plane = windows.size[0], windows.size[1:]
        self._cells = windows.video.shape[1] // self._frames  # tokens of one latent frame
        still = windows.video[:, : self._cells].float().repeat(1, self._frames, 1)
        change = (windows.video.float() - still).abs().mean(dim=-1)
        self._weight = 1 + config.moving_weight * (change / 0.5).clamp(max=1)
        self._any = {
            fps: action_prompt(ANY_TASK, frames=FRAMES, fps=fps, height=TIER, width=TIER) for fps in set(windows.fps)
        }

    def losses(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        """Draw one batch, ask the model, mark the answer."""
        if rng.random() < self._config.action_share:
            return self._with_actions(rng, samples)
        return self._film(rng, samples)

    def _with_actions(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        windows, config = self._windows, self._config
        rows: list[int] = []
        modes: list[str] = []
        prompts: list[str] = []
        for _ in range(samples):
            mode = drawn(config.modes, rng)
            pool = self._acting if mode == "policy" else np.arange(len(windows))
            row = int(pool[rng.integers(len(pool))])
            told = mode == "policy" or rng.random() >= config.drop_task
            rows.append(row)
            modes.append(mode)
            prompts.append(windows.task[row] if told else self._any[windows.fps[row]])
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        level = sample_levels(samples, shift=config.shift, generator=torch_rng)
        level = level.masked_fill(torch.rand(samples, generator=torch_rng) < config.full_noise, 1.0)
        forward = torch.tensor([mode == "forward-dynamics" for mode in modes])
        inverse = torch.tensor([mode == "inverse-dynamics" for mode in modes])
        policy = torch.tensor([mode == "policy" for mode in modes])
        video_level = level[:, None].repeat(1, self._cells * self._frames)
        video_level[:, : self._cells] = 0
        video_level[inverse] = 0
        action_level = torch.where(forward, 0.0, level)[:, None].repeat(1, FRAMES - 1)
        weight = torch.where(policy, config.policy_video, 1.0)
        return self._marked(rows, prompts, video_level, action_level, torch_rng, weight)

    def _film(self, rng: np.random.Generator, samples: int) -> dict[str, Tensor]:
        windows, config = self._windows, self._config
        mode = drawn(config.films, rng)
        frames = 1 if mode == "text-to-image" else self._frames
        samples *= PICTURES if frames == 1 else 1
        rows = [int(self._telling[rng.integers(len(self._telling))]) for _ in range(samples)]
        prompts = ["" if rng.random() < config.drop_prompt else windows.caption[row] for row in rows]
        if frames == 1:
            prompts = [_still_prompt(prompt) for prompt in prompts]
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
        level = sample_levels(samples, shift=config.shift, generator=torch_rng, image=frames == 1)
        video_level = level[:, None].repeat(1, self._cells * frames)
        given = {"image-to-video": [0], "video-to-video": [0, 1], "first-last-frame": [0, frames - 1]}.get(mode, [])
        for number in given:
            video_level[:, number * self._cells : (number + 1) * self._cells] = 0
        return self._marked(rows, prompts, video_level, None, torch_rng, torch.ones(samples))

    def _marked(
        self,
        rows: list[int],
        prompts: list[str],
        video_level: Tensor,
        action_level: Tensor | None,
        rng: torch.Generator,
        film_weight: Tensor,
    ) -> dict[str, Tensor]:
        windows, config = self._windows, self._config
        fps = torch.tensor(windows.fps[rows], dtype=torch.float32)
        frames = video_level.shape[1] // self._cells
        places = torch.stack([video_positions((frames, *self._plane), fps=float(f)) for f in fps])
        segments, targets, losses = [], [], {}
        video = windows.video[rows][:, : video_level.shape[1]].float()
        noise = torch.randn(video.shape, generator=rng)
        segments.append(
            Segment(modality="video", tokens=mix(video, noise, video_level), positions=places, level=video_level)
        )
        targets.append(noise - video)
        if action_level is not None:
            actions = windows.actions[rows]
            channels = (torch.arange(64) < torch.tensor(windows.width[rows])[:, None]).float()[:, None]
            noise = torch.randn(actions.shape, generator=rng) * channels
            places = torch.stack([action_positions(FRAMES - 1, fps=float(f)) for f in fps])
            segments.append(Segment(modality="action", tokens=mix(actions, noise, action_level), positions=places,
                                    level=action_level, domain=torch.tensor(windows.domain[rows])))  # fmt: skip
            targets.append(noise - actions)
        velocity = self._model.velocity(self._shelf.batch([self._ids(prompt) for prompt in prompts]), segments, fps=fps)
        weight = self._weight[rows][:, : video.shape[1], None] * film_weight[:, None, None]
        losses["video"] = flow_loss(velocity[0], targets[0], video_level > 0, weight)
        loss = config.video_weight * losses["video"]
        if action_level is not None:
            losses["action"] = flow_loss(velocity[1], targets[1], action_level > 0, channels.expand(targets[1].shape))
            loss = loss + config.action_weight * losses["action"]
        return {"loss": loss} | {name: value.detach() for name, value in losses.items()}


def _still_prompt(prompt: str) -> str:
    """A film's prompt as a picture's: only its size is told."""
    words, _, size = prompt.partition("The video is ")
    return words + "This image is of 128x128 resolution." if size else prompt
