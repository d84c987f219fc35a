"""Films and plans by their sound: shown as in sampling, marked where they are asked, begun later by all alike."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import Watched, windows
from tiny import kept_raw, small_checkpoint

import armillary
from armillary.datasets.sounds import sound_again
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.model.weights import load_config
from armillary.run_kinds import Cache
from armillary.sampling import imagine
from armillary.sampling.guidance import Field
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import unfold
from armillary.tokenizers.sound import SoundVAE
from armillary.tokenizers.text import TextTokenizer
from armillary.training.by_sound import BySoundConfig, BySoundSource, begun_later, load_sounding
from armillary.training.heard import Heard, joined, load_heard, make_sounds
from armillary.training.imagination import FlowConfig
from armillary.worlds.record import record_tabletop

LATENTS = 43  # of 17 frames at 10 a second
CELLS = 4  # tokens of a latent frame of made-up windows
GRIPPER = 9
SELDOM = FlowConfig(listen_every=10**9, drop_prompt=0.0)
FILM, PLAN, FILMED = ({"plans": 0.0}, {"plans": 1.0, "filmed": 0.0}, {"plans": 1.0, "filmed": 1.0})


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Plans without a film beside them where nobody asks for one, as it learns them."""
    folder = small_checkpoint(tmp_path_factory.mktemp("hearer"), sound=True)
    (folder / "defaults.json").write_text(json.dumps({"size": [128, 128], "fps": 10.0, "filmless": ["policy"]}))
    return folder


@pytest.fixture(scope="module")
def lives():
    """Two lives that succeed, of 27 and 16 actions; in both something is touched."""
    return [record_tabletop(seed, "expert", views=("front",), extras=(), max_steps=44) for seed in (7, 9)]


@pytest.fixture(scope="module")
def kept(origin, lives, tmp_path_factory):
    """Of each life a cache and the sounds of its windows."""
    caches, sounds = [], []
    for life in lives:
        folder = tmp_path_factory.mktemp("life")
        raw, cache = kept_raw(tmp_path_factory.mktemp("raw"), [life]), folder / "cache"
        Cache(data=raw, vae=origin / "vae", out=cache).start(lambda line: None)
        list(make_sounds(raw, SoundVAE.load(origin / "sound_tokenizer"), folder / "heard"))
        caches.append(cache)
        sounds.append(folder / "heard")
    return caches, sounds


@pytest.fixture(scope="module")
def model(origin):
    torch.manual_seed(1)
    return Watched(load_config(origin)), TextTokenizer.load(origin / "text_tokenizer")


def heard(count, known=None):
    tokens = torch.randn(count, LATENTS, 64, generator=torch.Generator().manual_seed(5))
    known = np.ones(count, bool) if known is None else known
    return Heard(tokens=tokens, known=known, loud=np.arange(count) % 2 == 0, weight=torch.ones(count, LATENTS, 1))


def drawn(model, how, *, pool=None, sounds=None, body=None, flow=SELDOM, samples=4, seed=3):
    """What a source tells of a batch, and what the model was shown."""
    config = BySoundConfig(**{"late": 0.0, "flow": flow, **how})
    source = BySoundSource(*model, pool or windows(6), sounds or heard(6), config, body=body)
    losses = source.losses(np.random.default_rng(seed), samples)
    return {name: value.item() for name, value in losses.items()}, model[0].seen[1]


def shown_in_sampling(monkeypatch, origin, mode, asked):
    """The parts of the walk that a request takes, and its words."""
    seen = []

    def watched(model, memory, parts, **how):
        seen.extend(parts)
        return Field(model, memory, parts, **how)

    monkeypatch.setattr(imagine, "Field", watched)
    armillary.load(origin, dtype="float32").imagine(mode, **asked, steps=1)
    return seen, next(unfold(check_request(mode, asked, origin))).prompts()[0]


