"""Windows of episodes as the generator's tokens, made once and kept.

    in    raw episodes, the video tokenizer, the embodiments
    out   one small file an episode: video tokens n 80 192, actions n 16 64, prompts, what a window may teach

Windows are 17 frames at the episode's rate. Clips are encoded on the 256 canvas and their latents cropped
(cosmos3.md 9.7), as sampling does it, so that a checkpoint means the same in both.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from armillary.datasets.raw import load_raw, raw_files
from armillary.embodiments import Embodiment, load_embodiment
from armillary.model import patchify
from armillary.prompts import action_prompt, video_prompt
from armillary.records import Episode
from armillary.tokenizers.video import SPACE, TIER, VideoVAE, near_canvas, on_canvas

FRAMES, STRIDE, PICTURE = 17, 4, (128, 128)
LATENT = (5, 8, 8)  # frames, rows, columns of the latents of such a picture's window
ANY_TASK = "Move the arm."  # for forward and inverse dynamics, where the actions say everything


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """All windows of a cache: bf16 video tokens n m d, float actions n c 64, and of each window its prompts."""

    video: Tensor
    actions: Tensor
    domain: NDArray[np.int64]
    width: NDArray[np.int64]  # of the actions
    fps: NDArray[np.float64]
    task: list[str]  # the action prompt
    caption: list[str]  # the video prompt
    acts: NDArray[np.bool_]  # whether a policy may learn from it
    tells: NDArray[np.bool_]  # whether the caption describes it
    size: tuple[int, int, int] = LATENT  # latent frames, rows, columns of every window

    def __len__(self) -> int:
        return len(self.task)


def window_starts(episode: Episode, *, stride: int = STRIDE, offset: int = 0) -> list[int]:
    """Where windows begin: every ``stride`` frames, the first at ``offset``, the last as late as it fits."""
    last = len(episode.actions) + 1 - FRAMES
    if last < 0:
        return []
    return sorted({*range(min(offset, last), last + 1, stride), last})


def encode_windows(vae: VideoVAE, frames: NDArray[np.uint8], starts: list[int]) -> Tensor:
    """Video tokens n m d of windows of frames t h w 3, encoded on the canvas a few at a time."""
    found = []
    for first in range(0, len(starts), 4):
        clips = np.stack([frames[s : s + FRAMES] for s in starts[first : first + 4]])
        pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        rows, columns = (side // SPACE for side in pixels.shape[-2:])
        canvas = on_canvas(pixels)[0] if vae.sees_whole_frames else near_canvas(pixels)
        found.append(patchify(vae.encode(canvas)[..., :rows, :columns], 2))
    return torch.cat(found)


def windows_of(
    episode: Episode, vae: VideoVAE, embodiment: Embodiment, *, camera: str = "front", most: int = 6
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Tensors of an episode's windows, and a row of words for each. At most ``most`` windows, evenly taken."""
    detour = int(episode.recipe.get("detour", 0))
    expert = episode.recipe.get("controller") == "expert" and episode.success
    starts = window_starts(episode, offset=detour % STRIDE)
    if len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    if not starts:
        return {}, []
    video = encode_windows(vae, episode.frames[camera], starts)
    actions = np.stack([embodiment.encode(episode.actions[s : s + FRAMES - 1]) for s in starts])
    size = {"frames": FRAMES, "fps": episode.fps}
    rows = [
        {
            "task": action_prompt(episode.instruction, height=TIER, width=TIER, **size),  # type: ignore[arg-type]
            "caption": video_prompt(episode.captions["dense"], height=PICTURE[0], width=PICTURE[1], **size),  # type: ignore[arg-type]
            "acts": bool(expert and s >= detour), "tells": bool(s == starts[0] or not expert), "fps": episode.fps,
            "domain": embodiment.domain_id, "width": embodiment.width, "start": s,
        }
        for s in starts
    ]  # fmt: skip
    return {"video": video.bfloat16(), "actions": torch.from_numpy(actions).float()}, rows


def make_cache(
    data: Path,
    folder: Path,
    vae: VideoVAE,
    *,
    share: tuple[int, int] = (0, 1),
    most: int = 6,
    embodiment: str = "tabletop",
    camera: str = "front",
) -> Iterator[str]:
    """Encode the episodes that have no file yet, yielding each one's name; may be cut off and continued."""
    folder.mkdir(parents=True, exist_ok=True)
    body = load_embodiment(embodiment)
    for path in raw_files(data)[share[0] :: share[1]]:
        target = folder / f"{path.stem}.safetensors"
        if not target.exists():
            tensors, rows = windows_of(load_raw(path), vae, body, camera=camera, most=most)
            if not rows:
                continue
            draft = target.with_suffix(f".draft{share[0]}")
            save_file(tensors, draft, metadata={"rows": json.dumps(rows)})
            os.replace(draft, target)
        yield path.stem


def load_cache(folder: Path, *, keep: Callable[[dict[str, Any]], bool] = lambda row: True) -> Windows:
    """All windows of a cache whose row ``keep`` accepts."""
    from safetensors import safe_open

    video, actions, rows = [], [], []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            own = json.loads(file.metadata()["rows"])
        tensors = load_file(path)
        wanted = [i for i, row in enumerate(own) if keep(row)]
        video.append(tensors["video"][wanted])
        actions.append(tensors["actions"][wanted])
        rows += [own[i] for i in wanted]
    return Windows(
        video=torch.cat(video), actions=torch.cat(actions), domain=np.array([r["domain"] for r in rows]),
        width=np.array([r["width"] for r in rows]), fps=np.array([r["fps"] for r in rows]),
        task=[r["task"] for r in rows], caption=[r["caption"] for r in rows],
        acts=np.array([r["acts"] for r in rows]), tells=np.array([r["tells"] for r in rows]),
    )  # fmt: skip
