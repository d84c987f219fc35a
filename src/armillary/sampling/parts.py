"""A checkpoint folder, opened piece by piece: each part of it is loaded when somebody first needs it.

text          the text tokenizer          any request
model(...)    only the towers asked for   talking needs no generator, imagining no eyes
generator(..) that, wearing an adapter    whose matrices are read anew when another one is worn
vae           the video tokenizer         only where pictures go in or come out
sound_vae     the sound tokenizer         only where sound comes out
"""

import hashlib
import json
import platform
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import armillary
from armillary.errors import CheckpointError
from armillary.model.compiled import check_compiled, compile_words, speak_once
from armillary.model.int8 import check_weights
from armillary.model.low_rank import LowRank
from armillary.model.memory import Memory
from armillary.model.shelf import Shelf
from armillary.model.sizes import ModelConfig
from armillary.model.stock import Stock, check_offload
from armillary.model.two_towers import TwoTowers
from armillary.model.weights import kinds_of, load_config, open_model
from armillary.sampling.adapters import ADAPTERS, ONWARDS, Adapter, adapters_of
from armillary.sampling.defaults import Defaults
from armillary.sampling.hub import fetch, is_hub_id
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import VideoVAE

BESIDE = ("acting", "controls")  # of defaults.json: what is hashed apart, and what only warns
CHECKPOINTS = Path(armillary.__file__).parent / "checkpoints"


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a bundled name, the folder itself, or that of a hub id; ``CheckpointError`` if there is none."""
    if not isinstance(name, (str, Path)):
        raise CheckpointError(f"the checkpoint is {type(name).__name__}: give a bundled name, a folder or a hub id.")
    for folder in (CHECKPOINTS / name, Path(name)):
        if (folder / "model_index.json").is_file():
            return folder
    if is_hub_id(name):
        return fetch(str(name))
    known = sorted(path.parent.name for path in CHECKPOINTS.glob("*/model_index.json"))
    if next(Path(name).glob("*.safetensors"), None) is not None:
        raise CheckpointError(
            f"{str(name)!r} holds weights and nothing to speak or to see with: armillary.model.load_model opens it, or "
            "save_model and write_model_index write a checkpoint with its tokenizers beside."
        )
    raise CheckpointError(
        f"{str(name)!r} is no checkpoint: give a folder with model_index.json, a hub id (owner/name) or a bundled name "
        f"({', '.join(known) or 'none is bundled'})."
    )


def best_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Parts:
    """What a folder holds, on one device, in one dtype. Loading happens on first use; a part is loaded once.

    ``weights``: ``int8`` keeps the towers' matrices so (``model/int8.py``). ``offload``: with ``towers`` only the tower
    at work is in memory, the reasoner no longer than it takes to read a new prompt; with ``layers`` only the layer at
    work; both read weights from the files again and again. ``compiled``: words are said by compiled layers
    (``model/compiled.py``). ``adapter``: the folder of one that is no part of the checkpoint, worn wherever nothing
    else is asked, or the name of the only one of its own that is, or ``none``. Raises ``ConfigError`` for words that
    mean nothing here, or do not go together, and ``CheckpointError`` for an adapter that is none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        weights: str = "plain",
        offload: str = "none",
        compiled: bool = False,
        adapter: str | Path | None = None,
    ) -> None:
        self.folder, self.device, self.dtype = folder, device, dtype
        self.int8 = check_weights(weights, device)
        self.offload = check_offload(offload, int8=self.int8)
        self.compiled = compiled
        if compiled:
            check_compiled(weights=weights, offload=offload, device=device)
        self.defaults = Defaults.load(folder)
        self.told_adapter = None if adapter is None else str(adapter)  # as it was asked for
        self.adapters: dict[str, Adapter] = adapters_of(folder, adapter)
        self._low_ranks: dict[str, LowRank | None] = {"": None}
        self._wears: str | None = ""
        self._model: TwoTowers | None = None
        self._stock: Stock | None = None
        self.shelf = Shelf(self._reader)

    @cached_property
    def text(self) -> TextTokenizer:
        return TextTokenizer.load(self.folder / "text_tokenizer")

    @cached_property
    def sizes(self) -> ModelConfig:
        """The sizes of the model, known without loading it."""
        return load_config(self.folder) if self._model is None else self._model.config

    @property
    def longest_chat(self) -> int:
        """How many tokens a chat and its reply may have: what the model has places for, and was taught to read."""
        most = self.sizes.max_positions
        return most if self.text.longest is None else min(most, self.text.longest)

    @cached_property
    def vae(self) -> VideoVAE:
        return VideoVAE.load(self.folder / "vae", dtype=self.dtype).to(self.device)

    @cached_property
    def sound_vae(self) -> SoundVAE:
        return SoundVAE.load(self.folder / "sound_tokenizer", dtype=self.dtype).to(self.device)

    @cached_property
    def weights_sha256(self) -> str:
        """One hash over all weight files of the folder, in the order of their names; adapters have their own."""
        whole = hashlib.sha256()
        for path in sorted(self.folder.rglob("*.safetensors")):
            if ADAPTERS in path.relative_to(self.folder).parts:
                continue
            whole.update(path.relative_to(self.folder).as_posix().encode())
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()

    @cached_property
    def settings_sha256(self) -> str:
        """One hash over what the folder says of itself beside its weights: its defaults, but for which words it acts
        out (``acts_told``) and which controls it has learnt, which changes no film, and its embodiments."""
        whole = hashlib.sha256()
        for path in (self.folder / "defaults.json", self.folder / "embodiments.json"):
            said = path.read_bytes() if path.is_file() else b""
            apart = self.defaults.acting is not None or self.defaults.controls is not None
            if path.stem == "defaults" and apart:
                said = _told({name: one for name, one in json.loads(said).items() if name not in BESIDE})
            whole.update(path.name.encode() + said)
        return whole.hexdigest()

    @property
    def made_from(self) -> dict[str, str]:
        """What a folder was made from that this checkpoint fills: its weights, what it says of itself, what is worn,
        and which words it acts out."""
        told = {"weights": self.weights_sha256, "settings": self.settings_sha256}
        if worn := self.adapters_told:
            told["adapters"] = hashlib.sha256(json.dumps(worn).encode()).hexdigest()
        if acts := self.acts_told:
            told["acting"] = hashlib.sha256(_told(acts)).hexdigest()
        return told

    @property
    def acts_told(self) -> dict[str, Any]:
        """In which modes words are acted out unasked, and a hash of which, as plain data; empty if in none."""
        if (acts := self.defaults.acting) is None:
            return {}
        return {"sha256": hashlib.sha256(_told(acts.bodies)).hexdigest(), "modes": list(acts.modes)}

    @property
    def adapters_told(self) -> dict[str, dict[str, Any]]:
        """Of every adapter that may be worn unasked, by name, a hash and in which modes, as plain data."""
        return {name: {"sha256": one.sha256, "modes": one.modes and list(one.modes)}
                for name, one in self.adapters.items() if one.unasked}  # fmt: skip

    @cached_property
    def versions(self) -> dict[str, str]:
        found = {"armillary": armillary.__version__, "python": platform.python_version()}
        return found | {name: version(name) for name in ("torch", "numpy")}

    @property
    def loaded(self) -> tuple[str, ...]:
        """What is in memory now, for people who watch it."""
        towers = sorted(self._model.towers) if self._model is not None else []
        return (*towers, *(name for name in ("text", "vae", "sound_vae") if name in vars(self)))

    @property
    def goes_on(self) -> bool:
        """Whether its makers say that a film may go on from its middle (``onwards.py``), or an adapter's do."""
        told = any(one.modes is not None and one.worn_in(ONWARDS) for one in self.adapters.values())
        return told or ONWARDS in self.defaults.learnt

    def model(self, *towers: str) -> TwoTowers:
        """The model with at least these towers; those it lacks are loaded now, the others stay as they are.

        A generator among them wears no adapter. Under ``offload`` it has these towers and no others, and what it was
        made for before must be over.
        """
        return self._worn("", *towers) if "generator" in towers else self._having(*towers)

    def generator(self, adapter: str = "") -> TwoTowers:
        """The model with its generator, which wears the adapter of that name until the model is asked for otherwise."""
        return self._worn(adapter, "generator")

    def _worn(self, adapter: str, *towers: str) -> TwoTowers:
        """The model with these towers, wearing this adapter; what lay side by side is laid again where it changed."""
        model = self._having(*towers)
        if self._stock is not None and adapter != self._wears:
            factors, self._wears = self._low_rank(adapter), None  # until it is worn: a change may fail half-way
            self._stock.wear(factors)
            if self.offload == "none":
                with torch.inference_mode(False):
                    model.lay_side_by_side()
            self._wears = adapter
        elif adapter and self._stock is None:
            raise CheckpointError(f"this model was never written, so it cannot wear {adapter!r}: save it first.")
        return model

    def _having(self, *towers: str) -> TwoTowers:
        """The model with these towers, whatever its generator wears."""
        return self._only(*towers) if self.offload != "none" else self._at_least(towers)

    def _at_least(self, towers: tuple[str, ...]) -> TwoTowers:
        have = self._model.towers if self._model is not None else frozenset()
        if self._model is None or not have.issuperset(towers):
            wanted = have.union(towers)
            self._stock = open_model(
                self.folder, dtype=self.dtype, towers=wanted, device=self.device, int8=self.int8, quick=True
            )
            self._wears = ""
            self._model = self._stock.hold(kinds_of(wanted)).eval()
            with torch.inference_mode(False):
                self._model.lay_side_by_side()
            if self.compiled:
                compile_words(self._model)
        return self._model

    def _low_rank(self, adapter: str) -> LowRank | None:
        """The factors of the adapter of that name, read once; None for none."""
        if adapter not in self._low_ranks:
            self._low_ranks[adapter] = LowRank.load(self.adapters[adapter].folder)
        return self._low_ranks[adapter]

    def warm_words(self) -> None:
        """What a first answer would wait for, now: the reasoner is loaded, and compiled where that was asked."""
        reasoner = self.model("reasoner")
        if self.compiled:
            speak_once(reasoner)

    def expect(self, tower: str) -> None:
        """This tower will be asked for. Loaded now, it brings along what reads; offloaded, it waits for its turn."""
        if self.offload == "none":
            self._having(tower)

    def _reader(self) -> TwoTowers:
        """The model with what reads a prompt."""
        return self._only("memory") if self.offload != "none" else self._model or self.model("reasoner")

    def _only(self, *kinds: str) -> TwoTowers:
        if self._stock is None:
            self._stock = open_model(self.folder, dtype=self.dtype, device=self.device, int8=self.int8, quick=True)
            if self.offload == "layers":
                self._stock.stream()
            self._model = self._stock.model.eval()
        return self._stock.hold(kinds)

    def hold(self, model: TwoTowers, vae: VideoVAE) -> None:
        """Use these in place of the folder's, for models that were never written. They lie on the device already."""
        self._model, self._stock, self.vae, self.offload = model, None, vae, "none"
        self.adapters = {}
        model.lay_side_by_side()

    def memory_of(self, prompt: str) -> Memory:
        """The reasoner's memory of a prompt as it stands, metadata sentences and all."""
        return self.shelf.of(self.text.prompt_ids(prompt))

    def provenance(self, record: Any, adapter: Adapter | None = None) -> dict[str, Any]:
        """Where a rollout comes from: weights, request, seed, versions, and how it was computed."""
        return {
            "weights": self.weights_sha256,
            "checkpoint": self.folder.name,
            "request": record,
            "seed": record["seed"],
            "versions": self.versions,
            "device": self.device.type,
            "dtype": str(self.dtype).removeprefix("torch."),
            **({"matrices": "int8"} if self.int8 else {}),
            **({"adapter": adapter.told} if adapter is not None else {}),
        }


def _told(what: Any) -> bytes:
    return (json.dumps(what, indent=1) + "\n").encode()
