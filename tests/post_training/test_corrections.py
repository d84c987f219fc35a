"""The model acts and the expert corrects it: moments appear with plans, and what was lived is not lived again."""

from dataclasses import replace

import pytest
from tiny import small_checkpoint

from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import ConfigError
from armillary.post_training.corrections import CorrectionsRun
from armillary.worlds.record import LEAST_STEPS


def test_a_life_is_corrected_wherever_the_model_planned(tmp_path):
    small_checkpoint(tmp_path / "small")
    run = CorrectionsRun(origin=tmp_path / "small", out=tmp_path / "out", lives=1, seed=7, most=2, execute=3)
    said = []
    run.start(said.append)
    episodes = [load_raw(path) for path in raw_files(run.out)]
    assert [episode.recipe["done"] for episode in episodes] == [0, 3]
    assert all(episode.states["plans"].shape == (2, LEAST_STEPS, 10) for episode in episodes)
    before = [path.read_bytes() for path in raw_files(run.out)]
    run.start(said.append)
    assert said == ["1 of 1 lives"] and before == [path.read_bytes() for path in raw_files(run.out)]
    raw_files(run.out)[0].unlink()  # as a kill would have left it: the first one is written last
    run.start(said.append)
    assert before == [path.read_bytes() for path in raw_files(run.out)]


def test_settings_that_cannot_be_are_refused(tmp_path):
    run = CorrectionsRun(origin=tmp_path, out=tmp_path, lives=1, seed=0)
    for wrong in ({"lives": 0}, {"execute": 0}, {"share": (1, 1)}):
        with pytest.raises(ConfigError):
            replace(run, **wrong)
