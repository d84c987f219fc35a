"""Where physics is the imagination nothing is wrong; one that flatters is caught; nothing is lived twice."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import small_checkpoint

import armillary
from armillary.errors import ConfigError
from armillary.evaluation import lives
from armillary.evaluation.lives import Dream, Life, Watched, change, judged, live_scripted
from armillary.evaluation.trust import Plan, Sample, measure_trust, misplaced
from armillary.evaluation.trust_figures import auroc, figures_of, ranks, spearman, table_of, threshold, verdict_of

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(seeds=2, shown=1, doubted=2, policies=("expert", "shaking 3 mm", "still"))
MADE = {"checkpoint": "physics"}

_spec = importlib.util.spec_from_file_location("make_trust", ROOT / "docs/make_trust.py")
make_trust = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_trust)


class Physics:
    """Imagines by doing: the same actions in a world of its own."""

    planner = None

    def __init__(self) -> None:
        self.replayed = 0

    def replay(self, lived):
        world, films = Watched(), []
        for life in lived:
            world.reset(life.seed)
            for action in life.actions:
                world.step(action)
            films.append(np.stack([moment.frames["front"] for moment in world.moments]))
            self.replayed += 1
        world.close()
        return films

    def act(self, seeds):
        raise AssertionError("nobody here acts on pictures alone")

    def doubts(self, films, actions):
        return [(0.1, 0.0) for _ in films]


class Flatterer(Physics):
    """Whatever is done, it imagines that the expert did it."""

    def __init__(self) -> None:
        super().__init__()
        self.best: dict[int, np.ndarray] = {}

    def replay(self, lived):
        self.best |= {life.seed: life.pictures for life in lived if life.policy == "expert"}
        return [fitted(self.best[life.seed], len(life.pictures)) for life in lived]


def fitted(film, length):
    """The film at that length: its first picture, then its end, or its last picture for as long as is needed."""
    if len(film) < length:
        return np.concatenate([film, film[-1:].repeat(length - len(film), axis=0)])
    return np.concatenate([film[:1], film[len(film) - length + 1 :]])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What physics, and what a flatterer, make of the same lives; lives are short, for time's sake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lives, "STEPS", 20)
        places = [tmp_path_factory.mktemp(name) for name in ("physics", "flatterer")]
        plans = [PLAN, replace(PLAN, policies=("expert", "still"))]
        return [
            (place, measure_trust(dreamer, plan, out=place, made_from=MADE, report=len))
            for place, dreamer, plan in zip(places, (Physics(), Flatterer()), plans, strict=True)
        ]


def value(found, name):
    return found["figures"][name]["value"]


def test_physics_as_imagination_agrees_with_physics(measured):
    _, found = measured[0]
    assert value(found, "spearman") == value(found, "pearson") == pytest.approx(1)
    assert value(found, "spearman_progress") == value(found, "spearman_progress_judge_alone") > 0.8
    assert value(found, "auroc_progress") == value(found, "auroc_progress_judge_alone") > 0.8
    assert value(found, "mean_absolute_error") == value(found, "optimism") == value(found, "wrong") == 0
    assert value(found, "successes_imagined") == value(found, "auroc_success_imagined") == 1
    assert found["rates"]["expert"]["physics"]["value"] == 1 and found["rates"]["still"]["imagined"]["value"] == 0


def test_an_imagination_that_flatters_is_caught(measured):
    _, found = measured[1]
    assert value(found, "optimism") == 1 and value(found, "optimism_judge_alone") == 0
    assert value(found, "mean_absolute_error") > 0.3 and value(found, "auroc_success_imagined") == 0.5
    assert value(found, "spearman") is value(found, "spearman_progress") is None  # it ranks nobody
    assert value(found, "auroc_progress") == 0.5
    assert value(found, "wrong") > 0.3 and 0 <= value(found, "auroc_wrong_change") <= 1


def test_every_life_is_a_line_and_none_is_lived_twice(measured):
    place, found = measured[0]
    lines = [json.loads(line) for line in (place / "lives.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == 6 and {line["policy"] for line in lines} == set(PLAN.policies)
    kept = (place / "lives.jsonl").read_text("utf-8").splitlines(keepends=True)
    (place / "lives.jsonl").write_text("".join(kept[:4]), encoding="utf-8")  # as if killed after four lives
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lives, "STEPS", 20)
        dreamer = Physics()
        again = measure_trust(dreamer, PLAN, out=place, made_from=MADE, report=len)
    assert dreamer.replayed == 2
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in found.items() if k != "seconds"}
    assert json.loads((place / "trust.json").read_text("utf-8")) == again


def test_lives_of_another_making_are_not_used(measured, tmp_path, monkeypatch):
    place, _ = measured[1]
    (tmp_path / "lives.jsonl").write_bytes((place / "lives.jsonl").read_bytes())
    (tmp_path / "made_from.json").write_text(json.dumps(MADE), encoding="utf-8")

    class Reached(Exception):
        pass

    class Stopper(Physics):
        def replay(self, lived):
            raise Reached

    monkeypatch.setattr(lives, "STEPS", 4)
    with pytest.raises(Reached):
        measure_trust(Stopper(), PLAN, out=tmp_path, made_from=MADE | {"weights": "others"}, report=len)
    assert not (tmp_path / "lives.jsonl").exists()


def test_the_page_shows_every_policy_and_needs_nothing_else(measured):
    place, _ = measured[0]
    page, drawing = (place / "index.html").read_text("utf-8"), (place / "scatter.svg").read_text("utf-8")
    for number, policy in enumerate(PLAN.policies, start=1):
        assert f">{number} {policy}</text>" in drawing and drawing in page + "\n"
    assert page.count("<video") == len(PLAN.policies) and "http://www.w3.org/2000/svg" in page
    assert 'src="http' not in page and "still: does nothing" in (place / "table.md").read_text("utf-8")


def test_a_model_imagines_a_life_from_its_true_first_picture(tmp_path):
    omni = armillary.load(small_checkpoint(tmp_path), dtype="float32")
    dream = Dream(omni)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lives, "STEPS", 4)
        life = live_scripted("random", 1_500_000, world := Watched())
        world.close()
        (film,) = dream.replay([life])
        assert film.shape == life.pictures.shape == (9, 128, 128, 3)
        np.testing.assert_array_equal(film[0], life.pictures[0])
        (acted,) = dream.act([1_500_000])
    assert len(acted) >= 5 and not judged(list(acted), life.instruction)
    np.testing.assert_array_equal(acted[0], life.pictures[0])
    ((cycle, apart),) = dream.doubts([film], [life.actions])
    assert cycle > 0 and apart > 0


def coloured(column: int) -> np.ndarray:
    """A red square on grey, its left edge in that column."""
    picture = np.full((128, 128, 3), 120, np.uint8)
    picture[60:70, column : column + 10] = (210, 20, 20)
    return picture


def test_a_thing_is_misplaced_by_its_distance_and_lost_if_it_is_nowhere():
    life = Life(policy="still", seed=0, instruction="Lift the red cube.", names=("red cube",), success=False, steps=1,
                actions=np.zeros((1, 10)), pictures=np.stack([coloured(20), coloured(40)]))  # fmt: skip
    assert misplaced(life, np.stack([coloured(20), coloured(40)])) == 0
    assert misplaced(life, np.stack([coloured(20), coloured(56)])) == pytest.approx(16 / 128)
    assert misplaced(life, np.stack([coloured(20), np.full((128, 128, 3), 120, np.uint8)])) == 1
    assert not judged(list(life.pictures), life.instruction)


def test_ranks_share_and_areas_are_chances():
    np.testing.assert_array_equal(ranks(np.array([5.0, 1, 5, 9])), [2.5, 1, 2.5, 4])
    rising = np.array([1.0, 2, 3, 4])
    assert spearman(rising, rising**3) == pytest.approx(1) and spearman(rising, -rising) == pytest.approx(-1)
    positive = np.array([False, True, False, True])
    assert auroc(np.array([1.0, 2, 3, 4]), positive) == 0.75
    assert auroc(np.zeros(4), positive) == 0.5 and np.isnan(auroc(rising, positive | True))


def test_the_more_a_film_changes_the_more_it_is_doubted_chunk_by_chunk():
    film = np.full((34, 8, 8, 3), 100, np.uint8)
    actions = np.zeros((33, 10))
    assert change(film, actions) == 0
    film[17:] += 30  # from the second chunk's first action on
    assert change(film, actions) == 30
    film[17:] = film[17:] - 30
    film[33:] += 40  # the last action, a chunk of its own
    assert change(film, actions) == 40

    def lived(seed, off, far):
        return Sample(
            policy="p", seed=seed, kind="push", steps=9, physics=False, seen=False, imagined=False, acted=None,
            progress_seen=0.0, progress_imagined=0.0, progress_acted=None, off=off, change=far, cycle=None, spread=None,
        )  # fmt: skip

    samples = [lived(seed, off, far) for seed in range(6) for off, far in ((0.01, 3.0 + seed), (0.2, 12.0 + seed))]
    found = figures_of([*samples, lived(0, None, 99.0)])
    assert value(found, "auroc_wrong_change") == 1 and found["figures"]["auroc_wrong_change"]["n"] == 12
    assert "auroc_wrong_cycle" not in found["figures"] and found["doubt"]["most"] is None  # three wrong ones, too few


def test_a_threshold_parts_right_from_wrong_and_is_not_drawn_from_too_few():
    scores = [0.1, 0.2, 0.3, 0.25, 0.15, 0.6, 0.7, 0.5, 0.9, 0.8]
    assert threshold(scores, [False] * 5 + [True] * 5) == 0.3
    assert threshold(scores, [False] * 6 + [True] * 4) is None


def test_a_life_counts_as_done_from_a_share_of_the_way_that_other_tables_chose():
    def lived(seed, won, gone):
        return Sample(
            policy="p", seed=seed, kind="push", steps=9, physics=won, seen=won, imagined=False, acted=None,
            progress_seen=1.0, progress_imagined=gone, progress_acted=None, off=0.0, change=1.0, cycle=None,
            spread=None,
        )  # fmt: skip

    chosen = [lived(seed, won, 0.6 if won else 0.1 * seed / 8) for seed in range(0, 12, 2) for won in (True, False)]
    others = [lived(seed, won, gone) for seed in range(1, 12, 2) for won, gone in ((True, 0.6), (False, 0.59))]
    others[0], others[1] = lived(1, True, 0.2), lived(1, False, 0.9)
    found = figures_of([*chosen, *others])
    assert found["gone"] == {"least": 0.6, "chosen_on": 12, "measured_on": 12}
    assert value(found, "successes_gone") == pytest.approx(5 / 6) and found["figures"]["successes_gone"]["n"] == 6
    assert value(found, "optimism_gone") == pytest.approx(1 / 6)
    assert value(found, "optimism") == 0  # the judge himself sees nobody succeed, and so flatters nobody
    few = figures_of([*chosen[:4], *others])
    assert few["gone"]["least"] is None and "optimism_gone" not in few["figures"]


def test_trust_needs_both_a_sure_rank_and_little_flattery():
    def found(rank, flattery, won=0.6, gone=None):
        figures = {
            "spearman_progress": {"value": 0.9, "low": rank, "high": 1.0},
            "optimism": {"value": 0, "low": 0, "high": flattery},
            "successes_imagined": {"value": won + 0.1, "low": won, "high": won + 0.2},
        }
        if gone is not None:
            figures["optimism_gone"] = {"value": 0.3, "low": 0.2, "high": gone}
        return verdict_of({"figures": figures})

    assert found(0.8, 0.1, won=0.2, gone=0.4).startswith("Not yet: failures may look like successes in it (30 %")
    assert found(0.8, 0.1, won=0.2, gone=0.2).startswith("Yes") and found(0.8, 0.1, gone=0.4).startswith("Yes")
    assert found(0.8, 0.1).startswith(
        "Yes, for policies like these: it ranks them as physics does (rank correlation 0.90"
    )
    assert found(0.8, 0.1).endswith("successes (0 % [0, 10]).")
    assert found(0.8, 0.1, won=0.2).endswith("cannot be read off it (successes seen: 30 % [20, 40]).")
    assert found(0.6, 0.1).count("interval must begin at 0.7") == 1 and "failures" not in found(0.6, 0.1)
    assert found(0.8, 0.3) == (
        "Not yet: failures may look like successes in it (0 % [0, 30]; the interval must end at 20 % or below)."
    )
    assert found(-0.2, 0.3).startswith("Not yet: it does not surely rank")


def test_too_little_is_refused():
    with pytest.raises(ConfigError, match="seeds=1"):
        Plan(seeds=1)
    with pytest.raises(ConfigError, match="name at least two of expert"):
        Plan(policies=("expert", "juggler"))


def test_the_page_in_the_documents_is_that_of_its_figures_and_its_examples_have_their_threshold():
    found = json.loads((ROOT / "docs/trust.json").read_text("utf-8"))
    page = (ROOT / "docs/trust.md").read_text("utf-8")
    assert table_of(found) in page and make_trust.paged(found, page) == page, "python docs/make_trust.py docs"
    told = re.findall(r"(?:\bmost=|--doubt |believed up to \*\*)([\d.]+)", page)
    assert len(told) == 3 and all(0 <= float(one) - found["doubt"]["most"] < 0.01 for one in told)
