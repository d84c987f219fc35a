"""A tokenizer's training may begin from another's weights, if the sizes fit."""

import pytest
import torch

from armillary.errors import ConfigError
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig
from armillary.training.vae import VAERun, VAETrainer

SMALL = VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2))


def test_a_run_begins_with_the_weights_it_is_given(tmp_path):
    torch.manual_seed(7)
    first = VideoVAE(SMALL)
    first.save(tmp_path / "vae")
    trainer = VAETrainer(VAERun(data=tmp_path, out=tmp_path, model=SMALL, origin=tmp_path / "vae"))
    kept = dict(first.named_parameters())
    assert all(torch.equal(kept[name], part) for name, part in zip(trainer.names, trainer.master, strict=True))


def test_weights_of_other_sizes_are_refused(tmp_path):
    VideoVAE(SMALL).save(tmp_path / "vae")
    with pytest.raises(ConfigError, match="other sizes"):
        VAETrainer(VAERun(data=tmp_path, out=tmp_path, origin=tmp_path / "vae"))
