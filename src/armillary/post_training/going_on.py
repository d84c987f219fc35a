"""An adapter with which films go on for long: lives of sixty frames and more, learnt as they are lived.

    LongFilmsRun    raw episodes -> their latents, whole films at a time
    OnwardsRun      these, a checkpoint -> ``out/adapter``, worn where a film goes on (``sampling/onwards.py``)

Only the adapter learns: the checkpoint stays to the bit what it was.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError
from armillary.media import write_whole
from armillary.model import low_rank
from armillary.model.arithmetic import usable_device
from armillary.model.weights import load_model
from armillary.records import Episode
from armillary.sampling.adapters import ONWARDS, WHERE
from armillary.sampling.parts import find_checkpoint
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import VideoVAE
from armillary.training.compiling import compile_layers
from armillary.training.episodes import SAY_EVERY, check_share
from armillary.training.latents import make_cache
from armillary.training.living import Films, LivingConfig, LivingSource, long_film_of
from armillary.training.loop import Report, Stage, train_stage


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

        made_from = {"tokenizer": vae.latents_sha256, "windows": f"{self.latents} latent frames"}
        for count, name in enumerate(
            make_cache(self.data, self.out, cut, share=self.share, made_from=made_from), start=1
        ):
            if count % SAY_EVERY == 0:
                report(f"{count} episodes, the last {name}")


@dataclass(frozen=True, kw_only=True)
class OnwardsRun:
    """Everything that decides an adapter for going on. ``films``: folders of ``LongFilmsRun``, one named twice counts
    twice. ``targets``: the endings of the matrices' names that it changes."""

    films: tuple[Path, ...]
    out: Path
    stage: Stage
    origin: str = "pico"
    rank: int = 4
    alpha: float = 8.0
    targets: tuple[str, ...] = low_rank.MATRICES
    living: LivingConfig = field(default_factory=LivingConfig)

    def start(self, report: Report = print) -> None:
        """Learn, or go on; what comes of it lies in ``out/adapter``."""
        train_onwards(self, report)


def train_onwards(run: OnwardsRun, report: Report = print) -> bool:
    """Train, or go on; writes ``out/adapter`` when the steps (True) or the minutes (False) are over.

    ``DataError`` for films of another tokenizer, ``ConfigError`` for settings that cannot be.
    """
    folder = find_checkpoint(run.origin)
    device = usable_device(run.stage.device)
    model = load_model(folder, dtype=torch.float32).to(device)
    films = Films(run.films, [folder / "vae"], run.living)
    report(f"{len(films)} films of {1 + 4 * (run.living.latents - 1)} frames")
    with low_rank.learning(
        model, rank=run.rank, alpha=run.alpha, targets=run.targets, seed=run.stage.seed
    ) as parameters:
        source = LivingSource(model, TextTokenizer.load(folder / "text_tokenizer"), films, run.living)
        if run.stage.compile:
            compile_layers(model, "generate")

        def losses(step: int) -> Mapping[str, Tensor]:
            return source.losses(np.random.default_rng([run.stage.seed, step]), run.stage.batch)

        finished = train_stage(run.stage, run.out, parameters.items(), losses, report)
        write_adapter(
            run.out / "adapter", low_rank.learnt(model, run.targets), {"modes": [ONWARDS], "steps": 1}, base=folder.name
        )
    return finished


def write_adapter(folder: Path, adapter: low_rank.LowRank, where: Mapping[str, Any], *, base: str) -> None:
    """An adapter's folder, with ``adapter.json`` that says where it is worn (``sampling/adapters.py``)."""
    adapter.save(folder, base=base)
    text = json.dumps(dict(where), indent=1) + "\n"
    write_whole(folder / WHERE, lambda draft: draft.write_text(text, encoding="utf-8"))
