"""The stages before any learning: episodes are simulated, cut into clips, and encoded once.

    DataRun    a world  ->  raw episodes
    ClipsRun   raw episodes  ->  clips of plain bytes, for the video tokenizer
    CacheRun   raw episodes and a video tokenizer  ->  windows as the generator's tokens

Each may be cut off and started again, and may be shared between processes: ``share`` (i, n) is the i-th of n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.datasets.raw import load_raw, raw_files, simulate_raw, simulate_world
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.media import write_array
from armillary.model.arithmetic import usable_device
from armillary.records import Episode
from armillary.tokenizers.video import VideoVAE
from armillary.training.held import held_of
from armillary.training.latents import A_FILE, FRAMES, in_boxes, laid_of, make_cache, stills_of, windows_of
from armillary.training.loop import Report

SAY_EVERY = 25
MOST = 0.5  # share of a clip inside boxes from which on these no longer tell things from ground


def check_share(share: tuple[int, int]) -> None:
    """``ConfigError`` unless ``share`` is the i-th of n."""
    if not 0 <= share[0] < share[1]:
        raise ConfigError(f"share={share}: it must be (i, n) with i from 0 to n - 1, as (0, 1) for everything.")


@dataclass(frozen=True, kw_only=True)
class DataRun:
    """Episodes ``seed`` to ``seed + episodes - 1`` of ``world``; at the table: expert, clumsy and random ones.

    In another world ``controllers`` act in turn, seed by seed; where none is named, all who may.

    ``stills``: only the one picture of each seed's table before anything moves, and what the expert would do first
    for ``plans`` instructions. ``laid``: that table bare, and then with one thing more in every picture.
    """

    out: Path
    episodes: int
    seed: int = 0
    stills: bool = False
    laid: bool = False
    plans: int = 5
    world: str = "tabletop"
    controllers: tuple[str, ...] = ()
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.episodes < 1:
            raise ConfigError(f"episodes={self.episodes}: simulate at least one.")
        if self.stills and self.laid:
            raise ConfigError("stills and laid came together: a table is one picture or many; give them folders apart.")
        if self.world != "tabletop" and (self.stills or self.laid):
            raise ConfigError(f"world={self.world!r}: stills and laid are of the tabletop; leave them away elsewhere.")
        if self.world == "tabletop" and self.controllers:
            raise ConfigError(
                "who acts at the tabletop is drawn from the seed: name controllers for other worlds only."
            )


@dataclass(frozen=True, kw_only=True)
class ClipsRun:
    """``windows`` windows of every episode in ``data`` as byte clips, those of ``a_file`` episodes a file.

    ``name``: what its files are called by, so that clips of several worlds may lie in one folder.
    """

    data: Path
    out: Path
    camera: str = "front"
    a_file: int = 100
    windows: int = 2
    seed: int = 0
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class CacheRun:
    """The windows of every episode in ``data``, at most ``most`` of each, encoded by the tokenizer in ``vae``.

    ``stills``: windows of one frame, for pictures from words and for actions from a picture. ``controls``: windows with
    the films that may hold them beside, for films under controls; the episodes are simulated again for that. ``laid``:
    pictures of tables as they are laid.
    """

    data: Path
    vae: Path
    out: Path
    most: int = 6
    embodiment: str = "tabletop"
    camera: str = "front"
    stills: bool = False
    controls: bool = False
    laid: bool = False
    share: tuple[int, int] = (0, 1)
    threads: int = 1
    device: str = "cpu"  # or cuda

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.stills + self.controls + self.laid > 1:
            raise ConfigError("a cache has one kind of windows: say one of stills, controls and laid.")


def simulate(run: DataRun, report: Report = print) -> int:
    """Simulate what is not there yet; returns how many episodes this share has."""
    made = 0
    what = {"episodes": run.episodes, "seed": run.seed, "share": run.share}
    if run.world == "tabletop":
        seeds = simulate_raw(run.out, stills=run.stills, laid=run.laid, plans=run.plans, **what)  # type: ignore[arg-type]
    else:
        seeds = simulate_world(run.out, world=run.world, acting=run.controllers, **what)  # type: ignore[arg-type]
    for seed in seeds:
        made += 1
        if made % SAY_EVERY == 0:
            report(f"{made} episodes, the last with seed {seed}")
    return made


def cut_clips(run: ClipsRun, report: Report = print) -> int:
    """Write ``frames_00.npy`` and so on, uint8 n 17 h w 3; returns how many clips. Files that are there stay.

    With a ``name`` they are ``frames_NAME_00.npy``.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    paths = raw_files(run.data)
    count = 0
    for number, first in enumerate(range(0, len(paths), run.a_file)):
        rng = np.random.default_rng([run.seed, number, 5])
        ending = f"{run.name and run.name + '_'}{number:02d}.npy"
        target = run.out / f"frames_{ending}"
        episodes = [load_raw(path) for path in paths[first : first + run.a_file]]
        long = [episode for episode in episodes if len(episode.frames[run.camera]) >= FRAMES]
        if len(long) < 2:
            continue  # a file needs a clip to learn from and one held out
        count += run.windows * len(long)
        if not target.exists():
            cut = []
            for episode in long:
                last = len(episode.frames[run.camera]) - FRAMES
                for start in rng.integers(last + 1, size=run.windows).tolist():
                    cut.append((episode.frames[run.camera][start : start + FRAMES], _boxed(episode, run.camera, start)))
            masks = run.out / f"masks_{ending}"
            for path, part in ((masks, 1), (target, 0)):
                write_array(path, np.stack([both[part] for both in cut]))
            report(f"{target.name}: {len(cut)} clips")
    if not count:
        raise DataError(f"{run.data} gives no clips: it needs at least two episodes of {FRAMES} frames.")
    return count


