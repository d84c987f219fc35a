"""What the generator's exercises keep: drawn by (seed, step) alone, given tokens to the bit, padding without weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from exercises import SIZE, Watched, windows
from tiny import small_config, small_model

from armillary.model import TwoTowers
from armillary.training.imagination import PICTURES, FlowConfig, FlowSource, Pool, drawn

STEPS = 200  # that a single window is learnt for
ONLY = {"forward-dynamics": 0.0, "inverse-dynamics": 0.0, "policy": 0.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    _, words = small_model(tmp_path_factory.mktemp("words"))
    torch.manual_seed(1)
    return Watched(small_config(words)), words


def source(made, config=None, count=4):
    model, words = made
    return FlowSource(model, words, windows(count), config or FlowConfig(action_share=1.0, onwards=0.0))


def losses(made, step, config=None, samples=6):
    values = source(made, config).losses(np.random.default_rng([7, step]), samples)
    return {name: value.item() for name, value in values.items()}


def test_a_batch_is_a_function_of_seed_and_step(made):
    assert losses(made, 3) == losses(made, 3)
    assert losses(made, 3) != losses(made, 4)


@pytest.mark.parametrize(("mode", "video", "action"), [
    ("forward-dynamics", [0], True), ("inverse-dynamics", [0, 1, 2, 3, 4], False), ("policy", [0], False),
])  # fmt: skip
def test_given_tokens_are_the_data_to_the_bit_and_their_velocity_is_nothing(made, mode, video, action):
    losses(made, 0, FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {mode: 1.0}, history=0.0))
    pictures, moves = made[0].seen[1]
    data = windows(4)
    given = (pictures.level == 0).reshape(6, 5, 4)
    assert [i for i in range(5) if given[:, i].all()] == video and given.any(dim=2).sum() == 6 * len(video)
    whose = [int(np.argmax([torch.equal(row[:4], one[:4].float()) for one in data.video])) for row in pictures.tokens]
    for sample, row in enumerate(whose):
        assert torch.equal(pictures.tokens[sample][pictures.level[sample] == 0],
                           data.video[row].float()[pictures.level[sample] == 0])  # fmt: skip
        if action:
            assert torch.equal(moves.tokens[sample], data.actions[row])
    assert bool((moves.level == 0).all()) == action
    for part, velocity in zip((pictures, moves), made[0].said, strict=True):
        assert not velocity[part.level == 0].any()


@pytest.mark.parametrize(("share", "known"), [(0.0, {1}), (0.4, {1, 2, 3}), (1.0, {2, 3})])
def test_of_some_films_more_than_the_first_frame_is_known(made, share, known):
    losses(
        made, 0, FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"forward-dynamics": 1.0}, history=share), 40
    )
    given = (made[0].seen[1][0].level == 0).reshape(40, 5, 4)
    assert {int(one.sum()) // 4 for one in given} == known
    assert all(bool(one[: int(one.sum()) // 4].all()) for one in given)  # the first ones, whole
    losses(made, 0, FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"policy": 1.0}, history=1.0), 8)
    assert (made[0].seen[1][0].level == 0).sum() == 8 * 4


@pytest.mark.parametrize("lived", [0.0, 1.0])
def test_a_film_goes_on_by_one_latent_frame_from_wherever_it_is(made, lived):
    """All but the last frame are given; they lie together in one window, the actions are those between them."""
    data, lengths, begun, own = windows(4), set(), set(), 0
    for step in range(30):
        losses(made, step, FlowConfig(action_share=1.0, onwards=1.0, lived=lived))
        opening, pictures, moves = made[0].seen[1]
        assert not opening.level.any() and torch.equal(opening.positions, pictures.positions[:, :4])
        length = pictures.tokens.shape[1] // 4
        assert moves.tokens.shape[1] == 4 * (length - 1) and not moves.level.any()
        assert [i for i in range(length) if (pictures.level.reshape(6, length, 4)[:, i] > 0).all()] == [length - 1]
        for shown, done in zip(pictures.tokens, moves.tokens, strict=True):
            where = [(row, at) for row in range(4) for at in range(6 - length)
                     if torch.equal(done, data.actions[row, 4 * at : 4 * (at + length - 1)])]  # fmt: skip
            ((row, at),) = where
            given = data.video[row, 4 * at : 4 * (at + length - 1)].float()
            assert any(torch.equal(first, data.video[row // 2 * 2, :4].float()) for first in opening.tokens)
            assert torch.equal(shown[:4], given[:4])  # whatever was lived, it began with something true
            own += not torch.equal(shown[:-4], given)
            begun.add(at)
        lengths.add(length)
    assert lengths == {2, 3, 4} and begun == {0, 1, 2, 3}
    assert (own > 0) == (lived > 0)


@pytest.mark.parametrize(("mode", "given", "frames"), [
    ("text-to-video", [], 5), ("image-to-video", [0], 5), ("video-to-video", [0, 1], 5),
    ("first-last-frame", [0, 4], 5), ("text-to-image", [], 1),
])  # fmt: skip
def test_films_give_the_frames_their_mode_says(made, mode, given, frames):
    config = FlowConfig(action_share=0.0, films={mode: 1.0})
    assert set(losses(made, 1, config)) == {"loss", "video"}
    (pictures,) = made[0].seen[1]
    level = pictures.level.reshape(6 * (PICTURES if frames == 1 else 1), frames, 4)
    assert [i for i in range(frames) if (level[:, i] == 0).all()] == given
    assert (level.amax(dim=(1, 2), keepdim=True) == level)[level > 0].all()  # hidden tokens share one level


def test_the_asked_share_of_exercises_begins_where_sampling_begins(made):
    share = []
    for step in range(20):
        losses(made, step, FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"policy": 1.0}, full_noise=0.5), 20)
        share.append((made[0].seen[1][1].level[:, 0] == 1).float().mean().item())
    assert 0.4 < np.mean(share) < 0.6


def test_padded_channels_hold_nothing_and_weigh_nothing(made):
    config = FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"policy": 1.0})
    first = losses(made, 2, config)
    moves = made[0].seen[1][1]
    assert moves.tokens[:, :, :10].abs().min() > 0 and not moves.tokens[:, :, 10:].any()
    with torch.no_grad():
        for domain in made[0].transformer.action_proj_out.bias.weight:
            domain[10:] += 100.0
    assert losses(made, 2, config)["action"] == pytest.approx(first["action"], rel=1e-5)
    with torch.no_grad():
        made[0].transformer.action_proj_out.bias.weight[:, 10:] -= 100.0


def test_the_policy_learns_only_from_those_who_act_well(made):
    data = windows(4)
    data.acts[:] = [False, True, False, False]
    one = FlowSource(made[0], made[1], data, FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"policy": 1.0}))
    one.losses(np.random.default_rng(0), 8)
    first = made[0].seen[1][0].tokens[:, :4]
    assert torch.equal(first, data.video[1, :4].float().expand(8, -1, -1))


def test_whether_words_are_heard_is_measured_with_exchanged_prompts(made):
    """Equal prompts cannot be exchanged; other prompts change what a model says that looks at its words."""
    config = FlowConfig(action_share=0.0, films={"text-to-video": 1.0}, drop_prompt=0.0, listen_every=1)
    alike = windows(4)
    alike.caption[:] = ["A film."] * 4
    heard = []
    for data in (alike, windows(4)):
        values = FlowSource(made[0], made[1], data, config).losses(np.random.default_rng(5), 8)
        assert not values["hears_video"].requires_grad
        heard.append(values["hears_video"].item())
    assert heard[0] == 0 and heard[1] != 0
    acting = FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"policy": 1.0}, listen_every=1)
    assert "hears_action" in losses(made, 0, acting)
    knowing = FlowConfig(action_share=1.0, onwards=0.0, modes=ONLY | {"forward-dynamics": 1.0}, listen_every=1)
    assert "hears_action" not in losses(made, 0, knowing)


def test_places_are_said_as_often_as_asked(made):
    data = windows(4)
    data.placed[:2] = ["Here.", "There."]
    for places, wanted in (
        (0.0, {f"A film {i}." for i in range(4)}),
        (1.0, {"Here.", "There.", "A film 2.", "A film 3."}),
    ):
        one = FlowSource(made[0], made[1], data, FlowConfig(places=places))
        rng = np.random.default_rng(0)
        assert {one._words(data, int(rng.integers(4)), rng) for _ in range(60)} == wanted


@pytest.mark.parametrize(("share", "seen"), [(1.0, {"video", "action"}), (0.0, {"video"})])
def test_single_frames_teach_pictures_and_actions_without_a_film(made, share, seen):
    still = windows(4)
    still = replace(still, video=still.video[:, :4], things=still.things[:, :4], size=(1, *SIZE[1:]))
    config = FlowConfig(stills_share=1.0, still_policy=share)
    one = FlowSource(made[0], made[1], windows(4), config, still)
    values = one.losses(np.random.default_rng(0), 6)
    parts = made[0].seen[1]
    assert {part.modality for part in parts} == seen and parts[0].tokens.shape[1] == 4
    if share:  # the picture is given whole, the actions are found: nothing of a film is asked for
        assert not parts[0].level.any() and values["video"] == 0 and values["action"] > 0


def test_things_weigh_more(made):
    pale, marked = windows(4), windows(4)
    marked.things[:, 3] = 1.0
    config = FlowConfig(moving_weight=0.0, things_weight=3.0)
    assert (Pool(pale, config).weight == 1).all()
    assert (Pool(marked, config).weight[:, 3] == 4).all() and (Pool(marked, config).weight[:, 4:] == 1).all()


def test_modes_are_drawn_by_their_shares():
    rng = np.random.default_rng(0)
    found = [drawn({"a": 1.0, "b": 3.0, "c": 0.0}, rng) for _ in range(4000)]
    assert abs(found.count("b") / 4000 - 0.75) < 0.03 and "c" not in found


def test_the_loss_of_one_window_goes_to_near_zero(made):
    """If all data is one window, the velocity is (x - window) / level; a token's 192 numbers need a width above."""
    small = small_config(made[1])
    tower = replace(small.tower, layers=1, width=256, heads=4, kv_heads=1, head_width=32, mlp_width=256)
    torch.manual_seed(0)
    model = TwoTowers(replace(small, tower=tower))
    learnt = list(model.generator_parameters())
    config = FlowConfig(
        action_share=1.0, onwards=0.0, modes={"forward-dynamics": 0.5, "policy": 0.5}, moving_weight=0.0
    )
    one = FlowSource(model, made[1], windows(1), config)
    optimizer = torch.optim.AdamW(learnt, lr=3e-3)
    seen = []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, 1.5 * (STEPS - step) / STEPS)
        values = one.losses(np.random.default_rng([0, step]), 8)
        optimizer.zero_grad()
        values["loss"].backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        seen.append(values["loss"].item())
    assert np.mean(seen[-20:]) < 0.1 * np.mean(seen[:5]), (np.mean(seen[:5]), np.mean(seen[-20:]))
