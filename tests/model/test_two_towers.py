"""What the two towers must keep, whatever their weights."""

from dataclasses import replace

import pytest
import torch

from armillary.errors import CheckpointError, ConfigError, DataError
from armillary.model import PICO, DecodeCache, Memory, TowerConfig, TwoTowers, VisionConfig, Visual, patchify_images
from armillary.model.two_towers import tower_of
from armillary.records import Batch, Segment

TINY = replace(
    PICO,
    tower=TowerConfig(layers=3, width=32, heads=4, kv_heads=2, head_width=16, mlp_width=48, rope_axes=(4, 2, 2)),
    vision=VisionConfig(depth=2, width=16, heads=2, mlp_width=24, grid_side=3, deepstack=(0,)),
    vocabulary=64,
    latent_channels=3,
    action_dim=6,
    domains=4,
)
FPS = 10.0


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = TwoTowers(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.requires_grad_(False)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(b, m, seed=0):
    ids = torch.randint(20, TINY.vocabulary, (b, m), generator=torch.Generator().manual_seed(seed))
    return ids, torch.ones_like(ids, dtype=torch.bool)


def film(b, n=6, given=2, level=0.7, seed=0):
    """A film of ``n`` tokens, two a frame, the first ``given`` of them given."""
    positions = torch.zeros(b, n, 3)
    positions[..., 0] = torch.arange(n) // 2 * 0.4
    positions[..., 2] = torch.arange(n) % 2
    levels = torch.full((b, n), level)
    levels[:, :given] = 0
    return Segment(modality="video", tokens=noise(b, n, 12, seed=seed), positions=positions, level=levels)


def deeds(b, n=4, level=0.7, seed=1):
    """``n`` actions, all at ``level``."""
    positions = torch.zeros(b, n, 3)
    positions[..., 0] = (torch.arange(n) + 1) / FPS
    return Segment(
        modality="action", tokens=noise(b, n, 6, seed=seed), positions=positions, level=torch.full((b, n), level),
        domain=torch.arange(b) % 4,
    )  # fmt: skip


def close(got, want, tolerance=2e-5):
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


def test_the_reasoner_is_blind_to_the_generator(model):
    before = model.logits(*words(2, 7))
    other = TwoTowers(TINY)
    state = {n: t if tower_of(n) != "generator" else torch.randn_like(t) for n, t in model.state_dict().items()}
    other.load_state_dict(state)
    assert torch.equal(other.logits(*words(2, 7)), before)


def test_the_reasoner_never_sees_later_words(model):
    ids, mask = words(1, 9)
    other = ids.clone()
    other[0, 5:] = (other[0, 5:] + 1 - 20) % 40 + 20
    before, after = model.logits(ids, mask), model.logits(other, mask)
    close(after[:, :5], before[:, :5])
    assert not torch.allclose(after[:, 5], before[:, 5])


def test_the_generator_sees_every_word_and_every_token(model):
    ids, mask = words(1, 5)
    before = model.velocity(model.read(ids, mask), [film(1)], fps=FPS)[0]
    for place in range(5):
        other = ids.clone()
        other[0, place] = 20 + (other[0, place] - 19) % 40
        assert not torch.allclose(model.velocity(model.read(other, mask), [film(1)], fps=FPS)[0], before, atol=1e-5)
    changed = film(1)
    changed.tokens[0, -1] += 1  # the last token moves the first hidden one
    assert not torch.allclose(
        model.velocity(model.read(ids, mask), [changed], fps=FPS)[0][:, 2], before[:, 2], atol=1e-5
    )


def test_reading_then_moving_is_the_joint_pass(model):
    ids, mask = words(2, 6)
    segments = (film(2), deeds(2))
    joint = model(Batch(ids=ids, mask=mask, segments=segments), FPS)
    apart = model.velocity(model.read(ids, mask), segments, fps=FPS)
    assert all(torch.equal(a, b) for a, b in zip(joint, apart, strict=True))


def test_padding_changes_nothing(model):
    ids, mask = words(1, 5)
    longer = torch.cat((ids, torch.full((1, 4), 33)), dim=1)
    kept = torch.arange(9)[None] < 5
    close(model.logits(longer, kept)[:, :5], model.logits(ids, mask))
    plain = model.velocity(model.read(ids, mask), [film(1), deeds(1)], fps=FPS)
    padded = model.velocity(model.read(longer, kept), [film(1), deeds(1)], fps=FPS)
    for a, b in zip(plain, padded, strict=True):
        close(b, a)


def test_a_batch_is_its_samples_one_by_one(model):
    ids, _ = words(3, 8)
    lengths = torch.tensor([8, 3, 5])
    mask = torch.arange(8)[None] < lengths[:, None]
    segments = [film(3), deeds(3)]
    together = model.velocity(model.read(ids, mask), segments, fps=torch.tensor([10.0, 24.0, 15.0]))
    for row, (length, fps) in enumerate(zip(lengths.tolist(), (10.0, 24.0, 15.0), strict=True)):
        one = [
            replace(s, tokens=s.tokens[row : row + 1], positions=s.positions[row : row + 1],
                    level=s.level[row : row + 1], domain=None if s.domain is None else s.domain[row : row + 1])
            for s in segments
        ]  # fmt: skip
        memory = model.read(ids[row : row + 1, :length], mask[row : row + 1, :length])
        for got, want in zip(model.velocity(memory, one, fps=fps), together, strict=True):
            close(got, want[row : row + 1])


def test_memories_stack_expand_and_select_without_changing_what_is_seen(model):
    short, long = model.read(*words(1, 4)), model.read(*words(1, 7, seed=1))
    both = Memory.stack([short, long])
    assert both.padded
    assert both.lengths.tolist() == [4, 7]
    together = model.velocity(both, [film(2)], fps=FPS)[0]
    same = model.velocity(short.expand(2), [film(2)], fps=FPS)[0]
    close(together[:1], same[:1])
    again = both.select(torch.tensor([1, 0, 0]))
    assert again.lengths.tolist() == [7, 4, 4]
    alone = both.select(torch.tensor([0]))
    assert not alone.padded
    assert alone.mask.shape == (1, 4)
    close(model.velocity(alone, [film(1)], fps=FPS)[0], model.velocity(short, [film(1)], fps=FPS)[0])


def test_velocities_of_given_tokens_are_zero_to_the_bit(model):
    found = model.velocity(model.read(*words(2, 4)), [film(2, given=3), deeds(2, level=0.0)], fps=FPS)
    assert torch.equal(found[0][:, :3], torch.zeros(2, 3, 12))
    assert (found[0][:, 3:] != 0).all()
    assert torch.equal(found[1], torch.zeros(2, 4, 6))


def entered(net, memory, segment):
    """What enters the first layer, b n d."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        plain = net.transformer.layers[0].generate
        patch.setattr(net.transformer.layers[0], "generate", lambda x, *rest: (seen.append(x), plain(x, *rest))[1])
        net.velocity(memory, [segment], fps=FPS)
    return seen[0]


def test_given_tokens_get_no_level_and_hidden_ones_do(model):
    other = TwoTowers(TINY).requires_grad_(False)
    other.load_state_dict(model.state_dict())
    other.transformer.time_embedder.linear_2.bias.add_(1.0)  # the vector of every level, 0 too, is another
    memory = model.read(*words(1, 4))

    segment = film(1, given=2)
    assert torch.equal(entered(other, memory, segment)[:, :2], entered(model, memory, segment)[:, :2])
    assert not torch.allclose(entered(other, memory, segment)[:, 2:], entered(model, memory, segment)[:, 2:])
    assert memory.lengths.tolist() == [4]


def test_each_token_may_have_its_own_level(model):
    mixed, memory = film(1, given=0), model.read(*words(1, 4))
    mixed.level[0] = torch.tensor([0.1, 0.1, 0.5, 0.5, 0.9, 0.9])
    for start, level in ((0, 0.1), (2, 0.5), (4, 0.9)):
        one = replace(mixed, level=torch.full((1, 6), level))
        close(
            entered(model, memory, mixed)[:, start : start + 2],
            entered(model, memory, one)[:, start : start + 2],
        )
    assert not torch.allclose(
        model.velocity(memory, [mixed], fps=FPS)[0], model.velocity(memory, [film(1, given=0)], fps=FPS)[0]
    )


def test_tokens_in_another_order_move_the_same(model):
    memory, segment = model.read(*words(1, 5)), film(1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = replace(
        segment, tokens=segment.tokens[:, order], positions=segment.positions[:, order], level=segment.level[:, order]
    )
    close(model.velocity(memory, [mixed], fps=FPS)[0], model.velocity(memory, [segment], fps=FPS)[0][:, order])
    ahead = model.velocity(memory, [deeds(1), segment], fps=FPS)
    behind = model.velocity(memory, [segment, deeds(1)], fps=FPS)
    close(ahead[0], behind[1])
    close(ahead[1], behind[0])


def test_each_embodiment_has_its_own_way_in_and_out(model):
    memory = model.read(*words(1, 4))
    first, other = (
        model.velocity(memory, [replace(deeds(1), domain=torch.tensor([slot]))], fps=FPS)[0] for slot in (0, 1)
    )
    assert not torch.allclose(first, other, atol=1e-4)


def pictured(b=1):
    """A text of 12 ids with a picture of 4 tokens in it, and its picture of 4x4 patches."""
    ids, mask = words(b, 12)
    ids[:, 2], ids[:, 3:7], ids[:, 7] = TINY.vision_start, TINY.image_pad, TINY.vision_end
    pixels = torch.randint(0, 256, (b, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    return ids, mask, patchify_images(pixels)


def test_words_one_by_one_score_as_all_at_once(model):
    ids, mask, visual = pictured(2)
    whole = model.logits(ids, mask, visual)
    scores, cache = model.step(ids[:, :9], visual=visual)
    assert isinstance(cache, DecodeCache)
    close(scores, whole[:, 8])
    for place in (9, 10, 11):
        scores, cache = model.step(ids[:, place : place + 1], cache)
        close(scores, whole[:, place])
    scores, cache = model.step(ids[:, 9:], model.step(ids[:, :9], visual=visual)[1], every=True)
    close(scores, whole[:, 9:])
    scores, _ = model.step(ids[:, 10:11], cache.shorter(2))  # two words were dropped again
    close(scores[0], whole[0, 10])


def test_prompts_of_different_lengths_go_on_as_alone(model):
    ids, mask = words(2, 7)
    mask[1, 4:] = False
    scores, cache = model.step(ids, mask=mask)
    following = torch.tensor([[40], [41]])
    scores, cache = model.step(following, cache)
    for row, length in ((0, 7), (1, 4)):
        alone = torch.cat((ids[row : row + 1, :length], following[row : row + 1]), dim=1)
        close(scores[row], model.logits(alone, torch.ones_like(alone, dtype=torch.bool))[0, -1])


def test_prompts_with_pictures_of_different_lengths_are_read_as_alone(model):
    ids, mask, visual = pictured(2)
    mask[1, 9:] = False
    scores, _ = model.step(ids, mask=mask, visual=visual)
    whole = model.logits(ids, mask, visual)
    close(scores[0], whole[0, 11])
    close(scores[1], whole[1, 8])


def test_what_is_seen_changes_what_is_said(model):
    ids, mask, visual = pictured()
    before = model.logits(ids, mask, visual)
    darker = Visual(patches=visual.patches - 0.5, grids=visual.grids)
    after = model.logits(ids, mask, darker)
    close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, -1], before[:, -1], atol=1e-4)


def test_early_features_of_a_picture_reach_the_reasoner_besides_its_tokens(model):
    other = TwoTowers(TINY).requires_grad_(False)
    other.load_state_dict(model.state_dict())
    other.visual.deepstack_merger_list[0].linear_fc2.bias.add_(1.0)
    ids, mask, visual = pictured()
    changed = (other.logits(ids, mask, visual) - model.logits(ids, mask, visual)).abs().amax(dim=-1)[0]
    assert not changed[:3].any()
    assert (changed[3:] > 1e-4).all()


def test_scores_can_be_asked_for_at_some_places_only(model):
    ids, mask = words(2, 6)
    at = torch.zeros_like(mask)
    at[0, 2], at[1, 5] = True, True
    close(model.logits(ids, mask, at=at), model.logits(ids, mask)[at])


def test_pictures_must_fill_the_places_kept_for_them(model):
    ids, mask, visual = pictured()
    with pytest.raises(DataError, match="3 places are kept for pictures, the pictures have 4 tokens"):
        model.read(torch.where(torch.arange(12) == 6, 30, ids), mask, visual)


def test_unknown_ports_and_widths_are_named(model):
    memory = model.read(*words(1, 4))
    with pytest.raises(ConfigError, match="'sound' has no port"):
        model.velocity(memory, [replace(film(1), modality="sound")], fps=FPS)
    with pytest.raises(DataError, match="video tokens came with 6 numbers: this model's have 12"):
        model.velocity(memory, [replace(film(1), tokens=noise(1, 6, 6))], fps=FPS)
    with pytest.raises(DataError, match="without its domain"):
        model.velocity(memory, [replace(deeds(1), domain=None)], fps=FPS)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"Choose kv_heads from \[1, 2, 4\]"):
        replace(TINY.tower, kv_heads=3)
    with pytest.raises(ConfigError, match="must add up to half"):
        replace(TINY.tower, rope_axes=(4, 4, 4))
    with pytest.raises(ConfigError, match="multiple of 4"):
        replace(TINY.vision, heads=8)


def test_a_frozen_reasoner_gets_no_gradient_and_the_generator_does():
    model = TwoTowers(TINY)
    for parameter in model.reasoner_parameters():
        parameter.requires_grad_(False)
    ids, mask = words(2, 5)
    found = model(Batch(ids=ids, mask=mask, segments=(film(2), deeds(2))), FPS)
    sum(part.square().sum() for part in found).backward()
    assert all(parameter.grad is None for parameter in model.reasoner_parameters())
    assert all(parameter.grad is not None for parameter in model.generator_parameters())
    together = {id(p) for p in model.reasoner_parameters()} | {id(p) for p in model.generator_parameters()}
    assert together == {id(p) for p in model.parameters()}


def test_the_generator_can_start_as_the_reasoner():
    model = TwoTowers(TINY)
    model.init_generator_from_reasoner()
    layer = model.transformer.layers[1]
    assert torch.equal(layer.self_attn.add_k_proj.weight, layer.self_attn.to_k.weight)
    assert torch.equal(layer.self_attn.to_add_out.weight, layer.self_attn.to_out.weight)
    assert torch.equal(layer.mlp_moe_gen.up_proj.weight, layer.mlp.up_proj.weight)
    assert layer.mlp_moe_gen.up_proj.weight is not layer.mlp.up_proj.weight


def test_bfloat16_by_cast_and_by_autocast_stay_near_fp32(model):
    ids, mask = words(2, 6)
    mask[1, 4:] = False
    exact = model.velocity(model.read(ids, mask), [film(2), deeds(2)], fps=FPS)
    with torch.autocast("cpu", torch.bfloat16):
        auto = model.velocity(model.read(ids, mask), [film(2), deeds(2)], fps=FPS)
    cast = TwoTowers(TINY)
    cast.load_state_dict(model.state_dict())
    cast = cast.requires_grad_(False).bfloat16()
    plain = cast.velocity(cast.read(ids, mask), [film(2), deeds(2)], fps=FPS)
    for other in (auto, plain):
        for got, want in zip(other, exact, strict=True):
            assert got.dtype == torch.float32
            assert (got - want).norm() / want.norm() < 0.05


def test_a_model_without_a_tower_says_so():
    model = TwoTowers(TINY)
    model.towers = frozenset({"reasoner"})
    with pytest.raises(CheckpointError, match="loaded without its generator"):
        model.velocity(model.read(*words(1, 3)), [film(1)], fps=FPS)
