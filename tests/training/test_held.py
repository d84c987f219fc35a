"""What films under controls keep: lived again to the bit, in training what they are in sampling, marked alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL_VAE, moving_square, small_checkpoint

from armillary.datasets.control_films import control_of
from armillary.datasets.raw import lived_again, load_raw, raw_files, simulate_raw
from armillary.errors import ConfigError, DataError
from armillary.sampling import guidance
from armillary.sampling.omni import load
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import CacheRun, encode
from armillary.training.held import HELD, HeldConfig, _strength, load_held
from armillary.training.imagination import Exercise, FlowConfig, FlowSource, Pool

SEED = 5
SCALE = {"edge": 0.25, "depth": 0.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An episode lived again, a checkpoint of the right layout, the cache that it makes of the episode."""
    folder = tmp_path_factory.mktemp("held")
    assert list(simulate_raw(folder / "raw", episodes=1, seed=SEED)) == [SEED]
    small_checkpoint(folder / "model")
    encode(CacheRun(data=folder / "raw", vae=folder / "model/vae", out=folder / "cache", controls=True, most=2))
    (path,) = raw_files(folder / "raw")
    return lived_again(load_raw(path)), folder / "model", folder / "cache"


@pytest.fixture(scope="module")
def source(made):
    _, model, cache = made
    (model / "defaults.json").write_text(json.dumps({"size": [128, 128], "fps": 10, "control_scale": SCALE}))
    omni, held = load(model, dtype="float32"), load_held(cache)
    towers = omni.parts.model("reasoner", "generator")
    config = FlowConfig(held=HeldConfig(share=1.0, begun=0.5, unheld=0.0), drop_prompt=0.0, listen_every=1)
    return FlowSource(towers, omni.parts.text, held.windows, config, held=held), omni, held


@pytest.mark.parametrize(("kind", "given"), [(0, 0), (1, 1), (2, 0), (3, 1)])
def test_what_is_asked_in_training_is_what_sampling_asks(made, source, monkeypatch, kind, given):
    """Sampling's walk is watched: its segments, its words and what is hidden, beside those of an exercise."""
    (episode, _, _), (_, omni, held) = made, source
    walked = []

    class Watched(guidance.Walk):
        def __init__(self, model, memory, segments, **how):
            walked.append((memory, list(segments), how["fps"]))
            super().__init__(model, memory, segments, **how)

    monkeypatch.setattr(guidance, "Walk", Watched)
    film = episode.frames["front"][-17:]
    control = control_of(episode, HELD[kind], "front", strength=_strength(episode.seed))[-17:]
    begins = {"video": film, "given_frames": 1} if given else {}
    omni.imagine("transfer", prompt=episode.captions["dense"], controls={HELD[kind]: control}, size=film.shape[1:3],
                 fps=episode.fps, guidance=1.0, control_guidance=1.0, steps=1, **begins)  # fmt: skip
    ((memory, asked, fps),) = walked
    pool = Pool(held.windows, FlowConfig())
    level = torch.ones(1, pool.cells * pool.frames)
    level[:, : pool.cells * given] = 0
    exercise = Exercise(
        pool=pool, rows=[1], prompts=[held.prompt(1, kind)], video_level=level, action_level=None,
        film_weight=torch.ones(1), listen=False, control=held.shown([1], [kind], SCALE),
    )  # fmt: skip
    shown, targets, weights = exercise.made(torch.Generator().manual_seed(0))
    assert len(asked) == len(shown) == len(targets) == len(weights) == 2
    assert torch.equal(fps.cpu(), exercise.fps)
    for theirs, ours in zip(asked, shown, strict=True):
        assert theirs.modality == ours.modality == "video"
        assert torch.equal(theirs.positions, ours.positions) and torch.equal(theirs.level > 0, ours.level > 0)
        known = ours.level == 0
        torch.testing.assert_close(ours.tokens[known], theirs.tokens[known], atol=0.06, rtol=0.02)
    words = omni.parts.text.prompt_ids(exercise.prompts[0])
    ours = omni.parts.shelf.batch([words])
    assert torch.equal(ours.keys[0], memory.keys[0]) and torch.equal(ours.lengths, memory.lengths)


