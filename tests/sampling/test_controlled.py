"""Films under controls: what holds them, how strongly, and how a long one is put together."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import armillary
from armillary import controls
from armillary.errors import CheckpointError, RequestError
from armillary.model import Sampling, patchify, video_positions, write_model_index
from armillary.model.attention import Shares, attend, attend_apart
from armillary.model.walk import Walk
from armillary.prompts import control_prompt
from armillary.records import Segment
from armillary.sampling import imagine as imagining
from armillary.sampling import solver
from armillary.sampling.adapters import Adapter
from armillary.sampling.controlled import reflected
from armillary.sampling.counts import count_stretches
from armillary.sampling.defaults import Defaults
from armillary.sampling.guidance import Field, Hold, Part
from armillary.sampling.imagine import make
from armillary.sampling.omni import UntrainedWarning
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import unfold

pytestmark = pytest.mark.filterwarnings("ignore:this checkpoint does not say")
SMALL = {"size": (32, 32), "steps": 2}
FILM = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
OTHER = 255 - FILM

WRONG = [
    ({"controls": {}}, "controls is empty"),
    ({"controls": FILM}, "a mapping from kind"),
    ({"controls": {"egde": FILM}}, "Did you mean 'edge'"),
    ({"controls": {"seg": FILM, "segmentation": FILM}}, "segmentation twice"),
    ({"controls": {"edge": "nowhere.mp4"}}, "no file 'nowhere.mp4'"),
    ({"controls": {"edge": FILM.astype(float)}}, "uint8"),
    ({"controls": {"edge": FILM, "blur": FILM[:9]}}, "edge has 12 frames and blur 9"),
    ({"controls": {"edge": FILM, "blur": FILM[:, :, :16]}}, "do not show the same place"),
    ({"controls": {"edge": "auto"}}, "give that as video"),
    ({"controls": {"depth": "auto"}, "video": FILM}, "only edge and blur can"),
    ({"controls": {"edge": "auto:hard"}, "video": FILM}, "strength 'hard' is unknown"),
    ({"controls": {"edge": FILM}, "video": FILM}, "video has no use"),
    ({"controls": {"edge": FILM}, "frames": 13}, "the controls have 12"),
    ({"controls": {"edge": FILM}, "frames": 0}, "from 1 to"),
    ({"controls": {"edge": FILM}, "stretch": 6}, "4k\\+1, 5 would do"),
    ({"controls": {"edge": FILM}, "stretch": 5, "overlap": 5}, "from 0 to 4"),
    ({"controls": {"edge": FILM}, "given_frames": 1}, "no video to take them from"),
    ({"controls": {"edge": FILM}, "video": FILM[:2], "given_frames": 3}, "video has 2 frames"),
    ({"controls": {"edge": FILM}, "video": FILM, "given_frames": 12}, "from 0 to 11"),
    ({"controls": {"edge": FILM}, "video": FILM, "given_frames": 6, "stretch": 5}, "most 4, or a longer stretch"),
    ({"controls": {"edge": FILM}, "video": FILM, "given_frames": 1, "stretch": 1}, "of 1 frames nothing to find"),
    ({"controls": {"edge": FILM}, "control_weights": {"edge": 2.0}}, "the only control's weight"),
    ({"controls": {"edge": FILM}, "control_weights": {"blur": 2.0}}, "which is no control here"),
    ({"controls": {"edge": FILM, "blur": FILM}, "control_weights": {"edge": -1}}, "from 0 to"),
    ({"controls": {"edge": FILM, "blur": FILM}, "control_weights": {"edge": 0, "blur": 0}}, "are all 0"),
    ({"controls": {"edge": FILM, "blur": FILM}, "control_weights": {"edge": 3}, "dialect": "diffusers"}, "no use in"),
    ({"controls": {"edge": FILM}, "control_guidance": "much"}, "out of range"),
    ({"controls": {"edge": FILM}, "image": FILM[0]}, "image has no use"),
]


@pytest.mark.parametrize(("asked", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_wrong_request_is_refused_with_a_sentence_and_loads_nothing(checkpoint, asked, words):
    omni = armillary.load(checkpoint, dtype="float32")
    with pytest.raises(RequestError, match=words) as refusal:
        omni.imagine("transfer", **asked)
    assert "\n" not in str(refusal.value)
    assert omni.parts.loaded == ()


def settled(checkpoint, **asked):
    return check_request("transfer", {"controls": {"edge": FILM}, **SMALL, **asked}, checkpoint)


def test_every_kind_has_the_guidance_it_is_best_asked_with_and_several_the_mean(checkpoint):
    """cosmos3.md 5.7; with several, each kind's counts as much as the kind does."""
    for kind, (words, held) in controls.GUIDANCE.items():
        request = settled(checkpoint, controls={kind: FILM})
        assert (request.guidance, request.controlled.guidance) == (words, held)
    both = settled(checkpoint, controls={"map": FILM, "edge": FILM}, control_weights={"edge": 3})
    assert list(both.controlled.films) == ["edge", "map"]
    assert both.controlled.weights == (0.75, 0.25)
    assert (both.guidance, both.controlled.guidance) == (2.5, 1.875)
    assert settled(checkpoint, guidance=2.0, control_guidance=0.5).controlled.guidance == 0.5
    assert settled(checkpoint, guidance=2.0).guidance == 2.0


