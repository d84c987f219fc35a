"""Windows with what may hold them: films under controls, as the generator learns them.

    in    raw episodes of the tabletop, lived again for their depth and segmentation, the video tokenizer
    out   a cache of windows as ``latents.py`` makes it, and beside each window its controls n k m d, k of ``HELD``

Film and controls are encoded without the canvas, as sampling encodes them where there are no actions. A control is
cut from that of the whole episode, which is what ``armillary controls`` writes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from armillary import controls
from armillary.datasets.control_films import control_of
from armillary.datasets.raw import lived_again
from armillary.embodiments import Embodiment
from armillary.errors import ConfigError, DataError
from armillary.prompts import control_prompt
from armillary.records import Episode
from armillary.tokenizers.video import VideoVAE
from armillary.training.latents import FRAMES, PICTURE, Windows, encode_windows, load_cache, windows_of

HELD: tuple[controls.Control, ...] = ("edge", "blur", "depth", "segmentation")  # of an episode of the tabletop
USUAL = 0.5  # how often edges and blur are of the usual strength; else of any


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldConfig:
    """How films under controls are drawn, one control each. ``share``: of the batches of films, where there are such.

    ``begun``: of these the share whose first frame is given; ``unheld``: the share told of a control and shown none, to
    which sampling compares what is held. ``scale``: by what a kind's latents are multiplied, here and later in sampling
    (``Defaults.control_scale``); the tokenizer makes those of edges and labels four times as large as a film's.
    ``kinds``: how often each kind is drawn. Both as Pico is taught.
    """

    share: float = 0.15
    begun: float = 0.4
    unheld: float = 0.1
    scale: Mapping[str, float] = field(default_factory=lambda: {"edge": 0.25, "depth": 0.5, "segmentation": 0.25})
    kinds: Mapping[str, float] = field(
        default_factory=lambda: {"edge": 0.28, "blur": 0.12, "depth": 0.25, "segmentation": 0.35}
    )

    def __post_init__(self) -> None:
        for name in ("scale", "kinds"):
            if wrong := [kind for kind, number in getattr(self, name).items() if kind not in HELD or number < 0]:
                raise ConfigError(f"{name} has {wrong[0]!r}: it must map {', '.join(HELD)} to numbers, none below 0.")
        if not sum(self.kinds.values()):
            raise ConfigError("kinds are all 0: leave share at 0 where no film shall be held.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """Windows, the tokens of their controls bf16 n k m d, and the words n that tell what is seen."""

    windows: Windows
    controls: Tensor
    words: Sequence[str]

    def shown(self, rows: Sequence[int], kinds: Sequence[int], scale: Mapping[str, float]) -> Tensor:
        """Tokens bf16 b m d of one control of each row, as the model is to see them."""
        by = torch.tensor([scale.get(HELD[kind], 1.0) for kind in kinds], dtype=self.controls.dtype)
        return self.controls[rows, kinds] * by[:, None, None]

    def prompt(self, row: int, kind: int) -> str:
        """What is asked of a window held by one control, as sampling's own dialect says it."""
        name = controls.CALLED.get(HELD[kind], HELD[kind])
        height, width = PICTURE
        fps = float(self.windows.fps[row])
        return control_prompt(self.words[row], (name,), frames=FRAMES, fps=fps, height=height, width=width)


def held_of(
    episode: Episode, vae: VideoVAE, embodiment: Embodiment, *, camera: str = "front", most: int = 2
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """As ``windows_of``, with ``controls`` n k m d. ``DataError`` where the episode cannot be lived again."""
    again = lived_again(episode)
    tensors, rows = windows_of(again, vae, embodiment, camera=camera, most=most, canvas=False)
    if not rows:
        return {}, []
    starts = [row["start"] for row in rows]
    films = [control_of(again, kind, camera, strength=_strength(again.seed)) for kind in HELD]
    held = [encode_windows(vae, film, starts, canvas=False) for film in films]
    told = [{**row, "words": again.captions["dense"], "held": list(HELD)} for row in rows]
    return {**tensors, "controls": torch.stack(held, dim=1).bfloat16()}, told


def load_held(folder: Path, tokenizers: Sequence[Path] = ()) -> Held:
    """A cache of ``held_of``; ``DataError`` for windows without controls, or of others than ``tokenizers``."""
    held, words = [], []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            rows = json.loads(file.metadata()["rows"])
            if any(row.get("held") != list(HELD) for row in rows):
                raise DataError(
                    f"{path} does not hold the controls {', '.join(HELD)}: make it anew with controls=True."
                )
            held.append(file.get_tensor("controls"))
        words += [row["words"] for row in rows]
    return Held(windows=load_cache(folder, tokenizers=tokenizers), controls=torch.cat(held), words=words)


def _strength(seed: int) -> str:
    """How strong an episode's edges and blur are, always the same for it."""
    rng = np.random.default_rng([seed, 61])
    return "medium" if rng.random() < USUAL else str(rng.choice(list(controls.EDGES)))
