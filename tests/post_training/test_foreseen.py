"""What a checkpoint foresees of true clips lies beside them, as it would be decoded; a kill loses nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL_VAE, kept_raw, small_checkpoint

import armillary
from armillary.datasets.byte_clips import ByteClips
from armillary.datasets.raw import load_raw, raw_files, save_raw
from armillary.errors import ConfigError, DataError, RequestError
from armillary.model.weights import load_model, save_model
from armillary.post_training.foreseen import ForeseenRun
from armillary.post_training.lasting import LastingRun
from armillary.sampling.pictures import to_pixels
from armillary.tokenizers.video import VideoVAE
from armillary.worlds.record import record_tabletop


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    seeds = range(26)  # one more than a file takes
    lived = (record_tabletop(i, "random", views=("front",), extras=(), max_steps=20) for i in seeds)
    return kept_raw(tmp_path_factory.mktemp("lives"), lived)


@pytest.fixture(scope="module")
def made(origin, lives, tmp_path_factory):
    run = ForeseenRun(data=lives, origin=origin, out=tmp_path_factory.mktemp("made"), name="table", most=2)
    run.start(lambda line: None)
    return run


def test_latents_are_those_of_the_films_that_are_imagined(origin, made):
    files = ByteClips(made.out).files
    assert [len(file.frames) for file in files] == [50, 2]
    assert files[0].latents.shape == (50, 48, 5, 8, 8) and files[0].masks is None
    omni = armillary.load(origin)
    asked = {"mode": "forward-dynamics", "image": files[1].frames[0, 0], "embodiment": "tabletop", "seed": 25}
    asked["actions"] = record_tabletop(25, "random", views=("front",), extras=(), max_steps=20).actions[:16]
    foreseen = omni.latents([asked])
    assert np.abs(foreseen[0].numpy() - files[1].latents[0].astype(np.float32)).max() < 2e-2
    film = omni.imagine_many([asked])[0].video
    shown = to_pixels(omni.parts.vae.decode(foreseen))[0]
    assert np.abs(film.astype(int) - shown.astype(int)).max() <= 2  # decoded in pieces, and as a whole


def test_a_later_chunk_begins_where_the_one_before_was_shown_to_end(origin, lives, tmp_path):
    lasting = LastingRun(out=tmp_path / "lives", episodes=2, seed=40, frames=34)
    lasting.start(lambda line: None)
    painter = VideoVAE.load(origin / "vae")
    for part in painter.decoder.parameters():
        torch.nn.init.normal_(part, std=0.3)
    painter.save(tmp_path / "vae")
    run = ForeseenRun(data=lasting.out, origin=origin, out=tmp_path / "out", name="long", most=1, chunks=2)
    shown = replace(run, out=tmp_path / "other", vae=tmp_path / "vae")
    for one in (run, shown):
        one.start(lambda line: None)
    one, other = (ByteClips(each.out).files[0] for each in (run, shown))
    life = load_raw(raw_files(lasting.out)[0])
    film = life.frames["front"]
    assert np.array_equal(one.frames[:2], [film[:17], film[16:33]])
    assert np.array_equal(one.latents[[0, 2]], other.latents[[0, 2]])  # first chunks begin with true pictures
    assert not np.array_equal(one.latents[[1, 3]], other.latents[[1, 3]])  # later ones with what somebody shows
    omni = armillary.load(origin)
    asked = {"mode": "forward-dynamics", "embodiment": "tabletop", "image": film[0], "actions": life.actions[:16]}
    ending = omni.imagine_many([{**asked, "seed": 40}])[0].video[-1]
    later = omni.latents([{**asked, "image": ending, "actions": life.actions[16:32], "seed": 41}])[0]
    assert np.abs(later.numpy() - one.latents[1].astype(np.float32)).max() < 0.1


def test_what_is_there_is_not_imagined_again_and_what_is_missing_is(made):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in made.out.iterdir()}
    gone = made.out / "frames_table_01.npy"  # as a kill leaves it: frames appear last
    gone.unlink()
    said: list[str] = []
    made.start(said.append)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in made.out.iterdir()}
    assert said == ["frames_table_01.npy: 2 clips"]
    assert {name: one[0] for name, one in after.items()} == {name: one[0] for name, one in before.items()}
    assert all(after[name][1] == before[name][1] for name in before if "_00" in name)


def test_lives_without_a_window_and_shares_that_cannot_be_are_refused(made, tmp_path):
    short = record_tabletop(3, "random", views=("front",), extras=(), max_steps=9)
    save_raw(tmp_path / "episode_000003.npz", short)
    with pytest.raises(DataError, match="no clips"):
        replace(made, data=tmp_path, out=tmp_path / "out").start()
    for wrong in ({"share": (2, 2)}, {"chunks": 0}):
        with pytest.raises(ConfigError):
            replace(made, **wrong)


def test_a_camera_or_a_painter_that_does_not_fit_is_refused(made, lives, tmp_path):
    with pytest.raises(DataError, match="no camera 'top'"):
        replace(made, out=tmp_path / "out", camera="top").start()
    VideoVAE(replace(SMALL_VAE, latents_std=(2.0,) * 48)).save(tmp_path / "vae")
    with pytest.raises(ConfigError, match="other latents"):
        replace(made, out=tmp_path / "out", vae=tmp_path / "vae").start()


def test_two_who_share_the_work_make_what_one_makes(made, tmp_path):
    for number in (0, 1, 2):  # the third has nothing to do
        replace(made, out=tmp_path, share=(number, 3)).start(lambda line: None)
    alone, shared = ({path.name: path.read_bytes() for path in out.iterdir()} for out in (made.out, tmp_path))
    assert alone == shared


def test_a_draft_that_a_kill_left_is_no_clip(made, tmp_path):
    for path in made.out.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ".frames_table_00.npy.1.tmp").write_bytes(b"half")
    assert len(ByteClips(tmp_path).files) == 2


def test_latents_of_several_layouts_or_stretches_are_refused(origin):
    omni, picture = armillary.load(origin), np.zeros((64, 64, 3), np.uint8)
    moved = {"mode": "forward-dynamics", "image": picture, "embodiment": "tabletop", "seed": 0}
    once, twice = ({**moved, "actions": np.tile(np.eye(10)[3], (steps, 1))} for steps in (16, 32))
    told = {"mode": "image-to-video", "image": picture, "prompt": "a table", "frames": 17, "steps": 1}
    alone = {"mode": "policy", "image": picture, "embodiment": "tabletop", "prompt": "go", "outputs": ("actions",)}
    assert torch.isfinite(omni.latents([alone])).all()  # this checkpoint finds actions beside a film
    omni.parts.defaults = replace(omni.parts.defaults, filmless=("policy",))
    for wrong in ([once, told], [twice], [{"mode": "reason", "prompt": "What is there?"}], []):
        with pytest.raises(RequestError, match="one layout"):
            omni.latents(wrong)
    many = omni.latents([{**once, "seed": seed} for seed in range(34)])  # more than one batch
    assert torch.isfinite(many).all() and many.shape == (34, 48, 5, 8, 8)


def test_what_another_checkpoint_foresees_does_not_lie_beside(origin, made, lives, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for path in made.out.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    replace(made, out=out, name="again", data=_few(lives, tmp_path / "few")).start(lambda line: None)
    there = {path.name for path in out.iterdir()}
    for change, words in ((_forgets, "weights"), (_takes_more_steps, "settings"), (_sees_otherwise, "tokenizer")):
        copy = shutil.copytree(origin, tmp_path / words)
        change(copy)
        with pytest.raises(ConfigError, match=f"was begun with {words}"):
            replace(made, out=out, name="other", origin=copy).start(lambda line: None)
    assert there == {path.name for path in out.iterdir()}
    (out / "made_from.json").unlink()
    replace(made, out=out).start(lambda line: None)  # all are there
    with pytest.raises(ConfigError, match="do not say what they were made from"):
        replace(made, out=out, name="other").start(lambda line: None)


def _few(lives, folder):
    folder.mkdir()
    for path in raw_files(lives)[:2]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def _forgets(checkpoint):
    model = load_model(checkpoint)
    for part in model.parameters():
        torch.nn.init.zeros_(part)
    save_model(checkpoint, model, dtype=torch.float32)


def _takes_more_steps(checkpoint):
    (checkpoint / "defaults.json").write_text('{"size": [128, 128], "fps": 10, "steps": {"forward-dynamics": 2}}')


def _sees_otherwise(checkpoint):
    VideoVAE(SMALL_VAE).save(checkpoint / "vae")
