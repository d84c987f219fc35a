"""A driven policy: a film and a line for each life, gone on with where it stopped, the same settings only."""

import json

import numpy as np
import pytest
from tiny import small_checkpoint

from armillary import cli
from armillary.errors import ConfigError, RequestError
from armillary.evaluation.driven import Driven, Ride, drive_all, verdict
from armillary.media import read_video


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(small_checkpoint(tmp_path_factory.mktemp("small")))


def plan(checkpoint, **more):
    return Driven(**{"world": "tabletop", "policy": checkpoint, "episodes": 2, "steps": 3, "seed": 5, **more})


def test_a_life_leaves_a_film_and_a_line_and_more_may_be_added(checkpoint, tmp_path):
    out, told = tmp_path / "driven", []
    rides = drive_all(plan(checkpoint), out, report=told.append)
    assert [ride.seed for ride in rides] == [5, 6] and len(told) == 2
    assert all(ride.steps == 3 and ride.success is False and not ride.stopped for ride in rides)
    assert len(read_video(out / rides[0].film)[0]) == 4
    assert [json.loads(line)["seed"] for line in (out / "results.jsonl").read_text().splitlines()] == [5, 6]
    (out / rides[0].film).unlink()  # lost: it is lived again, the other one is not
    kept = (out / rides[1].film).stat().st_mtime_ns
    more = drive_all(plan(checkpoint, episodes=3), out, report=told.append)
    assert more[:2] == rides and more[2].seed == 7 and len(told) == 4
    assert (out / rides[1].film).stat().st_mtime_ns == kept
    with pytest.raises(RequestError, match="was begun with steps 3"):
        drive_all(plan(checkpoint, steps=4), out)


def test_lives_of_other_weights_or_other_settings_are_not_mixed(tmp_path):
    folder = small_checkpoint(tmp_path / "small")
    (folder / "defaults.json").write_text(json.dumps({"size": [128, 128], "fps": 10.0, "execute": 2}))
    drive_all(plan(str(folder), episodes=1), tmp_path / "out")
    kept = (tmp_path / "out/results.jsonl").read_bytes()
    (folder / "defaults.json").write_text(json.dumps({"size": [128, 128], "fps": 10.0, "execute": 3}))
    with pytest.raises(RequestError, match="was begun with policy's weights '"):
        drive_all(plan(str(folder), episodes=2), tmp_path / "out")
    assert (tmp_path / "out/results.jsonl").read_bytes() == kept


def test_in_imagination_only_the_first_picture_is_true(checkpoint, tmp_path):
    (ride,) = drive_all(plan(checkpoint, imagined=checkpoint, episodes=1), tmp_path / "dream")
    (true,) = drive_all(plan(checkpoint, episodes=1), tmp_path / "physics")
    dreamt, lived = (read_video(tmp_path / name / ride.film)[0] for name in ("dream", "physics"))
    assert true.seed == ride.seed and dreamt.shape == lived.shape
    assert np.abs(dreamt[0].astype(int) - lived[0]).mean() < 3 < np.abs(dreamt[-1].astype(int) - lived[-1]).mean()
    (doubted,) = drive_all(plan(checkpoint, imagined=checkpoint, episodes=1, steps=8, doubt=0.0), tmp_path / "doubt")
    assert doubted.stopped.startswith("Stopped at step") and doubted.steps < 8


def test_a_world_without_a_judge_says_so(checkpoint, tmp_path):
    dream = plan(checkpoint, world="drawer", imagined=checkpoint, episodes=1)
    (ride,) = drive_all(dream, tmp_path / "drawer")
    assert ride.success is None and "nobody can tell success" in verdict([ride])


def test_how_often_is_said_with_its_interval():
    one = {"instruction": "x", "steps": 1, "reward": 0.0, "film": ""}
    rides = [Ride(seed=i, success=i < 6, stopped="" if i else "why", **one) for i in range(8)]
    said = verdict(rides)
    assert said.startswith("75 % of 8 succeeded (95 %: ") and said.endswith("1 no longer believed.")


def test_what_cannot_be_driven(checkpoint, tmp_path):
    for more, said in (
        ({"world": "moon"}, "it must be one of tabletop"), ({"policy": "expert"}, "armillary simulate tabletop"),
        ({"episodes": 0}, "episodes=0"), ({"doubt": 0.1}, "a use in imagination alone"),
    ):  # fmt: skip
        with pytest.raises((ConfigError, RequestError), match=said):
            plan(checkpoint, **more)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match="is there already"):
        drive_all(plan(checkpoint), tmp_path)


def test_the_verb(checkpoint, tmp_path, capsys, monkeypatch):
    line = ["armillary", "drive", "tabletop", str(tmp_path / "v"), "--policy", checkpoint, "--episodes", "1", "--json"]
    for option in ("--steps", "--max-steps"):  # two names of one thing: the second finds the first's life
        monkeypatch.setattr("sys.argv", [*line, option, "2"])
        cli.main()
        assert [(ride["seed"], ride["steps"]) for ride in json.loads(capsys.readouterr().out)] == [(1_000_000, 2)]
