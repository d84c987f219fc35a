"""The shortlist's word is the likeliest of all, whatever the head and the state, or it says that it cannot tell."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from armillary.model import PICO, TwoTowers, head, load_model, save_model
from armillary.model.arithmetic import packs
from armillary.model.head import PackedLinear, Shortlist
from armillary.sampling.speak import Heard, Manner, say

WORDS, WIDTH = 3000, 64
packed = pytest.mark.skipif(not packs(torch.device("cpu")), reason="this torch packs no matrices")


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


HEADS = {
    "even": drawn(0, WORDS, WIDTH),
    "rows of very different lengths": drawn(1, WORDS, WIDTH) * torch.logspace(-4, 3, WORDS)[:, None],
    "one large column": drawn(2, WORDS, WIDTH) * (1 + 200 * (torch.arange(WIDTH) == 5)),
    "many almost alike": drawn(3, 1, WIDTH) + 1e-6 * drawn(4, WORDS, WIDTH),
    "a few almost alike": torch.cat((drawn(5, WORDS, WIDTH), drawn(6, 1, WIDTH) * 3 + 1e-2 * drawn(7, 20, WIDTH))),
    "two the same": torch.cat((drawn(5, WORDS, WIDTH), drawn(6, 1, WIDTH).expand(2, -1) * 3)),
    "zeros": torch.zeros(WORDS, WIDTH),
}
STATES = torch.cat((drawn(8, 40, WIDTH), drawn(6, 1, WIDTH), drawn(9, 4, WIDTH) * 1e4, drawn(10, 4, WIDTH) * 1e-6,
                    torch.zeros(1, WIDTH), torch.eye(WIDTH)[:3]))  # fmt: skip


@pytest.mark.parametrize("weight", HEADS.values(), ids=HEADS)
def test_its_word_is_the_likeliest_of_all(weight):
    kept = Shortlist(weight)
    scores = functional.linear(STATES.double(), weight.double())
    told = [kept.find(state[None]) for state in STATES]
    for own, found in zip(scores, told, strict=True):
        assert found is None or own[found[0]] == own.amax()
    together = kept.find(STATES[:12])
    assert (together is None) == any(found is None for found in told[:12])
    assert together is None or together.tolist() == [int(found) for found in told[:12]]


def test_most_words_are_told_and_what_is_too_near_is_not():
    told = {name: [Shortlist(weight).find(state[None]) for state in STATES[:41]] for name, weight in HEADS.items()}
    share = {name: sum(found is not None for found in some) / len(some) for name, some in told.items()}
    assert share["even"] > 0.9 and share["rows of very different lengths"] > 0.9
    assert told["a few almost alike"][40] is not None, "the finer look tells them apart"
    assert told["two the same"][40] is None and share["zeros"] == share["many almost alike"] == 0


@packed
def test_a_head_too_near_or_not_large_asks_all_scores(monkeypatch):
    monkeypatch.setattr(head, "multiplies_whole_numbers", lambda: True)
    one = PackedLinear(WIDTH, WORDS, bias=False)
    one.take(HEADS["even"])
    assert one.shortlist is None, "read sooner than all of this is done"
    monkeypatch.setattr(head, "LEAST", 0)
    one.take(HEADS["even"].bfloat16())
    assert one.shortlist is None
    for weight in (HEADS["even"], HEADS["zeros"]):
        one.take(weight)
        assert one.shortlist is not None
        assert torch.equal(one.likeliest(STATES[:8].view(2, 4, WIDTH)), one(STATES[:8]).argmax(dim=1).view(2, 4))
    monkeypatch.setattr(head, "multiplies_whole_numbers", lambda: False)
    one.take(HEADS["even"])
    assert one.shortlist is None


@packed
def test_chats_say_the_same_with_it_alone_together_and_guessed(monkeypatch, tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path, TwoTowers(PICO), dtype=torch.float32)
    monkeypatch.setattr(head, "multiplies_whole_numbers", lambda: True)
    plain = load_model(tmp_path, towers=("reasoner",), quick=True).eval()
    monkeypatch.setattr(head, "LEAST", 0)
    short = load_model(tmp_path, towers=("reasoner",), quick=True).eval()
    asked = []
    find = Shortlist.find
    monkeypatch.setattr(Shortlist, "find", lambda one, x: (asked.append(len(x)), find(one, x))[1])

    def said(model, some, **how):
        heard = [Heard(ids=one, visual=None, manner=Manner(**how), longest=12) for one in some]
        return list(say(model, heard, ends=()))

    chats = [[5, 6, 7, 8] * 6, [9, 3, 7], [11] * 5]
    for some in (chats, chats[:1]):
        wanted = said(plain, some)
        assert not asked
        assert said(short, some) == wanted and asked
        asked.clear()
    assert said(short, chats, temperature=1.0) == said(plain, chats, temperature=1.0) and not asked


def test_without_a_packed_head_the_likeliest_is_that_of_all_scores():
    model = TwoTowers(PICO).eval()
    assert type(model.transformer.lm_head) is nn.Linear
    ids = torch.arange(20, 29)[None]
    assert torch.equal(model.step(ids, likeliest=True)[0], model.step(ids)[0].argmax(dim=-1))
