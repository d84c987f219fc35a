"""Both towers against Diffusers: the same folder, opened by both, gives the same velocities.

A small random checkpoint of each family, Qwen style (Nano, Super) and Edge style, is written by ``save_model``
in fp32 and opened unchanged by ``Cosmos3OmniTransformer``.
Diffusers' own pipeline methods lay out its sequence, so positions and index lists are theirs, not ours.
"""

import copy
import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from drawn import compared, shapes
from hypothesis import assume, given
from hypothesis import strategies as st

from armillary.model import (
    FAMILY,
    PICO,
    TowerConfig,
    TwoTowers,
    VisionConfig,
    action_positions,
    patchify,
    save_model,
    unpatchify,
    video_positions,
)
from armillary.model.layouts import transformer_config
from armillary.records import Segment

diffusers = pytest.importorskip("diffusers")

SMALL = replace(
    PICO,
    tower=TowerConfig(layers=3, width=48, heads=4, kv_heads=2, head_width=32, mlp_width=80, rope_axes=(6, 5, 5)),
    vision=VisionConfig(depth=1, width=32, heads=2, mlp_width=32, grid_side=4),
    vocabulary=96,
    sound_dim=8,
)
SMALL_EDGE = replace(
    SMALL,
    tower=replace(SMALL.tower, eps=1e-5, rope_theta=1e8, mlp="relu2", text_norms=False, memory_norms=True),
    vision=replace(SMALL.vision, kind="siglip", temporal_patch=1, projector=40),
)
FAMILIES = {"qwen": SMALL, "edge": SMALL_EDGE}
TIMESTEP = 731
DOMAIN = 6


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory):
    """Our model and theirs, from one folder."""
    torch.manual_seed(0)
    ours = TwoTowers(FAMILIES[request.param]).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)  # norms and biases too, or they would prove nothing
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(folder, ours, dtype=torch.float32)
    theirs, info = diffusers.Cosmos3OmniTransformer.from_pretrained(folder / "transformer", output_loading_info=True)
    assert not any(info.values()), info
    return ours, theirs.eval()


def theirs_velocity(net, ids, latents, given_frames, *, fps, actions=None, given_actions=(), sound=None, controls=()):
    """Velocities as Diffusers' pipelines ask for them: latents and controls c t h w, actions n a, sound c n."""
    pipeline = diffusers.Cosmos3OmniPipeline
    stub = SimpleNamespace(transformer=net, vae_scale_factor_temporal=4)
    pack = pipeline._prepare_text_segment(stub, ids, "cpu")
    offset, und = pack.pop("vision_start_temporal_offset"), pack["und_len"]
    places, count, items = [pack.pop("text_mrope_ids")], und, []
    for item in (*controls, latents):  # as the transfer pipeline packs them: all at the same place, controls all given
        given = list(given_frames) if item is latents else list(range(item.shape[1]))
        items.append(pipeline._prepare_vision_segment(stub, item[None], False, offset, fps, count, "cpu", given))
        places.append(items[-1].pop("vision_mrope_ids"))
        count += items[-1].pop("num_vision_tokens")
    extra = {"vision_timesteps": torch.full((sum(item.pop("num_noisy_vision_tokens") for item in items),), TIMESTEP)}
    vision = {
        name: torch.cat([item[name] for item in items]) if isinstance(first, torch.Tensor)
        else [part for item in items for part in item[name]]
        for name, first in items[0].items()
    }  # fmt: skip
    if sound is not None:
        part = pipeline._prepare_sound_segment(stub, sound, offset, SMALL.sound_rate, count, "cpu")
        places.append(part.pop("sound_mrope_ids"))
        count += (length := part.pop("sound_len"))
        extra |= part | {"sound_tokens": [sound], "sound_timesteps": torch.full((length,), TIMESTEP)}
    if actions is not None:
        part = pipeline._prepare_action_segment(stub, actions, list(given_actions), offset, fps, count, "cpu")
        places.append(part.pop("action_mrope_ids"))
        count += part.pop("action_len")
        times = torch.full((part.pop("num_noisy_action_tokens"),), TIMESTEP)
        extra |= part | {"action_tokens": [actions], "action_timesteps": times}
        extra |= {"action_domain_ids": [torch.tensor(DOMAIN)]}
    with torch.no_grad():
        out = net(
            **pack, **vision, **extra, vision_tokens=[x[None] for x in (*controls, latents)], sequence_length=count,
            position_ids=torch.cat([part.float() for part in places], dim=1), return_dict=False,
        )  # fmt: skip
    return [found[-1].reshape(found[-1].shape[-4:]) for found in out if found is not None]


