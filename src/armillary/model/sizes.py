"""How large a model is: every number that decides the shape of a tensor, or where a token stands.

    TowerConfig    one tower; reasoner and generator have the same sizes, each its own weights
    VisionConfig   the eyes of the reasoner
    ModelConfig    both towers, the eyes, and the ports through which modalities come in and go out

``PICO`` is the bundled model; the published ones stand in ``family.py``. The files written from these records
(``layouts.py``) are the ones that Diffusers' ``Cosmos3OmniTransformer`` and Transformers' ``Cosmos3Omni*`` and
``Cosmos3Edge*`` read.
"""

from dataclasses import dataclass
from typing import Literal

from armillary.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """The size of one tower.

    ``rope_axes`` says how many of the ``head_width / 2`` rotary frequencies belong to time, row and column.
    ``mlp``: silu is gated, relu2 is the square of what is positive, without a gate (Edge). ``text_norms``: the
    reasoner normalises its queries and keys (not on Edge). ``memory_norms``: the generator sees the reasoner's
    keys normalised anew (Edge). Raises ``ConfigError`` for sizes that do not fit together.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    eps: float = 1e-6
    rope_theta: float = 5e6
    rope_axes: tuple[int, int, int] = (12, 10, 10)
    mlp: Literal["silu", "relu2"] = "silu"
    text_norms: bool = True
    memory_norms: bool = False

    def __post_init__(self) -> None:
        if self.mlp not in ("silu", "relu2"):
            raise ConfigError(f"mlp={self.mlp!r} is unknown: it must be silu (gated) or relu2 (Edge's).")
        if self.text_norms and self.memory_norms:
            raise ConfigError(
                "text_norms and memory_norms are both on: keys that are normalised for the reasoner are not normalised "
                "again for the generator. Switch one off."
            )
        if self.heads % self.kv_heads:
            near = [g for g in range(1, self.heads + 1) if self.heads % g == 0]
            raise ConfigError(
                f"heads={self.heads} cannot share kv_heads={self.kv_heads}: each key-value head serves equally "
                f"many heads. Choose kv_heads from {near}."
            )
        if 2 * sum(self.rope_axes) != self.head_width:
            raise ConfigError(
                f"rope_axes={self.rope_axes} name {sum(self.rope_axes)} frequencies, head_width={self.head_width} has "
                f"{self.head_width // 2}: the three must add up to half the head's width."
            )
        if 3 * max(self.rope_axes[1:]) > self.head_width // 2:
            raise ConfigError(
                f"rope_axes={self.rope_axes}: rows and columns take every third frequency, so neither may have more "
                f"than {self.head_width // 6}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The size of the vision tower. ``grid_side`` squared is the number of learned positions.

    ``kind``: qwen (Qwen3-VL's) or siglip (Edge's: learned positions only, one frame a patch, and ``projector``
    numbers between the two layers that merge patches). ``deepstack`` names the blocks (from 0) after which
    features are also handed to the reasoner's first layers; siglip has none.
    """

    depth: int
    width: int
    heads: int
    mlp_width: int
    grid_side: int
    deepstack: tuple[int, ...] = ()
    patch: int = 16
    temporal_patch: int = 2
    merge: int = 2
    kind: Literal["qwen", "siglip"] = "qwen"
    projector: int = 0

    def __post_init__(self) -> None:
        if self.kind == "siglip" and (self.deepstack or self.temporal_patch != 1 or self.projector < 1):
            raise ConfigError(
                f"siglip eyes came with deepstack={self.deepstack}, temporal_patch={self.temporal_patch} and "
                f"projector={self.projector}: they have no deepstack, temporal_patch 1 and a projector of 1 or more."
            )
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ConfigError(
                f"width={self.width} over heads={self.heads} must give heads whose width is a multiple of 4: half of "
                f"the rotary numbers belong to rows, half to columns, in pairs."
            )
        if any(not 0 <= block < self.depth for block in self.deepstack):
            raise ConfigError(f"deepstack={self.deepstack} must name blocks from 0 to {self.depth - 1}.")

    @property
    def patch_numbers(self) -> int:
        """How many numbers one patch has: 3 colours x frames x rows x columns."""
        return 3 * self.temporal_patch * self.patch**2


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Every size of the whole model. Ids of special tokens must be those of the text tokenizer beside it.

    ``margin``, ``base_fps``, ``tcf`` (frames that one latent frame covers) and ``sound_rate`` place the
    generator's tokens (``positions.py``). ``sound_dim`` 0 means that there is no sound port.
    """

    tower: TowerConfig
    vision: VisionConfig
    vocabulary: int
    action_dim: int = 64
    domains: int = 32
    latent_channels: int = 48
    latent_patch: int = 2
    sound_dim: int = 0
    sound_rate: float = 25.0
    base_fps: int = 24
    tcf: int = 4
    margin: int = 15000
    timestep_scale: float = 0.001
    max_positions: int = 262_144
    im_end: int = 2
    vision_start: int = 7
    vision_end: int = 8
    image_pad: int = 10
    video_pad: int = 11

    @property
    def patch_numbers(self) -> int:
        """How many numbers one video token has."""
        return self.latent_channels * self.latent_patch**2

    def port_width(self, modality: str) -> int:
        """How many numbers one token of ``modality`` has; ``ConfigError`` if the model has no such port."""
        widths = {"video": self.patch_numbers, "action": self.action_dim, "sound": self.sound_dim}
        if not widths.get(modality):
            known = [name for name, width in widths.items() if width]
            raise ConfigError(f"modality {modality!r} has no port in this model: it has {', '.join(known)}.")
        return widths[modality]


PICO = ModelConfig(
    tower=TowerConfig(layers=8, width=256, heads=4, kv_heads=2, head_width=64, mlp_width=768),
    vision=VisionConfig(depth=4, width=96, heads=3, mlp_width=384, grid_side=16, deepstack=(1,)),
    vocabulary=2048,
)
