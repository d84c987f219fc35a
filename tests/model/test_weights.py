"""A checkpoint folder gives back what was put in, and says everything that is wrong with it at once."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from armillary.errors import CheckpointError
from armillary.model import PICO, TowerConfig, TwoTowers, VisionConfig, load_config, load_model, save_model
from armillary.model.weights import write_model_index

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
