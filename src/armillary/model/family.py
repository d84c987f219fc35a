"""The published Cosmos 3 models by name: their sizes, and how each was made to be sampled.

    edge    4 B   2,048 wide, 28 layers, SigLIP2 eyes, no sound     the transformer has  3,369,657,024 parameters
    nano   16 B   4,096 wide, 36 layers, Qwen3-VL eyes, sound                           15,173,669,120
    super  64 B   5,120 wide, 64 layers, Qwen3-VL eyes, sound                           64,019,736,832

The specialised models have the sizes of one of the three and differ in their weights and in how they are sampled
(cosmos3.md 7.1, 8.1). ``pico`` is the model that comes with this package.
"""

from dataclasses import dataclass, replace
from typing import Literal

from armillary.errors import ConfigError
from armillary.model.sizes import PICO, ModelConfig, TowerConfig, VisionConfig

_AXES = (24, 20, 20)
_QWEN_EYES = VisionConfig(depth=27, width=1152, heads=16, mlp_width=4304, grid_side=48, deepstack=(8, 16, 24))

EDGE = ModelConfig(
    tower=TowerConfig(
        layers=28, width=2048, heads=16, kv_heads=8, head_width=128, mlp_width=9216, eps=1e-5, rope_theta=1e8,
        rope_axes=_AXES, mlp="relu2", text_norms=False, memory_norms=True,
    ),
    vision=VisionConfig(
        depth=27, width=1152, heads=16, mlp_width=4304, grid_side=16, temporal_patch=1, kind="siglip", projector=11520
    ),
    vocabulary=131_072,
    max_positions=131_072,
    im_end=11,
    vision_start=20,
    vision_end=21,
    image_pad=19,
    video_pad=18,
)  # fmt: skip
NANO = ModelConfig(
    tower=TowerConfig(
        layers=36, width=4096, heads=32, kv_heads=8, head_width=128, mlp_width=12_288, rope_axes=_AXES
    ),
    vision=_QWEN_EYES,
    vocabulary=151_936,
    sound_dim=64,
    im_end=151_645,
    vision_start=151_652,
    vision_end=151_653,
    image_pad=151_655,
    video_pad=151_656,
)  # fmt: skip
SUPER = replace(
    NANO,
    tower=TowerConfig(layers=64, width=5120, heads=64, kv_heads=8, head_width=128, mlp_width=25_600, rope_axes=_AXES),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How a model was made to be sampled: the spacing of its levels and their shift.

    ``spacing``: native, flow or karras (``sampling/solver.py``). ``levels``: the fixed levels of a distilled model,
    which walks them without guidance; empty for the others.
    """

    spacing: Literal["native", "flow", "karras"] = "native"
    shift: float = 3.0
    levels: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One model of the family. ``towers``: what its published folder holds."""

    config: ModelConfig
    sampling: Sampling = Sampling()
    towers: tuple[str, ...] = ("reasoner", "generator", "vision")


_KARRAS = Sampling(spacing="karras", shift=1.0)
_FOUR = Sampling(spacing="flow", shift=1.0, levels=(1.0, 0.9375, 5 / 6, 0.625))
_POLICY = Sampling(shift=5.0)

FAMILY: dict[str, Member] = {
    "pico": Member(config=PICO),
    "edge": Member(config=EDGE),
    "edge-policy-droid": Member(config=EDGE, sampling=_POLICY),
    "edge-reasoner": Member(config=EDGE, towers=("reasoner", "vision")),
    "nano": Member(config=NANO, sampling=_KARRAS),
    "nano-policy-droid": Member(config=NANO, sampling=_POLICY),
    "super": Member(config=SUPER, sampling=_KARRAS),
    "super-text2image": Member(config=SUPER, sampling=_KARRAS),
    "super-text2image-4step": Member(config=SUPER, sampling=_FOUR),
    "super-image2video": Member(config=SUPER, sampling=_KARRAS),
    "super-image2video-4step": Member(config=replace(SUPER, base_fps=16), sampling=_FOUR),
}


def member(name: str) -> Member:
    """The model of that name, in any case, as a hub id or without what these add; ``ConfigError`` if there is none."""
    plain = name.lower().split("/")[-1].split("@")[0].removeprefix("cosmos3-")
    if plain not in FAMILY:
        raise ConfigError(f"{name!r} is no model of the family: choose from {', '.join(FAMILY)}.")
    return FAMILY[plain]
