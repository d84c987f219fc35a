"""A small change of matrices, kept apart: it begins as none, it is learnt alone, and it comes off without a trace."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import small_config

from armillary.errors import CheckpointError, ConfigError
from armillary.model import TwoTowers, save_model
from armillary.model.int8 import Int8Linear, whole_numbers
from armillary.model.low_rank import MATRICES, LowRank, learning, learnt
from armillary.model.ports import video_positions
from armillary.model.weights import open_model
from armillary.records import Segment
from armillary.tokenizers.text import train_tokenizer

QUERY, DOWN = "layers.0.self_attn.add_q_proj", "layers.1.mlp_moe_gen.down_proj"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return train_tokenizer(["a red cube"] * 3, tmp_path_factory.mktemp("words"), vocabulary=300)


@pytest.fixture
def model(words):
    torch.manual_seed(0)
    return TwoTowers(small_config(words))


@pytest.fixture(scope="module")
def folder(words, tmp_path_factory):
    """A checkpoint's weights, as they lie in files."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("weights")
    save_model(root, TwoTowers(small_config(words)), dtype=torch.float32)
    return root


def some(rank=3, alpha=6.0, seed=1, scale=0.2):
    """An adapter of the small model that changes two of its matrices, bfloat16 numbers as they are written."""
    chance = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return (scale * torch.randn(*shape, generator=chance)).bfloat16().float()

    pairs = {QUERY: (drawn(rank, 32), drawn(64, rank)), DOWN: (drawn(rank, 64), drawn(32, rank))}
    return LowRank(alpha=alpha, targets=("add_q_proj", "mlp_moe_gen.down_proj"), pairs=pairs)


def velocity(model):
    """What the generator says of some noise, b n d."""
    chance = torch.Generator().manual_seed(3)
    tokens = torch.randn(1, 4, 192, generator=chance)
    film = Segment(
        modality="video", tokens=tokens, positions=video_positions((1, 4, 4), fps=10.0)[None], level=torch.ones(1, 4)
    )
    ids = torch.arange(20, 30)[None]
    return model.velocity(model.read(ids, torch.ones_like(ids, dtype=torch.bool)), [film], fps=10.0)[0]