def test_controls_may_be_made_of_the_film_or_be_one_picture(checkpoint, tmp_path):
    made = settled(checkpoint, controls={"edge": "auto:low", "blur": "auto"}, video=FILM).controlled
    assert np.array_equal(made.films["edge"], controls.edge(FILM, "low"))
    assert np.array_equal(made.films["blur"], controls.blur(FILM))
    still = settled(checkpoint, controls={"depth": FILM[0]})
    assert (still.frames, still.controlled.stretch, still.controlled.overlap) == (1, 1, 0)
    assert settled(checkpoint, controls={"wsm": np.zeros((7, 64, 64, 3), np.uint8)}).frames == 7


def test_a_stretch_is_as_long_as_the_checkpoint_makes_and_no_longer_than_the_film(tmp_path):
    long = np.broadcast_to(np.uint8(0), (200, 32, 32, 3))
    lengths = [settled(tmp_path, controls={kind: long}).controlled.stretch for kind in ("edge", "map")]
    assert lengths == [93, 101]  # cosmos3.md 4.5, where a folder says nothing
    (tmp_path / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10, "frames": 33}))
    assert settled(tmp_path, controls={"edge": long}).controlled.stretch == 33
    assert settled(tmp_path).controlled.stretch == 13
    assert settled(tmp_path, stretch=9).controlled.stretch == 9


def test_where_a_control_ends_it_goes_back_and_forth():
    assert reflected(np.arange(3), 9).tolist() == [0, 1, 2, 2, 1, 1, 2, 2, 1]
    assert reflected(np.arange(1), 4).tolist() == [0, 0, 0, 0]
    assert reflected(np.arange(5), 5).tolist() == [0, 1, 2, 3, 4]


def test_words_name_the_controls_and_a_caption_in_json_gets_fields():
    told = {"frames": 17, "fps": 10.0, "height": 64, "width": 96}
    plain = control_prompt("a cube.", ("edge", "seg"), **told)
    assert plain.startswith(
        "a cube. The video is 1.7 seconds long and is of 10 FPS. This video is of 64x96 resolution."
    )
    assert " Follow the edge, seg control video precisely: " in plain
    assert plain.endswith("must align with the edge, seg signal at every frame.")
    assert "Follow" not in control_prompt("blurred", (), **told)
    caption = control_prompt('{"style_medium": "film", "fps": 3}', (), **told)
    assert json.loads(caption) == {
        "style_medium": "film", "duration": "1s", "fps": 10.0, "resolution": {"H": 64, "W": 96}, "aspect_ratio": "4,3",
    }  # fmt: skip
    assert control_prompt("{no json", (), **told).startswith("{no json. The video")


def test_dialects_differ_in_words_levels_weights_and_noise(checkpoint):
    asked = {"controls": {"edge": FILM, "blur": OTHER}, "prompt": "a cube", "stretch": 5}
    native, theirs = settled(checkpoint, **asked), settled(checkpoint, **asked, dialect="diffusers")
    assert native.system is None and "control signals" in theirs.system
    first = [next(unfold(request)) for request in (native, theirs)]
    assert first[0].prompts()[0].startswith("a cube. The video is 0.5 seconds") and first[0].prompts()[1] == ""
    assert first[1].prompts() == ("a cube", "")
    assert [one.layout.apart for one in first] == [True, False]
    assert not next(unfold(settled(checkpoint))).layout.apart  # one control is seen as it is in either
    negative = next(unfold(settled(checkpoint, **asked, negative_prompt="fog"))).prompts()[1]
    assert negative.startswith("fog. The video is 0.5") and "Follow" not in negative