def agree(segments, parts):
    """Whether the same is shown in the same order: where everything stands, what is given, what that is.

    A film without actions is encoded alone, one of a cache on its canvas: their pictures differ at the edges.
    """
    canvas = "action" in [one.modality for one in parts]
    assert [one.modality for one in segments] == [one.modality for one in parts]
    for segment, part in zip(segments, parts, strict=True):
        count = len(segment.level)
        assert torch.equal(segment.positions, part.positions.expand(count, -1, -1))
        assert torch.equal(segment.level > 0, part.hidden.expand(count, -1))
        given = ~part.hidden[0]
        found, wanted = segment.tokens[:, given], part.tokens[:, given].expand(count, -1, -1)
        if canvas or segment.modality == "sound":
            torch.testing.assert_close(found, wanted, atol=0.005, rtol=0.01)  # caches are rounded


@pytest.mark.filterwarnings("ignore::armillary.sampling.omni.UntrainedWarning")
@pytest.mark.parametrize(("how", "mode", "outputs"), [
    (FILM, "sound-to-video", ("video",)), (PLAN, "policy", ("actions",)), (FILMED, "policy", ("video", "actions")),
])  # fmt: skip
def test_training_and_sampling_lay_out_equal_tokens(monkeypatch, origin, model, lives, kept, how, mode, outputs):
    life, sound = lives[0], sound_again(lives[0])
    whole, sounds = load_sounding(kept[0][:1], kept[1][:1], [origin / "vae"])
    starts = [0, 4, 8, 11]  # the last one's sound ends before its last frame does
    assert len(whole) == len(starts) and sounds.known.all() and sounds.loud.all()
    film = mode == "sound-to-video"
    for row, start in list(enumerate(starts))[: 1 if film else None]:
        only = replace(sounds, known=np.arange(len(whole)) == row)
        _, segments = drawn(model, how, pool=whole, sounds=only, samples=2)
        asked = {"image": life.frames["front"][start], "sound": sound[:, 4800 * start :], "outputs": outputs}
        asked |= {"prompt": life.captions["dense"], "frames": 17} if film else {
            "prompt": life.instruction, "embodiment": "tabletop"}  # fmt: skip
        parts, words = shown_in_sampling(monkeypatch, origin, mode, asked)
        agree(segments, parts)
        assert [one.modality for one in parts][:2] == ["video", "sound"] and not parts[1].hidden.any()
        assert words == (whole.caption if film else whole.task)[row]
    assert (sounds.tokens[0] - sounds.tokens[1]).abs().max() > 0.05  # another window's would be found out


def test_of_a_film_the_sound_is_given_whole_and_the_first_frame_and_the_rest_is_marked(model):
    told, (film, sound) = drawn(model, FILM)
    assert set(told) == {"loss", "video"}
    assert not sound.level.any() and any(torch.equal(sound.tokens[0], one) for one in heard(6).tokens)
    assert not film.level[:, :CELLS].any() and (film.level[:, CELLS:] > 0).all()
    assert told["loss"] == pytest.approx(SELDOM.video_weight * told["video"], rel=1e-5)  # the sound costs nothing


def test_a_plan_shows_one_latent_frame_and_the_sound_and_hides_the_actions(model):
    told, (film, sound, actions) = drawn(model, PLAN)
    assert set(told) == {"loss", "action"} and not film.level.any() and not sound.level.any()
    assert film.tokens.shape[1] == CELLS and (actions.level > 0).all() and actions.tokens.shape[1] == 16
    assert told["loss"] == pytest.approx(SELDOM.action_weight * told["action"], rel=1e-5)


def test_a_plan_with_its_film_hides_both_at_one_level(model):
    told, (film, sound, actions) = drawn(model, FILMED)
    assert set(told) == {"loss", "action"} and told["loss"] > SELDOM.action_weight * told["action"]
    assert not sound.level.any() and not film.level[:, :CELLS].any()
    assert torch.equal(film.level[:, -1], actions.level[:, 0]) and (film.level[:, CELLS:] > 0).all()


def test_each_sample_is_heard_as_its_own_window(model):
    whole, sounds = windows(6), heard(6)
    for how in (FILM, PLAN, FILMED):
        _, (film, sound, *_) = drawn(model, how)
        for picture, own in zip(film.tokens[:, :CELLS], sound.tokens, strict=True):
            (row,) = [i for i in range(6) if torch.equal(sounds.tokens[i], own)]
            assert torch.equal(picture, whole.video[row, :CELLS].float())


