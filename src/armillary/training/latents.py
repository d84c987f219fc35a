"""Windows of episodes as the generator's tokens, made once and kept.

    in    raw episodes, the video tokenizer, the embodiments
    out   small files: video tokens n 80 192, actions n 16 64, where things are n 80, prompts, what a window may teach

Windows are 17 frames at the episode's rate, or (``stills``) one frame and the actions after it: what a picture from
words and an action from a picture are learnt from, at a fifth of the cost. Clips are encoded on the 256 canvas and
their latents cropped (cosmos3.md 9.7), as sampling does it, so that a checkpoint means the same in both.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from armillary.datasets.raw import load_raw, raw_files
from armillary.datasets.told import told_of
from armillary.embodiments import Embodiment
from armillary.errors import DataError
from armillary.model import patchify
from armillary.prompts import action_prompt, placed_caption, video_prompt
from armillary.records import Episode
from armillary.steps import in_steps
from armillary.tokenizers.video import SPACE, TIER, VideoVAE, near_canvas, on_canvas
from armillary.training.made_from import agree, begin, check_tokenizers

FRAMES, STRIDE, PICTURE = 17, 4, (128, 128)
LATENT = (5, 8, 8)  # frames, rows, columns of the latents of such a picture's window
STILL = (1, 8, 8)  # and of one picture alone
A_FILE = 25  # so many episodes' stills lie in one file
Cut = Callable[[Sequence[Episode]], tuple[dict[str, Tensor], list[dict[str, Any]]]]  # episodes -> windows, their words
ANY_TASK = "Move the arm."  # for forward and inverse dynamics, where the actions say everything


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """All windows of a cache: bf16 video tokens n m d, float actions n c 64, and of each window its prompts.

    ``things`` n m: how much of a token's picture shows things, 0 to 1, where boxes are known.
    """

    video: Tensor
    actions: Tensor
    things: Tensor
    domain: NDArray[np.int64]
    width: NDArray[np.int64]  # of the actions
    fps: NDArray[np.float64]
    task: list[str]  # the action prompt
    caption: list[str]  # the video prompt
    placed: list[str]  # the same with the places of things, or empty
    acts: NDArray[np.bool_]  # whether a policy may learn from it
    tells: NDArray[np.bool_]  # whether the caption describes it
    named: list[Mapping[str, Sequence[int]]]  # boxes of the things a single frame's words name, in pixels
    opening: NDArray[np.int64]  # of each window the first one of its episode, as a row
    size: tuple[int, int, int] = LATENT  # latent frames, rows, columns of every window

    def __len__(self) -> int:
        return len(self.task)

    @property
    def moves(self) -> NDArray[np.bool_]:
        """Of each window whether the actions of its body ever differ, in any window.

        Those of a camera that stands still do not: there is nothing in its films to find them by, and nothing to find.
        """
        moving = {d: bool((own != own[0, 0]).any()) for d in set(self.domain.tolist())
                  for own in (self.actions[torch.from_numpy(self.domain == d)],)}  # fmt: skip
        return np.array([moving[d] for d in self.domain.tolist()], bool)


def window_starts(episode: Episode, *, stride: int = STRIDE, offset: int = 0) -> list[int]:
    """Where windows begin: every ``stride`` frames, the first at ``offset``, the last as late as it fits."""
    last = len(episode.actions) + 1 - FRAMES
    if last < 0:
        return []
    return sorted({*range(min(offset, last), last + 1, stride), last})


def encode_windows(
    vae: VideoVAE, frames: NDArray[np.uint8], starts: list[int], length: int = FRAMES, *, canvas: bool = True
) -> Tensor:
    """Video tokens n m d of windows of ``length`` frames t h w 3, encoded a few at a time, on the canvas or alone.

    Encoded where the tokenizer lies; handed back on the CPU.
    """
    device, found, together = next(vae.parameters()).device, [], 4 if length > 1 else 32
    for first in range(0, len(starts), together):
        clips = np.stack([frames[s : s + length] for s in starts[first : first + together]])
        pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        rows, columns = (side // SPACE for side in pixels.shape[-2:])
        if canvas:
            pixels = on_canvas(pixels)[0] if vae.sees_whole_frames else near_canvas(pixels)
        found.append(patchify(vae.encode(pixels.to(device))[..., :rows, :columns], 2).cpu())
    return torch.cat(found)


def windows_of(
    episode: Episode, vae: VideoVAE, embodiment: Embodiment, *, camera: str = "front", most: int = 6,
    canvas: bool = True,
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:  # fmt: skip
    """Tensors of an episode's windows, and a row of words for each. At most ``most`` windows, evenly taken.

    ``canvas``: whether clips are encoded on it, as sampling does it where there are actions.
    """
    detour = int(episode.recipe.get("detour", 0))
    episode, expert = in_steps(episode, embodiment), _acts_well(episode)
    starts = window_starts(episode, offset=detour % STRIDE)
    if len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    if not starts:
        return {}, []
    video = encode_windows(vae, episode.frames[camera], starts, canvas=canvas)
    actions = np.stack([embodiment.encode(episode.actions[s : s + FRAMES - 1]) for s in starts])
    words = {s: told_of(episode, s, FRAMES) for s in starts}
    with_places = _film_prompt(placed_caption(episode.captions), episode.fps)
    rows = [
        _row(episode, embodiment, s, episode.instruction)
        | {
            "caption": _film_prompt(words[s] or "", episode.fps), "placed": with_places if s < STRIDE else "",
            "acts": expert and s >= detour, "named": {},
            "tells": words[s] is not None and bool(s == starts[0] or not expert),
        }
        for s in starts
    ]  # fmt: skip
    things = torch.stack([things_of(episode, range(s, s + FRAMES, 4)) for s in starts])
    return {"video": video.bfloat16(), "actions": torch.from_numpy(actions).float(), "things": things}, rows


def stills_of(
    episodes: Sequence[Episode], vae: VideoVAE, embodiment: Embodiment, *, camera: str = "front", most: int = 12
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """As ``windows_of``, of one frame each.

    Every first frame with its captions; where an expert acts, at most ``most`` frames of an episode with the actions
    that follow (at least eight, the last one repeated); and a still once for each of its plans, which begin at its
    first frame, or at those that the recipe's ``planned_at`` names.
    """
    shown, follow, told = [], [], []
    episodes = [in_steps(episode, embodiment) for episode in episodes]
    for episode in episodes:
        acting = _acting(episode, most)
        for s in sorted({0, *acting}):
            shown.append((episode, s))
            rest = np.minimum(np.arange(s, s + FRAMES - 1), len(episode.actions) - 1)
            follow.append(episode.actions[rest] if s in acting else None)
            told.append((episode.instruction, s == 0))
        plans = episode.recipe.get("plans", ())
        frames = episode.recipe.get("planned_at", [0] * len(plans))
        for words, plan, s in zip(plans, episode.states.get("plans", ()), frames, strict=True):
            shown.append((episode, s))
            follow.append(plan)
            told.append((words, False))
    rows = [
        _row(episode, embodiment, s, words)
        | {
            "caption": _still_caption(episode) if tells else "", "placed": "", "acts": plan is not None, "tells": tells,
            "named": {name: list(box) for name, box in episode.boxes[0].items()} if tells and episode.boxes else {},
        }
        for (episode, s), plan, (words, tells) in zip(shown, follow, told, strict=True)
    ]  # fmt: skip
    nothing = np.zeros((FRAMES - 1, 64), np.float32)
    actions = np.stack([nothing if plan is None else embodiment.encode(plan) for plan in follow])
    different = list({(id(episode), s): (episode, s) for episode, s in shown}.values())
    places = {(id(episode), s): i for i, (episode, s) in enumerate(different)}
    which = [places[id(episode), s] for episode, s in shown]
    pictures = np.stack([episode.frames[camera][s] for episode, s in different])
    video = encode_windows(vae, pictures, list(range(len(pictures))), 1).bfloat16()[which]
    things = torch.stack([things_of(episode, [s]) for episode, s in different])[which]
    return {"video": video, "actions": torch.from_numpy(actions).float(), "things": things}, rows


def laid_of(
    episodes: Sequence[Episode], vae: VideoVAE, embodiment: Embodiment, *, camera: str = "front"
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """As ``stills_of``, of tables as they are laid: every frame, ``named`` its newest thing where that can be seen."""
    pictures = np.concatenate([episode.frames[camera] for episode in episodes])
    rows, things = [], []
    for episode in episodes:
        for count, boxes in enumerate(episode.boxes or ()):
            newest = episode.captions.get(f"laid {count}", "")
            named = {newest: list(boxes[newest])} if newest in boxes else {}
            words = {"caption": "", "placed": "", "acts": False, "tells": False, "named": named}
            rows.append(_row(episode, embodiment, count, episode.instruction) | words)
            things.append(things_of(episode, [count]))
    video = encode_windows(vae, pictures, list(range(len(pictures))), 1).bfloat16()
    actions = torch.zeros(len(rows), FRAMES - 1, 64)
    return {"video": video, "actions": actions, "things": torch.stack(things)}, rows


def _acts_well(episode: Episode) -> bool:
    """Whether a policy may learn from an episode: an expert's that succeeded."""
    return bool(episode.recipe.get("controller") == "expert" and episode.success)


