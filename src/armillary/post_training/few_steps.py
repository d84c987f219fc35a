"""An adapter for films from a picture and words in few steps, without guidance.

A walk of four steps asks the model at four levels of noise and nowhere else, and a walk without guidance asks it once a
step: so the adapter learns at those levels alone, from true films and what is said of them, to be asked as it has
learnt. The usual walk of a film asks twenty times with the words and twenty times without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from armillary.errors import ConfigError
from armillary.model import TwoTowers
from armillary.modes import MODES
from armillary.post_training.adapted import AdapterRun, train_adapter
from armillary.sampling.parts import find_checkpoint
from armillary.sampling.solver import make_schedule
from armillary.tokenizers.text import TextTokenizer
from armillary.training.imagination import FlowConfig, FlowSource
from armillary.training.latents import load_cache
from armillary.training.loop import Report

FILMS = ("image-to-video", "video-to-video", "first-last-frame")  # that begin with something given


@dataclass(frozen=True, kw_only=True)
class FewStepsRun(AdapterRun):
    """An adapter that makes films of ``modes`` (each with its share) in ``steps`` steps. ``cache``: the windows."""

    cache: Path
    steps: int = 4
    shift: float = 3.0
    modes: Mapping[str, float] = field(default_factory=lambda: dict(zip(FILMS, (0.8, 0.1, 0.1), strict=True)))
    flow: FlowConfig = field(default_factory=FlowConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.modes or set(self.modes) - set(FILMS) or self.steps < 1:
            raise ConfigError(
                f"modes={sorted(self.modes)}, steps={self.steps}: films of {', '.join(FILMS)} are learnt, in one step "
                "or more."
            )

    def start(self, report: Report = print) -> bool:
        """Learn, or go on; ``DataError`` for windows of another tokenizer, else errors as for ``train_adapter``."""
        windows = load_cache(self.cache, tokenizers=[find_checkpoint(self.origin) / "vae"])
        report(f"{len(windows)} windows, {int(windows.tells.sum())} of them told")
        levels = tuple(stop.level for stop in make_schedule(self.steps, self.shift).stops)
        flow = replace(
            self.flow, levels=levels, full_noise_films=0.0, action_share=0.0, stills_share=0.0, films=dict(self.modes),
            drop_prompt=0.0,
        )  # fmt: skip

        def source(model: TwoTowers, words: TextTokenizer) -> FlowSource:
            return FlowSource(model, words, windows, flow)

        modes = [name for name in MODES if name in self.modes]
        return train_adapter(self, source, {"modes": modes, "steps": self.steps, "guidance": 1.0}, report)