def everything(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def test_learning_begins_with_nothing_changed(model):
    before = velocity(model)
    with learning(model, rank=4, alpha=8.0):
        assert torch.equal(velocity(model), before)


def test_nothing_but_the_factors_of_the_generators_matrices_learns(model):
    layers, matrices = model.config.tower.layers, len(MATRICES)
    with learning(model, rank=4, alpha=8.0) as parameters:
        for name, parameter in parameters.items():
            if name.endswith("lora_b"):
                torch.nn.init.normal_(parameter)  # at the beginning B is zero, and A hears nothing
        velocity(model).square().mean().backward()
        assert len(parameters) == 2 * matrices * layers
        heard = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert heard == set(parameters)
        assert all(parameter.grad.any() for parameter in parameters.values())


def test_only_matrices_that_are_named_are_changed(model):
    with learning(model, rank=1, alpha=1.0, targets=("add_v_proj",)) as parameters:
        assert parameters and all(".add_v_proj." in name for name in parameters)


@pytest.mark.parametrize("broken", [False, True], ids=["at the end", "after a mistake"])
def test_afterwards_the_model_is_to_the_bit_what_it_was(model, broken):
    for parameter in model.reasoner_parameters():
        parameter.requires_grad_(False)
    before, asked = everything(model), {name: p.requires_grad for name, p in model.named_parameters()}
    assert len(set(asked.values())) == 2
    try:
        with learning(model, rank=2, alpha=4.0) as parameters:
            for parameter in parameters.values():
                torch.nn.init.ones_(parameter)
            if broken:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert broken
    after = everything(model)
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == asked
    assert type(model.transformer.get_submodule(QUERY)) is torch.nn.Linear


def test_layers_without_a_gate_learn_in_the_matrices_that_they_have(words):
    config = small_config(words)
    edge = TwoTowers(replace(config, tower=replace(config.tower, mlp="relu2", text_norms=False, memory_norms=True)))
    with learning(edge, rank=1, alpha=1.0):
        adapter = learnt(edge)
    assert set(MATRICES) - set(adapter.targets) == {"mlp_moe_gen.gate_proj"}
    with pytest.raises(ConfigError, match="gate_proj', but no matrix of this generator"):
        with learning(edge, rank=1, alpha=1.0, targets=("add_q_proj", "mlp_moe_gen.gate_proj")):
            pass


def test_what_is_learnt_is_what_was_computed_with(model, tmp_path):
    """W + alpha / r B A, after a way through files, gives the same velocities as while it was learnt."""
    with learning(model, rank=4, alpha=2.0, seed=5) as parameters:
        for name, parameter in parameters.items():
            with torch.no_grad():
                drawn = parameter if "lora_a" in name else 0.1 * torch.randn(parameter.shape)
                parameter.copy_(drawn.bfloat16())  # as it is written
        wanted = velocity(model)
        adapter = learnt(model)
    assert not torch.allclose(velocity(model), wanted, atol=1e-3)
    adapter.save(tmp_path / "own", base="small")
    again = LowRank.load(tmp_path / "own")
    assert again.rank == 4 and again.alpha == 2.0 and len(again.tensors) == 14
    with torch.no_grad():
        for name, parameter in model.transformer.named_parameters():
            parameter.copy_(again.added(name, parameter))
    assert torch.allclose(velocity(model), wanted, atol=1e-5)


def test_a_seed_begins_the_same_factors_anywhere(model):
    begun = []
    for seed in (1, 1, 2):
        with learning(model, rank=2, alpha=4.0, seed=seed):
            begun.append(learnt(model))
    first, again, other = [one.pairs[QUERY][0] for one in begun]
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not begun[0].pairs[QUERY][1].any()


def test_an_adapter_is_kept_as_peft_keeps_it(tmp_path):
    adapter = some()
    adapter.save(tmp_path / "own", base="pico")
    told = json.loads((tmp_path / "own/adapter_config.json").read_text())
    assert told["peft_type"] == "LORA" and (told["r"], told["lora_alpha"]) == (3, 6.0)
    assert told["target_modules"] == ["add_q_proj", "mlp_moe_gen.down_proj"]
    tensors = load_file(tmp_path / "own/adapter_model.safetensors")
    assert set(tensors) == {f"base_model.model.{name}.lora_{one}.weight" for name in (QUERY, DOWN) for one in "AB"}
    again = LowRank.load(tmp_path / "own")
    assert (again.alpha, again.targets, set(again.pairs)) == (adapter.alpha, adapter.targets, set(adapter.pairs))
    for name, pair in adapter.pairs.items():
        assert all(torch.equal(one, other) for one, other in zip(pair, again.pairs[name], strict=True))


def test_names_of_other_libraries_are_read(tmp_path):
    """Of a whole pipeline, of an adapter that has a name, and of the native framework."""
    some().save(tmp_path / "own")
    path = tmp_path / "own/adapter_model.safetensors"
    tensors = load_file(path)
    respelt = {
        name.replace("model.layers", "model.transformer.layers").replace(".lora_A.weight", ".lora_A.default.weight"): x
        for name, x in tensors.items()
    }
    save_file(respelt, path)
    assert set(LowRank.load(tmp_path / "own").pairs) == {QUERY, DOWN}
    native = {name.replace("self_attn.add_q_proj", "self_attn.q_proj_moe_gen"): x for name, x in tensors.items()}
    save_file(native, path)
    assert set(LowRank.load(tmp_path / "own").pairs) == {QUERY, DOWN}


@pytest.mark.parametrize("how", ["plain", "int8", "towers", "layers"])
def test_worn_it_is_w_plus_alpha_over_r_b_a_and_off_it_leaves_no_trace(folder, how):
    stock = open_model(folder, dtype=torch.float32, int8=how == "int8", quick=True)
    if how == "layers":
        stock.stream()
    adapter = some()

    def matrices():
        found = {}
        if how == "towers":
            stock.hold(("memory",))  # the generator's are gone, and come anew
        model = stock.hold(("generator",) if how in ("towers", "layers") else ("memory", "reasoner", "generator"))
        for number, layer in enumerate(model.transformer.layers):  # each is there while it is its turn
            for name, module in layer.named_modules():
                if isinstance(module, torch.nn.Linear) and not module.weight.is_meta:
                    weight = module.weight.to_dense() if module.weight.is_mkldnn else module.weight
                    found[f"layers.{number}.{name}"] = weight.detach().clone()
        return found

    before = matrices()
    stock.wear(adapter)
    worn = matrices()
    stock.wear(None)
    after = matrices()
    assert QUERY in before and all(torch.equal(after[name], before[name]) for name in before)
    exact = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
    for name, found in worn.items():
        if name not in adapter.pairs:
            assert torch.equal(found, before[name])
            continue
        a, b = adapter.pairs[name]
        wanted = exact[f"{name}.weight"] + adapter.alpha / 3 * b @ a
        if how == "int8":
            assert isinstance(stock.model.transformer.get_submodule(name), Int8Linear)
            wanted = whole_numbers(wanted)[0]
        assert torch.allclose(found.float(), wanted.float(), atol=1e-6) and not torch.equal(found, before[name])


def test_one_is_exchanged_for_another(folder):
    stock = open_model(folder, dtype=torch.float32)
    model, first, second = stock.hold(("generator",)), some(seed=1), some(seed=2)
    plain = model.transformer.get_submodule(QUERY).weight.detach().clone()
    stock.wear(first)
    stock.wear(second)
    assert torch.equal(model.transformer.get_submodule(QUERY).weight, second.added(f"{QUERY}.weight", plain))


def test_what_belongs_to_another_model_is_refused_and_changes_nothing(folder):
    stock = open_model(folder, dtype=torch.float32)
    model = stock.hold(("generator",))
    before = everything(model)
    narrow, short = (torch.zeros(3, 16), torch.zeros(64, 3)), (torch.zeros(3, 32), torch.zeros(64, 2))
    for pairs, told in (
        ({"layers.7.self_attn.add_q_proj": some().pairs[QUERY]}, r"layers\.7\.self_attn\.add_q_proj, which this model"),
        ({QUERY: narrow}, r"has shape \(64, 32\): it is for another model"),
        ({QUERY: short}, r"has shape \(64, 32\): it is for another model"),
        ({"layers.0.self_attn.to_q": some().pairs[QUERY]}, "the generator alone wears adapters"),
    ):
        with pytest.raises(CheckpointError, match=told):
            stock.wear(replace(some(), pairs=pairs))
    after = everything(model)
    assert all(torch.equal(after[name], before[name]) for name in before if not before[name].is_meta)


SAID = [
    ({"peft_type": "LOHA"}, "only LORA can be worn"),
    ({"use_dora": True}, "says use_dora True: only plain LoRA"),
    ({"use_rslora": True}, "says use_rslora True: only plain LoRA"),
    ({"rank_pattern": {"add_q_proj": 2}}, "says rank_pattern .*only plain LoRA, one rank for all"),
    ({"modules_to_save": ["proj_out"]}, "says modules_to_save"),
    ({"init_lora_weights": "pissa_niter_4"}, "weights which were changed with it"),
    ({"r": 5}, "says rank 5, but layers.0.self_attn.add_q_proj has 3"),
    ({"r": 0}, "give a rank from 1 on"),
    ({"lora_alpha": None}, "give a rank from 1 on and a number"),
]


@pytest.mark.parametrize(("said", "words"), SAID, ids=[next(iter(said)) for said, _ in SAID])
def test_what_would_be_worn_wrongly_is_refused_in_a_sentence(tmp_path, said, words):
    some().save(tmp_path / "own")
    path = tmp_path / "own/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(CheckpointError, match=words) as told:
        LowRank.load(tmp_path / "own")
    assert "\n" not in str(told.value) and str(tmp_path) in str(told.value)


def test_a_folder_without_whole_factors_is_refused_in_a_sentence(tmp_path):
    some().save(tmp_path / "own")
    path = tmp_path / "own/adapter_model.safetensors"
    tensors = load_file(path)
    lone = f"base_model.model.{QUERY}.lora_B.weight"
    for kept, told in (
        ({name: x for name, x in tensors.items() if name != lone}, f"lacks a factor of {QUERY}"),
        ({}, "lacks a factor of no matrix"),
        (tensors | {lone: torch.zeros(64, 3, dtype=torch.int64)}, r"\(I64, shape \(64, 3\)\), which is no factor"),
        (tensors | {"base_model.model.proj_out.lora_magnitude_vector": torch.zeros(3)}, "which is no factor"),
    ):
        save_file(kept, path)
        with pytest.raises(CheckpointError, match=told):
            LowRank.load(tmp_path / "own")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"cannot be read: .*cut off"):
        LowRank.load(tmp_path / "own")
    path.unlink()
    (tmp_path / "own/adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(CheckpointError, match=r"only adapter_model\.bin, which is pickled and is not opened"):
        LowRank.load(tmp_path / "own")
    (tmp_path / "own/adapter_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="holds list, not an object"):
        LowRank.load(tmp_path / "own")
    (tmp_path / "own/adapter_config.json").unlink()
    with pytest.raises(CheckpointError, match="is no adapter: it lacks adapter_config"):
        LowRank.load(tmp_path / "own")


@pytest.mark.parametrize(("how", "told"), [
    ({"rank": 0, "alpha": 1.0}, "a rank from 1 on"), ({"rank": 2, "alpha": 0.0}, "an alpha above 0"),
    ({"rank": 2, "alpha": 1.0, "targets": ("to_q",)}, "no matrix of this generator ends so"),
])  # fmt: skip
def test_settings_that_cannot_be_leave_the_model_alone(model, how, told):
    with pytest.raises(ConfigError, match=told), learning(model, **how):
        pass
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match=r"within learning\(...\)"):
        learnt(model)
