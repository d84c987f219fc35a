"""Away from the tabletop the same is measured: future and past get their marks, lives are held out and kept."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import Identity, small_checkpoint

import armillary
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.evaluation import elsewhere, pushing
from armillary.evaluation.gallery import gather
from armillary.evaluation.paired import paired
from armillary.evaluation.report import print_report
from armillary.evaluation.suite import Bench, Plan, Stepping, measure
from armillary.records import Episode, Rollout
from armillary.worlds.pusht import PushT, pusht_controller

PLAN = Plan(clips=5, questions=1, episodes=1, known=1)
SHORT = {
    "pusht": replace(elsewhere.SPECS["pusht"], max_steps=9),
    "physics": replace(elsewhere.SPECS["physics"], max_steps=18),
}


def board(seed: int, kind: str, *, max_steps: int) -> Episode:
    """A life of 65 frames: the disc goes 128 pixels of the board in 16 steps, the T only in every other window."""
    steps = np.arange(65)
    disc = np.stack([(20.0 + 8 * steps) % 512, np.full(65, 40.0 + seed % 7)], axis=1)
    block = np.stack(
        [100.0 + 6 * np.minimum(steps % 32, 16) + 96 * (steps // 32), np.full(65, 200.0), np.zeros(65)], axis=1
    )
    film = np.full((65, 128, 128, 3), 230, np.uint8)
    for picture, (x, y) in zip(film, disc.astype(int) // 4, strict=True):
        picture[y : y + 6, x : x + 6] = (40, 60, 200)
    return Episode(
        world="pusht", seed=seed, fps=10.0, frames={"top": film}, embodiment="pusht", instruction="Push.",
        actions=(disc[1:] + np.random.default_rng(seed).normal(size=(64, 2))).astype(np.float32),
        states={"disc": disc, "block": block}, recipe={"controller": kind},
    )  # fmt: skip


class Seer(armillary.Omni):
    """Repeats the first frame, or ``knows`` what the clips of ``boards`` become; reads off what was done."""

    def __init__(self, folder, *, knows: bool) -> None:
        self.knows, self.asked = knows, []
        self.parts = SimpleNamespace(vae=Identity(), device=torch.device("cpu"), folder=folder, goes_on=False)

    def imagine_many(self, requests, **how):
        self.asked += requests
        return [self._one(request) for request in requests]

    def _one(self, request):
        if request["mode"] == "inverse-dynamics":
            return Rollout(mode="inverse-dynamics", fps=10.0, actions=self._done(request["video"]))
        first, done = request["image"], request["actions"]
        film = np.broadcast_to(first, (len(done) + 1, *first.shape)).copy()
        if self.knows:
            film[1:] = 230
            for picture, (x, y) in zip(film[1:], np.round(done).astype(int) // 4, strict=True):
                picture[y : y + 6, x : x + 6] = (40, 60, 200)
        return Rollout(mode="forward-dynamics", fps=10.0, video=film)

    def _done(self, film):
        return 4.0 * np.array([np.argwhere(picture[..., 0] == 40)[0][::-1] for picture in film[1:]])


@pytest.fixture
def boards(monkeypatch):
    made = []
    for world, spec in SHORT.items():
        monkeypatch.setitem(elsewhere.SPECS, world, spec)
    monkeypatch.setattr(
        elsewhere, "record_pusht", lambda seed, kind, **how: made.append((kind, seed)) or board(seed, kind, **how)
    )
    return made


def bench_of(folder, *, knows: bool) -> Bench:
    return Bench(omni=Seer(folder, knows=knows), plan=PLAN, folder=folder, tell=lambda *_: None)


def test_who_repeats_gains_nothing_and_who_knows_gains_much_and_loses_it_under_other_actions(boards, tmp_path):
    scores, figures, notes = elsewhere.forward("pusht", bench_of(tmp_path, knows=False))
    assert len(scores) == 5 and figures["db_over_repeat_first_frame"].value == 0
    assert "never seen" in notes[0]
    _, figures, _ = elsewhere.forward("pusht", bench_of(tmp_path, knows=True))
    assert figures["db_over_repeat_first_frame"].value > 5
    assert figures["db_lost_with_shuffled_actions"].value > 0.5
    assert not any(name.startswith("centre") for name in figures)


def test_clips_are_of_two_experts_to_a_clumsy_one_a_few_of_each_life_and_kept(boards, tmp_path):
    clips = elsewhere.moving(tmp_path, "pusht", 1_000_000)
    found = [next(clips) for _ in range(9)]
    assert boards == [("expert", 1_000_000), ("expert", 1_000_001), ("clumsy", 1_000_002)]
    assert [clip.seed - 1_000_000 for clip in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for one, other in pairwise(found):
        assert one.seed != other.seed or other.start >= one.start + 16
    assert {clip.moved for clip in found} == {"T", "disc"}
    assert all((clip.moved == "T") == (clip.start % 32 == 0) for clip in found)
    next(elsewhere.moving(tmp_path, "pusht", 1_000_000))
    assert len(boards) == 3


def test_a_checkpoint_that_knows_steps_is_asked_in_steps(boards, tmp_path):
    save_embodiments(tmp_path, [load_embodiment(name) for name in ("pusht", "pusht_steps")])
    bench = bench_of(tmp_path, knows=False)
    elsewhere.forward("pusht", bench)
    elsewhere.drift_pusht(replace(bench, plan=replace(PLAN, clips=1)))
    assert {request["embodiment"] for request in bench.omni.asked} == {"pusht_steps"}
    assert np.median(np.abs(np.concatenate([request["actions"] for request in bench.omni.asked]))) < 20
    life = elsewhere.pusht_life(tmp_path, "expert", 7, load_embodiment("pusht_steps"))
    np.testing.assert_allclose(elsewhere.disc_after(life, 0), [[8.0, 0.0]] * 16)
    places = elsewhere.pusht_life(tmp_path, "expert", 7)
    np.testing.assert_allclose(elsewhere.disc_after(places, 0)[:2], [[28.0, 40.0], [36.0, 40.0]])


def test_targets_read_off_are_marked_beside_the_place_of_the_disc(boards, tmp_path):
    scores, figures, _ = elsewhere.inverse_pusht(bench_of(tmp_path, knows=True))
    assert [score.kind for score in scores] == ["expert"] * 2 + ["clumsy"] * 2 + ["random"] * 2
    assert set(figures) == {
        f"r2_{what}_{kind}" for what in ("target", "disc") for kind in ("expert", "clumsy", "random")
    }
    assert all(0.9 < figure.value < 1 for figure in figures.values())
    nobody = [replace(score, found_steps=(np.array(score.found_steps) * 0 + 256).tolist()) for score in scores]
    assert elsewhere.aimed_figures(nobody)["r2_target_expert"].value <= 0.01
    assert elsewhere.aimed_figures(nobody)["r2_disc_expert"] == figures["r2_disc_expert"]


def test_physics_is_watched_and_nobody_s_other_actions_count(boards, tmp_path):
    bench = replace(bench_of(tmp_path, knows=False), plan=replace(PLAN, clips=1))
    scores, figures, notes = elsewhere.forward("physics", bench)
    (asked,) = bench.omni.asked
    assert asked["embodiment"] == "camera_pose"
    np.testing.assert_array_equal(asked["actions"], np.tile([0, 0, 0, 1, 0, 0, 0, 1, 0], (16, 1)))
    assert set(figures) == {
        "psnr",
        "psnr_repeat_first_frame",
        "psnr_codec",
        "db_over_repeat_first_frame",
        "db_below_codec",
    }
    assert figures["db_over_repeat_first_frame"].value == 0 and figures["psnr"].value < 60
    clip = elsewhere.clip_again(bench, "forward-dynamics-physics", scores[0])
    life = elsewhere.physics_life(elsewhere.lives_folder(tmp_path, "physics"), clip.seed)
    thing = life.recipe["things"].index(clip.moved)
    way = life.states["places"][clip.start + 16, thing] - life.states["places"][clip.start, thing]
    assert np.linalg.norm(way) >= 0.1
    assert "all actions are alike" in notes[1]


def test_a_policy_lives_the_same_life_alone_and_among_others_and_who_rests_moves_nothing():
    seeds = [1_300_000, 1_300_001]
    wanderers = {}

    def planner(moments, chance):
        return [wanderers.setdefault(i, pusht_controller("random", seeds[i]))(m)[None] for i, m in enumerate(moments)]

    together = pushing.pushed_by_model(planner, seeds, max_steps=6)
    alone = pushing.pushed_by("random", lambda seed: pusht_controller("random", seed), seeds, max_steps=6)
    assert [replace(life, policy="random") for life in together] == alone
    policy = pushing.Resting()
    policy.reset()
    with PushT() as world:
        moment = world.reset(seeds[0])
        seen = []
        for _ in range(pushing.RESTING):
            moment = world.step(policy(moment))
            seen.append(np.concatenate([moment.state["block"], moment.state["disc"], moment.state["covered"]]))
    assert np.abs(np.array(seen[5:]) - seen[5]).max() < 1e-3


def test_coverage_is_compared_on_the_same_boards():
    lives = [
        pushing.Pushed(seed=i, policy=policy, success=policy == "model" and i == 0, best=0.1 * i + more, last=0.1 * i,
                         steps=5)
        for policy, more in (("model", 0.3), ("random", 0.1), ("still", 0.0)) for i in range(4)
    ]  # fmt: skip
    figures = pushing.pushed_figures(lives)
    assert figures["success_model"].value == 0.25 and figures["success_random"].value == 0
    less = figures["coverage_best_more_than_random"]
    assert (less.value, less.low, less.high) == pytest.approx((0.2, 0.2, 0.2))
    assert figures["coverage_last_more_than_still"].value == 0


def test_sections_are_asked_by_name_kept_compared_and_shown(boards, tmp_path, capsys):
    folder = small_checkpoint(tmp_path / "small")
    omni = armillary.load(folder, dtype="float32")
    plan = replace(PLAN, clips=1, steps=1)
    asked = tuple(elsewhere.SECTIONS)
    numbers = measure(omni, plan, out=tmp_path / "one", sections=asked)
    again = measure(omni, plan, out=tmp_path / "one", sections=asked)
    assert again == numbers and capsys.readouterr().err.count("kept from an earlier run") == 5
    assert "was not trained with the body camera_pose" in numbers["notes"]["forward-dynamics-physics"][0]
    assert {key.split("/")[0] for key in numbers["figures"]} == set(asked) - {"forward-dynamics-physics"}
    other = tmp_path / "other"
    other.mkdir()
    for path in (tmp_path / "one").glob("*.json*"):
        (other / path.name).write_bytes(path.read_bytes())
    pairs, left_out = paired(tmp_path / "one", other)
    assert {pair.less.value for pair in pairs} == {0} and len(left_out) == 1
    page = gather(Bench(omni=Stepping(omni, 1), plan=plan, folder=tmp_path / "one", tell=lambda *_: None), numbers)
    sections = {section.key: section for section in page.sections}
    assert tuple(sections) == asked
    assert len(sections["forward-dynamics-pusht"].films) == 1
    assert len(sections["inverse-dynamics-pusht"].readings[0].charts) == 2
    print_report(numbers)
    assert "Policy in PushT: covered at best" in capsys.readouterr().out


def test_clips_for_the_tokenizer_are_the_same_each_time(boards, monkeypatch):
    (film, masks), (again, _) = (next(elsewhere.held_out_elsewhere("pusht", 1)) for _ in range(2))
    assert film.shape == (17, 128, 128, 3) and np.array_equal(film, again) and masks is None
    film, masks = next(elsewhere.held_out_elsewhere("physics", 1))
    assert film.shape == (17, 128, 128, 3) and masks.shape == (17, 128, 128)
    thing = masks[0] == np.bincount(masks[0][masks[0] > 0]).argmax()
    assert film[0][thing].std(axis=0).mean() < film[0].std(axis=(0, 1)).mean() * 2 and thing.sum() > 20


def test_lives_of_pusht_are_imagined_on_and_on_and_those_that_end_early_are_passed_over(boards, tmp_path, monkeypatch):
    made = elsewhere.record_pusht
    monkeypatch.setattr(elsewhere, "record_pusht", lambda seed, kind, **how: cut(made(seed, kind, **how), seed))
    bench = bench_of(tmp_path, knows=True)
    scores, figures, _ = elsewhere.drift_pusht(bench)
    first = bench.held.seed_of("drift", 0)
    assert len(scores) == PLAN.clips and [score.seed - first for score in scores] == [0, 2, 3, 4, 5]
    assert [score.kind for score in scores] == ["expert", "clumsy", "random", "expert", "expert"]
    assert figures["db_over_repeat_first_frame_to_frame_64"].value > 5
    _, still, _ = elsewhere.drift_pusht(bench_of(tmp_path, knows=False))
    assert still["db_over_repeat_first_frame_to_frame_64"].value == 0


def cut(life: Episode, seed: int) -> Episode:
    """The second of the lives from a thousand on ends after 40 frames."""
    if seed % 1000 != 1:
        return life
    films = {camera: film[:40] for camera, film in life.frames.items()}
    return replace(life, frames=films, actions=life.actions[:39])
