"""Spoken words by compiled layers: the many small steps between two matrix products become a few.

    compile_words(model)      from now on ``Layer.go_on`` is compiled: what every spoken token passes through

One token is multiplied with each matrix quickly; norms, rotations and sums beside it, each an operation of its own,
take a quarter of the time even of a model whose matrices fill 160 MB. Compiling needs a C++ compiler, and a quarter of
a minute of an idle core for each way of speaking (one chat, several, guesses verified); the next process finds most of
it done. Numbers are those of plain layers to rounding. What it saves stands in docs/log.md.
"""

import shutil
from types import MethodType
from typing import Literal

import torch

from armillary.errors import ConfigError
from armillary.model.tower import Layer
from armillary.model.two_towers import TwoTowers


def check_compiled(*, weights: str, offload: str, device: torch.device) -> None:
    """``ConfigError`` where layers cannot be compiled: without a C++ compiler, or for weights that come and go."""
    if not has_compiler():
        raise ConfigError("compiled=True needs a C++ compiler: install g++ (Debian: apt install g++) or leave it out.")
    if weights != "plain" or offload != "none" or device.type != "cpu":
        raise ConfigError(
            f"compiled=True with weights={weights!r}, offload={offload!r} on {device.type}: layers are compiled for "
            "plain weights that stay in a processor's memory; leave the others out, or compiled."
        )


def has_compiler() -> bool:
    """Whether there is a C++ compiler, without which torch compiles nothing on a processor."""
    return shutil.which("g++") is not None or shutil.which("clang++") is not None


def compile_words(model: TwoTowers) -> None:
    """Let every layer of ``model`` go on compiled."""
    compile_part(model, "go_on")


def compile_part(model: TwoTowers, part: Literal["generate", "read", "go_on"]) -> None:
    """Let every layer of ``model`` do ``part`` compiled: one function for all of them, whatever the lengths."""
    done = torch.compile(getattr(Layer, part), dynamic=True)
    for layer in model.transformer.layers:
        setattr(layer, part, MethodType(done, layer))
