"""Which adapter a request wears: what the checkpoint says of each, unless the request says otherwise."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import armillary
from armillary.errors import CheckpointError, RequestError
from armillary.model import load_model
from armillary.model.low_rank import LowRank
from armillary.modes import MODES, mode_named
from armillary.sampling.adapters import NONE, ONWARDS, Adapter, adapters_of, left_off, settle_adapter
from armillary.sampling.defaults import Defaults
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.parts import Parts
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import unfold

FILM = {"prompt": "a red cube", "size": (64, 64), "frames": 5, "seed": 3}
WORDS = "On the table: a red cube at 80 90."
MATRIX = "layers.1.self_attn.add_v_proj"


def written(folder, seed, told=None, scale=0.3):
    """An adapter that changes one matrix of the small checkpoint, and what it says of itself."""
    chance = torch.Generator().manual_seed(seed)
    pair = (scale * torch.randn(2, 48, generator=chance), scale * torch.randn(32, 2, generator=chance))
    LowRank(alpha=4.0, targets=("add_v_proj",), pairs={MATRIX: pair}).save(folder)
    if told is not None:
        (folder / "adapter.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def wearer(checkpoint, tmp_path_factory):
    """The small checkpoint with two adapters: one that makes films quickly, one for films that go on."""
    folder = tmp_path_factory.mktemp("wearer") / "wearer"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    more = {"painting": {"steps": 1, "bare_steps": 1}, "learnt": ["video-to-sound"]}
    (folder / "defaults.json").write_text(json.dumps(told | more))
    quick = {"modes": ["text-to-video", "image-to-video"], "steps": 2, "guidance": 1.0}
    written(folder / "adapters/quick", 1, quick)
    written(folder / "adapters/going", 2, {"modes": [ONWARDS], "steps": 1})
    return folder


@pytest.fixture(scope="module")
def dressed(wearer):
    return armillary.load(wearer, dtype="float32")


def merged(dressed, name, tmp_path):
    """The same checkpoint with the adapter's change in its weights, and no adapter beside."""
    folder = tmp_path / "merged"
    shutil.copytree(dressed.parts.folder, folder)
    shutil.rmtree(folder / "adapters")
    model = load_model(folder, dtype=torch.float32)
    low_rank = LowRank.load(dressed.parts.folder / "adapters" / name)
    weight = model.transformer.get_submodule(MATRIX).weight
    with torch.no_grad():
        weight.copy_(low_rank.added(f"{MATRIX}.weight", weight))
    from armillary.model import save_model

    save_model(folder, model, dtype=torch.float32)
    return armillary.load(folder, dtype="float32")


CASES = [
    ("text-to-video", {}, "quick"),
    ("image-to-video", {}, "quick"),
    ("video-to-video", {}, ""),
    ("text-to-video", {"steps": 2, "guidance": 1.0}, "quick"),
    ("text-to-video", {"steps": 20}, ""),
    ("text-to-video", {"guidance": 3.0}, ""),
    ("text-to-video", {"dialect": "diffusers"}, ""),
    ("text-to-video", {"dialect": "native"}, "quick"),
    ("text-to-video", {"adapter": "none"}, ""),
    ("video-to-video", {"adapter": "quick"}, "quick"),
    ("text-to-video", {"adapter": "quick", "steps": 20, "dialect": "diffusers"}, "quick"),
    ("text-to-video", {"adapter": "going"}, "going"),
    (ONWARDS, {}, "going"),
    (ONWARDS, {"steps": 3}, ""),
    ("reason", {}, ""),
]


@pytest.mark.parametrize(("mode", "given", "worn"), CASES, ids=[f"{mode} {given}" for mode, given, _ in CASES])
def test_an_adapter_is_worn_where_it_says_and_where_it_is_named(wearer, mode, given, worn):
    found = settle_adapter(mode, given, adapters_of(wearer))
    assert ("" if found is None else found.name) == worn