def levels(count, given):
    level = torch.full((count,), TIMESTEP * SMALL.timestep_scale)
    level[list(given)] = 0
    return level


def ours_velocity(net, texts, latents, given_frames, *, fps, actions=None, given_actions=(), sound=None, controls=()):
    """The same, as one batch: every text with the same latents, texts padded on the right."""
    b, size = len(texts), tuple(latents.shape[1:])
    tokens = patchify(latents[None], 2).expand(b, -1, -1)
    given = [i for i in range(tokens.shape[1]) if i // (tokens.shape[1] // size[0]) in set(given_frames)]
    segments = [
        Segment(
            modality="video", tokens=tokens, positions=video_positions(size, fps=fps).expand(b, -1, -1),
            level=levels(tokens.shape[1], given).expand(b, -1),
        )
    ]  # fmt: skip
    if sound is not None:
        seconds = torch.zeros(sound.shape[1], 3)
        seconds[:, 0] = torch.arange(sound.shape[1]) / SMALL.sound_rate
        level = levels(sound.shape[1], ()).expand(b, -1)
        parts = {"tokens": sound.t().expand(b, -1, -1), "positions": seconds.expand(b, -1, -1), "level": level}
        segments.append(Segment(modality="sound", **parts))
    if actions is not None:
        segments.append(
            Segment(
                modality="action", tokens=actions.expand(b, -1, -1), domain=torch.full((b,), DOMAIN),
                positions=action_positions(len(actions), fps=fps).expand(b, -1, -1),
                level=levels(len(actions), given_actions).expand(b, -1),
            )
        )  # fmt: skip
    for control in controls:
        level = torch.zeros_like(segments[0].level)
        segments.append(replace(segments[0], tokens=patchify(control[None], 2).expand(b, -1, -1), level=level))
    ids = torch.zeros(b, max(map(len, texts)), dtype=torch.long)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, words in enumerate(texts):
        ids[row, : len(words)], mask[row, : len(words)] = torch.tensor(words), True
    with torch.no_grad():
        found = net.velocity(net.read(ids, mask), segments, fps=fps)
    found[0] = unpatchify(found[0], size, 2)
    found = found[: len(found) - len(controls)]
    return [[part[row] for part in found] for row in range(b)]


def compare(pair, latents, given_frames, *, lengths=(25, 8), **more):
    ours, theirs = pair
    texts = [list(range(20 + length, 20 + 2 * length)) for length in lengths]
    mine = ours_velocity(ours, texts, latents, given_frames, **more)
    worst = 0.0
    for row, words in enumerate(texts):
        expected = theirs_velocity(theirs, words, latents, given_frames, **more)
        if more.get("sound") is not None:
            expected[1] = expected[1].t()
        for got, want in zip(mine[row], expected, strict=True):
            same_zeros = torch.equal(got == 0, want == 0)  # given tokens, to the bit
            assert same_zeros
            if want.any():
                worst = max(worst, ((got - want).norm() / want.norm()).item())
    assert worst <= 1e-5, worst


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fps", [10.0, 24.0, 15.0, 29.97])
@pytest.mark.parametrize("given", [(), (0,), (0, 4)])
def test_a_film_moves_as_in_diffusers(pair, fps, given):
    compare(pair, noise(48, 5, 4, 4), given, fps=fps)


def test_a_picture_moves_as_in_diffusers(pair):
    compare(pair, noise(48, 1, 4, 6), (), fps=24.0)


def test_odd_sides_are_padded_and_cut_as_in_diffusers(pair):
    compare(pair, noise(48, 2, 3, 5), (0,), fps=10.0)


@pytest.mark.parametrize(
    ("frames", "actions"),
    [((0,), tuple(range(16))), (tuple(range(5)), ()), ((0,), ())],
    ids=["forward-dynamics", "inverse-dynamics", "policy"],
)
@pytest.mark.parametrize("fps", [10.0, 13.0])
def test_films_and_actions_move_as_in_diffusers(pair, frames, actions, fps):
    width = torch.arange(64) < 10
    compare(pair, noise(48, 5, 4, 4), frames, fps=fps, actions=noise(16, 64, seed=2) * width, given_actions=actions)


def test_films_with_sound_move_as_in_diffusers(pair):
    compare(pair, noise(48, 5, 4, 4), (0,), fps=10.0, sound=noise(8, 40, seed=3))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("given", [(), (0,)])
def test_films_after_controls_move_as_in_diffusers(pair, count, given):
    controls = [noise(48, 3, 4, 6, seed=4 + i) for i in range(count)]
    compare(pair, noise(48, 3, 4, 6), given, fps=24.0, controls=controls)


@shapes(25, 500)
@given(drawn=st.data())
def test_any_shape_moves_as_in_diffusers(pair, drawn):
    """Odd sides, one frame, several rates, prompts of two lengths, actions and sound at once, a chunk of one action."""
    sides = st.integers(1, 5)
    frames = drawn.draw(st.sampled_from([1, 2, 3]), label="latent frames")
    given = drawn.draw(st.sets(st.integers(0, frames - 1), max_size=frames), label="given frames")
    more = {"fps": drawn.draw(st.sampled_from([10.0, 15.0, 16.0, 24.0, 30.0]), label="fps")}
    lengths = drawn.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)), label="prompts")
    if frames > 1 and drawn.draw(st.booleans(), label="actions"):
        chunk = drawn.draw(st.sampled_from([4 * (frames - 1), 2]), label="chunk")
        more |= {"actions": noise(chunk, 64, seed=2), "given_actions": drawn.draw(st.sampled_from([(), (0,)]))}
    if drawn.draw(st.booleans(), label="sound"):
        more["sound"] = noise(8, drawn.draw(st.integers(1, 9)), seed=3)
    assume(len(given) < frames or "actions" in more or "sound" in more)  # else nothing is hidden
    tokens = noise(48, frames, drawn.draw(sides), drawn.draw(sides))
    with compared(f"velocities, {'edge' if pair[0].config.tower.memory_norms else 'qwen'}"):
        compare(pair, tokens, sorted(given), lengths=lengths, **more)


