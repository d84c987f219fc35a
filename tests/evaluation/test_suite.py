"""One run measures everything it is asked for, keeps what it has, and says how each number came about."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.errors import ConfigError, DataError
from armillary.evaluation import other_worlds
from armillary.evaluation.gallery import gather, picked
from armillary.evaluation.measure import evaluate_and_tell
from armillary.evaluation.page import page_of
from armillary.evaluation.report import ROWS, print_report, table
from armillary.evaluation.suite import SECTIONS, Bench, Plan, evaluate, forget, measure
from armillary.records import Episode, Question

PLAN = Plan(clips=1, questions=4, episodes=1, known=1)
ASKED = ("inverse-dynamics", "policy", "questions")


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("small")), dtype="float32")


@pytest.fixture(scope="module")
def measured(omni, tmp_path_factory):
    """A folder in which three sections were measured, and the numbers."""
    out = tmp_path_factory.mktemp("out")
    return out, measure(omni, PLAN, out=out, sections=ASKED)


def test_every_figure_says_its_value_interval_samples_seed_and_command(measured):
    out, numbers = measured
    assert json.loads((out / "numbers.json").read_text("utf-8")) == numbers
    assert {key.split("/")[0] for key in numbers["figures"]} == set(ASKED)
    for key, figure in numbers["figures"].items():
        assert figure["n"] >= figure["episodes"] >= 1 and numbers["seed"] == PLAN.seed
        section = key.split("/")[0]
        assert numbers["commands"][section].endswith(f"--sections {section}")
        assert figure["low"] <= figure["value"] <= figure["high"] or figure["n"] == 1


def test_there_is_a_line_for_every_sample(measured):
    out, numbers = measured
    lines = {s: [json.loads(line) for line in (out / f"{s}.jsonl").read_text("utf-8").splitlines()] for s in ASKED}
    assert [line["kind"] for line in lines["inverse-dynamics"]] == ["expert", "clumsy", "random"]
    assert [line["policy"] for line in lines["policy"]] == ["model", "words_blind", "random"]
    worded = [line for line in lines["questions"] if line["overlap"] is None]
    assert len(worded) == numbers["figures"]["questions/exact"]["n"] == PLAN.questions
    assert not {line["truth"] for line in worded} & {"yes", "no"}


def test_what_was_not_measured_is_said_and_not_made_up(measured):
    _, numbers = measured
    assert any("cloning was not measured" in note for note in numbers["notes"]["policy"])
    assert "policy/success_behaviour_cloning" not in numbers["figures"]


def test_a_section_that_is_there_is_kept_and_a_forgotten_one_computed_again(omni, measured):
    out, numbers = measured
    before = {section: (out / f"{section}.json").stat().st_mtime_ns for section in ASKED}
    again = measure(omni, PLAN, out=out, sections=ASKED)
    assert again == numbers
    assert before == {section: (out / f"{section}.json").stat().st_mtime_ns for section in ASKED}
    forget(out, ["inverse-dynamics"])
    afresh = measure(omni, PLAN, out=out, sections=ASKED)
    assert (out / "inverse-dynamics.json").stat().st_mtime_ns > before["inverse-dynamics"]
    assert (out / "policy.json").stat().st_mtime_ns == before["policy"]
    assert afresh == numbers  # the same seeds give the same figures


def test_another_plan_is_another_measurement(omni, measured, capsys):
    out, _ = measured
    plan = Plan(clips=1, questions=2, episodes=1, known=1)
    measure(omni, plan, out=out, sections=["questions"])
    assert "kept" not in capsys.readouterr().err
    assert json.loads((out / "questions.json").read_text("utf-8"))["made_from"]["plan"]["questions"] == 2


def test_other_settings_beside_the_same_weights_are_another_measurement(omni, measured, tmp_path, capsys):
    out = shutil.copytree(measured[0], tmp_path / "out")
    folder = shutil.copytree(omni.parts.folder, tmp_path / "other" / omni.parts.folder.name)
    (folder / "defaults.json").write_text(json.dumps({"size": [128, 128], "fps": 10.0, "execute": 3}))
    other = armillary.load(folder, dtype="float32")
    numbers = measure(other, PLAN, out=out, sections=["inverse-dynamics"])
    assert "kept" not in capsys.readouterr().err
    assert numbers["weights"] == omni.parts.weights_sha256 and numbers["settings"] != omni.parts.settings_sha256


def test_the_solver_takes_as_many_steps_as_are_asked_for(omni, measured, tmp_path, monkeypatch):
    taken, really = [], armillary.Omni.imagine_many

    def watched(self, requests, **how):
        rollouts = really(self, requests, **how)
        taken.extend(rollout.provenance["request"]["steps"] for rollout in rollouts)
        return rollouts

    monkeypatch.setattr(armillary.Omni, "imagine_many", watched)
    numbers = measure(omni, replace(PLAN, steps=3), out=tmp_path, sections=["inverse-dynamics"])
    assert taken == [3, 3, 3]
    assert all("--steps 3 --sections" in command for command in numbers["commands"].values())
    told = "inverse-dynamics/r2_translation_expert"
    assert "--steps" not in measured[1]["commands"][told.split("/")[0]]
    with pytest.raises(ConfigError, match="steps=0"):
        replace(PLAN, steps=0)


def test_the_table_has_a_row_for_each_measured_figure_that_is_asked_for(measured, capsys):
    _, numbers = measured
    keys = [row.key for row in ROWS if row.key in numbers["figures"]]
    assert table(numbers).row_count == len(keys) >= 8
    print_report(numbers)
    printed = capsys.readouterr().out
    assert "Inverse dynamics: R² of translation, clumsy" in printed and "≥ 72.0 %" in printed


def test_one_episode_has_no_interval_and_reaches_nothing_and_a_difference_must_be_apart(capsys):
    one = {"value": 0.9, "low": 0.9, "high": 0.9, "n": 3, "episodes": 1}
    near = {"value": 0.1, "low": -0.1, "high": 0.3, "n": 9}
    told = {"checkpoint": "toy", "dtype": "float32", "device": "cpu", "notes": {}}
    print_report({**told, "figures": {"questions/exact_mean_over_tasks": one}})
    printed = capsys.readouterr().out
    assert "one episode" in printed and "too few" in printed and "goal" not in printed.splitlines()[-2]
    for low, verdict in ((-0.1, "no"), (0.05, "yes")):
        shown = table({**told, "figures": {"transfer/edge_f1_better_than_free": near | {"low": low}}})
        assert list(shown.columns[-1].cells) == [verdict]


@pytest.mark.parametrize(("value", "verdict"), [(0.86, "goal"), (0.5, "floor"), (0.2, "below")])
def test_a_row_says_what_was_reached(value, verdict):
    (row,) = [row for row in ROWS if row.key == "policy/success_model"]
    assert row.verdict(value) == verdict


def test_where_less_is_better_less_is_reached():
    rows = {row.key: row for row in ROWS}
    assert [rows["forward-dynamics/db_below_codec"].verdict(x) for x in (2, 4, 6)] == ["goal", "floor", "below"]
    assert [rows["questions/without_looking"].verdict(x) for x in (0.4, 0.5)] == ["yes", "no"]
    assert rows["policy/success_random"].verdict(0.5) == ""


def test_the_page_shows_every_measured_section_and_needs_nothing_else(omni, measured):
    out, numbers = measured
    page = gather(Bench(omni=omni, plan=PLAN, folder=out, tell=lambda *_: None), numbers)
    sections = {section.key: section for section in page.sections}
    assert tuple(sections) == ASKED
    for key, section in sections.items():
        heads, *rows = section.table
        assert len(rows) == sum(name.startswith(f"{key}/") for name in numbers["figures"])
        assert all(len(row) == len(heads) for row in rows)
    assert len(sections["inverse-dynamics"].readings) == 3 and len(sections["policy"].films) == 1
    assert len(sections["questions"].answers) >= 1
    html = page_of(page)
    assert "Policy in physics: success" in html and "≥ 45.0 %" in html
    assert 'src="http' not in html


def test_worst_middle_and_best_are_chosen_by_marks_alone():
    assert picked([3.0, 1.0, 2.0, 5.0, 4.0]) == {"worst": 1, "middle": 0, "best": 3}
    assert picked([1.0]) == {"worst": 0}


def test_other_worlds_are_asked_by_name_and_their_lives_kept(omni, tmp_path, monkeypatch):
    made = []

    def record(seed, kind, *, size):
        made.append((seed, kind))
        film = np.full((4, *size, 3), seed % 200, np.uint8)
        asked = [Question(task="count", words="How many balls are there?", answer="two", frames=(0,)),
                 Question(task="plan", words="How?", answer="Turn, then walk.", frames=(0, 3)),
                 Question(task="caption", words="What happens here?", answer="much", frames=(0, 3))]  # fmt: skip
        return Episode(world="physics", seed=seed, fps=10.0, frames={"main": film}, actions=np.zeros((3, 9)),
                       embodiment="camera_pose", states={}, instruction="", questions=asked)  # fmt: skip

    monkeypatch.setattr(other_worlds, "found", lambda place: record if "record_" in place else ("still", "orbit"))
    for _ in range(2):
        numbers = measure(omni, PLAN, out=tmp_path, sections=["questions-physics"])
    assert made == [(0, "still"), (PLAN.seed, "still")]
    figures = numbers["figures"]
    assert {"questions-physics/exact_count", "questions-physics/plan_steps"} <= set(figures)
    assert not any("caption" in key for key in figures)
    assert "never seen" in " ".join(numbers["notes"]["questions-physics"])


def test_a_run_is_not_compared_with_itself_or_with_nothing(tmp_path):
    def opening():
        pytest.fail("it is refused before")

    with pytest.raises(ConfigError, match="is the folder that is being filled"):
        evaluate_and_tell(opening, PLAN, out=tmp_path, against=tmp_path)
    with pytest.raises(DataError, match="holds no measurement"):
        evaluate_and_tell(opening, PLAN, out=tmp_path / "out", against=tmp_path)


def test_mistakes_are_told_before_anything_is_loaded_or_written(tmp_path):
    with pytest.raises(ConfigError, match=f"give at least one of {', '.join(SECTIONS)}, questions-physics"):
        evaluate("pico", out=tmp_path / "out", sections=["dreams"])
    with pytest.raises(ConfigError, match="episodes=0: it must be at least 1"):
        evaluate("pico", Plan(episodes=0), out=tmp_path / "out")
    with pytest.raises(ConfigError, match="seed=5 is no held-out seed"):
        evaluate("pico", Plan(seed=5), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
