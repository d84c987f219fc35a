"""What guessing from the text itself saves where Pico speaks of the tabletop: passes, words, and the time of both ways.

    python -m benchmarks.guesses [--checkpoint pico] [--episodes 4] [--questions 40] [--repeats 3]

Experts' episodes of seeds that nothing was learnt from; questions about single frames, the first, middle and last frame
described, and each film told. Every reply is said with guesses and without, in turns, on one thread; a line is only
written if every token is the same. A guess that is right saves a pass, so ``right`` is the passes saved.
"""

import argparse
from typing import Any

import torch
from benchmarks.measure import alternate, counted, report

import armillary
from armillary.evaluation.answers import questions_of
from armillary.evaluation.demo import DOING, REPORT
from armillary.records import Episode
from armillary.sampling.omni import Omni
from armillary.sampling.speak import Heard, Manner, hear, say
from armillary.worlds.record import record_tabletop

FIRST, LONGEST = 21_000, 256


def asked_of(omni: Omni, episodes: list[Episode], questions: int) -> dict[str, list[Heard]]:
    """What is asked, by kind."""

    def one(words: str, **seen: Any) -> Heard:
        parts = [{"type": kind, kind: shown} for kind, shown in seen.items()] + [{"type": "text", "text": words}]
        text, visual = hear(omni.parts, [{"role": "user", "content": parts}])
        return Heard(ids=omni.parts.text.encode(text), visual=visual, manner=Manner(longest=LONGEST), longest=LONGEST)

    shown = questions_of(episodes, questions)
    films = [episode.frames["front"] for episode in episodes]
    return {
        "questions": [one(each.question.words, image=each.picture) for each in shown],
        "descriptions": [one(REPORT, image=film[at]) for film in films for at in (0, len(film) // 2, -1)],
        "films": [one(DOING, video=film) for film in films],
    }


def main(checkpoint: str = "pico", episodes: int = 4, questions: int = 40, repeats: int = 3) -> None:
    """Measure each kind."""
    torch.set_num_threads(1)
    omni = armillary.load(checkpoint, device="cpu")
    model = omni.parts.model("reasoner", "vision")
    ends = (omni.parts.text.im_end, omni.parts.text.endoftext)
    lived = [record_tabletop(FIRST + number, extras=()) for number in range(episodes)]
    for kind, asked in asked_of(omni, lived, questions).items():

        def said(guess: bool, asked: list[Heard] = asked) -> list[list[int]]:
            return [[token for _, token in say(model, [one], ends=ends, guess=guess)] for one in asked]

        with counted(model) as plain:
            wanted = said(False)
        with counted(model) as told:
            alike = sum(one == other for one, other in zip(said(True), wanted, strict=True))
        if alike < len(asked):
            raise SystemExit(f"{kind}: {alike} of {len(asked)} replies are the same: nothing measured.")
        own, other = alternate(lambda: said(True), lambda: said(False), repeats=repeats)
        report(
            f"guesses_{kind}", own, checkpoint=checkpoint, threads=1, replies=len(asked), tokens=sum(map(len, wanted)),
            passes_plain=plain["passes"], passes=told["passes"], guessed=told["guessed"],
            right=plain["passes"] - told["passes"], plain_median_ms=other.median_ms,
            plain_processor_ms=other.processor_ms,
            times_less_processor=round(other.processor_ms / own.processor_ms, 2),
        )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    main(**vars(parser.parse_args()))
