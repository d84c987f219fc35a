"""Post-training keeps its word: what is held out is not learnt from, what it writes opens, a kill changes nothing."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import kept_raw, moving_square, small_checkpoint

import armillary
from armillary.datasets.lerobot import LeRobotReader
from armillary.datasets.store import EpisodeWriter
from armillary.embodiments import load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.post_training.figures import repeated
from armillary.post_training.finetune import FinetuneRun, finetune, fitted
from armillary.post_training.mixed import MixedRun
from armillary.post_training.recordings import (
    acts,
    clips_of,
    covering,
    film_of,
    fitting_size,
    open_recordings,
    split,
    spread,
    words_of,
)  # fmt: skip
from armillary.sampling.defaults import EXECUTE
from armillary.training.generator import write_checkpoint
from armillary.training.latents import ANY_TASK, FRAMES

BODY = load_embodiment("pusht")
SAID = {
    "size": [64, 64], "fps": 3.0, "task": "Wave.", "steps": {"inverse-dynamics": 2}, "steady": 0.25, "execute": 16,
    "filmless": ["policy"], "learnt": ["transfer"], "control_scale": {"edge": 0.5}, "painting": {"steps": 4},
    "upsampling": {"text-to-image": {"ask": "Say where: {prompt}"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return kept_raw(tmp_path_factory.mktemp("raw"), (moving_square(number, frames=24) for number in range(5)))


@pytest.fixture(scope="module")
def run(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    small_checkpoint(folder / "small")
    (folder / "small/defaults.json").write_text(json.dumps(SAID))
    return FinetuneRun(
        origin=str(folder / "small"), data=raw, out=folder / "out", embodiment="pusht", steps=3, vae_steps=1,
        windows=6, clips=2, batch=2, solver_steps=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written():
    """What every checkpoint that was written says of itself, by its folder's name."""
    return {}


