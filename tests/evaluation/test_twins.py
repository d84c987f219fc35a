"""Who knows what must happen is surprised by what cannot be; until the moment all surprises are alike."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import small_checkpoint

import armillary
from armillary.datasets.whereabouts import STRANGE
from armillary.errors import RequestError
from armillary.evaluation import twins
from armillary.evaluation.gallery import gather
from armillary.evaluation.report import table
from armillary.evaluation.suite import Bench, Plan, measure
from armillary.evaluation.twins import (
    BLIND,
    IMPOSSIBLE,
    MODEL,
    POSSIBLE,
    TwinScore,
    lived_pair,
    lived_pairs,
    measure_twins,
    surprises,
    twins_figures,
)
from armillary.records import Episode
from armillary.sampling.expect import expected, latents_of
from armillary.tokenizers.video import TIME
from armillary.worlds.physics_questions import IMPOSSIBLE as ANSWERS

STEP = 12  # of the pair below: the last frame that both films have


@pytest.fixture(scope="module")
def omni(tmp_path_factory):
    return armillary.load(small_checkpoint(tmp_path_factory.mktemp("small")), dtype="float32")


def pair(seed: int = 0) -> Episode:
    """A bright square goes steadily over grey ground; its twin stops being there."""
    film = np.full((25, 32, 32, 3), 90, np.uint8)
    for i, frame in enumerate(film):
        frame[4 + seed : 10 + seed, i : i + 6] = 220
    gone = film.copy()
    gone[STEP + 1 :] = 90
    return Episode(
        world="physics", seed=seed, fps=10.0, frames={POSSIBLE: film, IMPOSSIBLE: gone}, actions=np.zeros((24, 9)),
        embodiment="camera_pose", states={}, instruction="",
        recipe={"kind": "vanishes", "family": "billiards", "what": "the ball vanishes", "step": STEP},
    )  # fmt: skip


def score(seed: int, possible: float, impossible: float, *, kind: str = "floats", blind: float = 0.5) -> TwinScore:
    """A pair whose films surprise the model so much where it happens, in the second four frames.

    ``blind``: and the impossible one the linear one. In the third four the possible film surprises all more.
    """
    one, other = {who: [0.5, 0.5, 3.0] for who in BLIND}, {who: [0.5, 0.5, 2.0] for who in BLIND}
    return TwinScore(
        seed=seed, kind=kind, family="drops", what="it floats", step=6,
        possible={**one, MODEL: [1.0, possible, 3.0]}, impossible={**other, MODEL: [1.0, impossible, 2.0],
                                                                   "linear": [0.5, blind, 2.0]},
    )  # fmt: skip


def test_the_expectation_is_the_film_of_one_step_from_the_same_noise(omni):
    film = np.random.default_rng(1).integers(0, 255, (9, 64, 64, 3), dtype=np.uint8)
    latents = latents_of(omni.parts, [film])
    found = expected(omni.parts, latents, given=2, fps=10.0, words="a ball rolls", noises=(7,))
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(7)).numpy()
    rollout = omni.imagine(
        "video-to-video", prompt="a ball rolls", video=film, frames=9, size=(64, 64), fps=10.0, steps=1, guidance=1.0,
        shift=1.0, latents={"video": noise},
    )  # fmt: skip
    again = ((omni.parts.vae.decode(found)[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.abs(again.astype(int) - rollout.video.astype(int)).max() <= 1
    assert torch.equal(found[:, :, :2], latents[:, :, :2]) and not torch.equal(found[:, :, 2], latents[:, :, 2])


def test_an_expectation_from_several_noises_is_their_mean_and_each_film_its_own(omni):
    films = [np.random.default_rng(i).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8) for i in range(2)]
    latents = latents_of(omni.parts, films)
    one, other, both = (expected(omni.parts, latents, given=1, fps=10.0, noises=n) for n in ((0,), (1,), (0, 1)))
    torch.testing.assert_close(both, (one + other) / 2)
    assert not torch.allclose(one[:, :, 1:], other[:, :, 1:])
    alone = expected(omni.parts, latents[1:], given=1, fps=10.0)
    torch.testing.assert_close(one[1:], alone, atol=1e-4, rtol=1e-4)
    for given in (0, 3):
        with pytest.raises(RequestError, match=f"given={given} of 3 latent frames"):
            expected(omni.parts, latents, given=given, fps=10.0)


def test_before_the_moment_nothing_differs_and_afterwards_all_surprises_do(omni):
    (found,) = measure_twins(omni, [pair()])
    for who in (MODEL, *BLIND):
        one, other = found.possible[who], found.impossible[who]
        assert len(one) == len(other) == 24 // TIME
        assert one[: STEP // TIME] == other[: STEP // TIME] and one[STEP // TIME] != other[STEP // TIME]
    alone = surprises(omni, pair().frames[POSSIBLE], fps=10.0, since=2)[MODEL]
    assert alone == pytest.approx(found.possible[MODEL][2:], rel=1e-3)


def test_blind_ones_expect_no_change_or_steady_change():
    film = pair().frames[POSSIBLE].astype(float) / 255
    ramp = np.linspace(0, 96, 25).astype(np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    seen = SimpleNamespace(parts=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            twins, "latents_of", lambda parts, films: torch.zeros(len(films), 1, 1 + len(films[0]) // 4, 2, 2)
        )
        patch.setattr(twins, "expected", lambda parts, latents, **_: latents + 2)
        square, steady = (surprises(seen, one, fps=10.0) for one in (pair().frames[POSSIBLE], ramp))
    for four, first in enumerate(range(0, 24, TIME)):
        by_hand = ((film[first + 1 : first + 1 + TIME] - film[first]) ** 2).mean()
        assert square["repeat"][four] == pytest.approx(by_hand, abs=1e-6)
    assert square[MODEL] == [4.0] * 6 and square["repeat_latents"] == [0.0] * 6
    assert steady["linear"][0] == steady["repeat"][0] > 0 and max(steady["linear"][1:]) < min(steady["repeat"]) / 1000


def test_who_expects_what_must_come_tells_every_pair_apart(omni, monkeypatch):
    pairs, asked = [pair(seed) for seed in range(3)], []

    def knows(parts, latents, *, given, **_):
        """Of each film of a pair in turn, its first four frames apart: what the last fours of the possible one are."""
        asked.append(given)
        film = pairs[(len(asked) - 1) // 3].frames[POSSIBLE]
        ends = [TIME * (i + 1) + 1 for i in range(given - 1, 6)][-len(latents) :] if given > 1 else [TIME + 1]
        return latents_of(parts, [film[end - 1 - TIME * given : end] for end in ends])

    monkeypatch.setattr(twins, "expected", knows)
    figures = twins_figures(measure_twins(omni, pairs))
    assert asked == [1, 2, 2] * 3
    told = ("told_apart", "told_apart_by_whole_film", "told_apart_vanishes", "auroc")
    assert [figures[name].value for name in told] == [1] * 4
    assert figures["told_apart"].n == figures["told_apart"].episodes == 3


def test_pairs_are_counted_by_kind_a_tie_counts_half_and_blind_ones_stand_beside():
    scores = [
        score(1, 1.0, 2.0),
        score(2, 3.0, 2.0),
        score(3, 1.0, 2.5, kind="passes through"),
        score(4, 2.0, 2.0, blind=2.0),
    ]
    figures = twins_figures(scores)
    assert figures["told_apart"].value == 2.5 / 4 and figures["told_apart_floats"].value == 0.5
    assert figures["told_apart_passes_through"].value == 1 and figures["told_apart_passes_through"].n == 1
    assert figures["told_apart_repeat"].value == 0.5 and figures["told_apart_linear"].value == 0.625
    assert figures["told_apart_floats_linear"].value == pytest.approx(2 / 3)
    assert figures["told_apart_more_than_linear"].value == 0
    assert figures["told_apart_by_whole_film"].value == 1.5 / 4  # a tie, a loss, a win, a loss
    assert figures["times_repeat_latents"].value == (5 + 7 + 5 + 6) / (4 * 4)
    beside = np.array([[2, 2, 2.5, 2]]).T - [[1, 3, 1, 2]]
    assert figures["auroc"].value == ((beside > 0) + 0.5 * (beside == 0)).mean()
    assert figures["auroc"].n == 8 and figures["auroc"].low <= figures["auroc"].value <= figures["auroc"].high


def test_who_is_asked_is_compared_by_the_windows_that_show_both_moments_or_by_any():
    """Step 6: of four moments each, those that begin at 4, 5 or 6. What is held elsewhere counts for ``any``."""
    held = {4: 0.2, 5: 0.9, 6: 0.1}
    known = [0.5] + [held.get(start, 0.0) for start in range(1, 9)]
    found = [0.4] + [0.0] * 4 + [0.95] + [0.0] * 3
    asked = [
        replace(score(1, 1.0, 2.0), held_possible=known, held_impossible=found),
        replace(score(2, 1.0, 2.0, kind="vanishes"), held_possible=found, held_impossible=known),
        replace(score(3, 1.0, 2.0), held_possible=known, held_impossible=[1.0, *found[1:5], 0.9, 0.0, 0.0, 0.0]),
        score(4, 1.0, 2.0),
    ]
    figures = twins_figures(asked)
    assert figures["told_apart_by_asking"].value == 1.5 / 3 and figures["told_apart_by_asking"].n == 3
    assert figures["told_apart_by_asking_floats"].value == 0.75
    assert figures["told_apart_by_asking_vanishes"].value == 0
    assert figures["told_apart_by_asking_of_any"].value == 2 / 3
    assert figures["auroc_by_asking_of_any"].n == 6
    assert "told_apart_by_asking" not in twins_figures([score(4, 1.0, 2.0)])


def test_the_reasoner_is_asked_of_every_four_moments_whether_something_cannot_be(omni):
    """Every window once, in order, the share of nothing impossible taken from 1; and so of a real model."""
    asked = []

    def weigh(windows, answers):
        asked.extend(windows)
        return [[float(window["video"].mean()) / 255, 0.0] for window in windows]

    film = pair().frames[IMPOSSIBLE]
    held = twins.strange(SimpleNamespace(weigh=weigh), film)
    assert [np.array_equal(one["video"], film[i : i + 4]) for i, one in enumerate(asked)] == [True] * 22
    assert {one["question"] for one in asked} == {STRANGE}
    assert held == pytest.approx([1 - film[i : i + 4].mean() / 255 for i in range(22)], abs=1e-6)
    (found,) = measure_twins(omni, [pair()])
    (shares,) = omni.weigh([{"question": STRANGE, "video": film[11:15]}], ANSWERS)
    assert found.held_impossible[11] == pytest.approx(1 - shares[0], abs=1e-5) and len(found.held_possible) == 22


def test_a_lived_pair_is_equal_until_the_moment_and_kept(tmp_path):
    seeds = lived_pairs(tmp_path, 0)
    one = next(seeds)
    step, (possible, impossible) = one.recipe["step"], one.frames.values()
    assert (one.recipe["kind"], one.seed) == ("vanishes", 0) and list(one.frames) == [POSSIBLE, IMPOSSIBLE]
    assert np.array_equal(possible[: step + 1], impossible[: step + 1])
    assert np.abs(possible[step + 1].astype(int) - impossible[step + 1]).max() > 30
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    assert np.array_equal(lived_pair(tmp_path, "vanishes", 0).frames[IMPOSSIBLE], impossible)
    assert file.stat().st_mtime_ns == before


def test_the_section_has_lines_figures_and_a_page_with_both_films(omni, tmp_path, monkeypatch):
    made = []

    def pairs(folder, seed):
        made.append(seed)
        yield from (pair(number) for number in range(9))

    monkeypatch.setattr(twins, "lived_pairs", pairs)
    monkeypatch.setattr("armillary.evaluation.gallery.lived_pair", lambda folder, kind, seed: pair(seed))
    plan = Plan(clips=7)
    numbers = measure(omni, plan, out=tmp_path, sections=["twins"])
    assert made == [1_700_000] and numbers["figures"]["twins/told_apart"]["n"] == 2
    assert len((tmp_path / "twins.jsonl").read_text("utf-8").splitlines()) == 2
    assert "never seen" in numbers["notes"]["twins"][0] and table(numbers).row_count == 12
    bench = Bench(omni=omni, plan=plan, folder=tmp_path, tell=lambda *_: None)
    (section,) = gather(bench, numbers).sections
    assert [reading.film.labels for reading in section.readings] == [[POSSIBLE, IMPOSSIBLE]] * 2
    assert all(len(reading.charts[0].true) == len(reading.charts[0].found) for reading in section.readings)
    measure(omni, replace(plan), out=tmp_path, sections=["twins"])
    assert len(made) == 1
