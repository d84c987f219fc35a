"""Spoken words by compiled layers: the many small steps between two matrix products become a few, or one.

    compile_words(model)      from now on ``Layer.go_on`` is compiled: what every spoken token passes through
    speak_once(model)         whatever one chat needs is compiled now, not when somebody waits

One token is multiplied with each matrix quickly; norms, rotations and sums beside it, each an operation of its own,
take a quarter of the time even of a model whose matrices fill 160 MB. In float32 and on one thread a layer is one call
of ``few_tokens``, made in a second. Otherwise torch compiles it, which takes a quarter of a minute of an idle core for
each way of speaking (one chat, several, guesses verified); the next process finds most of it done. Both need a C++
compiler. Numbers are those of plain layers to rounding. What it saves stands in docs/log.md.
"""

from types import MethodType
from typing import Literal

import torch

from armillary.errors import ConfigError
from armillary.model.few_tokens import compiler, few_tokens_help, give_few_tokens
from armillary.model.tower import Layer
from armillary.model.two_towers import TwoTowers


def check_compiled(*, weights: str, offload: str, device: torch.device) -> None:
    """``ConfigError`` where layers cannot be compiled: without a C++ compiler, or for weights that come and go."""
    if compiler() is None:
        raise ConfigError("compiled=True needs a C++ compiler: install g++ (Debian: apt install g++) or leave it out.")
    if weights != "plain" or offload != "none" or device.type != "cpu":
        raise ConfigError(
            f"compiled=True with weights={weights!r}, offload={offload!r} on {device.type}: layers are compiled for "
            "plain weights that stay in a processor's memory; leave the others out, or compiled."
        )


def compile_words(model: TwoTowers) -> None:
    """Let every layer of ``model`` go on compiled, by ``few_tokens`` where that can be."""
    layers = list(model.transformer.layers)
    if all(few_tokens_help(layer) for layer in layers):
        for layer in layers:
            give_few_tokens(layer)
    else:
        compile_part(model, "go_on")


def speak_once(model: TwoTowers) -> None:
    """Say a few tokens of a chat, one by one and guessed, to be thrown away."""
    with torch.inference_mode():
        _, cache = model.step(torch.zeros(1, 3, dtype=torch.long))
        for n in (1, 1, 2, 4):
            _, cache = model.step(torch.zeros(1, n, dtype=torch.long), cache, every=n > 1)


def compile_part(model: TwoTowers, part: Literal["generate", "read", "go_on"]) -> None:
    """Let every layer of ``model`` do ``part`` compiled: one function for all of them, whatever the lengths."""
    done = torch.compile(getattr(Layer, part), dynamic=True)
    for layer in model.transformer.layers:
        setattr(layer, part, MethodType(done, layer))
