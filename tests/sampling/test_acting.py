"""Films whose words tell a deed: they are what a plan and its foreseeing are, asked for one after the other."""

import json
import shutil

import numpy as np
import pytest
import torch

import armillary
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.errors import CheckpointError, RequestError
from armillary.model.low_rank import LowRank
from armillary.sampling import imagine as imagining
from armillary.sampling import requests
from armillary.sampling.acting import Acts
from armillary.sampling.adapters import NONE
from armillary.sampling.counts import count_evaluations, count_stretches
from armillary.sampling.requests import check_request

ACTS = {
    "modes": ["image-to-video", "text-to-video"],
    "bodies": {
        "tabletop": {
            "who": ["The robot", "An arm"],
            "deeds": {"lifts": "Lift", "picks up": "Lift"},
            "orders": {"lift": "Lift"},
        },
        "pusht": {
            "who": ["The disc"],
            "deeds": {"pushes the T": "Push the T home."},
            "orders": {"lift the T": "Push the T home."},
        },
    },
}
DEED = "The robot lifts the red cube. On the table: a red cube at 80 90."
SEED = 2**63 - 1  # the one after it begins anew
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    """The small checkpoint, made to act in films of its usual size: a plan's first eight actions each time."""
    folder = tmp_path_factory.mktemp("actor") / "actor"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text())
    more = {"size": [64, 64], "execute": {"tabletop": 8}, "steps": {"policy": 2, "forward-dynamics": 1}, "steady": 0.1}
    more |= {"painting": {"steps": 1, "bare_steps": 1}, "learnt": ["video-to-sound"], "filmless": ["policy"]}
    more |= {"acting": ACTS}
    (folder / "defaults.json").write_text(json.dumps(told | more))
    return folder


@pytest.fixture(scope="module")
def actor(folder):
    return armillary.load(folder, dtype="float32")


def worn(folder, modes):
    """An adapter for these modes."""
    pair = (torch.full((2, 48), 0.1), torch.full((32, 2), 0.1))
    LowRank(alpha=4.0, targets=("add_v_proj",), pairs={"layers.1.self_attn.add_v_proj": pair}).save(folder)
    if modes is not None:
        (folder / "adapter.json").write_text(json.dumps({"modes": modes}))
    return folder


def settled(folder, mode="image-to-video", **asked):
    start = {"image": PICTURE} if mode == "image-to-video" else {}
    return check_request(mode, {"prompt": DEED, **start, **asked}, folder)


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        (DEED, ("tabletop", "Lift the red cube.")),
        ("A table.  An arm  picks up a  cube", ("tabletop", "Lift the cube.")),
        ("lift the cube", ("tabletop", "Lift the cube.")),
        ("LIFT An apple 0.5 cm high! On the table", ("tabletop", "Lift the apple 0.5 cm high.")),
        ("Lift a red cube at 34 56", ("tabletop", "Lift the red cube.")),
        ("A table\nThe robot lifts the cube\nAnd waits", ("tabletop", "Lift the cube.")),
        ("Lifts the cube.", None),
        ("Lift it.", None),
        ("Lift the", None),
        ("Lift", None),
        ("The robot lifts", None),
        ("The robot lifted the cube.", None),
        ("A ball lifts the cube.", None),
        ("The robot waits.", None),
        ("", None),
        ("The disc pushes the T about.", ("pusht", "Push the T home.")),
        ("Lift the T.", ("pusht", "Push the T home.")),  # the longer beginning, whoever comes first
        ("The robot waits. The disc pushes the T. The robot lifts it.", ("pusht", "Push the T home.")),
    ],
)
def test_the_first_sentence_that_tells_a_deed_is_heard_and_told_to_who_does_it(words, heard):
    assert Acts.of(ACTS).heard(words) == heard


def test_a_film_that_is_acted_is_what_its_plans_and_what_comes_of_them_are(actor):
    """Two plans of eight actions, the last one cut: each as the two requests say that anybody could make himself."""
    film = actor.imagine("image-to-video", prompt=DEED, image=PICTURE, frames=13, seed=SEED)
    pictures, actions = [PICTURE[None]], []
    for number, count in enumerate((8, 4)):
        now = {"image": pictures[-1][-1], "embodiment": "tabletop", "seed": (SEED + number) % 2**63, "size": (64, 64)}
        plan = actor.imagine("policy", prompt="Lift the red cube.", outputs=("actions",), **now)
        actions.append(plan.actions[:count])
        pictures.append(actor.imagine("forward-dynamics", actions=actions[-1], **now).video[1:])
    assert np.array_equal(film.video, np.concatenate(pictures))
    assert np.allclose(film.actions, np.concatenate(actions), atol=1e-5) and film.body.name == "tabletop"
    told = film.provenance["request"]
    assert told["acting"] == "tabletop" and not {"steps", "guidance", "shift", "solver"} & set(told)
    assert told["acted"] == {
        "prompt": "Lift the red cube.", "steps": {"policy": 2, "forward-dynamics": 1}, "actions_a_plan": 8,
    }  # fmt: skip
    assert told["steady"] == 0.1 and told["outputs"] == ["video", "actions"]


