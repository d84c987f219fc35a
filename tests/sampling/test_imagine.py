"""The laws of imagining: what is given stays, what is asked comes back, and company changes nothing."""

import json
import shutil

import numpy as np
import pytest
import torch

import armillary
from armillary.embodiments import load_embodiment
from armillary.model import patchify
from armillary.sampling import imagine as imagining
from armillary.sampling import solver
from armillary.sampling.counts import count_stretches
from armillary.sampling.imagine import CancelledError, encode_given
from armillary.sampling.requests import check_request
from armillary.sampling.stretches import Made, unfold

SMALL = {"size": (32, 32), "steps": 2}


@pytest.fixture
def states(monkeypatch):
    """First and last state of every walk, as the solver saw them."""
    seen = []

    def watched(velocity, state, schedule, fresh):
        end = solver.walk(velocity, state, schedule, fresh)
        seen.append((state, end))
        return end

    monkeypatch.setattr(imagining, "walk", watched)
    return seen


def asked_of(mode, picture, film, actions):
    return {
        "text-to-image": {"prompt": "a cube"},
        "text-to-video": {"prompt": "a cube"},
        "image-to-video": {"image": picture},
        "video-to-video": {"video": film},
        "first-last-frame": {"image": picture, "last_image": 255 - picture},
        "forward-dynamics": {"image": picture, "actions": actions, "embodiment": "tabletop"},
        "inverse-dynamics": {"video": film, "embodiment": "pusht"},
        "policy": {"prompt": "go", "image": picture, "embodiment": "tabletop"},
        "transfer": {"prompt": "a cube", "controls": {"depth": film}, "given_frames": 5, "video": film},
    }[mode]


SHAPES = {  # mode: frames of video, shape of actions
    "text-to-image": (1, None),
    "text-to-video": (17, None),
    "image-to-video": (17, None),
    "video-to-video": (17, None),
    "first-last-frame": (17, None),
    "forward-dynamics": (17, None),
    "inverse-dynamics": (None, (16, 2)),
    "policy": (17, (16, 10)),
    "transfer": (17, None),
}


@pytest.mark.parametrize("mode", SHAPES)
def test_every_mode_returns_what_it_hides(omni, mode, picture, film, actions):
    rollout = omni.imagine(mode, **asked_of(mode, picture, film, actions), **SMALL)
    frames, rows = SHAPES[mode]
    assert (None if rollout.video is None else rollout.video.shape) == (None if frames is None else (frames, 32, 32, 3))
    assert (None if rollout.actions is None else rollout.actions.shape) == rows
    assert rollout.mode == mode
    assert rollout.fps == 10.0


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("mode", ["image-to-video", "video-to-video", "first-last-frame", "policy", "transfer"])
def test_given_tokens_leave_the_walk_untouched_to_the_bit(omni, states, mode, guidance, picture, film, actions):
    asked = {**asked_of(mode, picture, film, actions), **SMALL, "guidance": guidance, "steps": 4}
    omni.imagine(mode, **asked)
    ((start, end),) = states
    stretch = next(unfold(check_request(mode, asked, omni.parts.folder)))
    latents = encode_given(omni.parts, [stretch], stretch.layout)
    given = patchify(latents, 2)[0]
    tokens = stretch.layout.latent_frames
    walked = end[0, : tokens * 192].view(tokens, 192)
    assert torch.equal(walked[list(stretch.given)], given)
    assert torch.equal(start[0, : tokens * 192].view(tokens, 192)[list(stretch.given)], given)
    hidden = [i for i in range(tokens) if i not in stretch.given]
    assert not torch.equal(walked[hidden], start[0, : tokens * 192].view(tokens, 192)[hidden])


def test_channels_that_a_body_lacks_stay_zero(omni, states, picture):
    omni.imagine("policy", prompt="go", image=picture, embodiment="pusht", **SMALL)
    ((start, end),) = states
    for state in (start, end):
        numbers = state[0, -16 * 64 :].view(16, 64)
        assert not numbers[:, 2:].any()
        assert numbers[:, :2].all()