@pytest.mark.parametrize("asked", ["quik", "../adapters/quick", "/etc", 5, ["quick"]])
def test_an_unknown_name_is_told_with_those_that_there_are(wearer, asked):
    with pytest.raises(RequestError, match=r"has going, quick: name one of these or 'none'\.") as told:
        check_request("text-to-video", {**FILM, "adapter": asked}, wearer)
    assert "\n" not in str(told.value)
    with pytest.raises(RequestError, match="Did you mean 'quick'"):
        settle_adapter("text-to-video", {"adapter": "quik"}, adapters_of(wearer))


@pytest.mark.parametrize(("given", "why"), [
    ({"steps": 8}, "which is left off since steps=8 is asked for: leave that out, or say adapter='heard' beside it"),
    ({"steps": 8, "guidance": 2.0}, "since steps=8 and guidance=2.0 is asked for"),
    ({"negative_prompt": "fog"}, "since negative_prompt='fog' is asked for"),
    ({"adapter": "none"}, "which is left off since adapter='none' is asked for: leave that out."),
    ({"dialect": "diffusers"}, "since dialect='diffusers' is asked for"),
    ({}, ""),
])  # fmt: skip
def test_an_adapter_that_has_learnt_a_mode_and_is_left_off_is_named_with_why(given, why, tmp_path):
    """What a checkpoint has not learnt itself: the sentence says what was asked, not that nobody has learnt it."""
    heard = Adapter(name="heard", folder=tmp_path, modes=("sound-to-video",), steps=4, guidance=1.0)
    mode, others = "sound-to-video", {"heard": heard}
    worn = settle_adapter(mode, given, others)
    told = left_off(mode, given, others, worn)
    assert why in told and bool(told) == (worn is None) == bool(why)
    for defaults in (Defaults(), Defaults(learnt=(mode,)), Defaults(untrained="not trained")):
        warned = defaults.warning(mode_named(mode), mode, worn, told)
        assert warned == (defaults.untrained or ("" if defaults.learnt else told))
    own = replace(heard, unasked=False)
    assert left_off(mode, {}, {"heard": own}, None).endswith("is not worn unasked: say adapter='heard'.")
    assert left_off("policy", given, others, None) == ""


def test_where_no_generator_is_at_work_none_can_be_named(wearer, checkpoint, tmp_path):
    with pytest.raises(RequestError, match="adapter has no use in reason"):
        check_request("reason", {"prompt": "what?", "adapter": "quick"}, wearer)
    own = written(tmp_path / "mine", 5)
    assert settle_adapter("reason", {}, adapters_of(checkpoint, own)) is None
    with pytest.raises(RequestError, match="which has none at all"):
        check_request("text-to-video", {**FILM, "adapter": "quick"}, checkpoint)


def test_it_brings_its_own_steps_and_guidance(wearer):
    worn = check_request("text-to-video", FILM, wearer)
    assert (len(worn.schedule.stops), worn.guidance, worn.record["adapter"]) == (2, 1.0, "quick")
    plain = check_request("text-to-video", {**FILM, "adapter": NONE}, wearer)
    assert (len(plain.schedule.stops), plain.guidance) == (MODES["text-to-video"].steps, 3.0)
    assert plain.record["adapter"] == NONE and plain.adapter is None
    other = check_request("text-to-video", {**FILM, "adapter": "quick", "guidance": 2.0}, wearer)
    assert (len(other.schedule.stops), other.guidance) == (2, 2.0)
    assert (
        "adapter" not in check_request("video-to-video", {"video": np.zeros((9, 64, 64, 3), np.uint8)}, wearer).record
    )


@pytest.mark.parametrize("how", [{}, {"offload": "towers"}, {"offload": "layers"}], ids=["plain", "towers", "layers"])
def test_worn_a_film_is_that_of_the_changed_weights(dressed, wearer, tmp_path, how):
    wanted = merged(dressed, "quick", tmp_path).imagine("text-to-video", **FILM, steps=2, guidance=1.0)
    plain = dressed.imagine("text-to-video", **FILM, steps=2, guidance=1.0, adapter=NONE)
    one = armillary.load(wearer, dtype="float32", **how)
    worn = one.imagine("text-to-video", **FILM)
    assert np.abs(worn.video.astype(int) - wanted.video.astype(int)).max() <= 1
    assert not np.array_equal(worn.video, plain.video)
    again = one.imagine("text-to-video", **FILM, steps=2, guidance=1.0, adapter=NONE)
    assert np.array_equal(again.video, plain.video), "taken off, nothing of it is left"


