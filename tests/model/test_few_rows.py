"""A few tokens are multiplied as many are, whatever the sizes; where the compiler fails, a sentence says so."""

import shutil

import pytest
import torch
from torch.nn import functional
from walking import small

from armillary.errors import ConfigError
from armillary.model import few_rows, load_model, save_model
from armillary.model.compiled import compile_words
from armillary.model.few_rows import FewRows, give_few_rows, multiplied

needs_compiler = pytest.mark.skipif(few_rows.compiler() is None, reason="made by a C++ compiler")


@needs_compiler
@pytest.mark.parametrize(("n", "k"), [(7, 33), (64, 48), (3, 5), (130, 256)])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 3), (8, 1), (9,), (16, 1), (17,)], ids=str)
def test_few_tokens_are_multiplied_as_many(n, k, shape):
    chance = torch.Generator().manual_seed(n)
    x, weight = torch.randn(*shape, k, generator=chance), torch.randn(n, k, generator=chance)
    torch.testing.assert_close(multiplied(x, weight), functional.linear(x, weight), rtol=1e-5, atol=1e-5)
    apart = torch.randn(*shape, 2 * k, generator=chance)[..., k:]  # does not lie in one piece
    torch.testing.assert_close(multiplied(apart, weight), functional.linear(apart, weight), rtol=1e-5, atol=1e-5)


@needs_compiler
def test_only_the_reasoner_s_float32_matrices_are_exchanged_and_the_scores_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **how: function)
    save_model(tmp_path, small("qwen"), dtype=torch.float32)
    plain, few, rounded = (load_model(tmp_path, quick=True, dtype=kind).eval()
                           for kind in (torch.float32, torch.float32, torch.bfloat16))  # fmt: skip
    few.lay_side_by_side()
    for model in (few, rounded):
        compile_words(model)
    found = [path for path, one in few.transformer.named_modules() if isinstance(one, FewRows)]
    assert len(found) == 7 * len(few.transformer.layers)
    assert not any("add_" in path or "moe_gen" in path for path in found)
    assert not any(isinstance(one, FewRows) for one in rounded.modules())
    assert all(len(layer.self_attn.joint._laid) == 2 for layer in few.transformer.layers), "nothing is kept twice"
    ids = torch.arange(20, 44).view(3, 8)
    with torch.inference_mode():
        for model in (plain, few):
            first, cache = model.step(ids)
            model.told = torch.stack((first, model.step(ids[:, :1], cache)[0]))
    torch.testing.assert_close(few.told, plain.told, rtol=1e-4, atol=1e-4)


def test_a_compiler_that_fails_or_is_missing_is_told(monkeypatch):
    few_rows._made.cache_clear()
    layer = small("qwen").transformer.layers[0]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"install g\+\+"):
        give_few_rows(layer)
    monkeypatch.setattr(shutil, "which", lambda name: "false")
    with pytest.raises(ConfigError, match=r"false could not make few_rows\.cpp \(no reason was given\)"):
        give_few_rows(layer)
