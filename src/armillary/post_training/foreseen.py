"""Clips beside the latents that a checkpoint imagines of them: what its decoder is to show of what it foresees.

    raw episodes, a checkpoint  ->  frames_NAME_00.npy   uint8 n 17 h w 3     what truly happened
                                    latents_NAME_00.npy  float16 n c T y x    what was imagined of it

A decoder has only ever seen latents of pictures. What a generator imagines is the mean of what may come: it lies
between pictures, and what the decoder makes of it is not the mean of theirs. ``VAERun.foreseen`` lets it learn that.
The lives must be new to the generator, since of those it has learnt it foresees more than of any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from armillary.datasets.raw import load_raw, raw_files
from armillary.embodiments import Embodiment, load_embodiment
from armillary.errors import DataError
from armillary.records import Array, Episode
from armillary.sampling.imagine import LARGEST_BATCH
from armillary.sampling.omni import Omni, load
from armillary.steps import in_steps
from armillary.training.episodes import check_share
from armillary.training.latents import A_FILE, FRAMES, window_starts

Clip = tuple[Array, Array, int]  # frames 17 h w 3, actions 16 c, seed


@dataclass(frozen=True, kw_only=True)
class ForeseenRun:
    """Of every episode in ``data`` at most ``most`` windows, as ``origin`` foresees them from picture and actions.

    ``embodiment``: a body that the checkpoint knows. ``name``: of the files, which lie in ``out`` beside others.
    """

    data: Path
    origin: Path
    out: Path
    name: str
    embodiment: str = "tabletop"
    camera: str = "front"
    most: int = 4
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)

    def start(self, report: Callable[[str], None] = print) -> None:
        """Imagine what is not there yet; the frames of a file appear last."""
        torch.set_num_threads(self.threads)
        self.out.mkdir(parents=True, exist_ok=True)
        paths = raw_files(self.data)
        groups = list(enumerate(paths[first : first + A_FILE] for first in range(0, len(paths), A_FILE)))
        omni, body, count = load(self.origin), load_embodiment(self.embodiment, self.origin), 0
        for number, group in groups[self.share[0] :: self.share[1]]:
            target = self.out / f"frames_{self.name}_{number:02d}.npy"
            if not target.exists():
                clips = self._clips([load_raw(path) for path in group], body)
                if len(clips) < 2:
                    continue  # a file needs a clip to learn from and one held out
                count += len(clips)
                foreseen = foreseen_of(omni, body, clips)
                for path, part in (
                    (self.out / f"latents_{self.name}_{number:02d}.npy", foreseen),
                    (target, np.stack([frames for frames, _, _ in clips])),
                ):
                    draft = path.with_suffix(".draft.npy")
                    np.save(draft, part)
                    draft.replace(path)
                report(f"{target.name}: {count} clips by now")
        if not any(self.out.glob(f"frames_{self.name}_*.npy")):
            raise DataError(f"{self.data} gives no clips: it needs at least two windows of {FRAMES} frames.")

    def _clips(self, episodes: Sequence[Episode], body: Embodiment) -> list[Clip]:
        found = []
        for episode in (in_steps(one, body) for one in episodes):
            starts = window_starts(episode)
            for i in np.unique(np.linspace(0, len(starts) - 1, min(self.most, len(starts))).round().astype(int)):
                first = starts[i]
                film = episode.frames[self.camera][first : first + FRAMES]
                found.append((film, episode.actions[first : first + FRAMES - 1], episode.seed))
        return found


def foreseen_of(omni: Omni, body: Embodiment, clips: Sequence[Clip]) -> Array:
    """Normalised latents, float16 n c T y x, of each clip as it is imagined from its first frame and its actions."""
    asked = [
        {"mode": "forward-dynamics", "image": film[0], "actions": actions, "embodiment": body.name, "seed": seed}
        for film, actions, seed in clips
    ]
    parts = [omni.latents(asked[first : first + LARGEST_BATCH]) for first in range(0, len(asked), LARGEST_BATCH)]
    return torch.cat(parts).half().numpy()
