"""The laws of weighing: shares of what is likely, the same alone and among others, and refusals that say why."""

import numpy as np
import pytest
import torch

from armillary.errors import RequestError
from armillary.sampling import weigh as module
from armillary.sampling.speak import hear

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
ANSWERS = ("red", "the blue cube", "nothing impossible happens")


def test_shares_are_the_likelihoods_of_whole_answers(omni):
    """Token by token, each from the chat and what was said before, with the end: the product, of all answers 1."""
    text, visual = hear(omni.parts, [{"role": "user", "content": [{"type": "image", "image": PICTURE},
                                                                  {"type": "text", "text": "what?"}]}])  # fmt: skip
    model, said = omni.parts.model("reasoner", "vision"), []
    for answer in ANSWERS:
        ids, logarithm = omni.parts.text.encode(text), 0.0
        for token in omni.parts.text.encode(answer + "<|im_end|>"):
            row = torch.tensor([ids])
            with torch.no_grad():
                scores = (
                    model.logits(row, torch.ones_like(row, dtype=torch.bool), visual)[0, -1].float().log_softmax(-1)
                )
            logarithm += float(scores[token])
            ids.append(token)
        said.append(logarithm)
    (shares,) = omni.weigh([{"question": "what?", "image": PICTURE}], ANSWERS)
    np.testing.assert_allclose(shares, torch.tensor(said).softmax(0), rtol=2e-3, atol=1e-5)
    assert sum(shares) == pytest.approx(1)


def test_many_are_weighed_as_each_alone(omni, monkeypatch):
    """Of other lengths, with a picture, a film or neither, more than fit one batch."""
    asked = [{"question": "why " * (1 + i) + "?"} for i in range(3)]
    asked[1]["image"], asked[2]["video"] = PICTURE, np.stack([PICTURE] * 5)
    alone = [omni.weigh([one], ANSWERS)[0] for one in asked]
    monkeypatch.setattr(module, "AT_ONCE", 2)
    np.testing.assert_allclose(omni.weigh(asked, ANSWERS), alone, rtol=2e-3, atol=1e-5)
    assert np.asarray(alone).std(axis=0).max() > 0


@pytest.mark.parametrize("answers", [(), ("red",), ("red", "red"), ("red", " ")], ids=["none", "one", "twice", "empty"])
def test_answers_that_cannot_be_weighed_are_refused(omni, answers):
    with pytest.raises(RequestError, match="two or more, all different"):
        omni.weigh(["what?"], answers)


def test_words_without_room_and_ways_of_speaking_are_refused(omni):
    with pytest.raises(RequestError, match="question 0 has 'seed'"):
        omni.weigh([{"question": "what?", "seed": 3}], ANSWERS)
    with pytest.raises(RequestError, match="question 1 has no words"):
        omni.weigh(["what?", {"image": PICTURE}], ANSWERS)
    longest = omni.parts.sizes.max_positions
    with pytest.raises(RequestError, match="shorten it"):
        omni.weigh(["red " * longest], ANSWERS)
    assert omni.weigh([], ANSWERS) == []
