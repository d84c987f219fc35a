"""Words get tokens of their own, in the place of tokens that nobody uses; every other text is cut as before.

    "pink chair"   [" p", "in", "k", " c", "ha", "ir"]   -->   [" pink", " chair"]

A vocabulary is learnt from the texts of one world. What another world is full of is spelt there piece by piece, and a
reasoner that looks a name up has to compare it with what it sees token by token: names of one token it finds, names of
three it does not (docs/log.md). The vocabulary keeps its size: a word takes the ids of merges that no kept text needs,
the last learnt first, and its own merges come after all others, so that only what they join is joined.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tokenizers import Tokenizer
from tokenizers.models import BPE

from armillary.tokenizers.text import TextTokenizer

Merge = tuple[str, str]
MOST_PIECES = 6  # of a word: of more there are too many ways to join them


def with_own_words(
    tokenizer: TextTokenizer, words: Sequence[str], kept: Iterable[str], read: Iterable[str] = ()
) -> TextTokenizer:
    """The tokenizer in which each of ``words``, after a space, is one token.

    ``kept``: texts whose ids stay what they are: a word that stands there stays in pieces, as does one whose merges
    would cut something there differently, and one for which no token is left. ``read``: texts whose tokens are not
    given away.
    """
    cut = Tokenizer.from_str(tokenizer.to_json())
    state = json.loads(tokenizer.to_json())
    stays = sorted({piece for text in kept for piece in _pieces(cut, text)})
    forms = [form for word in words for form in _pieces(cut, f" {word}")]
    needed = [*stays, *sorted({piece for text in read for piece in _pieces(cut, text)}), *forms]
    table = _Table(vocabulary=state["model"]["vocab"], merges=[(a, b) for a, b in state["model"]["merges"]])
    for form in forms:
        table = table.joined(form, stays, needed)
    state["model"] |= {"vocab": table.vocabulary, "merges": table.merges}
    return TextTokenizer(Tokenizer.from_str(json.dumps(state)))


def changed_ids(before: TextTokenizer, now: TextTokenizer) -> dict[int, list[int]]:
    """Every id that is another token now, and the ids that said the same before."""
    was, vocabulary = _vocabulary(before), _vocabulary(now)
    model = Tokenizer.from_str(before.to_json()).model
    return {i: [one.id for one in model.tokenize(token)] for token, i in sorted(vocabulary.items(), key=lambda x: x[1])
            if was.get(token) != i}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """A vocabulary and its merges, the first learnt first."""

    vocabulary: Mapping[str, int]
    merges: Sequence[Merge]

    @cached_property
    def model(self) -> BPE:
        return BPE(dict(self.vocabulary), list(self.merges))

    def cut(self, piece: str) -> list[str]:
        return [one.value for one in self.model.tokenize(piece)]

    def joined(self, form: str, stays: Sequence[str], needed: Sequence[str]) -> "_Table":
        """With merges by which ``form`` is one token and ``stays`` are cut as before; this table if there are none.

        ``needed``: what may be said at all, these among it.
        """
        cuts = {piece: self.cut(piece) for piece in needed}
        used = {token for cut in cuts.values() for token in cut}.union(*self.merges)
        spare = [a + b for a, b in reversed(self.merges) if a + b not in used]
        for ways in _orders(cuts[form]) if len(cuts[form]) <= MOST_PIECES else ():
            new = list(dict.fromkeys(a + b for a, b in ways if a + b not in self.vocabulary))
            if len(new) <= len(spare):
                found = self._with(ways, dict(zip(new, spare, strict=False)))
                if found.cut(form) == [form] and all(found.cut(piece) == cuts[piece] for piece in stays):
                    return found
        return self

    def _with(self, ways: Sequence[Merge], taken: Mapping[str, str]) -> "_Table":
        """These merges after all others; ``taken``: in whose place each new token comes."""
        gone = {*taken.values()}
        vocabulary = {token: i for token, i in self.vocabulary.items() if token not in gone}
        vocabulary |= {token: self.vocabulary[old] for token, old in taken.items()}
        merges = [(a, b) for a, b in self.merges if a + b not in gone]
        return _Table(vocabulary=vocabulary, merges=[*merges, *(way for way in ways if way not in {*merges})])


def _orders(pieces: Sequence[str]) -> list[list[Merge]]:
    """Every way to join neighbours, two at a time, until one token is left."""
    if len(pieces) < 2:
        return [[]]
    return [
        [*left, *right, ("".join(pieces[:at]), "".join(pieces[at:]))]
        for at in range(len(pieces) - 1, 0, -1)
        for left in _orders(pieces[:at]) for right in _orders(pieces[at:])
    ]  # fmt: skip


def _pieces(cut: Tokenizer, text: str) -> list[str]:
    """What of a text is merged by itself: words with their leading sign, digits, runs of signs, as bytes' letters."""
    return [piece for piece, _ in cut.pre_tokenizer.pre_tokenize_str(cut.normalizer.normalize_str(text))]


def _vocabulary(tokenizer: TextTokenizer) -> dict[str, int]:
    return json.loads(tokenizer.to_json())["model"]["vocab"]
