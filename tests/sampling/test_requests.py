"""A wrong request is refused with one sentence, before any weights are read."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import armillary
from armillary.errors import CheckpointError, ConfigError, RequestError
from armillary.modes import MODES, mode_named
from armillary.sampling.pictures import at_rate, fit_picture
from armillary.sampling.requests import check_request, offers
from armillary.sampling.stretches import unfold

PICTURE = np.zeros((64, 64, 3), np.uint8)
FILM = np.zeros((17, 64, 64, 3), np.uint8)
STILL = [[0, 0, 0, 1, 0, 0, 0, 1, 0, 0.5]] * 16


def moved(number, column=0, row=1):
    """The still actions, one number of which is another."""
    rows = np.array(STILL, np.float64)
    rows[row, column] = number
    return {**GOOD["forward-dynamics"], "actions": rows}


GOOD = {
    "text-to-image": {"prompt": "a cube"},
    "image-edit": {"prompt": "make the cube blue", "image": PICTURE},
    "text-to-video": {"prompt": "a cube"},
    "image-to-video": {"image": PICTURE},
    "video-to-video": {"video": FILM},
    "first-last-frame": {"image": PICTURE, "last_image": PICTURE},
    "sound-to-video": {"image": PICTURE, "sound": np.zeros((2, 81_600), np.float32)},
    "forward-dynamics": {"image": PICTURE, "actions": STILL, "embodiment": "tabletop"},
    "inverse-dynamics": {"video": FILM, "embodiment": "tabletop"},
    "policy": {"prompt": "go", "image": PICTURE, "embodiment": "tabletop"},
    "video-to-sound": {"video": FILM},
    "transfer": {"controls": {"edge": FILM}},
    "reason": {"prompt": "what is it?"},
}

WRONG = [
    ("text-to-video", {"promt": "x"}, "Nearest: 'prompt'"),
    ("text-to-vidio", {"prompt": "x"}, "Did you mean 'text-to-video'"),
    ("policy", {"prompt": "x"}, "lacks image, embodiment"),
    ("text-to-video", {"prompt": "x", "actions": STILL}, "actions has no use"),
    ("text-to-video", {"prompt": "x", "size": (100, 128)}, "multiples of 32, 96x128 would do"),
    ("text-to-video", {"prompt": "x", "size": (128, 64.5)}, "two whole numbers"),
    ("text-to-video", {"prompt": "x", "size": "big"}, "two whole numbers"),
    ("text-to-video", {"prompt": "x", "size": (12_800_000, 12_800)}, "no side is longer than 4096"),
    ("image-to-video", {"image": PICTURE, "size": (128, 4128)}, "size=128x4128: no side is longer"),
    ("text-to-video", {"prompt": "x", "frames": 18}, "4k\\+1, 17 would do"),
    ("text-to-video", {"prompt": "x", "frames": 1}, "4k\\+1, 5 would do"),
    ("text-to-video", {"prompt": "x", "frames": 0}, "from 1 to 5000"),
    ("text-to-video", {"prompt": "x", "frames": 10_001}, "from 1 to 5000"),
    ("text-to-video", {"prompt": " \n"}, "has no words, which text-to-video goes by"),
    ("text-to-image", {"prompt": ""}, "prompt='' has no words"),
    ("image-edit", {"prompt": "", "image": PICTURE}, "prompt='' has no words"),
    ("reason", {"prompt": ""}, "prompt='' has no words"),
    ("text-to-image", {"prompt": "x", "frames": 17}, "makes one picture"),
    ("text-to-video", {"prompt": 3}, "give text"),
    ("text-to-video", {"prompt": "x", "steps": 0}, "steps=0 is no use: give a whole number from 1 to 999"),
    ("text-to-video", {"prompt": "x", "steps": 2.5}, "whole number"),
    ("text-to-video", {"prompt": "x", "steps": True}, "whole number"),
    ("text-to-video", {"prompt": "x", "seed": -1}, "whole number from 0"),
    ("text-to-video", {"prompt": "x", "fps": 0}, "above 0"),
    ("text-to-video", {"prompt": "x", "fps": math.inf}, "out of range"),
    ("text-to-video", {"prompt": "x", "guidance": math.nan}, "out of range"),
    ("text-to-video", {"prompt": "x", "guidance": "much"}, "out of range"),
    ("text-to-video", {"prompt": "x", "solver": "heun"}, "choose from unipc, euler"),
    ("text-to-video", {"prompt": "x", "outputs": ("actions",)}, "returns video"),
    ("text-to-video", {"prompt": "x", "outputs": ()}, "at least one"),
    ("text-to-video", {"prompt": "x", "outputs": ("sound",)}, "returns video"),
    ("text-to-video", {"prompt": "x", "sound": "loud"}, "must be True or False"),
    ("text-to-image", {"prompt": "x", "sound": True}, "text-to-video, image-to-video, video-to-video can be heard"),
    ("image-edit", {"prompt": "x"}, "lacks image"),
    ("image-edit", {"prompt": "x", "image": PICTURE, "dialect": "diffusers"}, "dialect has no use"),
    ("image-edit", {"prompt": "x", "image": PICTURE, "frames": 5}, "makes one picture"),
    ("text-to-video", {"prompt": "x", "latents": {"smell": 1}}, "noise of each modality"),
    ("text-to-video", {"prompt": "x", "latents": {"video": 1}, "frames": 33}, "one stretch of 17"),
    ("text-to-video", {"prompt": "x", "latents": {"video": "much"}}, "not numbers"),
    ("text-to-video", {"prompt": "x", "latents": {"video": [math.inf]}}, "not finite"),
    ("image-to-video", {"image": "nowhere.png"}, "no file 'nowhere.png'"),
    ("image-to-video", {"image": np.zeros((4, 4), np.int32)}, "uint8"),
    ("image-to-video", {"image": "."}, "'.' is a folder: give a file"),
    ("image-to-video", {"image": ""}, "the path is empty"),
    ("image-to-video", {"image": PICTURE[:0]}, "is empty: give one with at least one row"),
    ("image-to-video", {"image": PICTURE[:, :0]}, "is empty: give one with at least one row"),
    ("image-to-video", {"image": np.full((4, 4, 3), np.nan)}, "image cannot be used: a picture holds a number that is"),
    ("image-to-video", {"image": np.full((4, 4, 3), 1.5)}, "goes from 1.5 to 1.5: floats must be in"),
    ("image-to-video", {"image": np.zeros((1, 20_000, 3), np.uint8)}, "cannot be shown at 128x128"),
    ("video-to-video", {"video": FILM[:, :0]}, "video is empty"),
    ("transfer", {"controls": {"edge": FILM[:, :0]}}, "control edge is empty"),
    ("transfer", {"controls": {"edge": PICTURE[:0]}}, "control edge cannot be used: .* is empty"),
    ("reason", {"prompt": "x", "image": PICTURE[:0]}, "is empty"),
    ("video-to-video", {"video": "nowhere.mp4"}, "no file 'nowhere.mp4'"),
    ("video-to-video", {"video": FILM[:3]}, "at least 5"),
    ("video-to-video", {"video": FILM, "frames": 5}, "nothing to find"),
    ("video-to-video", {"video": PICTURE}, "t h w 3"),
    ("first-last-frame", {"image": PICTURE, "last_image": PICTURE, "frames": 33}, "at most 17"),
    ("first-last-frame", {"image": PICTURE, "last_image": PICTURE, "frames": 5}, "at least 9"),
    ("forward-dynamics", {"image": PICTURE, "actions": np.zeros((16, 7)), "embodiment": "tabletop"}, "rows of 10"),
    ("forward-dynamics", {"image": PICTURE, "actions": [], "embodiment": "tabletop"}, "actions"),
    ("forward-dynamics", {"image": PICTURE, "actions": np.full((4, 10), np.nan), "embodiment": "tabletop"}, "finite"),
    (
        "forward-dynamics",
        moved(10.0),
        r"action 1 has 10 for step_x, in metre: tabletop takes -0.1 to 0.1; are these mi",
    ),
    ("forward-dynamics", moved(-30.0, 2, 3), "action 3 has -30 for step_z"),
    ("forward-dynamics", moved(1e37), "action 1 has 1e.37 for step_x"),
    ("forward-dynamics", moved(255.0, 9), "in open fraction: tabletop takes 0 to 1. Check the frame, too: absolute"),
    ("forward-dynamics", moved([0.0] * 6, slice(3, 9)), "no turn: to turn by nothing say 1, 0, 0, 0, 1, 0"),
    ("forward-dynamics", {**moved(0.0), "actions": {"embodiment": "pusht", "actions": STILL}}, "of pusht: give rows"),
    ("forward-dynamics", {**moved(0.0), "actions": {"rows": STILL}}, "actions holds none of tabletop, but rows"),
    ("policy", {**GOOD["policy"], "embodiment": "pusht", "state": [1e6, 0]}, "state 0 has 1e.06 for target_x"),
    ("forward-dynamics", {"image": PICTURE, "actions": "gone.json", "embodiment": "tabletop"}, "is no file"),
    ("forward-dynamics", {**GOOD["forward-dynamics"], "frames": 33}, "which makes 17"),
    ("forward-dynamics", {**GOOD["forward-dynamics"], "embodiment": "table"}, "Did you mean 'tabletop'"),
    ("forward-dynamics", {**GOOD["forward-dynamics"], "embodiment": "av"}, "it knows pusht, tabletop"),
    ("forward-dynamics", {**GOOD["forward-dynamics"], "embodiment": 6}, "give a name"),
    ("forward-dynamics", {**GOOD["forward-dynamics"], "video": FILM[:5]}, "give one of them"),
    ("forward-dynamics", {"actions": STILL, "embodiment": "tabletop"}, "lacks image"),
    ("forward-dynamics", {"video": FILM[:4], "actions": STILL, "embodiment": "tabletop"}, "Give the last 1"),
    ("forward-dynamics", {"video": FILM, "actions": STILL, "embodiment": "tabletop"}, "Give the last 13"),
    ("forward-dynamics", {"video": FILM[:5], "actions": STILL[:4], "embodiment": "tabletop"}, "more must follow"),
    ("inverse-dynamics", {"video": FILM[:8], "embodiment": "tabletop"}, "4k\\+1, 9 would do"),
    ("inverse-dynamics", {"video": FILM, "embodiment": "tabletop", "outputs": "video"}, "returns actions"),
    ("policy", {**GOOD["policy"], "size": (1312, 64)}, "scale it down"),
    ("policy", {**GOOD["policy"], "frames": 1}, "4k\\+1"),
]


def test_every_mode_is_covered_and_its_plain_request_is_accepted(checkpoint):
    assert set(GOOD) == set(MODES)
    for mode, asked in GOOD.items():
        assert check_request(mode, asked, checkpoint).mode.name == mode


@pytest.mark.parametrize(("mode", "asked", "words"), WRONG, ids=[f"{m}-{'-'.join(a)}-{w[:12]}" for m, a, w in WRONG])
def test_a_wrong_request_is_refused_with_a_sentence_and_loads_nothing(checkpoint, mode, asked, words):
    omni = armillary.load(checkpoint, dtype="float32")
    with pytest.raises(RequestError, match=words) as refusal:
        omni.imagine(mode, **asked)
    assert "\n" not in str(refusal.value)
    assert omni.parts.loaded == ()


def test_what_a_body_may_well_do_is_not_refused(checkpoint):
    """Beyond its limits by little, as a policy's own words may be, or as far as its normaliser knows."""
    for number, column in ((1.0, 0), (-2.0, 1), (3.0, 4), (8.0, 9)):
        assert check_request("forward-dynamics", moved(number, column), checkpoint).actions is not None


