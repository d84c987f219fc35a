"""Weighing: how likely each of several given answers is, of all of them together.

    chats of one length or many, k answers   -->   n k shares, each row 1 in all

What is said (``speak.py``) is the likeliest reply of all that can be said; here the answers are known, and it is asked
how much the reasoner holds each one for the true one. Every answer is read behind every chat, to its end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from armillary.errors import RequestError
from armillary.model import Visual
from armillary.sampling.parts import Parts
from armillary.sampling.speak import hear

AT_ONCE = 64  # chats with an answer each, read as one batch
END = "<|im_end|>"


def weigh(parts: Parts, chats: Sequence[Sequence[Mapping[str, Any]]], answers: Sequence[str]) -> Float[Tensor, "n k"]:
    """How likely each of ``answers`` is as the reply to each chat (messages as for ``speak``), each row 1 in all.

    The likelihood of an answer is that of all its tokens and of the end. ``RequestError`` for fewer than two answers,
    for one that comes twice or says nothing, and for chats that cannot be heard.
    """
    if len(answers) < 2 or len({*answers}) < len(answers) or not all(answer.strip() for answer in answers):
        raise RequestError(f"answers={[*answers]!r}: there must be two or more, all different, and none empty.")
    ends = [parts.text.encode(answer + END) for answer in answers]
    heard = [hear(parts, chat) for chat in chats]
    asked = [(parts.text.encode(text), visual) for text, visual in heard]
    longest = max((len(ids) for ids, _ in asked), default=0) + max(len(end) for end in ends)
    if longest > parts.sizes.max_positions:
        raise RequestError(
            f"a chat with its answer has {longest} tokens, more than the {parts.sizes.max_positions} that can be read: "
            "shorten it."
        )
    rows = [(ids, visual, end) for ids, visual in asked for end in ends]
    found = [
        part for start in range(0, len(rows), AT_ONCE) for part in _likelihoods(parts, rows[start : start + AT_ONCE])
    ]
    return torch.tensor(found).view(len(chats), len(answers)).softmax(dim=-1)


def _likelihoods(parts: Parts, rows: Sequence[tuple[list[int], Visual | None, list[int]]]) -> list[float]:
    """The logarithm of the likelihood of each row's end behind its chat."""
    visuals = [visual for _, visual, _ in rows if visual is not None]
    model = parts.model("reasoner", *(("vision",) if visuals else ()))
    ids = pad_sequence([torch.tensor(chat + end) for chat, _, end in rows], batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(chat) + len(end) for chat, _, end in rows])[:, None]
    with torch.inference_mode():
        where = model.device
        hidden = model.hidden(ids.to(where), mask.to(where), Visual.join(visuals).to(where) if visuals else None)
        found = []
        for row, (chat, _, end) in zip(hidden, rows, strict=True):
            scores = model.transformer.lm_head(row[len(chat) - 1 : len(chat) + len(end) - 1]).float().log_softmax(-1)
            found.append(float(scores[torch.arange(len(end)), torch.tensor(end)].sum()))
    return found
