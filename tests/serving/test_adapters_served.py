"""What a served generator wears is the operator's to say: a client names one that there is, desk and worker agree."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import small_checkpoint

from armillary.errors import CheckpointError
from armillary.model.low_rank import LowRank
from armillary.modes import MODES
from armillary.sampling.requests import check_request
from armillary.serving.app import make_app
from armillary.serving.desk import Desk, Wanted, batch_key, cost_of
from armillary.serving.forms import VideoBody, asked_of, parsed
from armillary.serving.problems import Problem
from armillary.serving.routes_service import model_told
from armillary.serving.settings import ServeSettings
from armillary.serving.worker import opened, warm

MATRIX = "layers.1.self_attn.add_v_proj"
FILM = {"prompt": "a red cube", "size": (64, 64), "frames": 5}


def written(folder, told=None, width=32):
    LowRank(alpha=1.0, targets=(), pairs={MATRIX: (torch.ones(1, width), torch.ones(32, 1))}).save(folder)
    if told is not None:
        (folder / "adapter.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with an adapter for quick films."""
    checkpoint = small_checkpoint(tmp_path_factory.mktemp("dressed") / "dressed")
    written(checkpoint / "adapters/quick", {"modes": ["text-to-video"], "steps": 2, "guidance": 1.0})
    return checkpoint


@pytest.fixture
def desk_with(folder, tmp_path):
    def begin(adapter=""):
        return Desk(ServeSettings(checkpoint=str(folder), adapter=str(adapter), folder=tmp_path / "serve"))

    return begin


def of(desk, **fields):
    """The request as the desk settles it from a body."""
    mode, asked, called = asked_of(parsed(VideoBody, {"size": "64x64", "prompt": "a red cube", **fields}))
    return desk.check(Wanted(mode=mode or "text-to-video", asked=asked, inputs={}, called=called))


def test_a_client_names_one_that_there_is(desk_with):
    desk = desk_with()
    assert of(desk).adapter.name == "quick" and of(desk, adapter="none").adapter is None
    assert of(desk, adapter="none", extra_params={"num_inference_steps": 3}).record["steps"] == 3
    assert of(desk, extra_params={"adapter": "quick"}, mode="text-to-image").adapter.name == "quick"


@pytest.mark.parametrize("asked", ["/etc/passwd", "../adapters/quick", "adapters/quick", ".", "quik", ""])
def test_a_path_is_no_name(desk_with, folder, asked):
    for told in (asked, str(folder / "adapters/quick")):
        with pytest.raises(Problem, match="is none of this checkpoint, which has quick") as wrong:
            of(desk_with(), adapter=told)
        assert (wrong.value.status, wrong.value.param) == (400, "adapter")


def test_deeds_are_acted_as_the_checkpoint_says_and_by_themselves_in_a_batch(folder, tmp_path):
    whole = shutil.copytree(folder, tmp_path / "actor")
    acts = {"modes": ["image-to-video"], "bodies": {"tabletop": {"who": [], "deeds": {}, "orders": {"lift": "Lift"}}}}
    (whole / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10.0, "acting": acts}))
    desk = Desk(ServeSettings(checkpoint=str(whole), folder=tmp_path / "serve"))
    told = model_told(desk)["modes"]
    assert {mode for mode, one in told.items() if one["acted"]} == {"image-to-video"}
    mine = written(tmp_path / "mine", {"modes": ["image-to-video"]})
    brought = Desk(ServeSettings(checkpoint=str(whole), adapter=str(mine), folder=tmp_path / "other"))
    assert not any(one["acted"] for one in model_told(brought)["modes"].values())
    picture = np.zeros((64, 64, 3), np.uint8)
    one, other = (check_request("image-to-video", {"prompt": words, "image": picture}, whole)
                  for words in ("Lift a cube.", "A cube."))  # fmt: skip
    assert one.acted is not None and other.acted is None
    assert batch_key("jobs", [one]) != batch_key("jobs", [other]) and cost_of(one) < cost_of(other)
    assert cost_of(one) == 17 * 64 * 64 * 20 / 1e6  # ten steps of the plan, ten of what comes of it


