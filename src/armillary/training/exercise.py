"""One exercise of the generator: windows, and how noisy every token of each of them is.

windows  ->  Pool      what of them may teach which mode, and how much each token counts
Pool     ->  Exercise  ->  what the model is shown, what it should say, how much every number of that counts
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armillary.errors import DataError
from armillary.model import action_positions, video_positions
from armillary.records import Segment
from armillary.training.flow import mix, stretch
from armillary.training.heard import Heard
from armillary.training.latents import Windows


class Pool:
    """Windows to draw from, with what marks them: the weight of each token, who acts, who is told about.

    ``moving``, ``things``: more weight for tokens that differ from the first frame's, and for those that show things.
    """

    def __init__(self, windows: Windows, *, moving: float, things: float) -> None:
        self.windows = windows
        self.acting, self.telling = np.flatnonzero(windows.acts), np.flatnonzero(windows.tells)
        self._may = {"policy": self.acting, "inverse-dynamics": np.flatnonzero(windows.moves)}  # of others: any
        self.later = np.flatnonzero(windows.opening != np.arange(len(windows)))  # of its episode not the first
        self.frames, self.plane = windows.size[0], windows.size[1:]
        self.cells = windows.video.shape[1] // self.frames  # tokens of one latent frame
        still = windows.video[:, : self.cells].float().repeat(1, self.frames, 1)
        change = (windows.video.float() - still).abs().mean(dim=-1)
        self.weight = 1 + moving * (change / 0.5).clamp(max=1)
        self.weight += things * (windows.things / 0.25).clamp(max=1)

    def draw(self, mode: str, rng: np.random.Generator) -> int:
        """A window that can teach a mode with actions; ``DataError`` where none can."""
        rows = self._may.get(mode, np.arange(len(self.windows)))
        if not len(rows):
            raise DataError(f"no window can teach {mode}: give it a share of 0, or add windows of a body that acts.")
        return int(rows[rng.integers(len(rows))])


@dataclass(frozen=True, kw_only=True, eq=False)
class Exercise:
    """Windows ``rows`` of a pool, each with its prompt, and how noisy every token of it is (0: given).

    ``levels``: of the films' tokens b n, of the actions b c if they take part. ``film_weight`` b. ``listen``: whether
    to look how much worse it gets with exchanged prompts. ``begins`` b: by how many latent frames it begins after its
    window. ``lived`` b m d: what is given in place of the first m tokens as they truly were. ``control`` b n d: tokens
    of another film, given as a whole, before the film and nowhere marked. ``heard``, ``sound_level`` b: the sounds.
    """

    pool: Pool
    rows: list[int]
    prompts: list[str]
    video_level: Tensor
    action_level: Tensor | None
    film_weight: Tensor
    listen: bool
    begins: Tensor | None = None
    lived: Tensor | None = None
    control: Tensor | None = None
    heard: Heard | None = None
    sound_level: Tensor | None = None

    @property
    def fps(self) -> Tensor:
        return torch.tensor(self.pool.windows.fps[self.rows], dtype=torch.float32)

    def made(self, rng: torch.Generator) -> tuple[list[Segment], list[Tensor], list[Tensor]]:
        """What the model is shown, what it should say, and how much every number of that counts."""
        pool, windows, rows, level = self.pool, self.pool.windows, self.rows, self.video_level
        grid = (level.shape[1] // pool.cells, *pool.plane)
        begins = torch.zeros(len(rows), dtype=torch.long) if self.begins is None else self.begins
        video = stretch(windows.video[rows], begins * pool.cells, level.shape[1]).float()
        noise = torch.randn(video.shape, generator=rng)
        seen = video if self.lived is None else torch.cat([self.lived, video[:, self.lived.shape[1] :]], dim=1)
        places = torch.stack([video_positions(grid, fps=float(f)) for f in self.fps])
        segments = [Segment(modality="video", tokens=mix(seen, noise, level), positions=places, level=level)]
        targets = [noise - video]
        counts = stretch(pool.weight[rows], begins * pool.cells, video.shape[1])[..., None]
        weights = [counts * self.film_weight[:, None, None]]
        if self.control is not None:
            given = self.control.float()
            none = level.new_zeros(given.shape[:2])
            shown = Segment(modality="video", tokens=given, positions=places[:, : none.shape[1]], level=none)
            segments, targets = [shown, *segments], [given, *targets]
            weights = [torch.ones_like(given[..., :1]), *weights]
        if self.heard is not None and self.sound_level is not None:
            sound, target, weight = self.heard.made(rows, self.sound_level, rng)
            segments, targets, weights = [*segments, sound], [*targets, target], [*weights, weight]
        if self.action_level is None:
            return segments, targets, weights
        level = self.action_level
        actions = stretch(windows.actions[rows], begins * 4, level.shape[1])
        channels = (torch.arange(64) < torch.tensor(windows.width[rows])[:, None]).float()[:, None]
        noise = torch.randn(actions.shape, generator=rng) * channels
        places = torch.stack([action_positions(level.shape[1], fps=float(f)) for f in self.fps])
        segments.append(Segment(modality="action", tokens=mix(actions, noise, level), positions=places, level=level,
                                domain=torch.tensor(windows.domain[rows])))  # fmt: skip
        return segments, [*targets, noise - actions], [*weights, channels.expand(actions.shape)]
