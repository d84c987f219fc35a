"""The smallest thing through every room: a world, recordings, tokenizers, a model, a few steps, a rollout, a score.

The losses of the learning steps stand in ``golden/tiny.txt``, one a line. They change only in a commit that says why.
Pictures come from the machine's own renderer and sums run in the order its processor likes, so losses of another
machine may differ by ``TOLERANCE``; on one machine they are equal to the bit.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import armillary
from armillary.datasets.raw import load_raw, raw_files
from armillary.evaluation.pixels import psnr
from armillary.runs import tiny

GOLDEN = Path(__file__).parent / "golden/tiny.txt"
TOLERANCE = 0.05


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    replace(tiny(), out=folder).start(lambda _: None)
    return folder


def losses(folder):
    """The lines of ``golden/tiny.txt``: stage, step, loss."""
    found = []
    for stage in ("reasoner", "generator"):
        for row in (folder / stage / "metrics.jsonl").read_text().splitlines():
            values = json.loads(row)
            found.append(f"{stage} {values['step']} {values['loss']:.6g}")
    return found


def test_the_losses_are_those_written_down(way):
    wanted, found = GOLDEN.read_text().split("\n")[:-1], losses(way)
    assert [line.rsplit(" ", 1)[0] for line in found] == [line.rsplit(" ", 1)[0] for line in wanted]
    for line, other in zip(found, wanted, strict=True):
        assert float(line.split()[-1]) == pytest.approx(float(other.split()[-1]), rel=TOLERANCE), (line, other)


def test_what_comes_out_imagines_acts_and_answers(way):
    omni = armillary.load(way / "generator/checkpoint")
    episode = load_raw(raw_files(way / "raw")[0])
    film, actions = episode.frames["front"][:17], episode.actions[:16]
    rollout = omni.imagine("forward-dynamics", image=film[0], actions=actions, embodiment="tabletop", steps=2)
    assert rollout.video.shape == film.shape and 3 < psnr(rollout.video, film) < 60
    plan = omni.imagine("policy", prompt=episode.instruction, image=film[0], embodiment="tabletop", steps=2)
    assert plan.actions.shape == (16, 10) and np.isfinite(plan.actions).all()
    assert isinstance(omni.ask("What is on the table?", image=film[0], longest=4), str)


def test_a_way_that_was_gone_is_not_gone_again(way):
    before = (way / "generator/metrics.jsonl").read_text()
    replace(tiny(), out=way).start(lambda _: None)
    assert (way / "generator/metrics.jsonl").read_text() == before
