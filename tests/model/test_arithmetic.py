"""Which numbers are multiplied fastest, and lying how, follows from what the processor says it has."""

import pytest
import torch
from walking import small

from armillary.model import load_model, save_model
from armillary.model.arithmetic import _abilities, best_dtype, fast_dtype, in_columns, packs
from armillary.model.head import PackedLinear

CPU = torch.device("cpu")


@pytest.fixture
def able(monkeypatch):
    """Say what the processor has; None: a torch that cannot be asked."""

    def say(found):
        if found is None:
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        else:
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
        _abilities.cache_clear()

    yield say
    monkeypatch.undo()
    _abilities.cache_clear()
    assert fast_dtype(CPU) in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize(
    ("found", "learning", "loading"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, torch.bfloat16, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.float32, torch.bfloat16),
        ({"neon": True}, torch.float32, torch.float32),
        (None, torch.float32, torch.float32),
    ],
)
def test_bfloat16_is_learnt_in_with_tiles_and_loaded_where_it_is_multiplied_at_all(able, found, learning, loading):
    able(found)
    assert fast_dtype(CPU) is learning and best_dtype(CPU) is loading
    assert {one(torch.device("cuda")) for one in (best_dtype, fast_dtype)} == {torch.bfloat16}


@pytest.mark.parametrize("style", ["qwen", "edge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_that_lie_otherwise_are_the_same_matrices(tmp_path, style, dtype):
    save_model(tmp_path / "first", small(style), dtype=torch.float32)
    plain, quick = (load_model(tmp_path / "first", dtype=dtype, quick=one) for one in (False, True))
    quick.lay_side_by_side()
    assert in_columns(quick.transformer.layers[0].self_attn.to_q.weight) == (dtype == torch.float32)
    assert isinstance(quick.transformer.lm_head, PackedLinear) == packs(CPU)
    ids = torch.arange(20, 29)[None]
    with torch.inference_mode():
        a, b = (one.logits(ids, torch.ones_like(ids, dtype=torch.bool)) for one in (plain, quick))
    apart = float((a.float() - b.float()).norm() / a.float().norm())
    assert apart < (1e-5 if dtype == torch.float32 else 1e-2)
    save_model(tmp_path / "again", quick, dtype=torch.float32)
    again = load_model(tmp_path / "again", dtype=dtype)
    assert all(torch.equal(x, y) for x, y in zip(plain.parameters(), again.parameters(), strict=True))
