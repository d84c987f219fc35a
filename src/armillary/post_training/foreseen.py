"""Clips beside the latents that a checkpoint imagines of them: what its decoder is to show of what it foresees.

    raw episodes, a checkpoint  ->  frames_NAME_00.npy   uint8 n 17 h w 3     what truly happened
                                    latents_NAME_00.npy  float16 n c T y x    what was imagined of it

A decoder has only ever seen latents of pictures. What a generator imagines is the mean of what may come: it lies
between pictures, and what the decoder makes of it is not the mean of theirs. ``VAERun.foreseen`` lets it learn that.
The lives must be new to the generator, since of those it has learnt it foresees more than of any other. A life may be
followed for several chunks, each from the last picture of the one before as it was shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from armillary.datasets.raw import load_raw, raw_files
from armillary.embodiments import Embodiment, load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.media import write_array
from armillary.records import Array, Episode
from armillary.sampling.omni import Omni, load
from armillary.sampling.parts import Parts
from armillary.sampling.pictures import to_pixels
from armillary.steps import in_steps
from armillary.tokenizers.streaming import decode_film
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import check_share
from armillary.training.latents import A_FILE, FRAMES, window_starts
from armillary.training.loop import Report
from armillary.training.made_from import agree, begin

CHUNK = FRAMES - 1
Window = tuple[Array, Array, int]  # frames 16k+1 h w 3, actions 16k c, seed


@dataclass(frozen=True, kw_only=True)
class ForeseenRun:
    """Of every episode in ``data`` at most ``most`` windows, as ``origin`` foresees them from picture and actions.

    ``embodiment``: a body that the checkpoint knows. ``name``: of the files, which lie in ``out`` beside others.
    ``chunks``: how many clips a window is, one after the other. ``vae``: who shows where the next one begins, in place
    of the checkpoint's own tokenizer; its latents must be the same.
    """

    data: Path
    origin: Path
    out: Path
    name: str
    embodiment: str = "tabletop"
    camera: str = "front"
    most: int = 4
    chunks: int = 1
    vae: Path | None = None
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if min(self.most, self.chunks) < 1:
            raise ConfigError(f"most={self.most}, chunks={self.chunks}: at least one window of one chunk.")

    def start(self, report: Report = print) -> None:
        """Imagine what is not there yet; the frames of a file appear last. ``DataError`` where no window fits,
        ``ConfigError`` for a folder that another checkpoint began, or this one with other settings of its own."""
        torch.set_num_threads(self.threads)
        self.out.mkdir(parents=True, exist_ok=True)
        paths = raw_files(self.data)
        groups = list(enumerate(paths[first : first + A_FILE] for first in range(0, len(paths), A_FILE)))
        omni, body = load(self.origin), load_embodiment(self.embodiment, self.origin)
        if self.vae is not None:
            omni.parts.vae = _other_painter(self.vae, omni.parts)
        made_from = made_from_of(omni)
        agree(self.out, made_from)
        there = 0
        for number, group in groups[self.share[0] :: self.share[1]]:
            target = self.out / f"frames_{self.name}_{number:02d}.npy"
            if not target.exists():
                begin(self.out, made_from, "frames_*.npy")
                windows = self._windows([load_raw(path) for path in group], body)
                if len(windows) * self.chunks < 2:
                    continue  # a file needs a clip to learn from and one held out
                clips, latents = foreseen_of(omni, body, windows, self.chunks)
                write_array(self.out / f"latents_{self.name}_{number:02d}.npy", latents)
                write_array(target, clips)
                report(f"{target.name}: {len(clips)} clips")
            there += 1
        if not there and self.share == (0, 1):
            raise DataError(
                f"{self.data} gives no clips: its lives are shorter than {CHUNK * self.chunks + 1} frames. Say fewer "
                "chunks, or record longer ones."
            )

    def _windows(self, episodes: Sequence[Episode], body: Embodiment) -> list[Window]:
        found, length = [], CHUNK * self.chunks
        for episode in (in_steps(one, body) for one in episodes):
            if self.camera not in episode.frames:
                raise DataError(
                    f"an episode of {self.data} has no camera {self.camera!r}: say one of {', '.join(episode.frames)}."
                )
            starts = [start for start in window_starts(episode) if start + length <= len(episode.actions)]
            for i in np.unique(np.linspace(0, len(starts) - 1, min(self.most, len(starts))).round().astype(int)):
                first = starts[i]
                film = episode.frames[self.camera][first : first + length + 1]
                found.append((film, episode.actions[first : first + length], episode.seed))
        return found


def made_from_of(omni: Omni) -> dict[str, str]:
    """What latents that a checkpoint imagines are made from: whose latents they are, and who imagines them how."""
    return {"tokenizer": omni.parts.vae.latents_sha256} | omni.parts.made_from


def foreseen_of(omni: Omni, body: Embodiment, windows: Sequence[Window], chunks: int = 1) -> tuple[Array, Array]:
    """Each chunk of each window, uint8 n 17 h w 3, and the normalised latents that are imagined of it, float16
    n c T y x: from the window's first frame, later ones from where the chunk before came to."""
    clips: list[Array] = []
    found: list[Array] = []
    shown = [film[0] for film, _, _ in windows]
    for chunk in range(chunks):
        first = CHUNK * chunk
        asked = [
            {"mode": "forward-dynamics", "image": picture, "actions": actions[first : first + CHUNK],
             "embodiment": body.name, "seed": seed + chunk, "size": picture.shape[:2]}
            for picture, (_, actions, seed) in zip(shown, windows, strict=True)
        ]  # fmt: skip
        latents = omni.latents(asked)
        found.append(latents.half().numpy())
        if chunk + 1 < chunks:
            vae, where = omni.parts.vae, omni.parts.device
            shown = [to_pixels(decode_film(vae, one[None].to(where)))[0, -1] for one in latents]
        clips.append(np.stack([film[first : first + FRAMES] for film, _, _ in windows]))
    return _interleaved(clips), _interleaved(found)


def _other_painter(folder: Path, parts: Parts) -> VideoVAE:
    """Another decoder of the checkpoint's latents; ``ConfigError`` if its latents are others."""
    vae = VideoVAE.load(folder, dtype=parts.dtype).to(parts.device)
    if vae.latents_sha256 != parts.vae.latents_sha256:
        raise ConfigError(f"{folder} holds a tokenizer of other latents than the checkpoint's: take one of the same.")
    return vae


def _interleaved(chunks: Sequence[Array]) -> Array:
    """Window by window what came chunk by chunk, n each."""
    return np.stack(chunks, axis=1).reshape(-1, *chunks[0].shape[1:])
