"""An adapter for what goes with a sound: learnt from lives that are heard, worn where one is given, nowhere else."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import SMALL_SOUND, kept_raw, small_checkpoint

import armillary
from armillary.errors import ConfigError, DataError
from armillary.post_training.by_sound import BySoundRun
from armillary.run_kinds import Cache
from armillary.tokenizers.sound import SoundVAE
from armillary.training.by_sound import BySoundConfig
from armillary.training.heard import HeardRun
from armillary.training.loop import Stage
from armillary.worlds.record import record_tabletop

SHORT = Stage(name="short", steps=4, batch=2, rate=1e-2, warmup=1, log_every=1, bf16=False, weight_decay=0.0)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("small"), sound=True)


@pytest.fixture(scope="module")
def life():
    """Of 16 actions, with two contacts."""
    return record_tabletop(9, "expert", views=("front",), extras=(), max_steps=44)


@pytest.fixture(scope="module")
def lived(origin, life, tmp_path_factory):
    """The life, its windows, and what is heard in them."""
    folder = tmp_path_factory.mktemp("lived")
    raw = kept_raw(tmp_path_factory.mktemp("raw"), [life])
    Cache(data=raw, vae=origin / "vae", out=folder / "windows").start(lambda line: None)
    HeardRun(data=raw, vae=origin / "sound_tokenizer", out=folder / "heard").start(lambda line: None)
    return raw, folder / "windows", folder / "heard"


@pytest.fixture(scope="module")
def run(origin, lived, tmp_path_factory):
    _, windows, sounds = lived
    run = BySoundRun(
        caches=(windows,), sounds=(sounds,), out=tmp_path_factory.mktemp("by_sound"), origin=str(origin), stage=SHORT,
        rank=2, how=BySoundConfig(plans=0.6, filmed=0.3),
    )  # fmt: skip
    said = []
    run.start(said.append)
    assert said[0] == "1 windows, the sound of 1 known, 1 sounding"
    return run


def asked_of(omni, mode, **asked):
    """What a request brings, as bytes, and the name of what was worn for it."""
    made = omni.imagine(mode, **asked)
    found = made.video if made.actions is None else made.actions
    return found.tobytes(), made.provenance["request"].get("adapter")


def test_it_says_that_it_is_for_films_and_plans_by_a_sound(run):
    told = json.loads((run.out / "adapter/adapter.json").read_text())
    assert told == {"modes": ["sound-to-video", "policy-by-sound"], "steps": {"sound-to-video": 4}, "guidance": 1.0}


@pytest.mark.filterwarnings("ignore::armillary.sampling.omni.UntrainedWarning")
def test_it_is_worn_where_a_sound_is_given_and_nowhere_else(origin, life, run):
    plain, worn = armillary.load(origin), armillary.load(origin, adapter=run.out / "adapter")
    picture, sound = life.frames["front"][0], np.zeros((2, 24_000), np.float32)
    film = {"image": picture, "prompt": "the arm moves", "frames": 5, "seed": 1}
    plan = {"image": picture, "prompt": "Move the arm.", "embodiment": "tabletop", "seed": 1, "steps": 2}
    for mode, asked, heeds in (
        ("sound-to-video", {**film, "sound": sound, "steps": 4, "guidance": 1.0}, True),
        ("policy", {**plan, "sound": sound}, True),
        ("policy", plan, False),
        ("image-to-video", {**film, "steps": 2}, False),
    ):
        (before, bare), (after, named) = (asked_of(omni, mode, **asked) for omni in (plain, worn))
        assert (before != after) == heeds and bare is None and named == ("adapter" if heeds else None)
    usual = worn.imagine("sound-to-video", **film, sound=sound).provenance["request"]
    assert (usual["steps"], usual["guidance"]) == (4, 1.0)


def test_a_run_that_was_cut_off_learns_the_same_and_the_checkpoint_stays(origin, run, tmp_path):
    before = _hash(origin)
    whole = (run.out / "adapter/adapter_model.safetensors").read_bytes()
    cut = replace(run, out=tmp_path / "cut", stage=replace(SHORT, minutes=1e-9))
    for _ in range(SHORT.steps):
        cut.start(lambda line: None)  # a step each time
    assert len((cut.out / "metrics.jsonl").read_text().splitlines()) == SHORT.steps
    assert (cut.out / "adapter/adapter_model.safetensors").read_bytes() == whole
    assert _hash(origin) == before


def test_a_run_does_not_go_on_with_other_settings(run):
    with pytest.raises(ConfigError, match=r"how\.late '0\.5', now it is '0\.25'"):
        replace(run, how=replace(run.how, late=0.25)).start(lambda line: None)
    with pytest.raises(ConfigError, match="steps '4', now it is '3'"):
        replace(run, steps=3).start(lambda line: None)


def test_what_it_cannot_learn_from_is_one_sentence(run, lived, tmp_path):
    raw, _, sounds = lived
    with pytest.raises(ConfigError, match="1 caches and 2 folders of sounds"):
        replace(run, sounds=(sounds, sounds)).start(lambda line: None)
    with pytest.raises(DataError, match="holds the sound of no window"):
        replace(run, sounds=(tmp_path / "nothing",)).start(lambda line: None)
    SoundVAE(replace(SMALL_SOUND, enc_num_blocks=2)).save(tmp_path / "another")
    HeardRun(data=raw, vae=tmp_path / "another", out=tmp_path / "heard").start(lambda line: None)
    with pytest.raises(DataError, match="is of the tokenizer"):
        replace(run, sounds=(tmp_path / "heard",)).start(lambda line: None)


def _hash(folder):
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(path.read_bytes() if path.is_file() else b"")
    return whole.hexdigest()