def test_its_words_matter_and_its_record_asks_for_it_again(actor):
    film = actor.imagine("image-to-video", prompt=DEED, image=PICTURE, frames=9, seed=4)
    told = {name: one for name, one in film.provenance["request"].items() if name not in ("mode", "film", "acted")}
    assert np.array_equal(actor.imagine("image-to-video", image=PICTURE, **told).video, film.video)
    other = actor.imagine("image-to-video", prompt="The robot lifts the ball.", image=PICTURE, frames=9, seed=4)
    assert not np.array_equal(other.actions, film.actions)


def test_only_what_is_asked_for_comes_back_and_it_can_be_heard(actor, folder, tmp_path):
    omni = actor
    asked = {"prompt": DEED, "image": PICTURE, "frames": 5}
    alone = omni.imagine("image-to-video", outputs=("actions",), **asked)
    assert alone.video is None and alone.actions.shape == (4, 10)
    assert omni.imagine("image-to-video", outputs=("video",), **asked).actions is None
    heard = omni.imagine("image-to-video", sound=True, **asked)
    assert heard.sound.shape == (2, 24000) and heard.video.shape[0] == 5 and heard.actions.shape == (4, 10)
    whole = shutil.copytree(folder, tmp_path / "deaf")
    told = json.loads((whole / "defaults.json").read_text())
    (whole / "defaults.json").write_text(json.dumps({**told, "learnt": []}))  # its sound would have to be made with it
    assert check_request("image-to-video", {**asked, "sound": True}, whole).acted is None
    with pytest.raises(RequestError, match="sound has no use where tabletop acts"):
        check_request("image-to-video", {**asked, "sound": True, "acting": "tabletop"}, whole)


def test_a_film_from_words_is_acted_from_the_picture_that_is_painted(actor, monkeypatch):
    walked, make = [], imagining.make
    monkeypatch.setattr(imagining, "make", lambda *given: walked.extend(given[2]) or make(*given))
    shares = []
    film = actor.imagine("text-to-video", prompt=DEED, frames=9, on_progress=shares.append)
    assert [one.request.mode.name for one in walked] == ["text-to-image"] * 2 + ["policy", "forward-dynamics"]
    assert film.video.shape == (9, 64, 64, 3) and film.actions.shape == (8, 10) and shares[-1] == 1.0
    request = check_request("text-to-video", {"prompt": DEED, "frames": 25}, actor.parts.folder)
    assert (count_stretches(request), count_evaluations(request)) == (2 + 3 * 2, 2 + 3 * (2 + 1))


def test_where_nothing_can_be_painted_nobody_acts(folder):
    bare = "The robot lifts the red cube."
    request = settled(folder, "text-to-video", prompt=bare)
    assert request.acted is None and request.outputs == ("video",) == tuple(request.record["outputs"])
    assert "steps" in request.record and "acting" not in request.record
    for asked in ({"acting": "tabletop"}, {"outputs": ("actions",)}, {"outputs": ("video", "actions")}):
        with pytest.raises(RequestError, match="acting='tabletop' has no use in a film that begins with no picture"):
            settled(folder, "text-to-video", prompt=bare, **asked)


def test_what_a_deed_is_done_to_is_painted_where_nothing_else_is_named(folder, tmp_path):
    whole = shutil.copytree(folder, tmp_path / "writer")
    said = json.loads((whole / "defaults.json").read_text())
    said["upsampling"] = {"text-to-video": {"ask": "Where? {prompt}", "places": True, "usual": True}}
    (whole / "defaults.json").write_text(json.dumps(said))

    def words(prompt, **asked):
        return settled(whole, "text-to-video", prompt=prompt, **asked).prompt

    bare = "Lift the red cube"
    assert words(bare) == words(f"{bare}.") == "Lift the red cube. On the table: a red cube."
    assert words("Lift the red cube onto the blue ball on the left tray!") == (
        "Lift the red cube onto the blue ball on the left tray! On the table: a red cube and a blue ball."
    )
    for prompt, asked in (("The robot waits.", {}), ("Lift the cube.", {}), (f"{bare}. Here is a blue ball.", {}),
                          (bare, {"acting": NONE}), (bare, {"upsample": False}),
                          (bare, {"dialect": "diffusers"})):  # fmt: skip
        assert words(prompt, **asked) == prompt
    (whole / "defaults.json").write_text(json.dumps({**said, "acting": {**ACTS, "modes": []}}))
    assert words(bare) == bare != words(bare, acting="tabletop")
    (whole / "defaults.json").write_text(json.dumps(said))
    assert settled(folder, "text-to-video", prompt=bare).prompt == bare == settled(whole, prompt=bare).prompt
    assert settled(whole, "text-to-video", prompt=bare).acted is not None