def _boxed(episode: Episode, camera: str, start: int) -> NDArray[np.uint8]:
    """Masks of a clip, uint8 17 h w: 1 inside the boxes of what is seen, where boxes are known, else 0.

    Boxes are of the first camera. Where they cover most of a clip, as of a table that fills it, they mark nothing.
    """
    size = episode.frames[camera].shape[1:3]
    masks = np.zeros((FRAMES, *size), np.uint8)
    if episode.boxes and camera == next(iter(episode.frames)):
        for mask, boxes in zip(masks, episode.boxes[start : start + FRAMES], strict=True):
            mask[:] = in_boxes(boxes, size)
    return masks if masks.mean() <= MOST else np.zeros_like(masks)


def encode(run: CacheRun, report: Report = print) -> int:
    """Encode what is not there yet; returns how many episodes this share has.

    ``ConfigError`` for a folder that was begun by another tokenizer or with other kinds of windows.
    """
    torch.set_num_threads(run.threads)
    vae = VideoVAE.load(run.vae, dtype=torch.bfloat16).to(usable_device(run.device))
    body, how = load_embodiment(run.embodiment), {"camera": run.camera, "most": run.most}

    def cut(episodes: Sequence[Episode]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        if run.stills:
            return stills_of(episodes, vae, body, **how)  # type: ignore[arg-type]
        if run.laid:
            return laid_of(episodes, vae, body, camera=run.camera)
        return (held_of if run.controls else windows_of)(episodes[0], vae, body, **how)  # type: ignore[arg-type]

    made = 0
    together = A_FILE if run.stills or run.laid else 1
    kind = next((kind for kind in ("stills", "controls", "laid") if getattr(run, kind)), "films")
    made_from = {"tokenizer": vae.latents_sha256, "windows": kind}
    for name in make_cache(run.data, run.out, cut, share=run.share, together=together, made_from=made_from):
        made += 1
        if made % SAY_EVERY == 0:
            report(f"{made} episodes, the last {name}")
    return made