def test_with_and_without_in_one_call_are_as_alone(dressed):
    asked = [{**FILM, "steps": 2, "guidance": 1.0, "adapter": name} for name in ("quick", NONE, "going", "quick")]
    together = dressed.imagine_many([{"mode": "text-to-video", **one} for one in asked])
    for one, found in zip(asked, together, strict=True):
        alone = dressed.imagine("text-to-video", **one)
        assert np.abs(found.video.astype(int) - alone.video.astype(int)).max() <= 1
        assert found.provenance.get("adapter", {"name": NONE})["name"] == one["adapter"]
    assert len({one.video.tobytes() for one in together[:3]}) == 3


def test_where_a_film_comes_from_names_the_adapter_and_its_bytes(dressed, wearer):
    worn = dressed.imagine("text-to-video", **FILM)
    wanted = adapters_of(wearer)["quick"].sha256
    assert worn.provenance["adapter"] == {"name": "quick", "sha256": wanted}
    assert worn.provenance["request"]["adapter"] == "quick"
    plain = dressed.imagine("text-to-video", **FILM, steps=1, guidance=1.0)
    assert "adapter" not in plain.provenance and "adapter" not in plain.provenance["request"]
    told = {**worn.provenance["request"]}
    kept = {name: told[name] for name in ("prompt", "frames", "size", "fps", "steps", "guidance", "seed", "adapter")}
    again = dressed.imagine("text-to-video", **kept)
    assert np.array_equal(again.video, worn.video)


def test_weights_are_the_checkpoints_own_and_what_is_worn_is_told_apart(wearer, checkpoint, tmp_path):
    folder = shutil.copytree(wearer, tmp_path / "one")
    before = Parts(folder, device=torch.device("cpu"), dtype=torch.float32)
    written(folder / "adapters/quick", 9)
    after = Parts(folder, device=torch.device("cpu"), dtype=torch.float32)
    assert before.weights_sha256 == after.weights_sha256
    assert before.made_from["adapters"] != after.made_from["adapters"]
    bare = armillary.load(folder, adapter=NONE).parts
    assert "adapters" not in bare.made_from and not armillary.load(checkpoint).parts.adapters_told


def test_a_film_and_a_question_in_turn_do_not_undress_the_generator(wearer, monkeypatch):
    """Its matrices are read anew where another adapter is worn, and nowhere else."""
    from armillary.model.stock import Stock

    changes, wear = [], Stock.wear
    monkeypatch.setattr(Stock, "wear", lambda self, adapter: (changes.append(adapter), wear(self, adapter))[1])
    omni = armillary.load(wearer, dtype="float32")
    omni.ask("what?", longest=1)  # whole, so that nothing is loaded later
    for _ in range(2):
        omni.imagine("text-to-video", **FILM)
        omni.ask("what is there?", longest=1)
    assert len(changes) == 1
    assert changes[0].where.endswith("quick")


def stretches(request, dressed):
    """Every walk of a request, as one after the other would be made."""
    from armillary.sampling.imagine import Watch, make

    story, found = unfold(request), []
    stretch = next(story)
    while True:
        found.append(stretch)
        made = make(dressed.parts, stretch.layout, [stretch], Watch(total=9))[0]
        try:
            stretch = story.send(made)
        except StopIteration:
            return [(one.request.mode.name, one.layout.adapter) for one in found]


def test_a_painted_picture_and_a_later_sound_do_not_wear_the_films_adapter(dressed, wearer):
    small = {"size": (64, 64), "frames": 5}
    film = check_request("text-to-video", {"prompt": WORDS, "sound": True, **small}, wearer)
    assert stretches(film, dressed) == [
        ("text-to-image", ""), ("text-to-image", ""), ("image-to-video", "quick"), ("video-to-sound", ""),
    ]  # fmt: skip
    picture = check_request("text-to-image", {"prompt": WORDS, "size": (64, 64), "adapter": "quick"}, wearer)
    assert stretches(picture, dressed) == [("text-to-image", "quick")] * 2, "who names it for a picture means that"