OTHERS = [
    {"acting": NONE}, {"prompt": "The robot waits."}, {"steps": 3}, {"guidance": 2.0}, {"negative_prompt": "dark"},
    {"shift": 2.0}, {"solver": "euler"}, {"reuse": 0.1}, {"guidance_between": (0.1, 0.9)}, {"adapter": NONE},
    {"latents": {"video": np.zeros((48, 2, 4, 4), np.float32)}, "frames": 5}, {"dialect": "diffusers"},
    {"size": (96, 64)}, {"fps": 24.0},
]  # fmt: skip


@pytest.mark.parametrize("asked", OTHERS, ids=lambda one: next(iter(one)))
def test_who_says_how_a_film_walks_gets_that_walk(folder, asked):
    request = settled(folder, **asked)
    assert request.acted is None and count_stretches(request) == 1 and request.outputs == ("video",)
    assert request.record.get("acting") == asked.get("acting")


def test_an_adapter_of_ones_own_is_worn_and_the_checkpoint_s_is_not_where_it_acts(folder, tmp_path):
    mine = worn(tmp_path / "mine", ["image-to-video"])
    omni = armillary.load(folder, adapter=mine)
    asked = {"prompt": DEED, "image": PICTURE}
    request = check_request("image-to-video", asked, folder, omni.parts.adapters)
    assert request.acted is None and request.adapter is not None and request.adapter.name == "mine"
    with pytest.raises(RequestError, match="acting='tabletop' would pass over the adapter 'mine', which is worn in"):
        check_request("image-to-video", {**asked, "acting": "tabletop"}, folder, omni.parts.adapters)
    everywhere = armillary.load(folder, adapter=worn(tmp_path / "all", None))
    named = check_request("image-to-video", {**asked, "acting": "tabletop"}, folder, everywhere.parts.adapters)
    assert named.acted is not None and [half.adapter.name for half in named.acted] == ["all", "all"]
    assert check_request("image-to-video", asked, folder, everywhere.parts.adapters).acted is None
    whole = shutil.copytree(folder, tmp_path / "whole")
    worn(whole / "adapters/quick", ["image-to-video"])
    worn(whole / "adapters/ahead", ["policy"])
    told = armillary.load(whole, dtype="float32").imagine("image-to-video", frames=5, **asked).provenance
    assert "adapter" not in told and told["request"]["acted"]["adapters"]["policy"]["name"] == "ahead"
    named = armillary.load(whole, adapter="quick")  # whoever opens it wants to see it
    assert check_request("image-to-video", asked, whole, named.parts.adapters).acted is None
    worn(whole / "adapters/painter", ["text-to-image", "text-to-video"])
    painter = armillary.load(whole, dtype="float32")
    first, still = (painter.imagine(mode, prompt=DEED, **more) for mode, more in
                    (("text-to-video", {"frames": 5}), ("text-to-image", {})))  # fmt: skip
    assert np.array_equal(first.video[0], still.video[0])
    assert first.provenance["adapter"]["name"] == still.provenance["adapter"]["name"] == "painter"


def test_a_film_that_is_acted_is_as_fast_as_who_acts_in_it(folder, tmp_path):
    whole = shutil.copytree(folder, tmp_path / "whole")
    save_embodiments(whole, [load_embodiment(name) for name in ("tabletop", "droid")])
    request = settled(whole, acting="droid")
    assert request.fps == request.record["fps"] == 15.0 == request.acted[1].fps
    assert settled(whole, acting="droid", fps=15.0).acted is not None
    said = json.loads((whole / "defaults.json").read_text())
    (whole / "defaults.json").write_text(json.dumps({**said, "fps": 24.0}))
    assert settled(whole).acted is None and settled(whole, fps=10.0).acted is not None


def test_a_checkpoint_that_cannot_act_walks_by_itself_and_says_so_if_asked(folder, monkeypatch):
    check = requests.check_request

    def distilled(name, *given):
        if name == "policy":
            raise RequestError("it reads no actions")
        return check(name, *given)

    monkeypatch.setattr(requests, "check_request", distilled)
    assert settled(folder).acted is None
    with pytest.raises(RequestError, match="acting='tabletop' cannot be here: it reads no actions"):
        settled(folder, acting="tabletop")


def test_latents_of_a_film_that_is_acted_are_refused_with_what_would_do(actor):
    with pytest.raises(RequestError, match="with acting='none'"):
        actor.latents([{"mode": "image-to-video", "prompt": DEED, "image": PICTURE}])


