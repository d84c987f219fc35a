"""Lives that last are of so many frames, of no held-out seed, and not lived twice."""

from dataclasses import replace

import pytest

from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import ConfigError
from armillary.post_training.lasting import LastingRun


def test_lives_that_last_are_of_so_many_frames_and_of_no_held_out_seed(tmp_path):
    run = LastingRun(out=tmp_path / "lives", episodes=3, seed=7, frames=40)
    run.start(lambda line: None)
    found = [load_raw(path) for path in raw_files(run.out)]
    assert [(one.seed, len(one.frames["front"]), len(one.actions)) for one in found] == [(s, 40, 39) for s in (7, 8, 9)]
    before = [path.stat().st_mtime_ns for path in raw_files(run.out)]
    run.start(lambda line: None)
    assert before == [path.stat().st_mtime_ns for path in raw_files(run.out)]
    with pytest.raises(ConfigError, match="held out"):
        replace(run, seed=999_999)
