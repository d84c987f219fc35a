"""How a checkpoint paints pictures from words that say where things are: one thing after the other.

    "... a red cube at 34 56, a blue ball at 70 61."          words that say where (``upsampling.py`` writes such)
    bare place, all hidden  ->  what lies round (34, 56) hidden, that place beside it  ->  round (70, 61)  ->  ...

A small generator that is told of a whole table at once paints things of any colour: which of them stands where is
chance, and so no word ever helped it. Told of one thing, with everything else given and the picture without it beside,
it has only the word to go by (``training/painting.py``). A film begins with the finished picture (``stretches.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from armillary.modes import Mode
from armillary.prompts import BARE, ONE_MORE


@dataclass(frozen=True, kw_only=True, slots=True)
class Painting:
    """``painting`` in a checkpoint's ``defaults.json``: it has learnt to, and this is how.

    ``bare``: the words for the place without things, ``one``: for a thing, {placed} filled in. ``reach``: what is
    hidden round its middle, to each side, in shares of the picture. ``bare_steps`` of the first walk, ``steps`` of each
    thing's, ``guidance`` of all.
    """

    bare: str = BARE
    one: str = ONE_MORE
    reach: float = 0.08
    bare_steps: int = 20
    steps: int = 4
    guidance: float = 1.0

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Painting":
        """As ``defaults.json`` says it. ``TypeError`` or ``ValueError`` for what cannot be."""
        made = cls(**found)
        if (
            "{placed}" not in made.one
            or not 0 < made.reach < 1
            or min(made.steps, made.bare_steps) < 1
            or made.guidance < 0
        ):
            raise ValueError(f"painting {dict(found)}")
        return made


def settle_painting(mode: Mode, given: Mapping[str, Any], usual: Painting | None) -> Painting | None:
    """How the things that a request's words place are painted; None for a mode that begins with a picture or that
    acts, in another dialect than the weights' own, or where the noise is brought. A picture's own ``steps`` and
    ``guidance`` hold for each thing, a film's for what comes after its first picture."""
    from_words = mode.name in ("text-to-image", "text-to-video")
    if usual is None or not from_words or "latents" in given or given.get("dialect", "native") != "native":
        return None
    if mode.name == "text-to-video":
        return usual
    steps, guidance = given.get("steps") or usual.steps, given.get("guidance", usual.guidance)
    return replace(usual, steps=int(steps), guidance=float(guidance))
