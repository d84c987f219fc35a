"""A checkpoint of parts: each is the one that was named, and what does not fit leaves nothing behind."""

import json
from dataclasses import replace

import pytest
import torch
from tiny import SMALL_VAE, small_checkpoint

import armillary
from armillary.errors import ConfigError
from armillary.model import load_model, save_model
from armillary.post_training.assembled import AssembledRun
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


def test_a_tokenizer_of_other_latents_is_refused_and_nothing_is_written(parts, tmp_path):
    VideoVAE(replace(SMALL_VAE, latents_mean=tuple(x + 1 for x in SMALL_VAE.latents_mean))).save(tmp_path / "other")
    run = AssembledRun(model=parts / "towers", like=parts / "like", vae=tmp_path / "other", out=tmp_path / "whole")
    with pytest.raises(ConfigError, match="has other latents than"):
        run.start(lambda _: None)
    assert not run.out.exists()
