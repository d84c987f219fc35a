"""Two runs are compared sample by sample, and only where they are about the same."""

import io
import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from rich.console import Console

from armillary.errors import DataError
from armillary.evaluation.behaviour import Attempt
from armillary.evaluation.dynamics import InverseScore
from armillary.evaluation.paired import as_numbers, circumstances, paired, print_pairs
from armillary.evaluation.samples import LINES

RNG = np.random.default_rng(0)
ATTEMPTS = [
    Attempt(seed=i, policy="model", kind="lift", instruction="Lift the red cube.", told="", success=i % 3 == 0, steps=5)
    for i in range(30)
]
READ = [
    InverseScore(seed=i, kind="expert", start=0, true_steps=RNG.normal(0, 1, (16, 3)).tolist(),
                 found_steps=RNG.normal(0, 1, (16, 3)).tolist(), gripper_right=12, gripper_all=16)
    for i in range(12)
]  # fmt: skip


def folder(path, *, world="w", **sections):
    """A folder as the suite leaves it."""
    path.mkdir()
    for name, samples in sections.items():
        section = name.replace("_", "-")
        lines = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
        (path / f"{section}.jsonl").write_text(lines, "utf-8")
        (path / f"{section}.json").write_text(json.dumps({"made_from": {"world": world, "weights": "a"}}), "utf-8")
    return path


def test_a_run_against_itself_differs_nowhere(tmp_path):
    here, there = (folder(tmp_path / name, policy=ATTEMPTS, inverse_dynamics=READ) for name in "ab")
    pairs, left_out = paired(here, there)
    assert {pair.section for pair in pairs} == {"policy", "inverse-dynamics"} and not left_out
    assert all((pair.less.value, pair.less.low, pair.less.high) == (0, 0, 0) for pair in pairs)
    assert as_numbers(pairs)["policy/success_model"]["here"]["value"] == pytest.approx(1 / 3)


def test_the_interval_is_of_pairs_and_not_of_two_strangers(tmp_path):
    """The other run fails where this one does, and twice more: only those two are uncertain."""
    worse = [replace(one, success=one.success and one.seed not in (0, 3)) for one in ATTEMPTS]
    here, there = folder(tmp_path / "a", policy=ATTEMPTS), folder(tmp_path / "b", policy=worse)
    (success, *_), _ = paired(here, there)
    assert success.less.value == pytest.approx(2 / 30)
    assert success.less.low >= 0 and success.less.high < 0.2
    assert success.here.high - success.here.low > 0.3


def test_only_what_both_have_counts_and_that_is_said(tmp_path):
    here, there = folder(tmp_path / "a", policy=ATTEMPTS), folder(tmp_path / "b", policy=ATTEMPTS[10:20])
    pairs, left_out = paired(here, there)
    assert pairs[0].less.n == 10 and left_out == ["policy: 10 samples in common of 30 here and 10 there."]
    console = Console(width=160, record=True, file=io.StringIO())
    print_pairs(pairs, left_out, there="b", console=console)
    printed = console.export_text()
    assert (
        "Policy in physics: success" in printed
        and "+0.0 to +0.0 points" in printed
        and "10 samples in common" in printed
    )


def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path):
    here = folder(tmp_path / "a", policy=ATTEMPTS)
    with pytest.raises(DataError, match="holds no measurement"):
        circumstances(tmp_path)
    with pytest.raises(DataError, match="share no section"):
        paired(here, folder(tmp_path / "b", inverse_dynamics=READ))
    with pytest.raises(DataError, match="different tabletops"):
        paired(here, folder(tmp_path / "c", world="v", policy=ATTEMPTS))
    with pytest.raises(DataError, match="no sample in common"):
        paired(here, folder(tmp_path / "d", policy=[replace(one, seed=one.seed + 99) for one in ATTEMPTS]))
    (here / "policy.jsonl").write_text('{"seed": 1}\n', "utf-8")
    with pytest.raises(DataError, match="line 1 is no sample"):
        paired(here, folder(tmp_path / "e", policy=ATTEMPTS))


def test_what_says_what_was_asked_stands_in_every_line():
    for section, kept in LINES.items():
        assert set(kept.asked) <= {field.name for field in fields(kept.line)}, section