def test_controls_seen_apart_are_what_each_alone_makes_mixed():
    """Queries of all tokens and of the target alone; a memory that is padded; any sizes and weights."""
    torch.manual_seed(3)
    sizes, target, read = (2, 3), 4, 5
    total = sum(sizes) + target
    q, k, v = torch.randn(2, total, 4, 8), torch.randn(2, 2, read + total, 8), torch.randn(2, 2, read + total, 8)
    mask = torch.ones(2, 1, read + total, dtype=torch.bool)
    mask[1, 0, 3:5] = False
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    shares = Shares(sizes=sizes, target=target, weights=weights)
    found = attend_apart(q, k, v, shares, mask=mask)
    memory, film = list(range(read)), list(range(read + 5, read + 9))
    alone = []
    for at, size in ((0, 2), (2, 3)):
        keys = [*memory, *range(read + at, read + at + size), *film]
        rows = [*range(at, at + size), *range(5, 9)]
        alone.append(attend(q[:, rows], k[:, :, keys], v[:, :, keys], mask=mask[:, :, keys]))
    mixed = weights[:, :1, None] * alone[0][:, 2:] + weights[:, 1:, None] * alone[1][:, 3:]
    torch.testing.assert_close(found, torch.cat((alone[0][:, :2], alone[1][:, :3], mixed), dim=1))
    torch.testing.assert_close(attend_apart(q[:, 6:], k, v, shares, mask=mask), mixed[:, 1:])
    one = Shares(sizes=(5,), target=target, weights=torch.ones(2, 1))
    torch.testing.assert_close(attend_apart(q, k, v, one, mask=mask), attend(q, k, v, mask=mask))


def tokens_of(shape, seed):
    return patchify(torch.randn(1, 48, *shape, generator=torch.Generator().manual_seed(seed)), 2)


def segments_of(hidden, *numbers, shape=(2, 2, 4)):
    places = video_positions(shape, fps=10.0)[None]
    level = torch.zeros(1, places.shape[1])
    kinds = [level] * (len(numbers) - 1) + [hidden.float()]
    return [
        Segment(modality="video", tokens=x, positions=places, level=one) for x, one in zip(numbers, kinds, strict=True)
    ]


def test_a_control_that_does_not_count_is_as_good_as_absent(omni):
    model, memory = omni.parts.model("generator"), omni.read("a cube")
    numbers = [tokens_of((2, 2, 4), seed) for seed in range(3)]
    for hidden in (torch.ones(1, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]])):
        both = Walk(model, memory, segments_of(hidden, *numbers), fps=10.0, weights=torch.tensor([[0.0, 1.0]]))
        one = Walk(model, memory, segments_of(hidden, *numbers[1:]), fps=10.0)
        found, wanted = both(numbers, 0.7)[-1], one(numbers[1:], 0.7)[-1]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, Walk(model, memory, segments_of(hidden, *numbers), fps=10.0)(numbers, 0.7)[-1])


@pytest.mark.parametrize("guidance", [None, 3.0])
@pytest.mark.parametrize("held", [None, 1.5])
def test_guidance_of_controls_is_nested_in_that_of_words(omni, guidance, held):
    """v = u + g (n + h (f - n) - u): f with words and controls, n with words alone, u with controls alone."""
    model, words = omni.parts.model("generator"), [omni.read("a cube"), omni.read("nothing at all, or fog")]
    numbers = [tokens_of((2, 2, 4), seed) for seed in range(3)]
    hidden = torch.tensor([[False, False, True, True]])
    places = video_positions((2, 2, 4), fps=10.0)[None]
    parts = [
        Part(
            modality="video",
            tokens=x,
            hidden=hidden if x is numbers[-1] else torch.zeros_like(hidden),
            positions=places,
        )
        for x in numbers
    ]
    memory = words[0] if guidance is None else type(words[0]).stack(words)
    field = Field(
        model, memory, parts, fps=torch.tensor([10.0]), guidance=None if guidance is None else torch.tensor([guidance]),
        hold=Hold(controls=2, guidance=None if held is None else torch.tensor([held])),
    )  # fmt: skip
    stop = solver.make_schedule(2, 3.0).stops[0]
    with torch.no_grad():
        found = field(numbers[-1].flatten(1), stop)
        seen = [
            Walk(model, read, segments_of(hidden, *numbers), fps=10.0)(numbers, stop.embedded)[-1] for read in words
        ]
        bare = Walk(model, words[0], segments_of(hidden, numbers[-1]), fps=10.0)(numbers[-1:], stop.embedded)[-1]
    towards = seen[0] if held is None else bare + held * (seen[0] - bare)
    wanted = towards if guidance is None else seen[1] + guidance * (towards - seen[1])
    torch.testing.assert_close(found, wanted.flatten(1), rtol=1e-4, atol=1e-5)
    assert not found[:, : 2 * 192].any() and found[:, 2 * 192 :].any()


