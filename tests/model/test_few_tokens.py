"""A few tokens go on in one call as through plain layers; where the compiler fails, a sentence says so."""

import shutil

import pytest
import torch
from torch import nn
from walking import small

from armillary.errors import ConfigError
from armillary.model import few_tokens, load_model, save_model
from armillary.model.compiled import compile_words
from armillary.model.few_tokens import few_tokens_help, give_few_tokens

needs_compiler = pytest.mark.skipif(few_tokens.compiler() is None, reason="made by a C++ compiler")


@pytest.fixture(autouse=True)
def _on_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("family", ["qwen", "edge"])
@pytest.mark.parametrize("lengths", [(1,), (8,), (8, 3, 5), (2,) * 11], ids=str)
def test_what_a_few_tokens_make_of_a_text_is_what_plain_layers_make(family, lengths, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **how: pytest.fail("nothing is left to torch's compiler"))
    model = small(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    save_model(tmp_path, model, dtype=torch.float32)
    plain, few = (load_model(tmp_path, quick=True, dtype=torch.float32).eval() for _ in range(2))
    compile_words(few)
    assert all(isinstance(layer.go_on, few_tokens._GoesOn) for layer in few.transformer.layers)
    ids = 20 + torch.arange(8 * len(lengths)).view(len(lengths), 8) % 44
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    for laid in (False, True):  # matrices that have moved are found again
        if laid:
            few.lay_side_by_side()
        told = []
        with torch.inference_mode():
            for one in (plain, few):
                said, cache = one.step(ids, mask=mask)
                scores = [said]
                for n in (1, 1, 3, 30 // len(lengths)):  # the last are too many
                    more, cache = one.step(ids[:, :1].expand(-1, n), cache, every=True)
                    scores.append(more)
                cache = cache.select(torch.tensor([len(lengths) - 1])).shorter(1)
                scores.append(one.step(ids[-1:, :2], cache)[0])
                told.append(torch.cat([part.flatten() for part in scores]))
        assert torch.isfinite(told[0]).all() and told[0].std() > 0.1
        torch.testing.assert_close(told[1], told[0], rtol=1e-4, atol=1e-4)


@needs_compiler
def test_more_threads_other_numbers_and_other_products_are_left_to_torch():
    model = small("qwen")
    layer = model.transformer.layers[0]
    assert few_tokens_help(layer)
    torch.set_num_threads(2)
    assert not few_tokens_help(layer)
    torch.set_num_threads(1)
    assert not few_tokens_help(small("qwen").to(torch.bfloat16).transformer.layers[0])
    layer.mlp.up_proj, kept = nn.Identity(), layer.mlp.up_proj
    layer.mlp.up_proj.weight = kept.weight  # a matrix that multiplies in a way of its own
    assert not few_tokens_help(layer)
    layer.mlp.up_proj = kept


def test_a_compiler_that_fails_or_is_missing_is_told(monkeypatch):
    few_tokens._made.cache_clear()
    layer = small("qwen").transformer.layers[0]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"install g\+\+"):
        give_few_tokens(layer)
    monkeypatch.setattr(shutil, "which", lambda name: "false")
    with pytest.raises(ConfigError, match=r"false could not make few_tokens\.cpp \(no reason was given\)"):
        give_few_tokens(layer)