def test_an_own_adapter_is_worn_before_the_checkpoints(wearer, tmp_path):
    own = written(tmp_path / "mine", 5)
    everywhere = adapters_of(wearer, own)
    for mode in set(MODES) - {"reason"}:
        assert settle_adapter(mode, {"steps": 7}, everywhere).name == "mine"
    assert settle_adapter(ONWARDS, {}, everywhere).name == "going", "that one has learnt it"
    assert settle_adapter("text-to-video", {"adapter": "quick"}, everywhere).name == "quick"
    assert settle_adapter("text-to-video", {"adapter": NONE}, everywhere) is None
    (own / "adapter.json").write_text('{"modes": ["policy", "onwards"]}')
    some = adapters_of(wearer, own)
    assert settle_adapter("policy", {}, some).name == settle_adapter(ONWARDS, {}, some).name == "mine"
    assert settle_adapter("text-to-video", {}, some).name == "quick"
    omni = armillary.load(wearer, dtype="float32", adapter=own)
    assert omni.imagine("text-to-video", **FILM).provenance["adapter"]["name"] == "quick"


def test_one_of_the_checkpoints_alone_or_none_is_worn_unasked(wearer):
    only = armillary.load(wearer, dtype="float32", adapter="going").parts.adapters
    assert settle_adapter("text-to-video", {}, only) is None and settle_adapter(ONWARDS, {}, only).name == "going"
    bare = armillary.load(wearer, dtype="float32", adapter=NONE).parts.adapters
    assert all(settle_adapter(mode, {}, bare) is None for mode in (*MODES, ONWARDS))
    assert settle_adapter("text-to-video", {"adapter": "quick"}, bare).name == "quick", "a request still may"


def test_what_cannot_be_worn_at_all_is_told_at_once(wearer, checkpoint, tmp_path):
    with pytest.raises(
        CheckpointError, match=r"'nowhere' is no adapter: give a folder .* or one of going, quick, none"
    ):
        armillary.load(wearer, adapter="nowhere")
    with pytest.raises(CheckpointError, match="has an adapter 'quick' already: give yours another name"):
        armillary.load(wearer, adapter=written(tmp_path / "quick", 5))
    with pytest.raises(CheckpointError, match="has an adapter 'none' already"):
        armillary.load(wearer, adapter=written(tmp_path / NONE, 5))
    folder = shutil.copytree(checkpoint, tmp_path / "one")
    (folder / "adapters/empty").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"empty' is no adapter: give a folder with adapter_config\.json"):
        armillary.load(folder)


@pytest.mark.parametrize("told", [
    "{", "[]", "{}", '{"modes": "policy"}', '{"modes": ["dream"]}', '{"modes": ["policy"], "steps": 0}',
    '{"modes": ["policy"], "steps": 1.5}', '{"modes": ["policy"], "guidance": -1}',
    '{"modes": ["policy"], "guidance": NaN}', '{"modes": ["policy"], "guidance": "strong"}',
])  # fmt: skip
def test_a_broken_adapter_json_is_one_sentence(checkpoint, tmp_path, told):
    own = written(tmp_path / "mine", 5)
    (own / "adapter.json").write_text(told)
    with pytest.raises(CheckpointError, match=r"adapter\.json cannot be read .*: it must say modes") as wrong:
        armillary.load(checkpoint, adapter=own)
    assert "\n" not in str(wrong.value)


def test_another_models_adapter_is_told_by_its_folder_and_the_next_request_is_served(checkpoint, tmp_path):
    own = tmp_path / "mine"
    LowRank(alpha=1.0, targets=(), pairs={MATRIX: (torch.zeros(1, 16), torch.zeros(32, 1))}).save(own)
    omni = armillary.load(checkpoint, dtype="float32", adapter=own)
    with pytest.raises(CheckpointError, match=f"^{own} changes {MATRIX}.*it is for another model"):
        omni.imagine("text-to-video", **FILM, steps=1, guidance=1.0)
    plain = armillary.load(checkpoint, dtype="float32").imagine("text-to-video", **FILM, steps=1, guidance=1.0)
    found = omni.imagine("text-to-video", **FILM, steps=1, guidance=1.0, adapter=NONE)
    assert np.array_equal(found.video, plain.video)


