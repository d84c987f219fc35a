"""The doctor finds what was planted, and leaves clean sets alone: thirty kinds of fault, each in an else clean set."""

import json
from dataclasses import replace

import numpy as np
import pytest

from armillary.datasets.doctor_page import page_of
from armillary.datasets.findings import ERRORS, EXIT_CODES, NOTES, Oddity, worst
from armillary.datasets.inspect import inspect_path, inspect_source
from armillary.datasets.store import EpisodeWriter
from armillary.embodiments import rot6d_from_pose
from armillary.records import Episode, Question

SET, FRAMES, SIDE = 8, 40, 48
BACKS = {"front": (200, 120, 60), "side": (60, 110, 190)}


class Set(list):
    """Episodes by number, as any data set gives them."""

    kept_embodiment = "tabletop"

    def episode(self, number):
        return self[number]


def episode(seed):
    """A square that goes where its actions say, in front of a room that looks different on every side."""
    rng = np.random.default_rng(seed)
    speed = np.repeat(rng.normal(0, 0.02, (FRAMES // 4, 3)), 4, axis=0)[: FRAMES - 1] + rng.normal(0, 0.004, (39, 3))
    place = np.concatenate([np.zeros((1, 3)), np.cumsum(speed, axis=0)])
    openness = (np.arange(FRAMES) // 10 % 2 == 0).astype(float)
    steps = np.tile(np.eye(4), (FRAMES - 1, 1, 1))
    steps[:, :3, 3] = speed
    actions = np.concatenate([rot6d_from_pose(steps), openness[:-1, None]], axis=1).astype(np.float32)
    frames = {}
    for number, (camera, colour) in enumerate(BACKS.items()):
        ramp = np.linspace(0.3, 1, SIDE)[:, None] * np.linspace(1, 0.55, SIDE)[None]
        back = np.clip(ramp if number == 0 else ramp.T[::-1] ** 2, 0, 1)[..., None] * np.array(colour)
        back = back * rng.uniform(0.95, 1.05)
        back[4:12, 6:18] = (20, 160, 40) if number == 0 else (150, 30, 30)
        film = np.repeat(back[None], FRAMES, axis=0)
        for i, spot in enumerate(place):
            row, column = (np.clip(24 + 40 * spot[[number, 2]], 2, 38)).astype(float)
            dim = 0.5 + 0.5 * openness[i]
            rows = np.clip(1 - np.abs(np.arange(SIDE) - row - 4) / 6, 0, 1)[:, None]
            columns = np.clip(1 - np.abs(np.arange(SIDE) - column - 4) / 6, 0, 1)[None]
            film[i] += (rows * columns)[..., None] * (np.array((240, 240, 80)) * dim - film[i])
        frames[camera] = film.astype(np.uint8)
    return Episode(
        world="made-up", seed=seed, fps=10.0, frames=frames, actions=actions, embodiment="tabletop",
        states={"tip": place, "openness": np.concatenate([openness[:1], openness[:-1]])[:, None]},
        instruction=f"Move the square to place {seed}.", captions={"short": "A square moves."},
        questions=[Question(task="count", words="How many?", answer="one", choices=("one", "two"), frames=(0, 3))],
        events=[(0.5, 1.0, "move")], boxes=[{"square": (5, 5, 15, 15)}] * FRAMES,
        depth={"front": np.full((FRAMES, SIDE, SIDE), 1.5, np.float32)},
        segmentation={"front": np.tile(np.arange(SIDE) // 24, (FRAMES, SIDE, 1)).astype(np.int32)},
        sound=(0.1 * rng.normal(size=(2, 4 * 48000))).astype(np.float32), success=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clean():
    return [episode(seed) for seed in range(SET)]


def films(one, change):
    return replace(one, frames={camera: change(film.copy()) for camera, film in one.frames.items()})


def actions(one, change):
    return replace(one, actions=np.asarray(change(one.actions.copy()), np.float32))


def with_part(film, part, value):
    film[part] = value
    return film


def scaled(values, columns, factor):
    values[:, columns] *= factor
    return values


def without_middle(one):
    keep = np.r_[0:6, 34:FRAMES]
    return replace(
        one, frames={c: f[keep] for c, f in one.frames.items()}, actions=one.actions[keep[:-1]],
        states={n: v[keep] for n, v in one.states.items()}, depth=None, segmentation=None, boxes=None, sound=None,
    )  # fmt: skip


def asked(one, **changes):
    return replace(one, questions=[replace(one.questions[0], **changes)])


ONE = {  # planted in one episode of the set
    "black-film": lambda e: films(e, lambda f: f * 0),
    "black-frames": lambda e: films(e, lambda f: with_part(f, slice(10, 14), 0)),
    "flat-frames": lambda e: films(e, lambda f: with_part(f, slice(10, 14), 128)),
    "frozen-picture": lambda e: films(e, lambda f: with_part(f, slice(10, 30), f[10])),
    "frames-doubled": lambda e: films(e, lambda f: np.repeat(f[::2], 2, axis=0)),
    "frames-dropped": without_middle,
    "turned-picture": lambda e: films(e, lambda f: f[:, ::-1]),
    "turned-picture (mirrored)": lambda e: films(e, lambda f: f[:, :, ::-1]),
    "channels-swapped": lambda e: films(e, lambda f: f[..., ::-1]),
    "cameras-swapped": lambda e: replace(e, frames={"front": e.frames["side"], "side": e.frames["front"]}),
    "not-finite": lambda e: actions(e, lambda a: with_part(a, (3, 1), np.nan)),
    "scale-unlike-others": lambda e: actions(e, lambda a: scaled(a, slice(0, 3), 1000)),
    "beyond-limits": lambda e: actions(e, lambda a: scaled(a, slice(0, 3), 7)),
    "idle": lambda e: actions(e, lambda a: with_part(scaled(a, slice(0, 3), 1), (slice(0, 30), slice(0, 3)), 0)),
    "gripper-polarity": lambda e: actions(e, lambda a: with_part(a, (slice(None), 9), 1 - a[:, 9])),
    "actions-unlike-others": lambda e: actions(e, lambda a: scaled(a, slice(0, 3), -1)),
    "rows-and-frames": lambda e: replace(e, actions=e.actions[:-4]),
    "blank-instruction": lambda e: replace(e, instruction=" . "),
    "left-over-text": lambda e: replace(e, instruction="TODO"),
    "torn-text": lambda e: replace(e, instruction="Lege das grÃ¼ne Ding hin."),
    "marks-in-text": lambda e: replace(e, instruction="Move the {object} to the tray."),
    "long-text": lambda e: replace(e, captions={"dense": "and then " * 300}),
    "empty-answer": lambda e: asked(e, answer=" ", choices=None),
    "answer-not-a-choice": lambda e: asked(e, answer="three"),
    "question-beyond": lambda e: asked(e, frames=(0, 99)),
    "event-beyond": lambda e: replace(e, events=[(1.0, 60.0, "move")]),
    "box-outside": lambda e: replace(e, boxes=[{"square": (30, 30, 300, 40)}] * FRAMES),
    "depth-broken": lambda e: replace(e, depth={"front": e.depth["front"] * 0}),
    "segmentation-empty": lambda e: replace(e, segmentation={"front": e.segmentation["front"] * 0}),
    "sound-length": lambda e: replace(e, sound=e.sound[:, :48000]),
    "sound-clipped": lambda e: replace(e, sound=np.clip(e.sound * 40, -1, 1)),
}
ALL = {  # planted in every episode
    "saturated": lambda e: actions(e, lambda a: np.concatenate([np.clip(a[:, :3], -0.004, 0.004), a[:, 3:]], axis=1)),
    "action-scale": lambda e: actions(e, lambda a: scaled(a, slice(0, 3), 100)),
    "gripper-range": lambda e: actions(e, lambda a: scaled(a, 9, 255)),
    "gripper-sign": lambda e: actions(e, lambda a: with_part(a, (slice(None), 9), 1 - a[:, 9])),
    "actions-say-little": lambda e: actions(e, lambda a: np.random.default_rng(e.seed + 50).permutation(a)),
    "actions-shifted": lambda e: actions(e, lambda a: np.roll(a, -2, axis=0)),
    "rate-unlike-body": lambda e: replace(e, fps=30.0, sound=None, events=[]),
    "actions-unfit": lambda e: actions(e, lambda a: a[:, :7]),
}


def test_a_clean_set_is_left_alone(clean):
    report = inspect_source(Set(clean))
    assert report.oddities == []
    assert (report.looked_at, report.severity, EXIT_CODES[report.severity]) == (SET, "note", 0)


@pytest.mark.parametrize("code", ONE)
def test_a_fault_in_one_episode_is_found_there(clean, code):
    harmed = [ONE[code](one) if number == 3 else one for number, one in enumerate(clean)]
    found = {one.code: one for one in inspect_source(Set(harmed)).oddities}
    name = code.partition(" ")[0]
    assert name in found and found[name].episodes == (3,)


@pytest.mark.parametrize("code", ALL)
def test_a_fault_in_every_episode_is_found(clean, code):
    assert code in {one.code for one in inspect_source(Set(map(ALL[code], clean))).oddities}


def test_an_episode_that_is_there_twice_is_named(clean):
    (found,) = inspect_source(Set([*clean, clean[2]])).oddities
    assert (found.code, found.episodes) == ("duplicate", (8,))


@pytest.mark.parametrize("form", ["lerobot", "lerobot-v2.1", "webdataset", "jsonl"])
def test_every_form_is_examined(clean, tmp_path, form):
    with EpisodeWriter(tmp_path / "set", fps=10, cameras=tuple(BACKS), form=form) as writer:
        for one in [*clean[:4], films(clean[4], lambda f: f * 0)]:
            writer.write(replace(one, depth=None, sound=None))
    report = inspect_path(tmp_path / "set")
    assert [(one.code, one.episodes) for one in report.oddities] == [("black-film", (4,))]
    assert (report.form, report.episodes, report.usable_rows) == (form, 5, 195)


def test_the_report_is_json_and_a_page_that_needs_nothing(clean):
    harmed = [replace(clean[0], instruction="<b>bold</b>"), *clean[1:]]
    report = inspect_source(Set(harmed), name="a & b")
    told = json.loads(json.dumps(report.to_dict()))
    assert told["severity"] == "warning" and told["oddities"][0]["episodes"] == [0]
    page = page_of(report)
    assert "<b>bold" not in page and "&lt;b&gt;bold" in page and "a &amp; b" in page
    assert "http" not in page and "data:image/png;base64," in page


def test_gravity_decides_the_exit_code():
    kinds = {name: Oddity(code=name, words="") for name in ("constant", "idle", "black-film")}
    assert [EXIT_CODES[one.severity] for one in kinds.values()] == [0, 3, 4]
    assert worst(list(kinds.values())) == "error" and worst([kinds["constant"]]) == "note"
    assert not ERRORS & NOTES


STANDS = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0], np.float32)


class Watched(Set):
    """Episodes of a camera that is carried about."""

    kept_embodiment = "camera_pose"


@pytest.fixture(scope="module")
def standing(clean):
    """Films of a camera that stands; everything else is as it was."""
    return [replace(one, actions=np.tile(STANDS, (FRAMES - 1, 1)), embodiment="camera_pose") for one in clean]


def codes(episodes):
    return {oddity.code for oddity in inspect_source(Watched(episodes)).oddities}


def test_a_camera_that_stands_is_no_fault_and_one_that_shakes_by_chance_says_little(standing):
    assert not codes(standing) & {"actions-say-little", "idle", "action-scale", "silent"}
    rng = np.random.default_rng(0)
    shaken = [actions(one, lambda a: a + rng.normal(0, 0.02, a.shape)) for one in standing]
    assert "actions-say-little" in codes(shaken)


def test_silence_is_named_where_the_others_are_heard_or_nobody_is(standing):
    quiet = [replace(one, sound=np.zeros_like(one.sound)) for one in standing]
    assert "silent" in codes([quiet[0], *standing[1:]])
    assert "silent" in codes(quiet)
    assert "silent" not in codes([*quiet[:5], *standing[5:]]), "there it is that place's way"


def test_a_room_whose_dark_and_bright_sides_are_exchanged_is_not_turned(clean):
    exchanged = [films(one, lambda f: 255 - f) if number in (2, 5) else one for number, one in enumerate(clean)]
    assert "turned-picture" not in {one.code for one in inspect_source(Set(exchanged)).oddities}


def test_where_left_and_right_are_as_it_comes_no_episode_is_mirrored(clean):
    some = [films(one, lambda f: f[:, :, ::-1]) if number in (1, 4, 6) else one for number, one in enumerate(clean)]
    assert "turned-picture" not in {one.code for one in inspect_source(Set(some)).oddities}
    assert "turned-picture" in {one.code for one in inspect_source(Set([*clean[:4], some[4], *clean[5:]])).oddities}


def test_a_place_that_is_painted_anew_for_every_episode_has_no_colours_exchanged(clean):
    coats = ((1, 0.2), (0.9, 0.6), (0.3, 2.4), (1, 1), (0.5, 1.6), (1.2, 0.5), (0.35, 2.2), (0.8, 1.3))  # red, blue
    painted = [films(one, lambda f, red=red, blue=blue: (f * (red, 1, blue)).clip(0, 255).astype(np.uint8))
               for one, (red, blue) in zip(clean, coats, strict=True)]  # fmt: skip
    assert "channels-swapped" not in {oddity.code for oddity in inspect_source(Set(painted)).oddities}


def named(*episodes):
    return {oddity.code for oddity in inspect_source(Set(episodes)).oddities}


def test_one_episode_of_a_still_camera_or_a_closed_gripper_or_an_empty_road_is_no_fault(clean, standing):
    assert not codes(standing[:1]) and not codes(standing[:2])
    shut = replace(actions(clean[0], lambda a: with_part(a, (slice(None), 9), 0)),
                   states={**clean[0].states, "openness": np.full((FRAMES, 1), 0.02)})  # fmt: skip
    assert "gripper-sign" not in named(shut)
    nobody = replace(clean[0], segmentation={"front": np.zeros((FRAMES, SIDE, SIDE), np.int32)})
    assert "segmentation-empty" in named(nobody)
    assert "segmentation-empty" not in named(replace(nobody, boxes=[{}] * FRAMES))
    both = {"front": nobody.segmentation["front"], "side": clean[0].segmentation["front"]}
    assert "segmentation-empty" not in named(replace(nobody, segmentation=both))


def test_a_car_that_waits_is_not_clipped_and_three_drives_need_not_foresee_one_another(clean):
    def drive(seed):
        rng, turn = np.random.default_rng(seed), 2.1 * seed
        pace = np.repeat(rng.uniform(0, 1, FRAMES // 4 + 1), 4)[:FRAMES].clip(0.3) - 0.3
        steps = np.tile(np.eye(4), (FRAMES, 1, 1))
        steps[:, 2, 3] = pace
        place = np.cumsum(np.concatenate([[0], pace]))[:, None] * (np.cos(turn), np.sin(turn))
        one = replace(clean[seed], actions=rot6d_from_pose(steps).astype(np.float32), embodiment="camera_pose")
        film = {camera: np.concatenate([frames, frames[-1:]]) for camera, frames in clean[seed].frames.items()}
        return replace(one, frames=film, states={"ego": place}, depth=None, segmentation=None, boxes=None, sound=None)

    drives = [drive(seed) for seed in range(3)]
    assert not codes(drives) & {"saturated", "actions-say-little"}
    rng = np.random.default_rng(4)
    noise = [
        actions(one, lambda a: np.concatenate([rng.normal(0, 0.1, (FRAMES, 3)), a[:, 3:]], axis=1)) for one in drives
    ]
    assert "actions-say-little" in codes(noise)


@pytest.mark.parametrize("who", ["camera_pose", "av"])
def test_a_camera_that_is_not_carried_may_stand_still_and_a_steady_pace_is_neither_clipped_nor_noise(standing, who):
    rng = np.random.default_rng(0)
    standing = [replace(one, embodiment=who) for one in standing]
    shaken = [actions(one, lambda a: a + rng.normal(0, 0.02, a.shape)) for one in standing]
    still = [replace(one, frames={**one.frames, "side": one.frames["side"][[*range(12), *[12] * (FRAMES - 12)]]})
             for one in shaken]  # fmt: skip
    assert "frozen-picture" not in codes(still)
    assert "frozen-picture" in codes([films(one, lambda f: with_part(f, slice(12, None), f[12])) for one in shaken])
    steady = [
        actions(one, lambda a, pace=pace: a + np.float32(0.01 * pace)) for pace, one in enumerate(standing[:3], 1)
    ]
    assert not codes(steady) & {"saturated", "actions-say-little"}