def test_how_still_things_are_held_is_taken_by_every_plan_and_told(actor):
    asked = {"prompt": DEED, "image": PICTURE, "outputs": ("actions",), "frames": 13, "seed": 1}
    held, free = (actor.imagine("image-to-video", steady=steady, **asked) for steady in (1.0, 0.0))
    assert not np.array_equal(held.actions, free.actions) and held.provenance["request"]["steady"] == 1.0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"steps": 3}, "steps has no use where tabletop acts out the film's words"),
        ({"dialect": "diffusers"}, "dialect has no use"),
        ({"prompt": " "}, "acting='tabletop' was asked for without words"),
        ({"prompt": None}, "acting='tabletop' was asked for without words"),
        ({"fps": 24.0}, "fps=24, but tabletop acts 10 times a second"),
        ({"acting": "cow"}, "acting='cow' is nobody who could act"),
        ({"acting": "umi"}, "acting='umi' is nobody who could act: this checkpoint knows pusht, tabletop"),
        ({"size": (32, 4000)}, "acting='tabletop' cannot be here: "),
        ({"acting": "src/armillary/embodiment_files/pusht.toml"}, "is nobody who could act"),
        ({"acting": ["tabletop"]}, "is nobody who could act"),
    ],
)
def test_acting_that_cannot_be_is_one_sentence(folder, asked, words):
    with pytest.raises(RequestError, match=words):
        settled(folder, **{"acting": "tabletop", **asked})


def test_who_is_named_acts_in_words_of_any_kind_and_where_the_checkpoint_says_nothing(folder, checkpoint, tmp_path):
    for words, told in ((DEED, "Lift the red cube."), ("Wave!", "Wave!"), ("The disc pushes the T.",) * 2):
        request = settled(folder, prompt=words, acting="tabletop")
        assert request.acted is not None and request.acted[0].prompt == told
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    (bare / "embodiments.json").unlink()
    assert settled(bare, acting="droid", size=(64, 64)).record["acting"] == "droid"
    request = settled(checkpoint, acting="pusht", size=(64, 64))
    assert request.acted is not None and request.acted[0].prompt == DEED and request.record["acting"] == "pusht"
    assert settled(checkpoint).acted is None


def test_acting_has_no_use_in_modes_that_do_not_take_it(folder):
    with pytest.raises(RequestError, match="acting has no use in forward-dynamics"):
        check_request("forward-dynamics", {"acting": NONE, "image": PICTURE, "embodiment": "tabletop",
                                           "actions": np.zeros((4, 10))}, folder)  # fmt: skip


def test_other_deeds_are_another_checkpoint_and_no_deeds_none(folder, checkpoint, tmp_path):
    plain, acts = armillary.load(checkpoint).parts, armillary.load(folder).parts
    assert plain.acts_told == {} and "acting" not in plain.made_from
    assert acts.acts_told["modes"] == ACTS["modes"] and {*acts.made_from} == {*plain.made_from, "acting"}
    other = shutil.copytree(folder, tmp_path / "other")
    said = json.loads((other / "defaults.json").read_text())
    fewer = {**ACTS, "bodies": {"tabletop": ACTS["bodies"]["tabletop"]}}
    (other / "defaults.json").write_text(json.dumps({**said, "acting": fewer}))
    parts = armillary.load(other).parts
    assert parts.made_from["acting"] != acts.made_from["acting"]
    assert {**parts.made_from, "acting": ""} == {**acts.made_from, "acting": ""}
    (other / "defaults.json").write_text(json.dumps({**said, "acting": {**ACTS, "modes": []}}))
    assert armillary.load(other).parts.made_from["acting"] != acts.made_from["acting"]
    (other / "defaults.json").write_text(json.dumps({**said, "steady": 0.2}))
    assert armillary.load(other).parts.made_from["settings"] != acts.made_from["settings"]


@pytest.mark.parametrize(
    "broken",
    [[], {"modes": []}, {"modes": ["policy"], "bodies": {}}, {"modes": [], "bodies": {"a": {"who": []}}},
     {"modes": [], "bodies": {"a": {"who": "me", "deeds": {"b": "B"}}}},
     {"modes": [], "bodies": {"a": {"who": [], "deeds": {}}}},
     {"modes": [], "bodies": {"a": {"who": ["me"], "deeds": {"b": " "}}}},
     {"modes": [], "bodies": {"a": {"who": [], "deeds": {}, "orders": {" ": "B"}}}}],
)  # fmt: skip
def test_deeds_that_cannot_be_are_told(checkpoint, tmp_path, broken):
    folder = shutil.copytree(checkpoint, tmp_path / "broken")
    (folder / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10.0, "acting": broken}))
    with pytest.raises(CheckpointError, match=r"defaults.json cannot be read"):
        settled(folder)