def test_bfloat16_moves_as_in_diffusers(pair):
    ours, theirs = (copy.deepcopy(model).to(torch.bfloat16) for model in pair)
    for net in (ours.transformer, theirs):
        net.time_embedder.float()
    latents = noise(48, 3, 4, 4).bfloat16()
    words = list(range(20, 40))
    mine = ours_velocity(ours, [words], latents, (0,), fps=24.0)[0][0].float()
    other = theirs_velocity(theirs, words, latents, (0,), fps=24.0)[0].float()
    exact = ours_velocity(pair[0], [words], latents.float(), (0,), fps=24.0)[0][0]
    assert (mine - other).norm() / other.norm() <= 1e-2 or (mine - exact).norm() <= (other - exact).norm()


@pytest.mark.parametrize("name", ["pico", "edge", "nano", "super"])
def test_every_size_holds_the_tensors_of_diffusers(name):
    config = FAMILY[name].config
    with torch.device("meta"):
        ours, fields = TwoTowers(config), transformer_config(config)
        known = inspect.signature(diffusers.Cosmos3OmniTransformer.__init__).parameters
        theirs = diffusers.Cosmos3OmniTransformer(**{k: v for k, v in fields.items() if k in known})
    shapes = {name: tensor.shape for name, tensor in ours.transformer.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.state_dict().items()}
