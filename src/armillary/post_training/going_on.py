"""An adapter with which films go on for long: lives of sixty frames and more, learnt as they are lived.

LongFilmsRun    raw episodes -> their latents, whole films at a time
OnwardsRun      these, a checkpoint -> ``out/adapter``, worn where a film goes on (``sampling/onwards.py``)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.model.arithmetic import usable_device
from armillary.post_training.adapted import AdapterRun, train_adapter
from armillary.records import Episode
from armillary.sampling.adapters import ONWARDS
from armillary.sampling.parts import find_checkpoint
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.latents import make_cache
from armillary.training.living import ACTIONS, Films, LivingConfig, LivingSource, long_film_of
from armillary.training.loop import Report


@dataclass(frozen=True, kw_only=True)
class LongFilmsRun:
    """Films of 4 ``latents`` - 3 frames of every episode in ``data`` that lasts so long, at most ``most`` of each."""

    data: Path
    out: Path
    origin: str = "pico"
    embodiment: str = "tabletop"
    camera: str = "front"
    latents: int = 16
    most: int = 1
    share: tuple[int, int] = (0, 1)
    threads: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.latents < 2 or self.most < 1:
            raise ConfigError(f"latents={self.latents}, most={self.most}: at least two latent frames, and one film.")

    def start(self, report: Report = print) -> None:
        """Encode what is not there yet."""
        torch.set_num_threads(self.threads)
        folder = find_checkpoint(self.origin)
        vae = VideoVAE.load(folder / "vae", dtype=torch.bfloat16).to(usable_device(self.device))
        body = load_embodiment(self.embodiment, folder)

        def cut(episodes: Sequence[Episode]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
            return long_film_of(episodes[0], vae, body, latents=self.latents, camera=self.camera, most=self.most)

        made_from = {
            "tokenizer": vae.latents_sha256, "windows": f"{self.latents} latent frames", "body": self.embodiment,
            "camera": self.camera, "most": str(self.most),
        }  # fmt: skip
        for count, name in enumerate(
            make_cache(self.data, self.out, cut, share=self.share, made_from=made_from), start=1
        ):
            if count % SAY_EVERY == 0:
                report(f"{count} episodes, the last {name}")


@dataclass(frozen=True, kw_only=True)
class OnwardsRun(AdapterRun):
    """An adapter for going on. ``films``: folders of ``LongFilmsRun``, one named twice counts twice."""

    films: tuple[Path, ...]
    living: LivingConfig = field(default_factory=LivingConfig)

    def start(self, report: Report = print) -> bool:
        """Learn, or go on; ``DataError`` for films of another tokenizer, else errors as for ``train_adapter``."""
        films = Films(self.films, [find_checkpoint(self.origin) / "vae"], self.living)
        report(f"{len(films)} films of {1 + ACTIONS * (self.living.latents - 1)} frames")

        def source(model: TwoTowers, words: TextTokenizer) -> LivingSource:
            return LivingSource(model, words, films, self.living)

        return train_adapter(self, source, {"modes": [ONWARDS], "steps": 1}, report)