def test_a_long_film_is_put_together_of_stretches_that_begin_where_the_last_ended(omni, monkeypatch):
    """Each begins with the last frames of the one before, unrounded, encoded again, and keeps them to the bit."""
    made = []

    def watched(parts, layout, stretches, watch):
        starts = []

        def walk(velocity, state, schedule, fresh):
            starts.append(state)
            end = solver.walk(velocity, state, schedule, fresh)
            starts.append(end)
            return end

        with monkeypatch.context() as patch:
            patch.setattr(imagining, "walk", walk)
            found = make(parts, layout, stretches, watch)
        made.append((stretches[0], found[0], starts))
        return found

    monkeypatch.setattr(imagining, "make", watched)
    asked = {"controls": {"edge": FILM}, "stretch": 9, "overlap": 5, "prompt": "a cube", "seed": 4, **SMALL}
    rollout = omni.imagine("transfer", **asked)
    assert count_stretches(check_request("transfer", asked, omni.parts.folder)) == len(made) == 2
    (first, before, _), (second, after, (start, end)) = made
    assert (first.given, second.given) == ((), (0, 1))
    assert torch.equal(second.film, before.ending)
    assert np.abs((before.ending[0].permute(1, 2, 3, 0).numpy() + 1) * 127.5 - before.video[-5:]).max() <= 0.51
    given = patchify(omni.parts.vae.encode(before.ending), 2).flatten(1)
    assert torch.equal(start[:, : given.shape[1]], given) and torch.equal(end[:, : given.shape[1]], given)
    assert np.array_equal(rollout.video, np.concatenate([before.video, after.video[5:]])[:12])
    assert np.array_equal(second.controls[0], reflected(FILM[4:], 9))
    again = torch.randn((1, 48, 3, 2, 2), generator=torch.Generator().manual_seed(5))
    hidden = patchify(again, 2).flatten(1)[:, given.shape[1] :]
    torch.testing.assert_close(start[:, given.shape[1] :], hidden)  # its own seed: the first's and one


def test_a_film_under_controls_alone_equals_the_same_in_company(omni):
    mine = {
        "mode": "transfer", "controls": {"edge": FILM, "depth": OTHER}, "control_weights": {"edge": 3},
        "stretch": 5, "prompt": "a cube", "seed": 7, **SMALL,
    }  # fmt: skip
    others = [
        {**mine, "control_weights": {"depth": 9}, "control_guidance": 4.0, "seed": 1},
        {**mine, "controls": {"depth": FILM}, "control_weights": {}},
        {**mine, "dialect": "diffusers", "control_weights": {}},
        {"mode": "text-to-image", "prompt": "a cube", **SMALL},
    ]
    alone = omni.imagine_many([mine])[0].video
    company = omni.imagine_many([others[0], mine, *others[1:]])
    assert np.abs(company[1].video.astype(int) - alone).max() <= 1
    assert all(np.abs(other.video.astype(int) - alone).max() > 1 for other in (company[0], *company[2:4]))