def test_actions_that_were_kept_go_in_again_as_a_file_and_as_they_are(checkpoint, tmp_path):
    kept = {"embodiment": "tabletop", "rate_hz": 10, "actions": STILL}
    (tmp_path / "actions.json").write_text(json.dumps(kept))
    plain = check_request("forward-dynamics", GOOD["forward-dynamics"], checkpoint).actions
    for told in (kept, str(tmp_path / "actions.json"), tmp_path / "actions.json"):
        again = check_request("forward-dynamics", {**GOOD["forward-dynamics"], "actions": told}, checkpoint)
        assert np.array_equal(again.actions, plain)


def test_one_wrong_request_among_many_is_named_and_none_is_begun(checkpoint):
    omni = armillary.load(checkpoint, dtype="float32")
    good = {"mode": "text-to-image", "prompt": "x"}
    with pytest.raises(RequestError, match=r"request 1: .*multiples of 32"):
        omni.imagine_many([good, {**good, "size": (1, 1)}])
    with pytest.raises(RequestError, match="request 1 has no mode"):
        omni.imagine_many([good, {"prompt": "x"}])
    assert omni.parts.loaded == ()


def test_the_record_is_plain_data_and_tells_every_settled_value(checkpoint):
    record = check_request("policy", {**GOOD["policy"], "seed": 3}, checkpoint).record
    assert json.loads(json.dumps(record)) == record
    assert {"mode", "seed", "steps", "guidance", "shift", "solver", "frames", "size", "fps", "prompt"} <= set(record)
    assert record["film"]["shape"] == [1, 128, 128, 3]


