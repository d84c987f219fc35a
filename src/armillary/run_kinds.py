"""The kinds of runs: settings that know what they are for. Which runs there are stands in ``runs.py``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from armillary.errors import ConfigError
from armillary.model import ModelConfig
from armillary.training.episodes import CacheRun, ClipsRun, DataRun, cut_clips, encode, simulate
from armillary.training.generator import GeneratorRun, train_generator
from armillary.training.loop import Report, Stage
from armillary.training.parallel import launched, together
from armillary.training.reasoner import ReasonerRun, learn_tokenizer, train_reasoner
from armillary.training.vae import VAERun, train_vae


@runtime_checkable
class Run(Protocol):
    """Settings that know what they are for: ``start`` does the work and writes into their folder.

    It says False where its minutes were over before its work was done; started again it goes on.
    """

    def start(self, report: Report = print) -> bool | None: ...


@runtime_checkable
class Shared(Run, Protocol):
    """A run of many pieces, each made by itself: the i-th of n processes makes every n-th piece, ``share`` (i, n)."""

    @property
    def share(self) -> tuple[int, int]: ...


def start(run: Run, report: Report = print) -> None:
    """Do a run, together with the other processes that torchrun has started, if it has.

    A generator's weights and batches are spread over all of them, of a ``Shared`` run each does its share. What else
    there is wants to be alone: ``ConfigError``.
    """
    here = launched()
    if here.size == 1:
        run.start(report)
    elif isinstance(run, GeneratorRun):
        with together():
            run.start(report if here.leads else lambda line: None)
    elif isinstance(run, Shared):
        number, of = run.share
        mine = replace(run, share=(number + of * here.rank, of * here.size))  # type: ignore[type-var]
        mine.start(lambda line: report(f"{here.rank + 1} of {here.size}: {line}"))
    else:
        raise ConfigError(
            f"{here.size} processes were started for a {type(run).__name__} run, which is made by one: several can "
            "share a generator's training and the making of data; start this one without torchrun."
        )


@dataclass(frozen=True, kw_only=True)
class Data(DataRun):
    """Simulate episodes."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        simulate(self, report)


@dataclass(frozen=True, kw_only=True)
class Clips(ClipsRun):
    """Cut clips for the video tokenizer."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        cut_clips(self, report)


@dataclass(frozen=True, kw_only=True)
class Cache(CacheRun):
    """Encode windows for the generator."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        encode(self, report)


@dataclass(frozen=True, kw_only=True)
class Codec(VAERun):
    """Train the video tokenizer."""

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it (``run_chain.py``)."""
        return (self.out / "vae",)

    def start(self, report: Report = print) -> None:
        """Do it, or go on."""
        figures = train_vae(self)
        report("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


@dataclass(frozen=True, kw_only=True)
class Reasoner(ReasonerRun):
    """Train the reasoner."""

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it."""
        return (self.out / "checkpoint",)

    def start(self, report: Report = print) -> bool:
        """Do it, or go on; False where the minutes of a stage were over before its steps."""
        return train_reasoner(self, report)


@dataclass(frozen=True, kw_only=True)
class Generator(GeneratorRun):
    """Train the generator of a checkpoint."""

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it."""
        return (self.out / "checkpoint",)

    def start(self, report: Report = print) -> bool:
        """Do it, or go on; False where its minutes were over before its steps."""
        return train_generator(self, report)


@dataclass(frozen=True, kw_only=True)
class WholeWay:
    """The smallest thing through every stage: the checkpoint comes to lie in ``out/generator/checkpoint``."""

    out: Path
    episodes: int = 3
    steps: int = 6
    seed: int = 0
    model: ModelConfig
    codec: VAERun

    def start(self, report: Report = print) -> None:
        """Do all of it, or go on."""
        raw, clips, vae = self.out / "raw", self.out / "clips", self.out / "vae"
        simulate(DataRun(out=raw, episodes=self.episodes, seed=self.seed), report)
        cut_clips(ClipsRun(data=raw, out=clips, seed=self.seed), report)
        train_vae(replace(self.codec, data=clips, out=vae, seed=self.seed))
        encode(CacheRun(data=raw, vae=vae / "vae", out=self.out / "cache", most=2), report)

        stage = Stage(
            name="reasoner", steps=self.steps, batch=4, rate=2e-3, warmup=1, seed=self.seed, bf16=False, log_every=1
        )
        read = self.out / "reasoner/checkpoint"
        learn_tokenizer(raw, read / "text_tokenizer", vocabulary=self.model.vocabulary)
        train_reasoner(ReasonerRun(data=raw, out=read.parent, stage=stage, model=self.model), report)
        train_generator(
            GeneratorRun(
                origin=read, cache=self.out / "cache", vae=vae / "vae", out=self.out / "generator",
                stage=replace(stage, name="generator"),
            ),
            report,
        )  # fmt: skip