def test_the_same_seed_gives_the_same_and_another_another(omni, picture):
    asked = {"prompt": "go", "image": picture, "embodiment": "tabletop", "outputs": ("actions",), **SMALL}
    one, again, other = (omni.imagine("policy", **asked, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.actions, again.actions)
    assert not np.array_equal(one.actions, other.actions)


def test_a_request_alone_equals_the_same_request_in_company(omni, picture, actions):
    """Other prompts, seeds and bodies beside it, other layouts too: the same to rounding."""
    mine = {"mode": "policy", "prompt": "push it", "image": picture, "embodiment": "tabletop", "seed": 7, **SMALL}
    others = [
        {**mine, "prompt": "a much longer story about the red cube and the blue block", "seed": 1},
        {**mine, "embodiment": "pusht", "seed": 7},
        {**mine, "guidance": 2.0},
        {"mode": "text-to-image", "prompt": "a cube", **SMALL},
        {"mode": "fd", "image": picture, "actions": actions[:5], "embodiment": "tabletop", **SMALL},
    ]
    alone = omni.imagine_many([mine])[0]
    company = omni.imagine_many([others[0], mine, *others[1:]])
    assert np.allclose(company[1].actions, alone.actions, atol=1e-5)
    assert np.abs(company[1].video.astype(int) - alone.video).max() <= 1
    assert [r.mode for r in company] == ["policy"] * 4 + ["text-to-image", "forward-dynamics"]
    assert len(company[5].video) == 6


def test_requests_of_one_layout_are_one_batch(omni, picture, monkeypatch):
    sizes = []
    plain = imagining.make
    monkeypatch.setattr(imagining, "make", lambda *a: sizes.append(len(a[2])) or plain(*a))
    mine = {"mode": "policy", "prompt": "go", "image": picture, "embodiment": "tabletop", **SMALL}
    omni.imagine_many([mine, {**mine, "prompt": "stop"}, {**mine, "steps": 3}])
    assert sizes == [2, 1]


def test_injected_noise_is_used_and_checked(omni, states):
    noise = np.random.default_rng(0).normal(size=(48, 1, 2, 2)).astype(np.float32)
    omni.imagine("t2i", prompt="x", latents={"video": noise}, **SMALL)
    assert torch.equal(states[0][0], patchify(torch.from_numpy(noise)[None], 2).flatten(1))
    with pytest.raises(armillary.errors.RequestError, match="this request needs \\(48, 1, 2, 2\\)"):
        omni.imagine("t2i", prompt="x", latents={"video": noise[:4]}, **SMALL)


def test_the_seed_gives_the_noise_that_diffusers_would_draw(omni, states, picture):
    omni.imagine("policy", prompt="go", image=picture, embodiment="tabletop", seed=3, **SMALL)
    draws = torch.Generator().manual_seed(3)
    video = torch.randn((1, 48, 5, 2, 2), generator=draws)
    action = torch.randn((16, 64), generator=draws)
    assert torch.equal(states[0][0][0, 192 : 5 * 192], patchify(video, 2)[0, 1:].flatten())
    assert torch.equal(states[0][0][0, 5 * 192 :].view(16, 64)[:, :10], action[:, :10])


def test_guidance_one_runs_one_branch_and_two_prompts_otherwise(checkpoint):
    omni = armillary.load(checkpoint, dtype="float32")
    omni.imagine("t2i", prompt="x", guidance=1.0, **SMALL)
    assert omni.parts.shelf.reads == 1
    omni.imagine("t2i", prompt="x", guidance=2.0, **SMALL)
    assert omni.parts.shelf.reads == 2


def test_guidance_is_the_straight_line_through_both_branches(omni, states):
    """After one step the found data is linear in guidance."""
    ends = []
    for guidance in (1.0, 2.0, 3.0):
        away = {} if guidance == 1.0 else {"negative_prompt": "blur"}
        omni.imagine("t2i", prompt="a cube", **away, guidance=guidance, size=(32, 32), steps=1)
        ends.append(states[-1][1])
    torch.testing.assert_close(ends[1] - ends[0], ends[2] - ends[1], rtol=1e-4, atol=1e-5)
    assert not torch.equal(ends[0], ends[1])


def test_only_what_is_asked_for_is_loaded_and_decoded(checkpoint, picture, monkeypatch):
    omni = armillary.load(checkpoint, dtype="float32")
    assert omni.parts.loaded == ()
    omni.ask("what is it?", longest=1)
    assert omni.parts.loaded == ("reasoner", "text")
    other = armillary.load(checkpoint, dtype="float32")
    monkeypatch.setattr(type(other.parts.vae), "decode", lambda *a: pytest.fail("decoded what nobody asked for"))
    other.imagine("policy", prompt="go", image=picture, embodiment="tabletop", outputs=("actions",), **SMALL)
    assert other.parts.loaded == ("generator", "text", "vae")


def test_a_picture_is_encoded_alone_not_as_a_film(omni, picture, monkeypatch):
    lengths = []
    plain = omni.parts.vae.encode
    monkeypatch.setattr(omni.parts.vae, "encode", lambda video: lengths.append(video.shape) or plain(video))
    omni.imagine("policy", prompt="go", image=picture, embodiment="tabletop", outputs=("actions",), **SMALL)
    assert lengths == [(1, 3, 1, 256, 256)]


@pytest.mark.parametrize(
    ("mode", "frames", "walks"), [("t2v", 33, 2), ("v2v", 33, 3), ("policy", 37, 3), ("i2v", 17, 1)]
)
def test_a_long_film_is_as_long_as_asked(omni, mode, frames, walks, picture, film, actions, states):
    full = {"t2v": "text-to-video", "v2v": "video-to-video", "i2v": "image-to-video"}.get(mode, mode)
    asked = {**asked_of(full, picture, film, actions), **SMALL, "frames": frames}
    assert count_stretches(check_request(mode, asked, omni.parts.folder)) == walks
    rollout = omni.imagine(mode, **asked)
    assert len(states) == walks
    assert len(rollout.video) == frames
    if mode == "policy":
        assert rollout.actions.shape == (frames - 1, 10)


def test_each_stretch_starts_from_the_last_frame_of_the_one_before(omni, picture, actions):
    """Forward dynamics of 20 actions is that of 16, then that of 4 from its last frame, with the noise going on."""
    long = np.concatenate([actions, actions[:4]])
    asked = {"image": picture, "embodiment": "tabletop", **SMALL}
    whole = omni.imagine("fd", actions=long, seed=4, **asked)
    first = omni.imagine("fd", actions=actions, seed=4, **asked)
    draws = torch.Generator().manual_seed(4)
    torch.randn((1, 48, 5, 2, 2), generator=draws)
    noise = torch.randn((1, 48, 2, 2, 2), generator=draws)
    second = omni.imagine("fd", actions=actions[:4], latents={"video": noise}, **{**asked, "image": first.video[-1]})
    assert len(whole.video) == 21
    assert np.array_equal(whole.video[:17], first.video)
    assert np.array_equal(whole.video[17:], second.video[1:])


def test_every_stretch_knows_what_came_before(omni, picture, film, actions, states):
    """With five frames of history each walk begins with five; the later one with the last five of the one before."""
    long = np.concatenate([actions, actions[:8]])
    asked = {"video": film[:5], "actions": long, "embodiment": "tabletop", **SMALL, "seed": 4}
    request = check_request("fd", asked, omni.parts.folder)
    rollout = omni.imagine("fd", **asked)
    assert len(rollout.video) == 25 and len(states) == count_stretches(request) == 2
    stretches = unfold(request)
    first = next(stretches)
    second = stretches.send(Made(video=rollout.video[:17]))
    assert (first.given, second.given) == ((0, 1), (0, 1))
    assert np.array_equal(second.actions, request.actions[12:]), "from the first of the frames that are known on"
    for stretch, (start, end) in zip((first, second), states, strict=True):
        given = patchify(encode_given(omni.parts, [stretch], stretch.layout), 2)[0].reshape(-1)
        assert torch.equal(start[0, : given.numel()], given) and torch.equal(end[0, : given.numel()], given)


def test_what_came_before_changes_what_comes(omni, film, actions):
    asked = {"actions": actions, "embodiment": "tabletop", **SMALL}
    one, other = (omni.imagine("fd", video=np.concatenate([past, film[4:5]]), **asked).video for past in
                  (film[:4], film[8:12]))  # fmt: skip
    assert not np.array_equal(one[5:], other[5:])


def test_a_long_film_is_read_window_by_window(omni, film):
    long = np.concatenate([film, film[:4]])
    whole = omni.imagine("id", video=long, embodiment="pusht", **SMALL)
    first = omni.imagine("id", video=film, embodiment="pusht", **SMALL)
    assert whole.actions.shape == (20, 2)
    assert np.array_equal(whole.actions[:16], first.actions)


def test_actions_come_back_in_physical_units(omni, states, film):
    rollout = omni.imagine("id", video=film, embodiment="pusht", **SMALL)
    inner = states[0][1].view(16, 64).numpy()
    assert np.array_equal(rollout.actions, load_embodiment("pusht").decode(inner))


def test_progress_rises_to_one_and_cancel_stops(omni):
    told = []
    omni.imagine("t2v", prompt="x", size=(32, 32), steps=3, frames=33, on_progress=told.append)
    assert told == pytest.approx([i / 6 for i in range(1, 7)])
    with pytest.raises(CancelledError, match="after 2 of 6"):
        omni.imagine(
            "t2v", prompt="x", size=(32, 32), steps=3, frames=33, cancel=lambda: len(told) > 7, on_progress=told.append
        )


def test_provenance_says_where_it_comes_from(omni, checkpoint):
    rollout = omni.imagine("t2i", prompt="x", seed=5, **SMALL)
    source = rollout.provenance
    assert len(source["weights"]) == 64
    assert source["seed"] == 5
    assert source["request"]["prompt"] == "x"
    assert set(source["versions"]) == {"armillary", "python", "torch", "numpy"}
    assert source["weights"] == armillary.load(checkpoint).imagine("t2i", prompt="y", **SMALL).provenance["weights"]


def test_a_prompt_is_read_once_and_forgotten_when_the_shelf_is_full(omni):
    reads = omni.parts.shelf.reads
    first = omni.read("a new prompt")
    assert omni.read("a new prompt") is first
    assert omni.parts.shelf.reads == reads + 1
    for number in range(70):
        omni.read(f"prompt {number}")
    assert omni.read("a new prompt") is not first


def test_the_noise_decides_nothing_else(omni, picture):
    """In bfloat16 the same request still gives numbers near those of float32: no unit is lost on the way."""
    half = armillary.load(omni.parts.folder, dtype="bfloat16")
    asked = {"prompt": "go", "image": picture, "embodiment": "tabletop", **SMALL}
    exact, rough = omni.imagine("policy", **asked), half.imagine("policy", **asked)
    assert np.corrcoef(exact.actions.ravel(), rough.actions.ravel())[0, 1] > 0.99


def test_a_policy_that_learnt_to_acts_without_a_film_where_nobody_asks_for_one(checkpoint, picture, tmp_path):
    """Without a film beside them other actions come out, and the same ones from one request as from many."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "defaults.json").read_text("utf-8"))
    (folder / "defaults.json").write_text(json.dumps(told | {"filmless": ["policy"]}))
    asked = {"mode": "policy", "prompt": "an arm pushes the red cube", "image": picture, "embodiment": "tabletop",
             "steps": 2, "seed": 3}  # fmt: skip
    acting, filmed = (armillary.load(one, dtype="float32") for one in (folder, checkpoint))
    alone = acting.imagine_many([asked | {"outputs": ("actions",)}, asked | {"outputs": ("actions",), "seed": 4}])
    assert alone[0].video is None and alone[0].actions.shape == (16, 10)
    again = acting.imagine(**asked, outputs=("actions",))
    np.testing.assert_allclose(alone[0].actions, again.actions, atol=1e-5)
    beside = filmed.imagine(**asked, outputs=("actions",))
    assert np.abs(beside.actions - again.actions).max() > 1e-4
    whole = acting.imagine(**asked)  # who asks for the film gets both, as ever
    np.testing.assert_allclose(whole.actions, beside.actions, atol=1e-6)
    assert whole.video.shape[0] == 17