def test_the_rate_is_the_bodys_unless_asked(checkpoint):
    assert check_request("policy", GOOD["policy"], checkpoint).fps == 10.0
    assert check_request("policy", {**GOOD["policy"], "fps": 5.0}, checkpoint).fps == 5.0


def test_what_nobody_says_the_checkpoint_says(tmp_path):
    """Size, rate and the task of a request without words come from the folder, where it tells them."""
    plain = check_request("forward-dynamics", GOOD["forward-dynamics"], tmp_path)
    assert (plain.size, plain.prompt) == ((128, 128), "")
    told = {"size": [64, 96], "fps": 5, "task": "Move the arm.", "steps": {"forward-dynamics": 2}}
    (tmp_path / "defaults.json").write_text(json.dumps(told))
    request = check_request("forward-dynamics", GOOD["forward-dynamics"], tmp_path)
    assert (request.size, request.prompt, request.fps) == ((64, 96), "Move the arm.", 10.0)
    assert request.record["steps"] == 2 and plain.record["steps"] == mode_named("forward-dynamics").steps
    film = check_request("text-to-video", GOOD["text-to-video"], tmp_path)
    assert (film.size, film.prompt, film.fps) == ((64, 96), "a cube", 5.0)
    body = GOOD["forward-dynamics"]["embodiment"]
    for key, steps in ((f"forward-dynamics/{body}", 7), ("forward-dynamics/umi", 2), (f"policy/{body}", 2)):
        (tmp_path / "defaults.json").write_text(json.dumps({**told, "steps": {"forward-dynamics": 2, key: 7}}))
        request = check_request("forward-dynamics", GOOD["forward-dynamics"], tmp_path)
        assert request.record["steps"] == steps
    (tmp_path / "defaults.json").write_text("{}")
    with pytest.raises(CheckpointError, match="size, two numbers"):
        check_request("text-to-video", GOOD["text-to-video"], tmp_path)


