"""One checkpoint of parts that different runs made: the last towers, the tokenizer that shows best, words, bodies.

    towers and eyes (model)   ----+
    video tokenizer (vae)     ----+-->  a folder that ``armillary.load`` opens
    words (words)             ----+
    bodies, sounds, defaults  ----+
    of another checkpoint (like)

Runs of a reasoner or of a tokenizer write their part alone; what the part is to work with stays as it was in ``like``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from armillary.embodiments import load_embodiments
from armillary.errors import ConfigError
from armillary.model import load_model
from armillary.tokenizers.video import VideoVAE
from armillary.training.generator import sound_tokenizer_of, write_checkpoint
from armillary.training.loop import Report


@dataclass(frozen=True, kw_only=True)
class AssembledRun:
    """``model``: towers and eyes. ``vae`` and ``words``: tokenizer folders in place of those of the checkpoint
    ``like``, from which all else comes; the video tokenizer must have the same latents as its own.

    ``steps`` (of a mode) and ``execute`` (of a body: actions of a plan that are done) take the place of what ``like``
    says.
    """

    model: Path
    like: Path
    out: Path
    vae: Path | None = None
    words: Path | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    execute: Mapping[str, int] | None = None

    def start(self, report: Report = print) -> None:
        """Write ``out``, whole or not at all. ``ConfigError`` if the tokenizers do not have the same latents."""
        vae = self.like / "vae" if self.vae is None else self.vae
        if VideoVAE.load(vae).config != VideoVAE.load(self.like / "vae").config:
            raise ConfigError(
                f"{vae} has other latents than {self.like / 'vae'}: take a tokenizer that went on from it."
            )
        defaults = json.loads((self.like / "defaults.json").read_text(encoding="utf-8"))
        defaults["steps"] = defaults.get("steps", {}) | dict(self.steps)
        if self.execute is not None:
            defaults["execute"] = dict(self.execute)
        write_checkpoint(
            self.out, load_model(self.model, dtype=torch.float32), vae=vae,
            words=self.words or self.like / "text_tokenizer", sound=sound_tokenizer_of(self.like),
            embodiments=list(load_embodiments(self.like).values()), defaults=defaults,
        )  # fmt: skip
        report(f"{self.out}: the towers of {self.model}, the tokenizer of {vae}")
