"""A checkpoint folder gives back what was put in, and says everything that is wrong with it at once."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from armillary.errors import CheckpointError
from armillary.model import (
    FAMILY,
    PICO,
    TowerConfig,
    TwoTowers,
    VisionConfig,
    load_config,
    load_model,
    save_model,
    save_native,
    save_reasoner,
    write_model_index,
)
from armillary.model.weights import together

TINY = replace(
    PICO,
    tower=TowerConfig(layers=2, width=32, heads=4, kv_heads=2, head_width=16, mlp_width=48, rope_axes=(4, 2, 2)),
    vision=VisionConfig(depth=2, width=16, heads=2, mlp_width=24, grid_side=3, deepstack=(0,)),
    vocabulary=64,
    sound_dim=5,
    image_pad=13,
)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path, TwoTowers(TINY))
    return tmp_path


def words(m=5):
    ids = torch.arange(20, 20 + m)[None]
    return ids, torch.ones_like(ids, dtype=torch.bool)


def test_sizes_come_back(folder):
    assert load_config(folder) == TINY


def test_weights_come_back_to_the_bit_in_bfloat16(folder, tmp_path_factory):
    model = load_model(folder, dtype=torch.bfloat16)
    again = tmp_path_factory.mktemp("again")
    save_model(again, model)
    other = load_model(again, dtype=torch.bfloat16)
    assert list(model.state_dict()) == list(other.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert torch.equal(model.logits(*words()), other.logits(*words()))


def test_loading_draws_no_numbers_and_so_brings_in_no_compiler(folder):
    """The first random number on the meta device makes torch import its compiler: 800 modules, longer than loading."""
    told = "import sys; from armillary.model import load_model; before = set(sys.modules); load_model(sys.argv[1]); "
    told += "print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", told, str(folder)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50


def test_the_embedder_of_levels_stays_fp32(folder):
    model = load_model(folder, dtype=torch.bfloat16)
    kinds = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert {kind for name, kind in kinds.items() if "time_embedder" in name} == {torch.float32}
    assert {kind for name, kind in kinds.items() if "time_embedder" not in name} == {torch.bfloat16}


def test_writing_over_an_old_checkpoint_leaves_nothing_else_behind(folder):
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    save_model(folder, TwoTowers(TINY))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_the_root_index_names_the_reasoner_and_the_eyes_only(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    stored = dict.fromkeys(load_file(folder / "transformer/diffusion_pytorch_model.safetensors"), "transformer")
    stored |= dict.fromkeys(load_file(folder / "vision_encoder/model.safetensors"), "vision_encoder")
    assert all(stored[name] == file.split("/")[0] for name, file in index.items())
    left = set(stored) - set(index)
    assert "lm_head.weight" in index
    assert "proj_in.weight" in left
    assert not any("moe_gen" in name or "add_" in name for name in index)


def test_every_fault_is_named_at_once(folder):
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["norm.weight"]
    tensors["proj_in.bias"] = torch.zeros(3)
    tensors["layers.9.mlp.up_proj.weight"] = torch.zeros(1)
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    said = str(caught.value)
    assert "(3 faults)" in said
    assert "norm.weight is missing" in said
    assert "proj_in.bias has shape (3,), not (32,)" in said
    assert "layers.9.mlp.up_proj.weight is unknown" in said


def test_a_renamed_tensor_and_one_of_another_type_are_named(folder):
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["layers.0.mlp.up_projection.weight"] = tensors.pop("layers.0.mlp.up_proj.weight")
    tensors["proj_in.bias"] = torch.zeros(32, dtype=torch.int8)
    save_file(tensors, file)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    said = str(caught.value)
    assert "layers.0.mlp.up_proj.weight is missing (is it layers.0.mlp.up_projection.weight, renamed?)" in said
    assert "proj_in.bias is stored as I8, not as" in said


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_a_file_that_ends_early_is_named(folder, left):
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    with pytest.raises(CheckpointError, match="is cut off"):
        load_model(folder)


def test_a_file_of_something_else_is_named_and_pickles_are_left_closed(folder):
    file = folder / "transformer/diffusion_pytorch_model.safetensors"
    file.write_bytes((9).to_bytes(8, "little") + b"not json!")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        load_model(folder)
    file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"only pytorch_model\.bin, which is pickled and is not opened"):
        load_model(folder)


def test_many_files_hold_the_same_model_as_one(folder, tmp_path_factory):
    whole = load_model(folder)
    cut = tmp_path_factory.mktemp("cut")
    save_model(cut, whole, dtype=torch.float32, largest=20_000)
    files = sorted((cut / "transformer").glob("*.safetensors"))
    assert len(files) > 3
    again = load_model(cut)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    index = json.loads((cut / "model.safetensors.index.json").read_text())["weight_map"]
    assert all((cut / file).is_file() for file in index.values())
    files[1].unlink()
    with pytest.raises(CheckpointError, match=f"{files[1].name} is missing") as caught:
        load_model(cut)
    assert str(caught.value).count(" is missing") > 1  # the file, and what was in it


EDGE_TINY = replace(
    TINY,
    tower=replace(TINY.tower, mlp="relu2", text_norms=False, memory_norms=True, eps=1e-5),
    vision=replace(TINY.vision, kind="siglip", deepstack=(), temporal_patch=1, projector=20),
    sound_dim=0,
)


@pytest.mark.parametrize("config", [TINY, EDGE_TINY], ids=["qwen", "edge"])
def test_native_names_hold_the_same_model(config, tmp_path):
    torch.manual_seed(0)
    model = TwoTowers(config)
    save_native(tmp_path / "native", model, dtype=torch.float32)
    stored = load_file(tmp_path / "native/model.safetensors")
    assert all(name.startswith("net.") for name in stored)
    save_file(stored | {"net_ema.vae2llm.weight": torch.zeros(1)}, tmp_path / "native/model.safetensors")
    again = load_model(tmp_path / "native", config=config)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_an_edge_checkpoint_comes_back_and_its_reasoner_loads_alone(tmp_path):
    torch.manual_seed(0)
    model = TwoTowers(EDGE_TINY)
    for layer in model.transformer.layers:
        torch.nn.init.normal_(layer.self_attn.k_norm_und_for_gen.weight)
    save_model(tmp_path / "whole", model, dtype=torch.float32)
    assert load_config(tmp_path / "whole") == EDGE_TINY
    assert not (tmp_path / "whole/vision_encoder/config.json").exists()
    reader = load_model(tmp_path / "whole", towers=("reasoner",))
    assert all(torch.equal(a, b) for a, b in zip(model.read(*words()).keys, reader.read(*words()).keys, strict=True))
    save_reasoner(tmp_path / "alone", model, dtype=torch.float32)
    alone = load_model(tmp_path / "alone", towers=("reasoner", "vision"))
    assert torch.equal(alone.logits(*words()), model.logits(*words()))
    with pytest.raises(CheckpointError, match=r"proj_in\.weight is missing") as caught:
        load_model(tmp_path / "alone")
    said = str(caught.value)
    assert "transformer: layers.0-1.self_attn.add_q_proj.weight is missing" in said
    assert said.endswith("Nothing is here of the generator: load the rest with towers=('reasoner', 'vision').")


def test_the_memory_of_edge_has_keys_of_its_own():
    torch.manual_seed(0)
    model = TwoTowers(EDGE_TINY)
    before, said = model.read(*words()).keys, model.logits(*words())
    for layer in model.transformer.layers:
        torch.nn.init.normal_(layer.self_attn.k_norm_und_for_gen.weight)
    after = model.read(*words()).keys
    assert not any(torch.allclose(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(model.logits(*words()), said)


def test_names_that_differ_in_their_layer_are_told_together():
    names = [
        "layers.0.a.weight",
        "layers.1.a.weight",
        "layers.3.a.weight",
        "layers.1.b",
        "norm.weight",
        "blocks.7.norm1.x",
    ]
    assert together(names) == ["layers.0-1,3.a.weight", "layers.1.b", "norm.weight", "blocks.7.norm1.x"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": "wide"}, "no size"),
        ({"num_hidden_layers": -1}, "says layers=-1, which is no size"),
        ({"intermediate_size": None}, "no size"),
        ({"num_key_value_heads": 0}, "holds what is no size"),
        ({"rope_axes_dim": ["a", "b", "c"]}, "holds what is no size"),
        ({"head_dim": 10}, "must add up to half the head's width"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_config_that_holds_no_sizes_is_named(folder, change, words):
    file = folder / "transformer/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=words) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value)


def test_a_torn_index_is_a_fault_among_others(folder, tmp_path_factory):
    cut = tmp_path_factory.mktemp("torn")
    save_model(cut, load_model(folder), dtype=torch.float32, largest=20_000)
    (cut / "transformer/diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {')
    with pytest.raises(CheckpointError, match=r"\(1 fault\): transformer: .*index\.json is no JSON with a weight_map"):
        load_model(cut)


def test_a_folder_that_is_no_checkpoint_says_what_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"transformer.config\.json is missing"):
        load_model(tmp_path)


def test_only_the_towers_asked_for_are_read(folder):
    whole = load_model(folder)
    reasoner = load_model(folder, towers=("reasoner",))
    assert torch.equal(reasoner.logits(*words()), whole.logits(*words()))
    assert sum(p.numel() for p in reasoner.parameters()) < sum(p.numel() for p in whole.parameters()) / 2
    generator = load_model(folder, towers=("generator",))
    memories = [model.read(*words()) for model in (whole, generator)]
    assert all(torch.equal(a, b) for a, b in zip(memories[0].keys, memories[1].keys, strict=True))
    with pytest.raises(CheckpointError, match="without its reasoner"):
        generator.logits(*words())
    with pytest.raises(CheckpointError, match="only a whole one is saved"):
        save_model(folder, generator)


def test_the_pipeline_index_names_every_part(tmp_path):
    write_model_index(tmp_path, flow_shift=3.0)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "Cosmos3OmniPipeline"
    assert index["transformer"] == ["diffusers", "Cosmos3OmniTransformer"]
    assert index["use_native_flow_schedule"] is True
    assert index["default_use_system_prompt"] is False
    scheduler = json.loads((tmp_path / "scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "flow_prediction"
    assert scheduler["use_flow_sigmas"] is True
    assert scheduler["flow_shift"] == 3.0
    assert scheduler["use_karras_sigmas"] is False


def test_a_model_s_own_way_of_sampling_is_written_beside_it(tmp_path):
    write_model_index(tmp_path, sampling=FAMILY["nano"].sampling)
    scheduler = json.loads((tmp_path / "scheduler/scheduler_config.json").read_text())
    assert scheduler["use_karras_sigmas"] and scheduler["sigma_max"] == 200.0
    assert json.loads((tmp_path / "model_index.json").read_text())["use_native_flow_schedule"] is False
    write_model_index(tmp_path, sampling=FAMILY["super-text2image-4step"].sampling)
    index = json.loads((tmp_path / "modular_model_index.json").read_text())
    assert index["is_distilled"] is True
    assert index["distilled_sigmas"] == pytest.approx([1, 0.9375, 0.83333, 0.625], abs=1e-4)
    scheduler = json.loads((tmp_path / "scheduler/scheduler_config.json").read_text())
    assert scheduler["_class_name"] == "FlowMatchEulerDiscreteScheduler" and scheduler["stochastic_sampling"]
