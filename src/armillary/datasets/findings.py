"""What is odd about a data set: findings with a code for machines, words for people, and how much they matter.

error      learning from it as it is would be wrong: broken, black, contradictory
warning    somebody should look before anybody learns from it
note       worth knowing; nothing need be done
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "warning", "error"]
EXIT_CODES: dict[str, int] = {"note": 0, "warning": 3, "error": 4}  # 1 and 2 are taken: our mistakes, and the user's
NOTES = {
    "actions-made", "count", "constant", "depth-film", "empty-shape", "few-tasks", "no-captions", "no-embodiment",
    "no-stats", "no-tasks", "other-codec", "paths-elsewhere", "pictures-in-rows", "several-tasks", "still-channel",
    "split-beyond", "split-form", "stats-incomplete", "tasks-not-indexed", "undeclared-column", "unknown-keys",
    "video-count", "looked-at-some", "silent",
}  # fmt: skip
ERRORS = {
    "actions-say-little", "actions-unlike-others", "actions-unfit", "answer-not-a-choice", "black-film", "film-absent",
    "film-short", "film-unreadable", "frame-gaps", "irregular-time", "not-finite", "rows-and-frames", "unreadable",
    "frozen-picture", "gripper-polarity", "depth-broken", "channels-swapped", "turned-picture", "cameras-swapped",
    "question-beyond", "stats-unreadable", "film-missing", "unit",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """Something a data set should not have: ``code`` for machines, ``words`` for people, with what was assumed.

    ``episodes`` are the numbers of those concerned, where it is not all of them or the folder as a whole.
    """

    code: str
    words: str
    episodes: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        """How much it matters: a warning, unless the code is known as a note or an error."""
        return "note" if self.code in NOTES else "error" if self.code in ERRORS else "warning"


class Findings:
    """Collects oddities; one that concerns several episodes is said once, with their numbers."""

    def __init__(self) -> None:
        self.oddities: list[Oddity] = []
        self._places: dict[str, tuple[str, list[int]]] = {}

    def odd(self, code: str, words: str) -> None:
        """Note an oddity of the whole, once."""
        if not any(one.code == code and one.words == words for one in self.oddities):
            self.oddities.append(Oddity(code=code, words=words))

    def odd_in(self, code: str, episode: int, words: str) -> None:
        """Note an oddity of one episode; ``words`` describe the first that has it."""
        self._places.setdefault(code, (words, []))[1].append(episode)

    def settled(self) -> list[Oddity]:
        """Everything found: of the whole first, then of episodes, each with their numbers in the words."""
        found = list(self.oddities)
        for code, (words, episodes) in self._places.items():
            numbers = sorted(set(episodes))
            shown = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
            where = f"episode {shown}" if len(numbers) == 1 else f"{len(numbers)} episodes ({shown}), in the first"
            found.append(Oddity(code=code, words=f"{where}: {words}", episodes=tuple(numbers)))
        return found


def worst(oddities: list[Oddity]) -> Severity:
    """The gravest severity among them; ``note`` where there is none."""
    seen = {one.severity for one in oddities}
    return "error" if "error" in seen else "warning" if "warning" in seen else "note"
