"""Questions about the worlds that are not the tabletop: physics, spatial, humans, driving, warehouse, drawer.

    a world's held-out lives, their true questions  ->  the model's answers, beside the best guess without looking

A model that never saw such pictures is asked all the same: how far it is from guessing says what it has learnt beyond
its table. Questions whose answer is a whole description in words of one's own are left out, for which no two tellers
find the same words.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from armillary import worlds
from armillary.evaluation.answers import Guesser, answers_figures, measure_answers, questions_of
from armillary.evaluation.held_out import kept
from armillary.records import Episode
from armillary.worlds.catalogue import ENTRIES, found

if TYPE_CHECKING:
    from armillary.evaluation.suite import Bench, Result

WORLDS = ("physics", "spatial", "humans", "driving", "warehouse", "drawer")
OWN_WORDS = ("caption", "describe", "report", "trajectory")  # tasks that are not marked
ASKED_OF_A_LIFE = 5
SIZE = (128, 128)


def questions_about(world: str) -> "Callable[[Bench], Result]":
    """The section of the suite that asks about that world."""

    def section(bench: "Bench") -> "Result":
        count, known = bench.plan.questions, bench.plan.known
        folder = bench.folder / f"{world}-{fingerprint()}"
        lives = -(-count // ASKED_OF_A_LIFE)
        learnt: list[Episode] = []
        for number in range(known):
            learnt.append(life(folder, world, number, number))
            bench.tell(f"known lives of {world}", number + 1, known)
        held: list[Episode] = []
        for number in range(lives):
            held.append(life(folder, world, bench.plan.seed + number, number))
            bench.tell(f"lives of {world}", number + 1, lives)
        guesser = Guesser(question for episode in learnt for question in episode.questions)
        camera = next(iter(held[0].frames))
        shown = questions_of(held, count, seed=bench.plan.seed, camera=camera, without=OWN_WORDS)
        answers = measure_answers(bench.omni, shown, guesser, on_done=bench.told(f"questions, {world}", len(shown)))
        return answers, answers_figures(answers), [
            f"Asked about {world}, seen through its camera {camera}. Where the card names no data of this world, the "
            "model has never seen it.",
            f"without_looking: the commonest answer to the same words or form over {known} lives of training seeds.",
            f"Not asked: {', '.join(OWN_WORDS)}, whose answers are one's own words.",
        ]  # fmt: skip

    return section


def life(folder: Path, world: str, seed: int, number: int) -> Episode:
    """One life of a world, its controllers in turn; kept in ``folder``."""
    entry = ENTRIES[world]
    kinds = tuple(found(entry.kinds))
    kind = kinds[number % len(kinds)]

    def lived() -> Episode:
        made: Episode = found(entry.record)(seed, kind, size=SIZE)
        return replace(made, events=())

    return kept(folder / f"{kind}_{seed:07d}.npz", lived)


def fingerprint() -> str:
    """Eight letters that change when any world does: lives of another version are not used again."""
    whole = hashlib.sha256()
    for path in sorted(Path(worlds.__file__).parent.glob("*.*")):
        if path.suffix in (".py", ".xml"):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:8]
