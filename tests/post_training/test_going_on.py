"""Adapters of two kinds learn what they are for, by the rules of whoever will ask; the checkpoint stays as it is."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import Watched
from tiny import kept_raw, small_checkpoint

import armillary
from armillary.datasets.raw import load_raw, raw_files
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.model.low_rank import LowRank
from armillary.model.ports import patchify
from armillary.model.weights import load_config, load_model
from armillary.post_training.few_steps import FewStepsRun
from armillary.post_training.going_on import LongFilmsRun, OnwardsRun
from armillary.run_kinds import Cache
from armillary.sampling.solver import make_schedule
from armillary.tokenizers.text import TextTokenizer
from armillary.training.imagination import FlowConfig
from armillary.training.latents import encode_windows
from armillary.training.living import CELLS, Films, LivingConfig, LivingSource
from armillary.training.loop import Stage
from armillary.worlds.record import record_tabletop

LATENTS = 5  # frames of these films: 17 of the world's
SHORT = Stage(name="short", steps=4, batch=2, rate=1e-2, warmup=1, log_every=1, bf16=False, weight_decay=0.0)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    lengths = enumerate((20, 18, 9))  # the last one is too short
    lived = (record_tabletop(i, "random", views=("front",), extras=(), max_steps=steps) for i, steps in lengths)
    return kept_raw(tmp_path_factory.mktemp("lives"), lived)


@pytest.fixture(scope="module")
def films(origin, lives, tmp_path_factory):
    run = LongFilmsRun(data=lives, out=tmp_path_factory.mktemp("films"), origin=str(origin), latents=LATENTS, most=2)
    run.start(lambda line: None)
    return run.out


@pytest.fixture(scope="module")
def onwards(origin, films, tmp_path_factory):
    run = OnwardsRun(
        films=(films,), out=tmp_path_factory.mktemp("onwards"), origin=str(origin), stage=SHORT, rank=2,
        living=LivingConfig(latents=LATENTS, through=2),
    )  # fmt: skip
    run.start(lambda line: None)
    return run


def source(origin, films, **how):
    config = LivingConfig(latents=LATENTS, **how)
    words = TextTokenizer.load(origin / "text_tokenizer")
    return LivingSource(load_model(origin), words, Films([films], [origin / "vae"], config), config)


def test_a_long_film_is_a_life_from_its_first_frame_on_and_from_its_last(origin, lives, films):
    held = Films([films], [origin / "vae"], LivingConfig(latents=LATENTS)).windows
    life, vae = load_raw(raw_files(lives)[0]), armillary.load(origin).parts.vae
    count = len(life.actions) + 1
    assert len(held) == 4 and count == 21  # two of each life that lasts so long
    again = encode_windows(vae, life.frames["front"], [0, count - 17], 17)
    assert (held.video[:2].float() - again.float()).abs().max() < 0.05
    body = load_embodiment("tabletop")
    assert np.allclose(held.actions[1, :, :10].numpy(), body.encode(life.actions[-16:])[:, :10], atol=1e-6)


def test_every_step_is_the_one_that_going_on_takes(origin, lives, films):
    """Of the same known frames and the same noise they say the same, from the first step to the fourth."""
    lived, life = source(origin, films), load_raw(raw_files(lives)[0])
    omni = armillary.load(origin, dtype="float32")
    with pytest.warns(UserWarning, match="has learnt onwards"):
        film = omni.onwards(
            image=life.frames["front"][0], embodiment="tabletop", steps=1, steady=0.0, prompt="Move the arm."
        )
    first = film._first
    for number in range(1, LATENTS):
        known = [patchify(film._known[:, :, i : i + 1], 2) for i in range(film._known.shape[2])]
        chance = torch.Generator()
        chance.set_state(film._chance.get_state())
        noise = patchify(torch.randn(film._known[:, :, :1].shape, generator=chance), 2)
        film.push(life.actions[4 * number - 4 : 4 * number])
        with torch.no_grad():
            said = lived.step(np.array([0]), first, known, number, noise)
        other, far = patchify(film._known[:, :, -1:], 2), (noise - said).abs().max()
        assert (said - other).abs().max() < 0.01 * far, number  # the walk's level is a thousandth's, ours 1


def test_a_film_is_lived_from_what_was_said_before(origin, films):
    """Each step sees what the last ones said, not the truth, and gradients go back as far as they are let."""
    for through, reaches in ((0, False), (2, True)):
        lived = source(origin, films, through=through)
        seen = []
        step = lived.step

        def watched(rows, first, known, number, noise, step=step, seen=seen):
            said = step(rows, first, known, number, noise)
            seen.append((known, said))
            return said

        lived.step = watched
        losses = lived.losses(np.random.default_rng(3), 2)
        assert len(seen) == LATENTS - 1 and [len(known) for known, _ in seen] == [1, 2, 3, 3]
        assert torch.equal(seen[2][0][-1], seen[1][1]) and torch.equal(seen[3][0][-1], seen[2][1])
        assert seen[3][0][-1].requires_grad == reaches and losses["loss"].requires_grad
        assert seen[0][0][0].shape == (2, CELLS, 192)
        again = source(origin, films, through=through).losses(np.random.default_rng(3), 2)
        assert again["loss"] == losses["loss"]


def test_what_it_learns_is_worn_where_films_go_on_and_nowhere_else(origin, lives, onwards):
    adapter = onwards.out / "adapter"
    told = json.loads((adapter / "adapter.json").read_text())
    assert told == {"modes": ["onwards"], "steps": 1}
    life = load_raw(raw_files(lives)[0])
    asked = {"image": life.frames["front"][0], "embodiment": "tabletop", "seed": 1}
    plain, worn = armillary.load(origin), armillary.load(origin, adapter=adapter)
    with pytest.warns(UserWarning, match="has learnt onwards"):
        before = plain.onwards(**asked, steps=1).push(life.actions[:8])
    after = worn.onwards(**asked).push(life.actions[:8])  # says itself that it has learnt it
    assert not np.array_equal(before, after)
    films = [one.imagine("forward-dynamics", **asked, actions=life.actions[:16]).video for one in (plain, worn)]
    assert np.array_equal(*films)
    again = worn.onwards(**asked).push(life.actions[:8])
    assert np.array_equal(after, again)


def test_a_run_that_was_cut_off_learns_the_same_and_the_checkpoint_stays(origin, onwards, tmp_path):
    before = _hash(origin)
    whole = (onwards.out / "adapter/adapter_model.safetensors").read_bytes()
    cut = replace(onwards, out=tmp_path / "cut", stage=replace(SHORT, minutes=1e-9))
    for _ in range(SHORT.steps):
        cut.start(lambda line: None)  # a step each time
    assert len((cut.out / "metrics.jsonl").read_text().splitlines()) == SHORT.steps
    assert (cut.out / "adapter/adapter_model.safetensors").read_bytes() == whole
    assert _hash(origin) == before


def test_a_run_does_not_go_on_with_other_settings(origin, films, onwards):
    for other, words in (
        ({"alpha": 3.0}, "alpha '8.0', now it is '3.0'"), ({"rank": 3}, "rank '2', now it is '3'"),
        ({"living": LivingConfig(latents=LATENTS)}, "living.through '2', now it is '0'"),
        ({"stage": replace(SHORT, rate=1e-3)}, "rate 0.01, now it is 0.001"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            replace(onwards, **other).start(lambda line: None)
    before = (onwards.out / "adapter/adapter_model.safetensors").read_bytes()
    onwards.start(lambda line: None)  # done already
    assert (onwards.out / "adapter/adapter_model.safetensors").read_bytes() == before


def test_a_run_may_keep_less_than_it_has_learnt(origin, onwards, tmp_path):
    """Of a product of rank 2 the larger half stays, and nothing of rank 1 is nearer to it."""
    whole = LowRank.load(onwards.out / "adapter")
    kept = replace(onwards, out=tmp_path / "kept", keep=1)
    kept.start(lambda line: None)
    half = LowRank.load(kept.out / "adapter")
    assert (whole.rank, half.rank) == (2, 1) and whole.cut(5) is whole
    for name, (a, b) in whole.pairs.items():
        full = whole.alpha / whole.rank * b @ a
        less = half.added(f"{name}.weight", torch.zeros(len(b), a.shape[1]))
        values = torch.linalg.svdvals(full)
        assert torch.allclose((full - less).norm(), values[1:].norm(), rtol=0.05, atol=1e-4), name


def test_few_steps_are_learnt_at_their_own_levels_from_films_that_begin_with_something(origin, lives, tmp_path):
    Cache(data=lives, vae=origin / "vae", out=tmp_path / "cache", most=2).start(lambda line: None)
    run = FewStepsRun(cache=tmp_path / "cache", out=tmp_path / "run", origin=str(origin), stage=SHORT, rank=2)
    run.start(lambda line: None)
    told = json.loads((run.out / "adapter/adapter.json").read_text())
    assert told["steps"] == 4 and told["guidance"] == 1.0  # of films that begin with something alone
    assert set(told["modes"]) == {"image-to-video", "video-to-video", "first-last-frame"}
    worn = armillary.load(origin, adapter=run.out / "adapter")
    asked = {"image": load_raw(raw_files(lives)[0]).frames["front"][0], "prompt": "the arm moves", "seed": 2}
    record = worn.imagine("image-to-video", **asked).provenance["request"]
    assert (record["steps"], record["guidance"], record["adapter"]) == (4, 1.0, "adapter")
    slow = worn.imagine("image-to-video", **asked, steps=6).provenance["request"]
    assert (slow["steps"], slow["guidance"]) == (6, 3.0) and "adapter" not in slow


def test_noise_has_the_levels_of_the_walk_and_no_others(origin, lives, tmp_path):
    from armillary.training.imagination import FlowSource
    from armillary.training.latents import load_cache

    Cache(data=lives, vae=origin / "vae", out=tmp_path / "cache", most=2).start(lambda line: None)
    model = Watched(load_config(origin))
    levels = tuple(stop.level for stop in make_schedule(4, 3.0).stops)
    flow = FlowConfig(
        levels=levels, action_share=0.0, stills_share=0.0, full_noise_films=0.0, films={"image-to-video": 1.0}
    )
    drawing = FlowSource(model, TextTokenizer.load(origin / "text_tokenizer"), load_cache(tmp_path / "cache"), flow)
    drawing.losses(np.random.default_rng(0), 16)
    (film,) = model.seen[1]
    found = {round(float(level), 5) for level in film.level.unique()}
    assert found == {0.0, *(round(level, 5) for level in levels)}


def test_what_cannot_be_is_one_sentence(origin, films, tmp_path):
    with pytest.raises(ConfigError, match="two latent frames"):
        LivingConfig(latents=1)
    with pytest.raises(ConfigError, match="these films have 5"):
        Films([films], [], LivingConfig(latents=9))
    with pytest.raises(ConfigError, match="films of image-to-video"):
        FewStepsRun(cache=films, out=tmp_path, stage=SHORT, modes={"policy": 1.0})
    with pytest.raises(ConfigError, match="keep=0: an adapter has, and keeps, a rank from 1 on"):
        FewStepsRun(cache=films, out=tmp_path, stage=SHORT, keep=0)
    other = LongFilmsRun(data=films, out=films, origin=str(origin), latents=LATENTS, most=1)
    with pytest.raises(ConfigError, match="begun with most '2', now it is '1'"):
        other.start(lambda line: None)
    with pytest.raises(ConfigError, match="at least two latent frames"):
        LongFilmsRun(data=films, out=tmp_path, most=0)
    with pytest.raises(ConfigError, match="a rank from 1 on"):
        OnwardsRun(films=(films,), out=tmp_path / "a", origin=str(origin), stage=SHORT, rank=0,
                   living=LivingConfig(latents=LATENTS)).start(lambda line: None)  # fmt: skip
    with pytest.raises(DataError, match="holds no windows"):
        OnwardsRun(films=(tmp_path,), out=tmp_path / "b", origin=str(origin), stage=SHORT).start(lambda line: None)


def _hash(folder):
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()