@pytest.fixture(scope="module")
def told(run, written):
    def watched(folder, model, **parts):
        written[folder.name] = parts["defaults"]
        write_checkpoint(folder, model, **parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("armillary.post_training.finetune.write_checkpoint", watched)
        return finetune(run, lambda _: None)


@pytest.mark.parametrize(("shape", "size"), [
    ((360, 640), (96, 160)), ((480, 640), (96, 128)), ((128, 128), (128, 128)), ((96, 96), (128, 128)),
    ((512, 512), (128, 128)), ((640, 360), (160, 96)),
])  # fmt: skip
def test_pictures_keep_their_form_within_the_models_pixels(shape, size):
    assert fitting_size(*shape) == size
    height, width = covering(shape, None)
    assert height >= size[0] and width >= size[1] and (height == size[0] or width == size[1])


def test_several_episodes_are_split_between_episodes_and_one_between_frames():
    many = [moving_square(i, frames=20) for i in range(10)]
    parts = split(many, 0.2)
    assert [one.seed for one in parts.held] == [8, 9] and len(parts.known) == 8
    one = moving_square(3, frames=100)
    parts = split([one], 0.2)
    assert len(film_of(parts.known[0])) == 80 and len(film_of(parts.held[0])) == 20
    assert len(parts.known[0].actions) == 79 and len(parts.held[0].actions) == 19
    np.testing.assert_array_equal(film_of(parts.held[0]), film_of(one)[80:])
    np.testing.assert_array_equal(parts.held[0].actions, one.actions[80:])


def test_a_part_too_short_for_a_window_is_refused():
    with pytest.raises(DataError, match="both parts need one"):
        split([moving_square(0, frames=40)], 0.2)


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_windows_are_spread_over_everything_and_fit(most):
    episodes = [moving_square(i, frames=n) for i, n in enumerate((17, 40, 60))]
    taken = spread(episodes, most)
    assert [number for number, _ in taken] == [0, 1, 2] and all(starts for _, starts in taken)
    assert all(start + FRAMES <= len(film_of(episodes[n])) for n, starts in taken for start in starts)
    assert sum(len(starts) for _, starts in taken) <= max(most, 0) + len(episodes)


def test_clips_of_one_episode_are_grouped_by_stretches_that_do_not_overlap():
    clips = clips_of([moving_square(0, frames=60)], 100)
    assert len(clips) == 44 and {clip.group for clip in clips} == {0, 1, 2}
    np.testing.assert_array_equal(clips[5].video, film_of(moving_square(0, frames=60))[5:22])
    assert repeated(replace(clips[0], video=np.repeat(clips[0].video[:1], FRAMES, axis=0))) == pytest.approx(100.0)


def test_statistics_come_from_the_part_that_is_learnt():
    known, held = moving_square(0), moving_square(1)
    held = replace(held, actions=held.actions + 1000)
    parts = split([known, held], 0.5)
    body = fitted(BODY, parts)
    assert max(body.normaliser.offset) < 512 and body.rate_hz == 10.0
    as_before = fitted(BODY, parts, refit=False)
    assert as_before.normaliser == BODY.normaliser and as_before.rate_hz == 10.0
    encoded = body.encode(known.actions)[:, :2]
    assert np.abs(encoded).max() < 1.5 and np.abs(encoded).max() > 0.9


def test_an_episode_without_words_is_told_what_any_movement_is_told():
    assert words_of(moving_square(0)) == "Push the square."
    assert words_of(replace(moving_square(0), instruction=" . ")) == ANY_TASK


def test_only_those_noted_as_no_experts_do_not_act():
    assert acts(replace(moving_square(0), recipe={})) and not acts(
        replace(moving_square(0), recipe={"controller": "random"})
    )


def test_translation_is_where_the_body_goes():
    assert BODY.translation == [0, 1] and load_embodiment("droid").translation == [0, 1, 2]


def test_a_lerobot_folder_and_raw_files_give_the_same_recordings(raw, tmp_path):
    with EpisodeWriter(tmp_path / "set", fps=10, cameras=("top",), robot="pusht") as writer:
        for number in range(5):
            writer.write(moving_square(number, frames=24))
    for one, other in zip(open_recordings(raw, BODY), open_recordings(tmp_path / "set", BODY), strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        assert film_of(one).shape == (24, 128, 128, 3)
        assert np.abs(film_of(one).astype(int) - film_of(other)).mean() < 2  # enlarged by another filter


def test_a_camera_that_is_not_there_is_named_with_those_that_are(raw, tmp_path):
    with pytest.raises(DataError, match=r"camera 'wrist' is not there: the recordings have top"):
        open_recordings(raw, BODY, camera="wrist")
    with pytest.raises(DataError, match="there is no folder"):
        open_recordings(tmp_path / "absent", BODY)


def test_the_checkpoint_opens_with_its_body_and_acts(run, told):
    omni = armillary.load(run.out / "checkpoint")
    episode = open_recordings(run.data, BODY)[-1]
    rollout = omni.imagine("policy", prompt="Push the square.", image=film_of(episode)[0], embodiment="pusht", steps=1)
    assert rollout.actions.shape == (16, 2) and rollout.fps == 10.0 and rollout.video.shape == (17, 128, 128, 3)
    kept = load_embodiment("pusht", run.out / "checkpoint")
    assert kept.normaliser.source.startswith("q01") and kept != BODY


def test_what_the_checkpoint_said_of_itself_is_kept_but_for_what_recordings_decide(run, told):
    kept = armillary.load(run.out / "checkpoint").parts.defaults
    assert kept.size == (128, 128) and kept.fps == 10.0 and kept.task == "Push the square."
    assert kept.steps == SAID["steps"] and kept.steady == SAID["steady"] and kept.learnt == ("transfer",)
    assert kept.control_scale == SAID["control_scale"] and kept.painting.steps == 4
    assert kept.upsampling["text-to-image"].ask == SAID["upsampling"]["text-to-image"]["ask"]
    assert kept.filmless == () and kept.execute == EXECUTE


def test_before_it_is_measured_as_it_says_itself(told, written):
    """Its policy plans without a film where the checkpoint does, and does as much of a plan."""
    before, after = written["before"], written["checkpoint"]
    assert before["filmless"] == ["policy"] and "filmless" not in after and "execute" not in after
    assert {name for name in before if before[name] != after.get(name)} <= {"filmless", "execute"}
    others = SAID.keys() - {"size", "fps", "task"}  # these the recordings decide
    assert {name: before[name] for name in others} == {name: SAID[name] for name in others}


def test_every_figure_comes_with_its_interval_and_its_base_line(run, told):
    figures = json.loads((run.out / "figures.json").read_text())["figures"]
    assert figures == json.loads(json.dumps(told["figures"]))
    for name in ("forward: repeat first frame, dB", "forward: before, dB", "forward: after, dB", "inverse: after, R2",
                 "tokenizer: before, dB", "policy: mean action, error", "policy: after, error"):  # fmt: skip
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"] and figures[name]["n"] >= 2
    assert (run.out / "sheet.png").stat().st_size > 1000 and not (run.out / "before").exists()


def test_a_run_that_is_done_again_gives_the_same_figures(run, told):
    weights = run.out / "checkpoint/transformer/diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    again = finetune(run, lambda _: None)
    assert again["figures"] == told["figures"] and weights.read_bytes() == before


def test_a_folder_begun_with_other_settings_is_left_alone(run, told):
    before = (run.out / "figures.json").read_bytes()
    with pytest.raises(ConfigError, match=r"was begun with rate 0\.001, now it is 0\.5"):
        finetune(replace(run, rate=0.5), lambda _: None)
    assert (run.out / "figures.json").read_bytes() == before


def test_a_slot_can_begin_as_that_of_a_like_body(run, tmp_path):
    from armillary.model import load_model
    from armillary.post_training.finetune import _begun

    base, droid, table = Path(run.origin), load_embodiment("droid"), load_embodiment("tabletop")
    rows = dict(_begun(base, droid, replace(run, like="tabletop")).named_parameters())
    plain = dict(load_model(base).named_parameters())
    slots = [name for name in rows if "action_proj" in name]
    assert slots
    for name in slots:
        assert (rows[name][droid.domain_id] == plain[name][table.domain_id]).all()
    assert any((rows[name][droid.domain_id] != plain[name][droid.domain_id]).any() for name in slots)


def test_layers_are_compiled_only_where_that_is_asked(run, told, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("armillary.post_training.teaching.compile_layers", lambda _, part: asked.append(part))
    finetune(replace(run, out=tmp_path / "plain"), lambda _: None)
    assert not asked
    finetune(replace(run, out=tmp_path / "compiled", compile=True), lambda _: None)
    assert asked == ["generate"]


def test_mixed_recordings_are_made_in_turn_and_continued(tmp_path):
    pytest.importorskip("gym_pusht", reason="gym-pusht is not installed")
    some = MixedRun(out=tmp_path, world="pusht", episodes=1, controllers=("random", "clumsy"), seed=5)
    some.start(lambda _: None)
    replace(some, episodes=2).start(lambda _: None)
    reader = LeRobotReader(tmp_path)
    assert len(reader.episodes) == 2
    first, second = open_recordings(tmp_path, BODY)
    assert [one.recipe["controller"] for one in (first, second)] == ["random", "clumsy"]
    assert [one.seed for one in (first, second)] == [5, 6] and not acts(first)


def test_the_real_recording_opens_at_the_models_size():
    real = os.environ.get("ARMILLARY_REAL_DATA")
    if not real:
        pytest.skip("ARMILLARY_REAL_DATA does not say where the real recordings are")
    (episode,) = open_recordings(Path(real) / "droid_lerobot", load_embodiment("droid"))
    parts = split([episode], 0.2)
    assert film_of(episode).shape == (722, 96, 160, 3) and len(film_of(parts.held[0])) == 145
    assert words_of(episode) == ANY_TASK