def test_a_negative_prompt_that_nobody_reads_is_refused_and_an_empty_one_is_none(checkpoint, picture):
    asked = {"prompt": "go", "image": picture, "embodiment": "tabletop"}
    with pytest.raises(RequestError, match="negative_prompt='blur' has no use with guidance 1"):
        check_request("policy", {**asked, "negative_prompt": "blur"}, checkpoint)
    empty = check_request("policy", {**asked, "negative_prompt": ""}, checkpoint)
    assert empty.negative_prompt is None and "negative_prompt" not in empty.record
    guided = check_request("policy", {**asked, "negative_prompt": "blur", "guidance": 2.0}, checkpoint)
    assert guided.negative_prompt == guided.record["negative_prompt"] == "blur"


def test_without_a_negative_prompt_the_other_branch_reads_nothing(checkpoint):
    def branches(**asked):
        return next(unfold(check_request("text-to-video", {"prompt": "x", **asked}, checkpoint))).prompts()

    assert branches() == ("x. The video is 1.7 seconds long and is of 10 FPS. This video is of 128x128 resolution.", "")
    assert branches(negative_prompt="")[1].startswith("The video is 1.7 seconds")
    assert branches(negative_prompt="", dialect="diffusers")[1].startswith("The video is not 1.7 seconds")
    assert branches(negative_prompt="blur")[1].startswith("blur. The video is 1.7")


