"""What the model lived through in PushT is kept with its states, for a planner to say what should have been done."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import small_checkpoint

from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import ConfigError
from armillary.post_training.own_lives import OwnLivesRun
from armillary.post_training.replanned import replanned


def test_own_lives_are_kept_once_and_can_be_planned_afresh(tmp_path):
    small_checkpoint(tmp_path / "small")
    run = OwnLivesRun(origin=tmp_path / "small", out=tmp_path / "lives", lives=2, seed=31, most_steps=5, execute=3)
    said: list[str] = []
    run.start(said.append)
    lives = [load_raw(path) for path in raw_files(run.out)]
    assert [life.seed for life in lives] == [31, 32] and said == ["2 of 2 lives"]
    for life in lives:
        assert life.frames["top"].shape == (6, 128, 128, 3) and life.states["disc"].shape == (6, 2)
        assert np.abs(np.diff(life.states["disc"], axis=0)).max() > 1  # it moved, and the pictures show it
        assert not np.array_equal(life.frames["top"][0], life.frames["top"][-1])
        assert replanned(life, most=2).states["plans"].shape == (2, 16, 2)
    before = [path.stat().st_mtime_ns for path in raw_files(run.out)]
    run.start(said.append)
    assert before == [path.stat().st_mtime_ns for path in raw_files(run.out)]
    said_of_itself = run.origin / "embodiments.json"
    said_of_itself.write_text(said_of_itself.read_text() + " ")
    with pytest.raises(ConfigError, match="lives was begun with settings"):
        replace(run, lives=3).start(said.append)


def test_who_has_no_body_in_pusht_is_told_so(tmp_path):
    folder = small_checkpoint(tmp_path / "small") or tmp_path / "small"
    bodies = json.loads((folder / "embodiments.json").read_text())
    kept = {name: body for name, body in bodies.items() if not name.startswith("pusht")}
    (folder / "embodiments.json").write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match="to push it must know pusht"):
        OwnLivesRun(origin=folder, out=tmp_path / "lives", lives=1, seed=0).start(lambda line: None)


def test_held_out_boards_are_refused(tmp_path):
    run = OwnLivesRun(origin=tmp_path, out=tmp_path, lives=10, seed=0)
    for wrong in ({"seed": 999_991}, {"lives": 0}, {"most_steps": 0}, {"share": (2, 2)}):
        with pytest.raises(ConfigError):
            replace(run, **wrong)
