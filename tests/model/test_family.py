"""The published models have exactly the parameters and tensor names that were published."""

import pytest
import torch

from armillary.errors import ConfigError
from armillary.model import FAMILY, TwoTowers
from armillary.model.family import member
from armillary.model.names import canonical, to_native, to_transformers, tower_of

COUNTS = {  # transformer, eyes: cosmos3.md 7.2
    "edge": (3_369_657_024, 489_342_704),
    "nano": (15_173_669_120, 576_388_336),
    "super": (64_019_736_832, 595_266_800),
}


@pytest.fixture(scope="module")
def models():
    with torch.device("meta"):
        return {name: TwoTowers(FAMILY[name].config) for name in COUNTS}


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_model_has_exactly_its_parameters(models, name):
    parts = (models[name].transformer, models[name].visual)
    assert tuple(sum(parameter.numel() for parameter in part.parameters()) for part in parts) == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_names_go_to_other_layouts_and_come_back(models, name):
    model = models[name]
    ours = [*dict(model.transformer.named_parameters()), *dict(model.visual.named_parameters())]
    assert [canonical(one) for one in ours] == ours
    native = [to_native(one) for one in ours]
    assert len(set(native)) == len(ours)
    assert [canonical(one) for one in native] == ours
    theirs = {one: to_transformers(one, edge=name == "edge") for one in ours}
    assert all((there is None) == (tower_of(one) == "generator") for one, there in theirs.items())
    assert all(canonical(there) == one for one, there in theirs.items() if there is not None)


def test_a_layer_has_the_published_tensors(models):
    counts = {
        name: sum(one.startswith("layers.5.") for one, _ in model.transformer.named_parameters())
        for name, model in models.items()
    }
    assert counts == {"edge": 19, "nano": 22, "super": 22}
    edge = dict(models["edge"].transformer.named_parameters())
    assert "layers.0.self_attn.k_norm_und_for_gen.weight" in edge
    assert not [one for one in edge if "gate_proj" in one or ".norm_q." in one or ".norm_k." in one]
    assert models["super"].transformer.layers[0].self_attn.to_out.weight.shape == (5120, 8192)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.language_model.layers.6.norm.weight", "layers.3.input_layernorm.weight"),
        ("model.language_model.layers.6.mixer.q_proj.weight", "layers.3.self_attn.to_q.weight"),
        ("model.language_model.layers.7.norm.weight", "layers.3.post_attention_layernorm.weight"),
        ("model.language_model.layers.7.mixer.up_proj.weight", "layers.3.mlp.up_proj.weight"),
        ("model.language_model.embeddings.weight", "embed_tokens.weight"),
        ("model.language_model.norm_f.weight", "norm.weight"),
        ("model.visual.post_layernorm.bias", "model.visual.post_layernorm.bias"),
        ("net.vae2llm.weight", "proj_in.weight"),
        ("net.time_embedder.mlp.2.bias", "time_embedder.linear_2.bias"),
        ("net.sound_modality_embed", "audio_modality_embed"),
        ("net.llm2action.fc.weight", "action_proj_out.fc.weight"),
        ("net.language_model.lm_head.weight", "lm_head.weight"),
        ("net.language_model.model.layers.3.self_attn.o_proj_moe_gen.weight", "layers.3.self_attn.to_add_out.weight"),
        ("net.language_model.visual.blocks.2.norm1.weight", "blocks.2.norm1.weight"),
        ("something.else", "something.else"),
    ],
)
def test_names_of_other_layouts_are_understood(theirs, ours):
    assert canonical(theirs) == ours


def test_a_model_is_found_under_its_published_name_too():
    assert member("nvidia/Cosmos3-Edge").config is FAMILY["edge"].config
    assert member("nvidia/Cosmos3-Nano@main").config is FAMILY["nano"].config
    assert member("super-image2video-4step").config.base_fps == 16
    with pytest.raises(ConfigError, match="choose from pico, edge"):
        member("medium")