def test_kinds_are_drawn_as_often_as_is_said_and_unknown_ones_are_refused(source, monkeypatch):
    _, omni, held = source
    config = FlowConfig(held=HeldConfig(share=1.0, unheld=0.0, scale={"depth": 0.0}, kinds={"depth": 1.0, "blur": 1.0}))
    towers = omni.parts.model("reasoner", "generator")
    own = FlowSource(towers, omni.parts.text, held.windows, config, held=held)
    seen = []

    def marked(exercise, _):
        seen.append(exercise.control)
        return {"loss": torch.zeros(()), "video": torch.ones(())}

    monkeypatch.setattr(own, "_marked", marked)
    own.losses(np.random.default_rng(5), 64)
    dark = [not control.any() for control in seen[0]]
    assert len(dark) == 32 and 8 < sum(dark) < 24, "depth, made nothing, in half of them"
    blurred = held.controls[:, HELD.index("blur")]
    assert all(nothing or any(torch.equal(control, one) for one in blurred)
               for nothing, control in zip(dark, seen[0], strict=True))  # fmt: skip
    for wrong in ({"scale": {"map": 1.0}}, {"kinds": {"edge": -1.0}}):
        with pytest.raises(ConfigError, match="it must map edge, blur, depth, segmentation to numbers"):
            HeldConfig(**wrong)
    with pytest.raises(ConfigError, match="leave share at 0"):
        HeldConfig(kinds={"edge": 0.0})


def test_only_the_film_is_marked_and_the_first_frame_not_where_it_is_given(source):
    exercises, omni, held = source
    values = exercises.losses(np.random.default_rng(4), 64)
    assert set(values) == {"loss", "held", "hears_control"}
    weight = FlowConfig().video_weight
    assert values["loss"].item() == pytest.approx(weight * values["held"].item()) and values["loss"].requires_grad
    assert not values["hears_control"].requires_grad and values["hears_control"] != 0
    pool = Pool(held.windows, FlowConfig())
    seen = []
    model = omni.parts.model("generator")
    kept, model.velocity = model.velocity, lambda memory, parts, fps: seen.append(parts) or kept(memory, parts, fps=fps)
    try:
        exercises.losses(np.random.default_rng(4), 64)
    finally:
        del model.velocity
    control, film = seen[0]
    assert not control.level.any() and len(film.level) == 32
    first = film.level[:, : pool.cells]
    assert (first == first[:, :1]).all() and 4 < (first[:, 0] == 0).sum() < 28 and film.level[:, pool.cells :].all()


@pytest.mark.parametrize(("share", "told"), [(1.0, {"loss", "unheld"}), (0.0, {"loss", "video"})])
def test_some_are_told_of_a_control_and_shown_none(source, share, told):
    _, omni, held = source
    config = FlowConfig(held=HeldConfig(share=share, unheld=1.0), action_share=0.0, films={"image-to-video": 1.0})
    one = FlowSource(omni.parts.model("generator"), omni.parts.text, held.windows, config, held=held)
    assert set(one.losses(np.random.default_rng(0), 4)) == told


def test_an_episode_that_comes_out_otherwise_is_refused(made):
    episode, _, _ = made
    changed = episode.frames["front"].copy()
    changed[0, 0, 0] ^= 1
    with pytest.raises(DataError, match="does not come out as it was recorded"):
        lived_again(replace(episode, frames={"front": changed}))
    with pytest.raises(DataError, match="only tabletop episodes"):
        lived_again(moving_square(0))


def test_a_cache_without_controls_is_refused(made, tmp_path):
    _, model, cache = made
    encode(CacheRun(data=cache.parent / "raw", vae=model / "vae", out=tmp_path, most=1))
    with pytest.raises(DataError, match="make it anew with controls=True"):
        load_held(tmp_path)


def test_controls_of_another_tokenizer_are_refused(made, tmp_path):
    _, model, cache = made
    VideoVAE(SMALL_VAE).save(tmp_path)
    with pytest.raises(DataError, match="cache is of the tokenizer"):
        load_held(cache, [tmp_path])
    assert len(load_held(cache, [tmp_path, model / "vae"]).words) == 2