def test_a_film_goes_on_with_the_adapter_for_that(dressed, wearer, picture, actions, tmp_path):
    asked = {"image": picture, "embodiment": "tabletop", "size": (64, 64), "seed": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        worn = dressed.onwards(**asked)
    assert len(worn._schedule.stops) == 1
    with pytest.warns(UntrainedWarning, match="has learnt onwards"):
        plain = dressed.onwards(**asked, adapter=NONE, steps=1)
    with pytest.warns(UntrainedWarning, match="has learnt onwards"):
        wanted = merged(dressed, "going", tmp_path).onwards(**asked, steps=1)
    films = [film.push(actions[:4]).astype(int) for film in (worn, wanted, plain)]
    assert np.abs(films[0] - films[1]).max() <= 1 and not np.array_equal(films[0], films[2])


def test_a_change_that_fails_half_way_is_made_good_by_the_next_request(wearer, monkeypatch):
    """With or without an adapter the next film is what it would have been; no matrix stays without its weights."""
    omni, calm = (armillary.load(wearer, dtype="float32") for _ in range(2))
    for one in (omni, calm):
        one.parts.model("reasoner", "generator", "vision")
    added, asked = LowRank.added, []

    def fails(self, name, weight):
        asked.append(name)
        if len(asked) == 1:
            raise torch.OutOfMemoryError("no room")
        return added(self, name, weight)

    for film in (FILM, {**FILM, "adapter": NONE}):
        asked.clear()
        monkeypatch.setattr(LowRank, "added", fails)
        with pytest.raises(torch.OutOfMemoryError):
            omni.imagine("text-to-video", **FILM)
        monkeypatch.setattr(LowRank, "added", added)
        assert np.array_equal(omni.imagine("text-to-video", **film).video, calm.imagine("text-to-video", **film).video)
        omni.imagine("text-to-video", **{**FILM, "adapter": NONE})


@pytest.mark.parametrize("asked", [{"shift": 10.0}, {"negative_prompt": "fog"}, {"guidance_between": (0.2, 0.9)}])
def test_what_goes_with_other_steps_or_with_guidance_is_walked_without_it(wearer, asked):
    request = check_request("text-to-video", {**FILM, **asked}, wearer)
    assert request.adapter is None and request.guidance == MODES["text-to-video"].guidance
    named = check_request("text-to-video", {**FILM, "shift": 10.0, "adapter": "quick"}, wearer)
    assert named.adapter.name == "quick" and len(named.schedule.stops) == 2


def test_named_where_it_was_not_learnt_it_leaves_steps_and_guidance_to_the_mode(wearer):
    request = check_request("text-to-image", {"prompt": "a cube", "adapter": "quick", "upsample": False}, wearer)
    usual = MODES["text-to-image"]
    assert request.adapter.name == "quick" and len(request.schedule.stops) == usual.steps
    assert request.guidance == usual.guidance


def test_a_draft_beside_adapters_is_none_of_them_and_numbers_must_be_finite(wearer, tmp_path):
    folder = shutil.copytree(wearer, tmp_path / "copy")
    (folder / "adapters/.quick.123").mkdir()
    assert set(adapters_of(folder)) == {"quick", "going"}
    pair = (torch.full((2, 48), torch.nan), torch.ones(32, 2))
    LowRank(alpha=4.0, targets=("add_v_proj",), pairs={MATRIX: pair}).save(tmp_path / "broken")
    with pytest.raises(CheckpointError, match="that is not finite"):
        LowRank.load(tmp_path / "broken")


def test_a_film_that_goes_on_wears_it_where_nothing_is_said_of_steps(dressed, picture):
    film = dressed.onwards(image=picture, embodiment="tabletop", size=(64, 64), steps=None)
    assert film._worn == "going"