def test_what_a_mode_offers_is_what_it_hides():
    assert offers(MODES["policy"]) == ("video", "actions")
    assert offers(MODES["inverse-dynamics"]) == ("actions",)
    assert offers(MODES["forward-dynamics"]) == ("video",)


def test_actions_may_come_as_a_json_file_and_a_picture_as_a_file(checkpoint, tmp_path):
    (tmp_path / "deeds.json").write_text(json.dumps(STILL))
    Image.fromarray(PICTURE + 7).save(tmp_path / "seen.png")
    asked = {"image": str(tmp_path / "seen.png"), "actions": tmp_path / "deeds.json", "embodiment": "tabletop"}
    request = check_request("forward-dynamics", asked, checkpoint)
    assert request.actions.shape == (16, 64)
    assert (request.film == 7).all()


def test_broken_json_is_told(checkpoint, tmp_path):
    (tmp_path / "deeds.json").write_text("[[1, 2")
    with pytest.raises(RequestError, match="not JSON"):
        check_request("forward-dynamics", {**GOOD["forward-dynamics"], "actions": tmp_path / "deeds.json"}, checkpoint)


def test_a_picture_is_covered_and_cut_never_stretched():
    """A square in the middle of a wide picture stays a square."""
    wide = np.zeros((50, 200, 3), np.uint8)
    wide[:, 75:125] = 255
    fitted = fit_picture(wide, (64, 64))
    assert fitted.shape == (64, 64, 3)
    assert fitted[:, 2:-2].min() == 255
    assert fit_picture(fitted, (64, 64)) is fitted


def test_a_film_of_another_rate_keeps_its_times():
    frames = np.arange(31, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert at_rate(frames, 30.0, 10.0)[:, 0, 0, 0].tolist() == list(range(0, 31, 3))
    assert at_rate(frames[:11], 10.0, 20.0)[:4, 0, 0, 0].tolist() == [0, 0, 1, 2]
    assert at_rate(frames, 30.0, 30.0)[:, 0, 0, 0].tolist() == list(range(31))


def test_a_checkpoint_that_is_none_is_refused(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        armillary.load(tmp_path)
    with pytest.raises(ConfigError, match="nearest is 'bfloat16'"):
        armillary.load(checkpoint, dtype="float16")
    with pytest.raises(ConfigError, match="take cpu or cuda"):
        armillary.load(checkpoint, device="abacus")


def test_what_is_not_even_of_the_kind_that_is_said_is_one_sentence_too(checkpoint):
    """In a process of its own, in which nobody checks types as tests do."""
    for line, words in (
        ("load(None)", "CheckpointError: the checkpoint is NoneType: give a bundled name, a folder or a hub id."),
        (f"load({str(checkpoint)!r}).ask(3)", "RequestError: the question has no words, it is 3: give a text"),
        (f"load({str(checkpoint)!r}).ask('x', seed=None)", "RequestError: seed=None is out of range"),
    ):
        run = [sys.executable, "-c", f"import armillary; armillary.{line}"]
        told = subprocess.run(run, capture_output=True, text=True, timeout=100)
        assert words in told.stderr.splitlines()[-1]
