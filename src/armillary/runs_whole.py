"""Pico from nothing: the runs that end in the bundled checkpoint with its adapters, one after the other.

    pico            all of them, one after the other: ``armillary train pico``
    pico-dressed    the last one: the checkpoint of ``pico-pushing-bundle`` and the adapters learnt beside it

The stages are the named runs as they are. Only those of the adapters, which by themselves learn beside the bundled
checkpoint, learn here beside the one that the chain has made. Everything lies under ``runs/pico``.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from armillary import runs_adapters as worn
from armillary import runs_after as after
from armillary import runs_pico as table
from armillary import runs_pushing as pushing
from armillary import runs_worlds as worlds
from armillary.post_training.assembled import DressedRun
from armillary.run_chain import ChainRun, Kept, Link

BUNDLE = pushing.PUSHING / "bundle"
DEEDS = {"lifts": "Lift", "picks up": "Lift", "pushes": "Push", "puts": "Put", "places": "Put", "stacks": "Stack",
         "touches": "Touch"}  # fmt: skip
ORDERS = {"lift": "Lift", "pick up": "Lift", "push": "Push", "put": "Put", "place": "Put", "stack": "Stack",
          "touch": "Touch"}  # fmt: skip
TO_TARGET = "Push the T onto its target."
ACTING = {  # which words of a film are deeds, and how the policy is told them (docs/acting.md)
    "modes": ["image-to-video", "text-to-video", "sound-to-video"],
    "bodies": {
        "tabletop": {
            "who": ["The robot", "The robot arm", "The arm", "The gripper", "A robot", "A robot arm"],
            "deeds": DEEDS, "orders": ORDERS,
        },
        "pusht_steps": {
            "who": ["The blue disc", "The disc"],
            "deeds": {"pushes the grey T onto": TO_TARGET, "pushes the T": TO_TARGET},
            "orders": {"push the T": TO_TARGET, "push the grey T": TO_TARGET},
        },
    },
}  # fmt: skip


def pico_dressed() -> DressedRun:
    """The checkpoint that the adapters were learnt beside, and these, with the words that are acted out: seconds."""
    found = {"onwards": "onwards", "few-steps": "few_steps", "by-sound": "by_sound"}
    return DressedRun(
        origin=BUNDLE, out=Path("runs/pico/dressed"), defaults={"acting": ACTING},
        adapters={name: worn.ADAPTERS / folder / "adapter" for name, folder in found.items()},
    )  # fmt: skip


def pico() -> ChainRun:
    """Pico from nothing, with its adapters, in ``runs/pico/dressed``: about a day; ``--list`` says the stages.

    It may be stopped or killed in any of them, and goes on where it was when it is started again: what learns keeps its
    state every two minutes, and learns for an hour at a time, the next hour from that state.

    It makes a model like the bundled one, not that one's bits: those came from several restarts, with settings that
    changed in between (docs/log.md, and the card). What no named run makes again:

    - The tokenizer learnt two hours in place of ``pico-vae``'s one, then twelve minutes of seven worlds together, and
      its decoder was twice moved back by a fifth towards an earlier one.
    - The generator came in more parts than ``pico-generator`` and ``pico-worlds-last``, with other shares. It learnt
      from 3,650 more lives of the table (seeds 700,000 to 701,349, 710,000 to 710,899, 720,000 to 721,399) and 4,838
      more tables (101,500 to 103,513, 600,000 to 602,824), from corrections of 128 lives in place of 600, at first
      from sounds up to a tenth of a second late, and from 1,459 windows that begin where it had imagined 372 lives:
      the code of these was taken out again (2c9a1b6 to 364a89a).
    - The reasoner's parts were interrupted and changed; the last, ``pico-after-names``, took 1,750 of its 2,600 steps
      and gave tokens to a few words that it would leave alone by now.
    - Plans of PushT came from 720 of the 960 boards, adapters from other and fewer lives (2,961 told ones).
    """
    return ChainRun(
        links=(*_table(), *_worlds(), *_after(), *_pushing(), *_adapters()), notes=Path("runs/pico/done.json")
    )


def _link(made: Callable[[], Any], minutes: float | None = None, **changed: Any) -> Link:
    """A named run as a stage; ``minutes``: as its docstring or its settings say."""
    run: Kept = replace(made(), **changed)
    says = (inspect.getdoc(made) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
    return Link(name=made.__name__.replace("_", "-"), run=run, says=says, minutes=minutes)


def _table() -> tuple[Link, ...]:
    """The tabletop alone: data, tokenizers, reasoner, generator, and what this would have done better."""
    return (
        _link(table.pico_data, 40), _link(table.pico_clips), _link(table.pico_vae, 60), _link(table.pico_decoder, 15),
        _link(table.pico_words), _link(table.pico_stills, 40), _link(table.pico_reasoner, 75),
        _link(table.pico_cache, 10), _link(table.pico_glances), _link(table.pico_moments), _link(table.pico_controls),
        _link(table.pico_sounds, 10), _link(table.pico_sound, 15), _link(table.pico_heard),
        _link(table.pico_laid, 15), _link(table.pico_paintings),
        _link(table.pico_generator, 100), _link(table.pico_corrections, 20), _link(table.pico_amends),
    )  # fmt: skip


def _worlds() -> tuple[Link, ...]:
    """PushT for tokenizer and generator, the hand and six worlds for the reasoner."""
    return (
        _link(worlds.pico_worlds, 26), _link(worlds.pico_worlds_clips, 1), _link(worlds.pico_worlds_vae, 50),
        _link(worlds.pico_worlds_decoder, 24), _link(worlds.pico_worlds_windows),
        _link(worlds.pico_worlds_lesson, 20), _link(worlds.pico_worlds_between),
        _link(worlds.pico_worlds_generator, 60), _link(worlds.pico_worlds_back), _link(worlds.pico_worlds_settled, 5),
        _link(worlds.pico_worlds_rehearsed, 60), _link(worlds.pico_worlds_hand, 75),
        _link(worlds.pico_worlds_sounds, 6), _link(worlds.pico_worlds_last, 45), _link(worlds.pico_worlds_lives, 20),
        _link(worlds.pico_worlds_abroad, 80),
    )  # fmt: skip


def _after() -> tuple[Link, ...]:
    """The decoder that shows what is foreseen, names of one token, and more of PushT."""
    return (
        _link(after.pico_after_table, 7), _link(after.pico_after_pusht, 3), _link(after.pico_after_foreseen, 4),
        _link(after.pico_after_foreseen_pusht, 1.5), _link(after.pico_after_shown, 20),
        _link(after.pico_after_lasting, 6), _link(after.pico_after_followed, 1),
        _link(after.pico_after_followed_pusht), _link(after.pico_after_shown_on, 16),
        _link(after.pico_after_names, 60), _link(after.pico_after_whole),
        _link(after.pico_after_boards, 10), _link(after.pico_after_windows, 5), _link(after.pico_after_steps, 60),
    )  # fmt: skip


def _pushing() -> tuple[Link, ...]:
    """The policy that pushes, and the checkpoint without adapters."""
    return (
        _link(pushing.pico_pushing_replans, 45), _link(pushing.pico_pushing_moments, 6),
        _link(pushing.pico_pushing_first, 30), _link(pushing.pico_pushing_own, 1),
        _link(pushing.pico_pushing_amends, 2), _link(pushing.pico_pushing_moved), _link(pushing.pico_pushing_both, 30),
        _link(pushing.pico_pushing_last, 20), _link(pushing.pico_pushing_bundle),
    )  # fmt: skip


def _adapters() -> tuple[Link, ...]:
    """The adapters of that checkpoint, in place of the bundled one's, and both together."""
    mine = str(BUNDLE)
    return (
        _link(worn.pico_onwards_lives, 10), _link(worn.pico_onwards_films, 8, origin=mine),
        _link(worn.pico_onwards_pushed, 8, origin=mine), _link(worn.pico_onwards, 30, origin=mine),
        _link(worn.pico_told_lives, 30), _link(worn.pico_told_windows, 40, vae=BUNDLE / "vae"),
        _link(worn.pico_told_heard, 10, vae=BUNDLE / "sound_tokenizer"), _link(worn.pico_few_steps, 5, origin=mine),
        _link(worn.pico_by_sound, 20, origin=mine), _link(pico_dressed),
    )  # fmt: skip