def _acting(episode: Episode, most: int) -> list[int]:
    """The frames of an expert's episode from which at least eight actions follow, evenly taken."""
    if not _acts_well(episode):
        return []
    acting = list(range(int(episode.recipe.get("detour", 0)), len(episode.actions) - 7))
    return [acting[i] for i in np.linspace(0, len(acting) - 1, min(most, len(acting))).round().astype(int)]


def things_of(episode: Episode, frames: Iterable[int]) -> Tensor:
    """How much of each token's picture lies in boxes of things, 0 to 1, for the tokens of these frames: m."""
    rows, columns = LATENT[1] // 2, LATENT[2] // 2
    shares = []
    for frame in frames:
        inside = in_boxes(episode.boxes[frame] if episode.boxes else {}, PICTURE)
        shares.append(inside.reshape(rows, PICTURE[0] // rows, columns, PICTURE[1] // columns).mean((1, 3)).ravel())
    return torch.from_numpy(np.concatenate(shares))


def in_boxes(boxes: Mapping[str, Sequence[int]], size: tuple[int, int]) -> NDArray[np.uint8]:
    """1 inside the boxes (left, top, right, bottom) of a picture of ``size`` h w, else 0."""
    mask = np.zeros(size, np.uint8)
    for left, top, right, bottom in boxes.values():
        mask[top:bottom, left:right] = 1
    return mask


def _row(episode: Episode, embodiment: Embodiment, start: int, instruction: str) -> dict[str, Any]:
    """What every window says of itself."""
    task = action_prompt(instruction, frames=FRAMES, fps=episode.fps, height=TIER, width=TIER)
    body = {"domain": embodiment.domain_id, "width": embodiment.width}
    return {"task": task, "fps": episode.fps, "start": start, **body}


def _film_prompt(words: str, fps: float) -> str:
    return words and video_prompt(words, frames=FRAMES, fps=fps, height=PICTURE[0], width=PICTURE[1])


def _still_caption(episode: Episode) -> str:
    """One of four ways to say what a picture shows, always the same for an episode; half of them with places.

    Where no places were kept: what the first frame shows, and nothing of what comes later.
    """
    told = episode.captions
    ways = [told_of(episode, 0, 1) or told["dense"]]
    if "report 0" in told:
        ways = [told["scene"], told["dense"], f"On the table: {told['report 0']}", placed_caption(told)]
    return video_prompt(ways[episode.seed % len(ways)], frames=1, fps=episode.fps, height=PICTURE[0], width=PICTURE[1])


def make_cache(
    data: Path, folder: Path, cut: Cut, *, share: tuple[int, int] = (0, 1), together: int = 1,
    made_from: Mapping[str, str] | None = None,
) -> Iterator[str]:  # fmt: skip
    """Encode the episodes that have no file yet, yielding each one's name; may be cut off and continued.

    ``cut`` makes the windows of the ``together`` episodes of a file. ``made_from``: what all files of the folder must
    share, which it keeps (``made_from.py``); ``ConfigError`` where they do not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    agree(folder, made_from or {})
    paths = raw_files(data)
    groups = [paths[first : first + together] for first in range(0, len(paths), together)]
    for group in groups[share[0] :: share[1]]:
        target = folder / f"{group[0].stem}.safetensors"
        if not target.exists():
            if made_from is not None:
                begin(folder, made_from)
            tensors, rows = cut([load_raw(path) for path in group])
            if not rows:
                continue
            draft = target.with_suffix(f".draft{share[0]}")
            save_file(tensors, draft, metadata={"rows": json.dumps(rows)})
            os.replace(draft, target)
        yield from (path.stem for path in group)


def load_cache(
    *folders: Path, keep: Callable[[dict[str, Any]], bool] = lambda row: True, tokenizers: Sequence[Path] = ()
) -> Windows:
    """All windows of a cache, or of several one after the other, whose row ``keep`` accepts.

    ``DataError`` for a cache that an earlier version made, one without windows, caches of different sizes, or of
    different tokenizers, as far as they say: of others than ``tokenizers``, if these are named.
    """
    from safetensors import safe_open

    check_tokenizers(folders, tokenizers)
    video: list[Tensor] = []
    actions, things, rows = [], [], []
    opening: list[int] = []
    for path in cache_files(*folders):
        with safe_open(path, "pt") as file:
            own = json.loads(file.metadata()["rows"])
        if any("named" not in row for row in own):
            raise DataError(f"{path} does not say where named things are, an earlier version made it: make it anew.")
        tensors = load_file(path)
        if video and tensors["video"].shape[1:] != video[0].shape[1:]:
            sizes = [one.shape[1] for one in (tensors["video"], video[0])]
            raise DataError(
                f"{path}: windows of {sizes[0]} tokens, those before of {sizes[1]}: films and single frames lie apart."
            )
        wanted = [i for i, row in enumerate(own) if keep(row)]
        video.append(tensors["video"][wanted])
        actions.append(tensors["actions"][wanted])
        things.append(tensors["things"][wanted])
        for last, i in pairwise([-1, *wanted]):
            later = last >= 0 and own[i]["start"] > own[last]["start"]
            opening.append(opening[-1] if later else len(opening))
        rows += [own[i] for i in wanted]
    tensors = {"video": torch.cat(video), "actions": torch.cat(actions), "things": torch.cat(things)}
    return windows_from(tensors, rows, opening)


def cache_files(*folders: Path) -> list[Path]:
    """The files of caches, folder by folder, one named twice counts twice; ``DataError`` for one that holds none."""
    found = [(folder, sorted(folder.glob("*.safetensors"))) for folder in folders]
    for folder, files in found:
        if not files:
            raise DataError(f"{folder} holds no windows: encode some first, for example with the run `pico-cache`.")
    return [path for _, files in found for path in files]


def windows_from(tensors: Mapping[str, Tensor], rows: Sequence[Mapping[str, Any]], opening: Sequence[int]) -> Windows:
    """What ``windows_of`` gives, of one episode or of many together, as ``Windows``."""
    return Windows(
        **tensors,
        domain=np.array([r["domain"] for r in rows]), width=np.array([r["width"] for r in rows]),
        fps=np.array([r["fps"] for r in rows]),
        task=[r["task"] for r in rows], caption=[r["caption"] for r in rows], placed=[r["placed"] for r in rows],
        size=LATENT if tensors["video"].shape[1] == math.prod(LATENT) // 4 else STILL,
        acts=np.array([r["acts"] for r in rows]), tells=np.array([r["tells"] for r in rows]),
        named=[r["named"] for r in rows], opening=np.array(opening, np.int64),
    )  # fmt: skip
