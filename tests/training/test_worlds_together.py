"""Several worlds in one training: each window stays of its own, and nobody is told what a window does not show."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import Watched, windows
from safetensors.torch import load_file, save_file
from tiny import SMALL_VAE, moving_square, small_checkpoint, small_config, small_model

from armillary.datasets.byte_clips import ByteClips
from armillary.datasets.raw import load_raw, raw_files, save_raw, simulate_world
from armillary.datasets.told import told_of
from armillary.embodiments import load_embodiment, load_embodiments
from armillary.errors import ConfigError, DataError, RequestError
from armillary.model.weights import load_model
from armillary.runs import RUNS
from armillary.runs_worlds import TAUGHT
from armillary.tokenizers.video import VideoVAE
from armillary.training.episodes import CacheRun, ClipsRun, DataRun, cut_clips, encode
from armillary.training.heard import load_heard
from armillary.training.imagination import FlowConfig, FlowSource, Pool
from armillary.training.latents import FRAMES, load_cache, make_cache, stills_of, windows_of
from armillary.training.loop import Stage

STILL = np.array([0.0, 0, 0, 1, 0, 0, 0, 1, 0], np.float32)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VideoVAE(SMALL_VAE).eval()


def life(world, seed=0, frames=30):
    """A made-up life of physics, or of the tabletop, of the right size."""
    made = moving_square(seed, frames=frames, side=128)
    film, rng = made.frames["top"], np.random.default_rng(seed)
    if world == "tabletop":
        actions = rng.normal(size=(frames - 1, 10)).astype(np.float32) * 0.01
        return replace(made, world=world, frames={"front": film}, embodiment="tabletop", actions=actions)
    told = {"scene": "A room, and in it a red ball.", "short": "A ball falls.",
            "dense": "A ball falls. A room, and in it a red ball. At 0:00.5 the red ball hits the floor. "
                     "At 0:02.2 the red ball hits the wall."}  # fmt: skip
    happened = [(0.5, 0.5, "the red ball hits the floor"), (1.0, 1.0, "the blue ball hits the floor"),
                (2.2, 2.2, "the red ball hits the wall")]  # fmt: skip
    return replace(
        made, world="physics", fps=5.0 if seed else 10.0, frames={"main": film}, embodiment="camera_pose",
        actions=np.stack([STILL] * (frames - 1)), captions=told, events=happened, recipe={"controller": "still"},
    )  # fmt: skip


def cached(folder, vae, world, count=2, *, most=3):
    """A cache of made-up lives, and its raw episodes beside it."""
    raw = folder / f"{world}-raw"
    raw.mkdir(parents=True)
    for number in range(count):
        save_raw(raw / f"episode_{number:06d}.npz", life(world, number))
    camera, body = ("front", "tabletop") if world == "tabletop" else ("main", "camera_pose")
    list(make_cache(raw, folder / world, lambda one: windows_of(
        one[0], vae, load_embodiment(body), camera=camera, most=most)))  # fmt: skip
    return folder / world


@pytest.fixture(scope="module")
def caches(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    return cached(folder, vae, "tabletop"), cached(folder, vae, "physics")


def test_windows_of_several_worlds_stay_of_their_own(caches):
    both, parts = load_cache(*caches), [load_cache(folder) for folder in caches]
    assert [len(part) for part in parts] == [6, 6] and len(both) == 12
    for name in ("domain", "width", "fps", "acts", "tells"):
        assert getattr(both, name).tolist() == [one for part in parts for one in getattr(part, name).tolist()]
    assert both.domain.tolist() == [6] * 6 + [2] * 6 and both.width.tolist() == [10] * 6 + [9] * 6
    assert set(both.fps[:6]) == {10.0} and both.fps[6:].tolist() == [10.0] * 3 + [5.0] * 3
    assert torch.equal(both.video, torch.cat([part.video for part in parts]))
    assert both.task[6:] == parts[1].task and both.caption[:6] == parts[0].caption


def test_the_first_window_of_a_life_is_one_of_its_own_world(caches):
    assert load_cache(*caches).opening.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]
    later = load_cache(*caches, keep=lambda row: row["start"] > 0)
    assert later.opening.tolist() == [0, 0, 2, 2, 4, 4, 6, 6]


def test_a_cache_named_twice_is_drawn_twice_as_often(caches):
    table, twice = load_cache(caches[0]), load_cache(caches[0], caches[1], caches[1])
    assert twice.domain.tolist() == [6] * 6 + [2] * 12
    assert torch.equal(twice.video[6:12], twice.video[12:]) and torch.equal(twice.video[:6], table.video)
    assert twice.opening.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 12, 12, 12, 15, 15, 15]


def test_caches_that_do_not_go_together_are_refused(vae, caches, tmp_path):
    list(make_cache(caches[0].parent / "tabletop-raw", tmp_path / "frames", lambda one: stills_of(
        one, vae, load_embodiment("tabletop"))))  # fmt: skip
    with pytest.raises(DataError, match="windows of 16 tokens, those before of 80: films and single frames lie apart"):
        load_cache(caches[0], tmp_path / "frames")
    with pytest.raises(DataError, match="absent holds no windows"):
        load_cache(caches[0], tmp_path / "absent")


def test_only_the_cache_s_own_windows_can_be_heard(caches, tmp_path):
    for path in sorted(caches[0].glob("*.safetensors")):  # the other world's files have the same names
        sound = torch.randn(3, 43, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
        note = {"starts": json.dumps([0, 8, 13]), "loud": json.dumps([True] * 3)}
        save_file({"sound": sound}, tmp_path / path.name, metadata=note)
    alone, heard = load_heard(tmp_path, caches[0]), load_heard(tmp_path, caches[0], windows=12)
    assert alone.known.any() and heard.known.tolist() == [*alone.known.tolist(), *[False] * 6]
    assert heard.loud.tolist() == [*alone.loud.tolist(), *[False] * 6] and not heard.tokens[6:].any()
    assert torch.equal(heard.tokens[:6], alone.tokens) and torch.equal(heard.weight[:6], alone.weight)
    rows = np.arange(12)
    assert all(heard.draw(np.random.default_rng(i), rows, 0.5) < 6 for i in range(30))


def test_a_camera_that_stands_still_teaches_no_actions(caches, tmp_path):
    both = load_cache(*caches)
    assert both.moves.tolist() == [True] * 6 + [False] * 6
    pool, rng = Pool(both, FlowConfig()), np.random.default_rng(0)
    assert {pool.draw("inverse-dynamics", rng) for _ in range(200)} == set(range(6))
    assert {pool.draw("forward-dynamics", rng) for _ in range(200)} == set(range(12))
    with pytest.raises(DataError, match="no window can teach inverse-dynamics"):
        Pool(load_cache(caches[1]), FlowConfig()).draw("inverse-dynamics", rng)


def test_exercises_of_inverse_dynamics_are_of_bodies_that_move(tmp_path):
    _, words = small_model(tmp_path)
    drawn = replace(windows(8), domain=np.array([6, 6, 2, 2, 6, 2, 2, 6]))
    drawn.actions[[2, 3, 5, 6]] = 0.25
    still = drawn.domain == 2
    model = Watched(small_config(words))
    found = {}
    for mode in ("inverse-dynamics", "forward-dynamics"):
        source = FlowSource(model, words, drawn, FlowConfig(action_share=1.0, onwards=0.0, modes={mode: 1.0}))
        source.losses(np.random.default_rng(5), 24)
        found[mode] = set(model.seen[1][1].domain.tolist())
    assert still.any() and found == {"inverse-dynamics": {6}, "forward-dynamics": {6, 2}}


def test_words_of_a_window_are_of_what_it_shows(vae):
    episode = life("physics")
    assert told_of(episode, 0, FRAMES) == "A room, and in it a red ball. At 0:00.5 the red ball hits the floor."
    assert told_of(episode, 0, 1) == "A room, and in it a red ball."
    assert told_of(episode, 4, FRAMES) is None and told_of(episode, 0, 30) == episode.captions["dense"]
    body = load_embodiment("camera_pose")
    _, rows = windows_of(episode, vae, body, camera="main")
    assert [row["tells"] for row in rows] == [row["start"] == 0 for row in rows] and not any(r["acts"] for r in rows)
    assert "hits the floor" in rows[0]["caption"] and "hits the wall" not in rows[0]["caption"]
    _, rows = stills_of([episode], vae, body, camera="main")
    assert rows[0]["caption"].startswith("A room, and in it a red ball. This image")
    table = replace(life("tabletop"), captions={"scene": "On it: a cup.", "dense": "It moves. On it: a cup."})
    assert told_of(table, 4, FRAMES) == "It moves. On it: a cup."


def test_clips_of_several_worlds_lie_in_one_folder(tmp_path):
    for world in ("tabletop", "physics"):
        (tmp_path / world).mkdir()
        for number in range(2):
            boxes = [{"ball": (0, 0, 32, 32)}] * 30 if number else [{"floor": (0, 20, 128, 128)}] * 30
            save_raw(tmp_path / world / f"episode_{number:06d}.npz", replace(life(world, number), boxes=boxes))
        camera = "front" if world == "tabletop" else "main"
        run = ClipsRun(data=tmp_path / world, out=tmp_path / "clips", camera=camera, name=world)
        assert cut_clips(run, lambda _: None) == 4
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == [
        f"{kind}_{world}_00.npy" for kind in ("frames", "masks") for world in ("physics", "tabletop")
    ]
    for file in ByteClips(tmp_path / "clips").files:  # boxes that cover the picture mark nothing
        assert not file.masks[:2].any() and file.masks[2:].mean() == 1 / 16


@pytest.mark.parametrize(("wrong", "words"), [
    ({"world": "physics", "stills": True}, "stills and laid are of the tabletop"),
    ({"controllers": ("expert",)}, "name controllers for other worlds only"),
])  # fmt: skip
def test_what_another_world_cannot_give_is_refused(tmp_path, wrong, words):
    with pytest.raises(ConfigError, match=words):
        DataRun(out=tmp_path, episodes=1, **wrong)


def test_unknown_controllers_and_worlds_are_named_before_anything_is_made(tmp_path):
    with pytest.raises(RequestError, match="'nobody' is unknown in physics"):
        simulate_world(tmp_path / "raw", world="physics", episodes=1, seed=0, acting=("nobody",))
    with pytest.raises(ConfigError, match="each one of physics, pusht"):
        replace(RUNS["pico-worlds"](), worlds=("tabletop",))
    assert not list(tmp_path.iterdir())


def test_the_whole_way_with_two_more_worlds(tmp_path, caches, monkeypatch):
    """Two lives of each through every recipe of ``runs_worlds.py``, and once more: nothing is made twice."""
    few = {name: replace(how, windows=2, stills=min(2, how.stills)) for name, how in TAUGHT.items()}
    monkeypatch.setattr("armillary.runs_worlds.TAUGHT", few)
    monkeypatch.setattr("armillary.runs_worlds.LEARNT", tuple(few))
    quiet, base = (lambda _: None), tmp_path / "worlds"
    VideoVAE(SMALL_VAE).save(tmp_path / "first")
    table = caches[0].parent / "tabletop-raw"
    cut_clips(ClipsRun(data=table, out=tmp_path / "kept"), quiet)
    runs = [
        replace(RUNS["pico-worlds"](), out=base / "raw", episodes=2, seed=3),
        replace(RUNS["pico-worlds-clips"](), data=base / "raw", out=base / "clips"),
        replace(
            RUNS["pico-worlds-vae"](), data=base / "clips", out=base / "vae", kept=tmp_path / "kept", steps=2,
            origin=tmp_path / "first", model=SMALL_VAE, batch=1, report_steps=1,
        ),
        replace(
            RUNS["pico-worlds-decoder"](), data=base / "clips", out=base / "decoder", kept=tmp_path / "kept", steps=2,
            origin=base / "vae/vae", model=SMALL_VAE, batch=1, report_steps=1,
        ),
        replace(
            RUNS["pico-worlds-windows"](), data=base / "raw", vae=base / "vae/vae", out=base / "cache",
            frames=base / "frames",
        ),
    ]  # fmt: skip
    for run in runs:
        run.start(quiet)
    made = {path: path.stat().st_mtime_ns for path in base.rglob("*.*") if path.suffix in (".npz", ".safetensors")}
    for run in (runs[0], runs[1], runs[4]):
        run.start(quiet)
    assert made == {path: path.stat().st_mtime_ns for path in made}

    lives = {world: [load_raw(path) for path in raw_files(base / "raw" / world)] for world in ("physics", "pusht")}
    assert [one.recipe["controller"] for one in lives["pusht"]] == ["expert", "random"]  # of seeds 3 and 4, in turn
    assert {one.recipe["controller"] for one in lives["physics"]} == {"still"} and lives["physics"][0].events
    assert [list(one.frames) for one in lives["physics"]] == [["main"]] * 2

    encode(CacheRun(data=table, vae=base / "vae/vae", out=base / "table"), quiet)
    stage = Stage(name="generator", steps=3, batch=4, rate=1e-3, warmup=1, bf16=False, log_every=1)
    last, start = RUNS["pico-worlds-generator"](), small_checkpoint(tmp_path / "read")
    lesson = replace(
        RUNS["pico-worlds-lesson"](), origin=start, cache=base / "cache/pusht", vae=base / "decoder/vae",
        out=base / "lesson", stage=replace(stage, steps=2),
    )  # fmt: skip
    assert lesson.like == {"pusht_steps": "tabletop"}
    lesson.start(quiet)
    begun, learnt = (load_model(folder).transformer.action_proj_in.fc.weight for folder in (
        start, lesson.out / "checkpoint"))  # fmt: skip
    assert (learnt[26] - begun[6]).norm() < 0.1 * (begun[26] - begun[6]).norm()
    way = RUNS["pico-worlds-between"]()
    replace(way, before=start, after=lesson.out / "checkpoint", out=base / "between").start(quiet)
    assert (way.before, way.after.parts[-2:], last.origin.name) == (
        RUNS["pico-worlds-lesson"]().origin, ("lesson", "checkpoint"), way.out.name,
    )  # fmt: skip
    replace(
        last, origin=base / "between", cache=base / "table", vae=base / "decoder/vae", stills=None,
        more=tuple(base / "cache" / folder.name for folder in last.more[:2]),
        more_stills=tuple(base / "frames" / folder.name for folder in last.more_stills if folder.name == "pusht"),
        controls=None, laid=None, sounds=None, sound_tokenizer=None, out=base / "generator", stage=stage,
    ).start(quiet)  # fmt: skip
    back, settled = RUNS["pico-worlds-back"](), RUNS["pico-worlds-settled"]()
    replace(back, before=start, after=base / "generator/checkpoint", out=base / "back").start(quiet)
    assert (back.before, back.after, settled.origin) == (way.before, last.out / "checkpoint", back.out)
    replace(
        settled, origin=base / "back", cache=base / "table", vae=base / "decoder/vae", out=base / "settled",
        stills=base / "frames/pusht", controls=None, laid=None, sounds=None, sound_tokenizer=None, stage=stage,
        more=tuple(base / "cache" / folder.name for folder in settled.more),
    ).start(quiet)  # fmt: skip
    assert (base / "settled/checkpoint/model_index.json").exists()
    way_on = [RUNS[f"pico-worlds-{name}"]() for name in ("rehearsed", "hand", "sounds", "last")]
    assert [run.origin for run in way_on] == [one.out / "checkpoint" for one in (settled, *way_on[:-1])]
    together = load_cache(base / "table", *(base / "cache" / folder.name for folder in last.more[:2]))
    assert sorted(set(together.domain.tolist())) == [2, 6, 26]
    assert [together.domain.tolist().count(domain) for domain in (2, 26)] == [4, 4]
    assert "camera_pose" in load_embodiments(base / "generator/checkpoint")
    abilities = json.loads((base / "generator/checkpoint/defaults.json").read_text())
    assert abilities["filmless"] == ["policy"]  # from the frames of PushT's expert
    assert len(load_file(next((base / "frames/pusht").glob("*.safetensors")))["video"]) > 2
