"""Layers that torch compiles say the words that plain layers say (those of few tokens: ``test_few_tokens.py``).

In a process of its own: the compiler and the checks of shapes that the other tests run under do not go together.
"""

import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch

import armillary
from armillary.errors import ConfigError
from armillary.model import compiled
from armillary.model.few_tokens import give_few_tokens

COMPARED = """
import sys
import torch
from armillary.model import load_model
from armillary.model.compiled import compile_words
from armillary.sampling.speak import Heard, Manner, say

torch.set_num_threads(2)  # on one, nothing is left to torch's compiler
plain, fast = (load_model(sys.argv[1], towers=("reasoner",), quick=True).eval() for _ in range(2))
for model in (plain, fast):
    model.lay_side_by_side()
compile_words(fast)
passes = []
go_on = fast.transformer.layers[0].go_on
fast.transformer.layers[0].go_on = lambda *how: (passes.append(1), go_on(*how))[1]
heard = [Heard(ids=[5, 6, 7], visual=None, manner=Manner(), longest=20)]
said = [list(say(model, heard, ends=(), guess=False)) for model in (plain, fast)]
assert said[0] == said[1] and len(said[0]) == 20 and len(passes) == 19
ids = torch.arange(20, 40)[None]
with torch.inference_mode():
    scores = [model.step(ids[:, 19:], model.step(ids[:, :19])[1])[0] for model in (plain, fast)]
torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)
frames = torch._dynamo.utils.counters["frames"]
assert frames["ok"] == frames["total"] > 0
print("the same")
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_layers_say_the_same(checkpoint):
    done = subprocess.run(
        [sys.executable, "-c", COMPARED, str(checkpoint)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "the same" in done.stdout


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_opened_to_speak_compiled_has_compiled_layers(threads, checkpoint, monkeypatch, request):
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(threads)
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **how: (asked.append(how), function)[1])
    given = []
    monkeypatch.setattr(compiled, "give_few_tokens", lambda layer: (given.append(layer), give_few_tokens(layer)))
    omni = armillary.load(checkpoint, device="cpu", dtype="float32", compiled=True)
    assert omni.ask("why?", longest=4) == armillary.load(checkpoint, device="cpu", dtype="float32").ask(
        "why?", longest=4
    )
    assert asked == ([{"dynamic": True}] if threads == 2 else [])
    assert len(given) == (0 if threads == 2 else len(omni.parts.model("reasoner").transformer.layers))


def test_what_cannot_be_compiled_is_refused(checkpoint, monkeypatch):
    with pytest.raises(ConfigError, match="plain weights that stay"):
        armillary.load(checkpoint, device="cpu", weights="int8", compiled=True)
    with pytest.raises(ConfigError, match="plain weights that stay"):
        armillary.load(checkpoint, device="cpu", offload="towers", compiled=True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="install g"):
        armillary.load(checkpoint, device="cpu", compiled=True)
