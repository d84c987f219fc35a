"""One checkpoint of parts that different runs made: the last towers, the tokenizer that shows best, words, bodies.

    towers and eyes (model)   ----+
    video tokenizer (vae)     ----+-->  a folder that ``armillary.load`` opens
    words (words)             ----+
    bodies, sounds, defaults  ----+
    of another checkpoint (like)

Runs of a reasoner or of a tokenizer write their part alone; what the part is to work with stays as it was in ``like``.
``DressedRun`` then lays adapters beside a checkpoint, for it to wear.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import tyro

from armillary.embodiments import load_embodiments
from armillary.errors import ConfigError
from armillary.model import load_model
from armillary.model.layouts import fresh_folder, move_in
from armillary.sampling.adapters import ADAPTERS, Adapter
from armillary.sampling.omni import load
from armillary.tokenizers.video import VideoVAE
from armillary.training.generator import sound_tokenizer_of, write_checkpoint
from armillary.training.loop import Report
from armillary.training.made_from import agree


@dataclass(frozen=True, kw_only=True)
class AssembledRun:
    """``model``: towers and eyes. ``vae`` and ``words``: tokenizer folders in place of those of the checkpoint
    ``like``, from which all else comes; the video tokenizer must have the same latents as its own.

    ``steps`` (of a mode) and ``execute`` (of a body: actions of a plan that are done) take the place of what ``like``
    says. ``halved``: the video tokenizer in bfloat16, as all else is: half of its bytes, the same latents.
    """

    model: Path
    like: Path
    out: Path
    vae: Path | None = None
    words: Path | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    execute: Mapping[str, int] | None = None
    halved: bool = False

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
        with TemporaryDirectory() as folder:
            half = Path(folder, "vae")
            if self.halved:
                VideoVAE.load(vae).save(half, dtype=torch.bfloat16)
            write_checkpoint(
                self.out, load_model(self.model, dtype=torch.float32), vae=half if self.halved else vae,
                words=self.words or self.like / "text_tokenizer", sound=sound_tokenizer_of(self.like),
                embodiments=list(load_embodiments(self.like).values()), defaults=defaults,
            )  # fmt: skip
        report(f"{self.out}: the towers of {self.model}, the tokenizer of {vae}")


@dataclass(frozen=True, kw_only=True)
class DressedRun:
    """The checkpoint ``origin`` with ``adapters`` to wear, each by its name, as their runs have written them.

    ``defaults``: what its ``defaults.json`` says besides, where nothing is learnt: words by which deeds are acted out.
    """

    origin: Path
    out: Path
    adapters: Mapping[str, Path]
    defaults: Annotated[Mapping[str, Any], tyro.conf.Fixed, tyro.conf.Suppress] = field(default_factory=dict)

    def start(self, report: Report = print) -> None:
        """Write ``out``, whole or not at all. ``CheckpointError`` for a folder that is no adapter, ``ConfigError`` for
        one that says it was learnt beside other weights."""
        weights = load(self.origin, device="cpu").parts.weights_sha256
        for folder in self.adapters.values():
            Adapter.of(folder)
            agree(folder.parent, {"weights": weights})
        self.out.parent.mkdir(parents=True, exist_ok=True)
        fresh = fresh_folder(self.out)
        shutil.copytree(self.origin, fresh, dirs_exist_ok=True)
        for name, folder in self.adapters.items():
            shutil.copytree(folder, fresh / ADAPTERS / name)
        said = json.loads((fresh / "defaults.json").read_text(encoding="utf-8")) | dict(self.defaults)
        (fresh / "defaults.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        move_in(fresh, self.out)
        report(f"{self.out}: the checkpoint {self.origin} with the adapters {', '.join(self.adapters)}")
