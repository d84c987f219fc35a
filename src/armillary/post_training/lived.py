"""Windows that begin where an imagination has come to, and go on as it truly went.

    raw episodes, a checkpoint  ->  each life imagined whole, chunk after chunk, from its first picture
                                ->  windows whose first frame is imagined and whose other sixteen are true

Who only ever goes on from true pictures does not know what to do with its own: they are blurred, and what comes after
is blurred more (scheduled sampling: Bengio and others, 2015; data set aggregation: Ross, Gordon and Bagnell, 2011).
The first window of a life is true: it holds the picture on which later chunks look back (``FlowConfig.recalled``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.embodiments import Embodiment, load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.records import Array, Episode
from armillary.sampling.omni import Omni, load
from armillary.steps import in_steps
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.latents import A_FILE, FRAMES, encode_windows, make_cache, row_of, things_of

CHUNK = FRAMES - 1


@dataclass(frozen=True, kw_only=True)
class LivedRun:
    """The lives in ``data`` that last two chunks or more, imagined by ``origin``, as windows for the generator.

    ``most``: of a life so many windows, its first ones. ``DataError`` where no life lasts that long.
    """

    data: Path
    origin: Path
    out: Path
    embodiment: str = "tabletop"
    camera: str = "front"
    most: int = 4
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.most < 2:
            raise ConfigError(f"most={self.most}: a life's first window is true, say at least 2.")

    def start(self, report: Callable[[str], None] = print) -> None:
        """Imagine and encode what is not there yet."""
        torch.set_num_threads(self.threads)
        omni = load(self.origin)
        body = load_embodiment(self.embodiment, self.origin)

        def cut(episodes: Sequence[Episode]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
            return lived_of(episodes, omni, body, camera=self.camera, most=self.most)

        names = make_cache(self.data, self.out, cut, share=self.share, together=A_FILE)
        for made, name in enumerate(names, start=1):
            if made % SAY_EVERY == 0:
                report(f"{made} episodes, the last {name}")
        if self.share == (0, 1) and not any(self.out.glob("*.safetensors")):
            raise DataError(
                f"{self.data} holds no life of {2 * CHUNK} actions: simulate longer ones, DataRun(steps=64)."
            )


def lived_of(
    episodes: Sequence[Episode], omni: Omni, body: Embodiment, *, camera: str, most: int
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Tensors and rows as ``training.latents.windows_of`` gives them, of all these lives; the short ones left out."""
    long = [one for one in (in_steps(one, body) for one in episodes) if len(one.actions) >= 2 * CHUNK]
    starts = [range(0, len(one.actions) - CHUNK + 1, CHUNK)[:most] for one in long]
    clips, actions, things, rows = [], [], [], []
    for life, film, own in zip(long, imagined(omni, long, starts, body, camera), starts, strict=True):
        for s in own:
            clip = life.frames[camera][s : s + FRAMES].copy()
            clip[0] = film[s]
            clips.append(clip)
            actions.append(body.encode(life.actions[s : s + CHUNK]))
            things.append(things_of(life, range(s, s + FRAMES, 4)))
            told = {"caption": "", "placed": "", "acts": False, "tells": False, "named": {}}
            rows.append(row_of(life, body, s, life.instruction) | told)
    if not rows:
        return {}, []
    vae: VideoVAE = omni.parts.vae
    video = encode_windows(vae, np.concatenate(clips), list(range(0, FRAMES * len(clips), FRAMES)))
    coded = torch.from_numpy(np.stack(actions)).float()
    return {"video": video.bfloat16(), "actions": coded, "things": torch.stack(things)}, rows


def imagined(
    omni: Omni, lives: Sequence[Episode], starts: Sequence[range], body: Embodiment, camera: str
) -> list[Array]:
    """Each life as the model sees it from its first picture on, uint8 t h w 3, as far as its last window begins."""
    asked = [
        {
            "mode": "forward-dynamics", "image": life.frames[camera][0], "actions": life.actions[: own[-1]],
            "embodiment": body.name, "seed": life.seed, "size": life.frames[camera].shape[1:3], "outputs": ("video",),
        }
        for life, own in zip(lives, starts, strict=True)
    ]  # fmt: skip
    films = [rollout.video for rollout in omni.imagine_many(asked)]
    return [film for film in films if film is not None]
