"""A checkpoint of parts: each is the one that was named, and what does not fit leaves nothing behind."""

import json
from dataclasses import replace

import pytest
import torch
from tiny import SMALL_VAE, small_checkpoint

import armillary
from armillary.errors import CheckpointError, ConfigError
from armillary.model import load_model, save_model
from armillary.model.low_rank import LowRank
from armillary.post_training.adapted import write_adapter
from armillary.post_training.assembled import AssembledRun, DressedRun
from armillary.tokenizers.folders import WEIGHTS
from armillary.tokenizers.video import VideoVAE

SAID = {"size": [64, 64], "fps": 5.0, "steps": {"policy": 3, "transfer": 7}, "filmless": ["policy"], "steady": 0.25}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A checkpoint with sound, other towers, and another tokenizer of the same latents."""
    folder = tmp_path_factory.mktemp("parts")
    like = small_checkpoint(folder / "like", sound=True)
    (like / "defaults.json").write_text(json.dumps(SAID))
    towers, painter = load_model(like, dtype=torch.float32), VideoVAE.load(like / "vae")
    with torch.no_grad():
        for parameter in [*towers.parameters(), *painter.parameters()]:
            parameter.add_(1.0)
    save_model(folder / "towers", towers, dtype=torch.float32)
    painter.save(folder / "painter")
    return folder


def test_every_part_is_the_one_that_was_named(parts, tmp_path):
    run = AssembledRun(
        model=parts / "towers", like=parts / "like", vae=parts / "painter", out=tmp_path / "whole",
        steps={"policy": 1}, execute={"tabletop": 16},
    )  # fmt: skip
    run.start(lambda _: None)
    omni, like = armillary.load(run.out, dtype="float32"), armillary.load(parts / "like", dtype="float32")
    for name, parameter in load_model(run.out, dtype=torch.float32).named_parameters():
        old = dict(load_model(parts / "like", dtype=torch.float32).named_parameters())[name]
        assert torch.allclose(parameter, old + 1, atol=0.02)  # written in bfloat16
    assert (run.out / "vae/config.json").read_bytes() == (parts / "painter/config.json").read_bytes()
    shown, wanted = ((folder / WEIGHTS).read_bytes() for folder in (run.out / "vae", parts / "painter"))
    assert shown == wanted
    said = omni.parts.defaults
    assert said.steps == {"policy": 1, "transfer": 7} and said.execute_of("tabletop") == 16
    assert (said.size, said.fps, said.filmless, said.steady) == ((64, 64), 5.0, ("policy",), 0.25)
    assert (run.out / "embodiments.json").read_bytes() == (parts / "like/embodiments.json").read_bytes()
    assert (run.out / "sound_tokenizer").is_dir() and omni.parts.sound_vae is not None
    assert json.loads((run.out / "text_tokenizer/preprocessor_config.json").read_text())["patch_size"] == 16
    assert omni.parts.weights_sha256 != like.parts.weights_sha256


def test_a_tokenizer_of_half_the_bytes_has_the_same_latents(parts, tmp_path):
    run = AssembledRun(model=parts / "towers", like=parts / "like", out=tmp_path / "whole", halved=True)
    run.start(lambda _: None)
    folders = (run.out / "vae", parts / "like/vae")
    half, whole = ((folder / WEIGHTS).stat().st_size for folder in folders)
    assert half < 0.6 * whole and len({VideoVAE.load(folder).latents_sha256 for folder in folders}) == 1
    assert len({(folder / "config.json").read_bytes() for folder in folders}) == 1


def test_a_tokenizer_of_other_latents_is_refused_and_nothing_is_written(parts, tmp_path):
    VideoVAE(replace(SMALL_VAE, latents_mean=tuple(x + 1 for x in SMALL_VAE.latents_mean))).save(tmp_path / "other")
    run = AssembledRun(model=parts / "towers", like=parts / "like", vae=tmp_path / "other", out=tmp_path / "whole")
    with pytest.raises(ConfigError, match="has other latents than"):
        run.start(lambda _: None)
    assert not run.out.exists()


def adapter(folder, weights):
    """An adapter that says in which film it is worn, as a run beside ``weights`` leaves it."""
    pair = (torch.ones(1, 32), torch.ones(32, 1))
    one = LowRank(alpha=2.0, targets=("add_v_proj",), pairs={"layers.1.self_attn.add_v_proj": pair})
    write_adapter(folder / "adapter", one, {"modes": ["image-to-video"], "steps": 4}, base="like")
    (folder / "made_from.json").write_text(json.dumps({"weights": weights, "rank": "1"}))
    return folder / "adapter"


def test_a_checkpoint_wears_the_adapters_that_were_learnt_beside_it(parts, tmp_path):
    """Its weights are those of before, to the bit as they are opened; what it says is said besides."""
    like = armillary.load(parts / "like", device="cpu")
    mine = adapter(tmp_path / "mine", like.parts.weights_sha256)
    run = DressedRun(
        origin=parts / "like", out=tmp_path / "dressed", adapters={"quick": mine},
        defaults={"acting": {"modes": [], "bodies": {"tabletop": {"who": ["It"], "deeds": {"a": "B"}}}}},
    )  # fmt: skip
    run.start(lambda _: None)
    run.start(lambda _: None)  # once more: the same
    omni = armillary.load(run.out, device="cpu")
    assert omni.parts.weights_sha256 == like.parts.weights_sha256
    assert [path.name for path in (run.out / "adapters").iterdir()] == ["quick"]
    for name in ("adapter.json", "adapter_config.json", "adapter_model.safetensors"):
        assert (run.out / "adapters/quick" / name).read_bytes() == (mine / name).read_bytes()
    said = json.loads((run.out / "defaults.json").read_text())
    assert said == SAID | run.defaults and omni.parts.defaults.acting is not None


def test_an_adapter_of_other_weights_or_none_at_all_leaves_nothing_behind(parts, tmp_path):
    run = DressedRun(
        origin=parts / "like", out=tmp_path / "dressed", adapters={"quick": adapter(tmp_path / "mine", "another")}
    )
    with pytest.raises(ConfigError, match="was begun with weights 'another'"):
        run.start(lambda _: None)
    with pytest.raises(CheckpointError, match="is no adapter"):
        replace(run, adapters={"quick": tmp_path / "absent"}).start(lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
