"""Weighing: how likely each of several given answers is, of all of them together.

    chats of one length or many, k answers   -->   n k shares, each row 1 in all

What is said (``speak.py``) is the likeliest reply of all that can be said; here the answers are known, and it is asked
how much the reasoner holds each one for the true one. A chat is read once, every answer to its end behind it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import RequestError
from armillary.model import Visual
from armillary.sampling.parts import Parts
from armillary.sampling.speak import hear, laid_out, side_by_side

AT_ONCE = 16  # chats read as one batch
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
    if longest > parts.longest_chat:
        raise RequestError(
            f"a chat with its answer has {longest} tokens, more than the {parts.longest_chat} that can be read: "
            "shorten it."
        )
    found = [_likelihoods(parts, asked[start : start + AT_ONCE], ends) for start in range(0, len(asked), AT_ONCE)]
    return torch.cat([torch.zeros(0, len(answers)), *found]).softmax(dim=-1)


def _likelihoods(
    parts: Parts, asked: Sequence[tuple[list[int], Visual | None]], ends: Sequence[Sequence[int]]
) -> Float[Tensor, "n k"]:
    """The logarithm of the likelihood of each end behind each chat, on the CPU."""
    eyes = ("vision",) if any(visual is not None for _, visual in asked) else ()
    model = parts.model("reasoner", *eyes)
    n, where = len(asked), model.device
    rows, how = laid_out(asked, where)
    rest, there = side_by_side([end[:-1] for end in ends])
    following, _ = side_by_side([end[1:] for end in ends])
    with torch.inference_mode():
        first, cache = model.step(rows.to(where), **how)
        cache = cache.select(torch.arange(n, device=where).repeat_interleave(len(ends)))
        later, _ = model.step(rest.repeat(n, 1).to(where), cache, mask=there.repeat(n, 1).to(where), every=True)
        begun = first.float().log_softmax(dim=-1).cpu()[:, [end[0] for end in ends]]
        gone_on = later.float().log_softmax(dim=-1).cpu().unflatten(0, (n, len(ends)))
    said = gone_on.gather(-1, following.expand(n, -1, -1)[..., None])[..., 0]
    return begun + (said * there).sum(dim=-1)
