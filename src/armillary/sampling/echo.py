"""What a reply may go on with, guessed from the text alone: what its latest words were followed by before.

    ids of the prompt and of what was said -> Echo -> a few guesses, or none

The reasoner scores several guessed tokens in one pass, which reads its weights once; those that it would have said
anyway are said, the first other one is dropped with all behind it (Leviathan et al., arXiv 2211.17192; guesses from the
text itself: Saxena's prompt lookup). So the words are those of saying them one by one, to rounding.
"""

from collections.abc import Sequence

ALIKE = 2  # tokens that must stand there again
HOPE = 0.5  # the share of right guesses, before any was made
_PATIENCE = 0.8  # how slowly that share is forgotten
_MANY = ((0.85, 7), (0.6, 3), (0.35, 1))  # from which share on how many are guessed: one row more costs up to a quarter


class Echo:
    """A text that grows, and how often its past has told its future."""

    def __init__(self, text: Sequence[int]) -> None:
        self._text: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # where the text went on after these
        self._share = HOPE
        for token in text:
            self._put(token)

    def follow(self, text: Sequence[int]) -> None:
        """The text is this one by now: what it had, and more that was said since, guessed or not."""
        for token in text[len(self._text) :]:
            at = self._after.get(tuple(self._text[-ALIKE:]))
            if at is not None:
                self._share = _PATIENCE * self._share + (1 - _PATIENCE) * (self._text[at] == token)
            self._put(token)

    def guesses(self, most: int) -> list[int]:
        """Up to ``most`` tokens that may come next, the fewer the less often such were right."""
        at = self._after.get(tuple(self._text[-ALIKE:]))
        many = next((many for share, many in _MANY if self._share >= share), 0)
        return [] if at is None else self._text[at : at + min(many, most)]

    def _put(self, token: int) -> None:
        if len(self._text) >= ALIKE:
            self._after[tuple(self._text[-ALIKE:])] = len(self._text)
        self._text.append(token)