def test_only_films_have_the_levels_of_a_walk(model):
    among = {"levels": (0.25, 0.75), "full_noise": 0.5}
    _, (film, _) = drawn(model, FILM | among, samples=16)
    assert set(film.level.unique().tolist()) == {0.0, 0.25, 0.75}
    _, (_, _, actions) = drawn(model, PLAN | among, samples=16)
    assert not {0.25, 0.75} & set(actions.level.unique().tolist()) and actions.level.max() == 1


@pytest.mark.parametrize(("how", "marked"), [(FILM, "video"), (PLAN, "action")])
def test_whether_a_sound_is_heeded_is_told_by_other_sounds_of_the_batch(model, how, marked):
    """With the same noise: where there is but one sound, exchanging costs nothing."""
    flow = replace(SELDOM, listen_every=1)
    told, _ = drawn(model, how, flow=flow, samples=8)
    assert set(told) == {"loss", marked, f"heeds_{marked}"} and told[f"heeds_{marked}"] != 0
    same, _ = drawn(model, how, flow=flow, sounds=heard(6, np.arange(6) == 2))
    assert same[f"heeds_{marked}"] == pytest.approx(0, abs=1e-5)


def test_exchanged_sounds_are_those_of_the_next_window_and_the_others_stay():
    sounds = heard(6)
    before = sounds.tokens.clone()
    other = sounds.exchanged([4, 0, 3])
    for row, source in enumerate([3, 1, 2, 4, 0, 5]):
        assert torch.equal(other.tokens[row], before[source])
    assert torch.equal(sounds.tokens, before)
    assert other.known is sounds.known and other.loud is sounds.loud


def late_windows(count=40):
    """Windows that may all wait, but five: of another body, with a moving gripper, heard at once, idle, unknown."""
    whole = windows(count)
    whole.actions[:, :3, GRIPPER] = torch.linspace(-1, 1, count)[:, None]
    whole.actions[2, 1, GRIPPER] += 0.5
    sounds = heard(count, np.arange(count) != 5)
    sounds.weight[3, 1] = 2.0
    domain = np.where(np.arange(count) == 1, 2, whole.domain)
    return replace(whole, domain=domain, acts=np.arange(count) != 4), sounds


def test_who_waits_acts_and_is_heard_later_by_the_same_time():
    body, (whole, sounds) = load_embodiment("tabletop"), late_windows()
    actions, tokens = whole.actions.clone(), sounds.tokens.clone()
    later, after, which = begun_later(whole, sounds, body, np.random.default_rng(0))
    assert torch.equal(whole.actions, actions) and torch.equal(sounds.tokens, tokens)  # those given are left alone
    silence, waits = tokens[1], set()  # of the first window that is known to be silent
    for row in which.tolist():
        (wait,) = [n for n in range(1, 16) if torch.equal(later.actions[row, n:], actions[row, :-n])]
        heard_later = round(2.5 * wait)
        assert torch.equal(after.tokens[row, heard_later + 1 :], tokens[row, 1:-heard_later])
        assert torch.equal(after.tokens[row, : heard_later + 1], silence[: heard_later + 1])  # the first is the first
        resting = np.tile(body.rest, (wait, 1))
        resting[:, GRIPPER] = body.decode(actions[row].numpy())[0, GRIPPER]
        np.testing.assert_allclose(body.decode(later.actions[row, :wait].numpy()), resting, atol=1e-6)
        waits.add(wait)
    assert waits == {2, 4, 6, 8}
    assert later.video is whole.video and later.task == whole.task


def test_who_cannot_wait_stays_as_it_was():
    whole, sounds = late_windows()
    later, after, which = begun_later(whole, sounds, load_embodiment("tabletop"), np.random.default_rng(0))
    assert which.tolist() == [0, *range(6, 40)]
    assert torch.equal(later.actions[1:6], whole.actions[1:6]) and torch.equal(after.tokens[1:6], sounds.tokens[1:6])
    assert np.array_equal(after.known, sounds.known) and np.array_equal(later.acts, whole.acts)


