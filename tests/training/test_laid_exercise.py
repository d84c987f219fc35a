"""One thing more on the table: only what the words name is hidden, and all round it stands as it was before."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import SIZE, Watched, windows
from tiny import small_config, small_model

from armillary.datasets.raw import load_raw
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError
from armillary.prompts import BARE, ONE_MORE
from armillary.sampling.painting import Painting
from armillary.sampling.templates import Template
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig
from armillary.training.episodes import CacheRun, DataRun, simulate
from armillary.training.generator import GeneratorRun, abilities_of
from armillary.training.heard import HeardConfig
from armillary.training.imagination import PICTURES, FlowConfig, FlowSource
from armillary.training.latents import laid_of, windows_from
from armillary.training.loop import Stage
from armillary.training.painting import REACH, Laid
from armillary.training.talk import PLACES

NAMED = [{}, {"red cube": [0, 0, 60, 60]}, {}, {"blue ball": [70, 70, 120, 120]}]  # each in one of 2 x 2 tokens


def tables():
    """Two tables of two pictures each, the second with one thing more."""
    two = windows(4)
    return replace(
        two, video=two.video[:, :4], things=two.things[:, :4], size=(1, *SIZE[1:]), named=NAMED,
        opening=np.array([0, 0, 2, 2]),
    )  # fmt: skip


def test_what_the_words_name_is_hidden_and_the_rest_is_as_it_was_before():
    data = tables()
    laid, rng, met = Laid.among(data), np.random.default_rng(1), set()
    assert laid.more.tolist() == [1, 3] and laid.bare.tolist() == [0, 2]
    for batch in (laid.draw(rng, 4) for _ in range(200)):
        bare = batch.before is None
        for number, (row, prompt, hides) in enumerate(zip(batch.rows, batch.prompts, batch.hidden, strict=True)):
            met.add(row)
            assert bare == (row in (0, 2))
            if bare:
                assert hides.all() and BARE in prompt
                continue
            where = {1: "red cube at 23 23", 3: "blue ball at 74 74"}[row]
            assert f"On the table: a {where}." in prompt
            assert hides.tolist() == [token == (0 if row == 1 else 3) for token in range(4)]
            assert torch.equal(batch.before[number], data.video[row - 1].float())
            assert torch.equal(batch.seen[number][~hides], batch.before[number][~hides])
            assert torch.equal(batch.seen[number][hides], data.video[row].float()[hides])
    assert met == {0, 1, 2, 3}


def test_the_exercise_gives_what_was_there_and_asks_for_the_new(tmp_path):
    _, words = small_model(tmp_path)
    model, data = Watched(small_config(words)), tables()
    source = FlowSource(model, words, windows(4), FlowConfig(painting=1.0, listen_every=1), laid=data)
    kinds = set()
    for step in range(60):
        values = source.losses(np.random.default_rng(step), 2)
        *before, picture = model.seen[1]
        bare = not before
        kinds.add(bare)
        assert set(values) == {"loss", "painted"} | (set() if bare else {"hears_paint"})
        assert picture.tokens.shape[:2] == (2 * PICTURES, 4) and (picture.level > 0).all() == bare
        if not bare:
            assert not before[0].level.any() and torch.equal(before[0].positions, picture.positions)
            given = picture.level == 0
            assert torch.equal(before[0].tokens[given], picture.tokens[given])
    assert kinds == {True, False}


def test_tables_are_laid_encoded_and_found_again(tmp_path):
    simulate(DataRun(out=tmp_path, episodes=1, seed=3, laid=True), lambda _: None)
    episode = load_raw(tmp_path / "episode_000003.npz")
    names = [name for key, name in episode.captions.items() if key.startswith("laid ")]
    vae = VideoVAE(VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2)))
    tensors, rows = laid_of([episode], vae, load_embodiment("tabletop"))
    laid = Laid.among(windows_from(tensors, rows, [0] * len(rows)))
    assert tensors["video"].shape == (len(names) + 1, 16, 192)
    assert [next(iter(laid.windows.named[row])) for row in laid.more] == names  # here all of them can be seen
    assert laid.hidden.any(dim=1).all() and (laid.hidden.sum(dim=1) <= 4).all()


def test_what_excludes_each_other_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="stills and laid"):
        DataRun(out=tmp_path, episodes=1, stills=True, laid=True)
    with pytest.raises(ConfigError, match="one kind"):
        CacheRun(data=tmp_path, vae=tmp_path, out=tmp_path, controls=True, laid=True)


def test_the_sampler_paints_as_the_exercise_teaches():
    assert (Painting().reach, Painting().bare, Painting().one) == (REACH, BARE, ONE_MORE)


def test_a_checkpoint_says_what_it_has_learnt(tmp_path):
    stage = Stage(name="films", steps=1, batch=1, rate=1e-3)
    run = GeneratorRun(origin=tmp_path, cache=tmp_path, vae=tmp_path, out=tmp_path, stage=stage)
    assert abilities_of(run) == {"filmless": [], "learnt": ["onwards"], "control_scale": {}}
    told = abilities_of(replace(run, laid=tmp_path, sounds=tmp_path, sound_tokenizer=tmp_path, stills=tmp_path))
    assert told["learnt"] == ["onwards", "video-to-sound"] and told["filmless"] == ["policy"]
    assert Painting.of(told["painting"]) == Painting(tries=4, bare_guidance=2.0)
    assert {mode: Template.of(how).ask for mode, how in told["upsampling"].items()} == dict.fromkeys(
        ("text-to-image", "text-to-video"), PLACES
    )
    deaf = replace(run.flow, painting=0.0, onwards=0.0, heard=HeardConfig(modes={"image-to-video": 1.0}))
    told = abilities_of(replace(run, laid=tmp_path, sounds=tmp_path, sound_tokenizer=tmp_path, flow=deaf))
    assert told == {"filmless": [], "learnt": [], "control_scale": {}}
    told = abilities_of(replace(run, controls=tmp_path))
    assert told["learnt"] == ["onwards", "transfer"] and told["controls"] == ["edge", "blur", "depth", "segmentation"]