def test_whoever_asks_a_checkpoint_that_has_not_learnt_it_is_warned(checkpoint, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for part in checkpoint.iterdir():
        if part.name != "defaults.json":
            (folder / part.name).symlink_to(part)
    asked = {"controls": {"edge": FILM}, "frames": 1, **SMALL}
    with pytest.warns(UntrainedWarning, match="does not say that it has learnt transfer"):
        armillary.load(folder, dtype="float32").imagine("transfer", **asked)
    (folder / "defaults.json").write_text(json.dumps({"size": [64, 64], "fps": 10, "learnt": ["transfer"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        armillary.load(folder, dtype="float32").imagine("transfer", **asked)
        armillary.load(checkpoint, dtype="float32").imagine("text-to-image", prompt="a cube", **SMALL)


def saying(checkpoint, folder, **more):
    """The small checkpoint, which says that it has learnt films under controls, and ``more`` of itself."""
    folder.mkdir()
    for part in checkpoint.iterdir():
        if part.name != "defaults.json":
            (folder / part.name).symlink_to(part)
    said = {"size": [64, 64], "fps": 10.0, "learnt": ["transfer"], **more}
    (folder / "defaults.json").write_text(json.dumps(said, indent=1) + "\n")
    return folder


def test_whoever_holds_a_film_by_a_control_that_was_not_learnt_is_warned(checkpoint, tmp_path):
    one = armillary.load(saying(checkpoint, tmp_path / "one", controls=["edge", "blur"]), dtype="float32")
    asked = {"frames": 1, **SMALL}
    with pytest.warns(UntrainedWarning, match="the control map, but edge, blur: the film may not follow map") as told:
        film = one.imagine("transfer", controls={"edge": FILM, "map": OTHER}, **asked).video
    assert len(told) == 1
    silent = armillary.load(saying(checkpoint, tmp_path / "silent"), dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.imagine("transfer", controls={"edge": FILM, "blur": OTHER}, **asked)
        same = silent.imagine("transfer", controls={"edge": FILM, "map": OTHER}, **asked).video
    assert np.array_equal(film, same), "what is said of controls changes no film"
    assert one.parts.made_from == silent.parts.made_from, "what was measured stays valid"
    other = armillary.load(saying(checkpoint, tmp_path / "other", fps=5.0, controls=["edge"]), dtype="float32")
    assert other.parts.made_from != one.parts.made_from


def test_of_a_control_that_was_not_learnt_one_sentence_is_said_and_none_where_nobody_knows():
    told = Defaults(learnt=("transfer",), controls=("edge",))
    assert "the controls blur and map, but edge: the" in told.unheld(["edge", "blur", "map"])
    assert "control map, but none: the" in Defaults(learnt=("transfer",), controls=()).unheld(["map"])
    assert not told.unheld(["edge"]) and not Defaults(learnt=("transfer",)).unheld(["map"])
    assert not replace(told, learnt=()).unheld(["map"]), "that it has not learnt transfer is told instead"
    worn = Adapter(name="maps", folder=Path(), modes=("transfer",))
    assert not told.unheld(["map"], worn) and told.unheld(["map"], replace(worn, modes=("policy",)))


def test_the_bundled_checkpoint_says_which_controls_it_has_learnt():
    pico = armillary.load("pico")
    assert set(pico.parts.defaults.controls) == set(controls.KINDS) - {"map"}
    for kind in controls.KINDS:
        request = check_request("transfer", {"controls": {kind: FILM}}, pico.parts.folder)
        assert [("control map" in words) for words in pico.doubts([request])] == [True] * (kind == "map")


def test_controls_that_are_no_list_of_names_are_refused(checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="controls 'edge'"):
        armillary.load(saying(checkpoint, tmp_path / "model", controls="edge"))


def test_a_distilled_checkpoint_holds_to_controls_in_its_own_steps(checkpoint, tmp_path):
    folder = tmp_path / "distilled"
    folder.mkdir()
    for part in checkpoint.iterdir():
        if part.name not in ("scheduler", "model_index.json"):
            (folder / part.name).symlink_to(part)
    write_model_index(folder, sampling=Sampling(spacing="flow", shift=1.0, levels=(1.0, 0.5)))
    asked = {"controls": {"edge": FILM}, "size": (32, 32), "frames": 9, "stretch": 5}
    request = check_request("transfer", asked, folder)
    assert (request.guidance, request.controlled.guidance, request.record["control_guidance"]) == (1.0, 1.0, 1.0)
    with pytest.raises(RequestError, match=r"control_guidance=2\.0 has no use"):
        check_request("transfer", {**asked, "control_guidance": 2.0}, folder)
    omni = armillary.load(folder, dtype="float32", device="cpu")
    first, again, other = (omni.imagine("transfer", **asked, seed=seed).video for seed in (1, 1, 2))
    assert first.shape == (9, 32, 32, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
