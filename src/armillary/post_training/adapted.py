"""An adapter learns, and nothing else: what the runs that make one have in common.

    checkpoint, what to learn from -> the factors of its generator's matrices learn -> ``out/adapter``

The checkpoint stays to the bit what it was. ``out/adapter`` is worn as its ``adapter.json`` says
(``sampling/adapters.py``), by whoever gives it to ``armillary.load`` or puts it into a checkpoint's ``adapters/``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from armillary.errors import ConfigError
from armillary.media import write_whole
from armillary.model import TwoTowers, low_rank
from armillary.model.arithmetic import usable_device
from armillary.model.weights import load_model
from armillary.sampling.adapters import WHERE
from armillary.sampling.omni import load
from armillary.sampling.parts import find_checkpoint
from armillary.tokenizers.text import TextTokenizer
from armillary.training.compiling import compile_layers
from armillary.training.loop import Report, Stage, train_stage
from armillary.training.made_from import begin


class Source(Protocol):
    """What makes the losses of a step."""

    def losses(self, rng: np.random.Generator, samples: int) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class AdapterRun:
    """Whose adapter it is (``origin``: a bundled name or a folder), where it comes to lie, and how it learns.

    ``rank``, ``alpha``: each matrix W is changed by alpha / rank B A, A of so many rows. ``keep``: to which rank it is
    cut in the end, where fewer hold nearly all of what more have learnt (None: not at all). ``targets``: the endings of
    the names of the generator's matrices that are changed.
    """

    out: Path
    stage: Stage
    origin: str = "pico"
    rank: int = 4
    alpha: float = 8.0
    keep: int | None = None
    targets: tuple[str, ...] = low_rank.MATRICES

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or (self.keep is not None and self.keep < 1):
            raise ConfigError(
                f"rank={self.rank}, alpha={self.alpha}, keep={self.keep}: an adapter has, and keeps, a rank from 1 on, "
                "and an alpha above 0."
            )

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it (``run_chain.py``)."""
        return (self.out / "adapter",)


def train_adapter(
    run: AdapterRun, source: Callable[[TwoTowers, TextTokenizer], Source], where: Mapping[str, Any], report: Report
) -> bool:
    """Train, or go on; writes ``out/adapter`` when the steps (True) or the minutes (False) are over.

    ``source``: what it learns from, for a model and its words. ``where``: what ``adapter.json`` says. ``ConfigError``
    for settings that cannot be, or others than those with which ``out`` was begun.
    """
    folder, stage = find_checkpoint(run.origin), run.stage
    run.out.mkdir(parents=True, exist_ok=True)
    begin(run.out, _told(run) | {"weights": load(folder, device="cpu").parts.weights_sha256}, "metrics.jsonl")
    torch.manual_seed(stage.seed)
    model = load_model(folder, dtype=torch.float32).to(usable_device(stage.device))
    with low_rank.learning(model, rank=run.rank, alpha=run.alpha, targets=run.targets, seed=stage.seed) as parameters:
        exercises = source(model, TextTokenizer.load(folder / "text_tokenizer"))
        if stage.compile:
            compile_layers(model, "generate")

        def losses(step: int) -> Mapping[str, Tensor]:
            return exercises.losses(np.random.default_rng([stage.seed, step]), stage.batch)

        finished = train_stage(stage, run.out, parameters.items(), losses, report)
        found = low_rank.learnt(model, run.targets)
        write_adapter(
            run.out / "adapter", found.cut(run.rank if run.keep is None else run.keep), where, base=folder.name
        )
    return finished


def _told(run: AdapterRun) -> dict[str, str]:
    """The settings that decide what is learnt, beside the stage's, which knows its own."""
    told: dict[str, str] = {}
    for name, one in asdict(run).items():
        if name not in ("out", "stage", "origin", "keep"):
            inner = {f"{name}.{key}": value for key, value in one.items()} if isinstance(one, dict) else {name: one}
            told |= {key: str(value) for key, value in inner.items()}
    return told


def write_adapter(folder: Path, adapter: low_rank.LowRank, where: Mapping[str, Any], *, base: str) -> None:
    """An adapter's folder, with ``adapter.json`` that says where it is worn."""
    adapter.save(folder, base=base)
    text = json.dumps(dict(where), indent=1) + "\n"
    write_whole(folder / WHERE, lambda draft: draft.write_text(text, encoding="utf-8"))