def test_nobody_waits_where_it_is_unknown_what_silence_is():
    whole, sounds = late_windows()
    loud = replace(sounds, loud=sounds.loud | sounds.known)
    later, after, which = begun_later(whole, loud, load_embodiment("tabletop"), np.random.default_rng(0))
    assert not len(which) and torch.equal(later.actions, whole.actions) and torch.equal(after.tokens, loud.tokens)


def test_a_body_at_rest_turns_nowhere_and_goes_nowhere():
    rest = load_embodiment("tabletop").rest
    assert rest[:9] == [0, 0, 0, 1, 0, 0, 0, 1, 0]
    assert load_embodiment("pusht").check([load_embodiment("pusht").rest], limits=True).shape == (1, 2)


def test_plans_alone_wait_and_as_often_as_asked(model):
    """A sound that no window has is one that is heard later."""
    whole, sounds = late_windows(12)
    body, own = load_embodiment("tabletop"), list(sounds.tokens)

    def waiting(how):
        _, (_, sound, *_) = drawn(model, how, pool=whole, sounds=sounds, body=body)
        return [not any(torch.equal(one, mine) for mine in own) for one in sound.tokens]

    assert all(waiting(PLAN | {"late": 1.0})) and not any(waiting(PLAN))
    assert not any(waiting(FILM | {"late": 1.0}) + waiting(FILMED | {"late": 1.0}))


def test_where_nobody_can_wait_nobody_does(model):
    whole, sounds = late_windows(12)
    moved = replace(whole, domain=np.full(12, 2))
    told, _ = drawn(model, PLAN | {"late": 1.0}, pool=moved, sounds=sounds, body=load_embodiment("tabletop"))
    assert told["action"] > 0


def test_sounds_of_several_caches_keep_their_order(origin, kept):
    caches, sounds = kept
    one, two = (load_heard(own, cache) for own, cache in zip(sounds, caches, strict=True))
    both = joined([one, two])
    for name in ("tokens", "weight"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(two, name)]))
    assert both.known.tolist() == [*one.known, *two.known] and both.loud.tolist() == [*one.loud, *two.loud]
    whole, found = load_sounding(caches[::-1], sounds[::-1], [origin / "vae"])
    assert len(whole) == len(found.tokens) == len(one.tokens) + len(two.tokens)
    assert torch.equal(found.tokens[: len(two.tokens)], two.tokens)
    assert whole.opening.tolist() == [0] * len(two.tokens) + [len(two.tokens)] * len(one.tokens)


def test_each_cache_has_sounds_of_its_own(origin, kept):
    caches, sounds = kept
    with pytest.raises(ConfigError, match="2 caches and 1 folders of sounds: each cache has one of its own"):
        load_sounding(caches, sounds[:1], [origin / "vae"])


@pytest.mark.parametrize("body", [None, "tabletop"])
def test_windows_whose_sounds_are_unknown_teach_nothing(model, body):
    waiting = body and load_embodiment(body)
    with pytest.raises(DataError, match="no window whose sound is known can teach plans"):
        drawn(model, PLAN, sounds=heard(6, np.zeros(6, bool)), body=waiting)
    untold = replace(windows(6), tells=np.arange(6) > 2)
    some = heard(6, np.arange(6) < 2)
    with pytest.raises(DataError, match="no window whose sound is known can teach films"):
        drawn(model, {"plans": 0.5}, pool=untold, sounds=some, body=waiting)
    assert drawn(model, PLAN, pool=untold, sounds=some, body=waiting)[0]["action"] > 0  # where no films are asked


@pytest.mark.parametrize("name", ["plans", "filmed", "late", "loud", "full_noise"])
def test_a_share_lies_between_0_and_1(name):
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match=f"{name}={share}: a share lies between 0 and 1"):
            BySoundConfig(**{name: share})
    assert getattr(BySoundConfig(**{name: 1.0}), name) == 1