@pytest.mark.parametrize("asked", ["/etc/passwd", "tabletop.toml", "cow", ""])
def test_who_acts_is_named_and_never_a_path(desk_with, asked):
    with pytest.raises(Problem, match="is nobody who could act") as wrong:
        of(desk_with(), acting=asked, mode="text-to-video")
    assert (wrong.value.status, wrong.value.param) == (400, "acting")


def test_the_field_is_a_word(desk_with):
    with pytest.raises(Problem, match="adapter="):
        parsed(VideoBody, {"prompt": "x", "adapter": {"path": "/etc"}})
    told = VideoBody.model_json_schema()["properties"]["adapter"]
    assert {"type": "string"} in told["anyOf"]


@pytest.mark.parametrize("which", ["", "quick", "none", "mine"])
def test_desk_and_worker_settle_a_request_alike(desk_with, folder, tmp_path, which):
    """Whatever the operator says is worn."""
    own = written(tmp_path / "mine", {"modes": ["text-to-image"], "steps": 3}) if which == "mine" else which
    desk, omni = desk_with(own), opened(ServeSettings(checkpoint=str(folder), adapter=str(own), device="cpu"))
    for mode, more in (("text-to-video", {}), ("text-to-image", {}), ("text-to-video", {"adapter": "quick"}),
                       ("text-to-video", {"steps": 9}), ("text-to-image", {"adapter": "mine"})):  # fmt: skip
        asked = {**FILM, **more} if mode == "text-to-video" else {"prompt": "x", "size": (64, 64), **more}
        if more.get("adapter") == "mine" and which != "mine":
            with pytest.raises(Problem, match="is none of this checkpoint"):
                desk.check(Wanted(mode=mode, asked=asked, inputs={}, called={}))
            continue
        here = desk.check(Wanted(mode=mode, asked=asked, inputs={}, called={})).record
        assert here == check_request(mode, asked, omni.parts.folder, omni.parts.adapters).record
    wanted = {"": "quick", "quick": "quick", "none": None, "mine": "quick"}[which]
    assert model_told(desk)["modes"]["text-to-video"]["adapter"] == wanted
    assert model_told(desk)["modes"]["text-to-image"]["adapter"] == ("mine" if which == "mine" else None)


def test_what_there_is_and_what_it_brings_is_told(desk_with):
    """The studio fills in what a mode usually takes: what is worn must not come off by that."""
    desk = desk_with()
    told = model_told(desk)
    film, picture = told["modes"]["text-to-video"], told["modes"]["text-to-image"]
    assert told["adapters"] == ["quick"] and (film["steps"], film["guidance"]) == (2, 1.0)
    assert (picture["steps"], picture["guidance"]) == (MODES["text-to-image"].steps, 3.0)
    assert of(desk, steps=film["steps"], guidance=film["guidance"]).adapter.name == "quick"


def test_jobs_that_wear_alike_are_computed_together(desk_with):
    desk = desk_with()
    one, other, bare = (of(desk, adapter=name, steps=2, guidance=1.0) for name in ("quick", "quick", "none"))
    assert batch_key("video", [one]) == batch_key("video", [other]) != batch_key("video", [bare])


def test_an_adapter_that_is_none_ends_the_server_before_it_begins(folder, tmp_path):
    for adapter in ("nowhere", str(tmp_path)):
        settings = ServeSettings(checkpoint=str(folder), adapter=adapter, folder=tmp_path / "serve")
        with pytest.raises(CheckpointError, match="is no adapter"):
            make_app(settings)


def test_a_worker_tries_on_every_adapter_before_it_is_ready(folder, tmp_path):
    whole = shutil.copytree(folder, tmp_path / "one")
    written(whole / "adapters/foreign", {"modes": ["policy"]}, width=16)
    with pytest.raises(CheckpointError, match=r"foreign changes .* it is for another model"):
        warm(opened(ServeSettings(checkpoint=str(whole), device="cpu")))
    warm(opened(ServeSettings(checkpoint=str(folder), device="cpu")))
