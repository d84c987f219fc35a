"""Compiled layers learn what plain layers learn: losses and gradients agree, whatever the lengths.

In a process of its own: the compiler and the checks of shapes that the other tests run under do not go together.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import small_model

from armillary.errors import ConfigError
from armillary.training.compiling import compile_layers

COMPARED = """
import sys, tempfile
from copy import deepcopy
from pathlib import Path
import torch
from tiny import small_model
from armillary.training.compiling import compile_layers

def learnt(model, part, length):
    model.zero_grad()
    rng = torch.Generator().manual_seed(length)
    ids = torch.randint(20, 300, (3, length), generator=rng)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, length // 2 :] = False
    if part == "read":
        hidden = model.hidden(ids, mask, None)
        (hidden.square() * mask[..., None]).sum().backward()
        kept = model.transformer.layers[0].mlp.up_proj.weight.grad
    else:
        memory = model.read(ids, mask)
        x = torch.randn(3, length + 4, 32, generator=rng, requires_grad=True)
        where = tuple(torch.randn(3, length + 4, 1, 32, generator=rng) for _ in range(2))
        seen = torch.cat((mask, torch.ones(3, length + 4, dtype=torch.bool)), dim=1)[:, None]
        layer = model.transformer.layers[0]
        layer.generate(x, where, (memory.keys[0], memory.values[0]), seen).square().sum().backward()
        kept = layer.mlp_moe_gen.up_proj.weight.grad
    return kept.clone()

plain, _ = small_model(Path(tempfile.mkdtemp()))
fast = deepcopy(plain)
for part in ("generate", "read"):
    compile_layers(fast, part)
    for length in (9, 14, 23):
        a, b = learnt(plain, part, length), learnt(fast, part, length)
        assert a.norm() > 0
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        print(part, length, "agree")
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_layers_learn_the_same():
    done = subprocess.run(
        [sys.executable, "-c", COMPARED], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("agree") == 6


def test_without_a_compiler_one_sentence_says_so(monkeypatch, tmp_path):
    model, _ = small_model(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="install g"):
        compile_layers(model, "read")
