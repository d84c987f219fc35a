"""How a checkpoint paints pictures from words that say where things are: one thing after the other.

    "... a red cube at 34 56, a blue ball at 70 61."          words that say where (``upsampling.py`` writes such)
    bare place, all hidden  ->  what lies round (34, 56) hidden, that place beside it  ->  round (70, 61)  ->  ...

A small generator that is told of a whole table at once paints things of any colour: which of them stands where is
chance, and so no word ever helped it. Told of one thing, with everything else given and the picture without it beside,
it has only the word to go by (``training/painting.py``). A film begins with the finished picture (``stretches.py``).

A checkpoint whose reasoner sees better than its generator paints looks at each thing as soon as it is there, and
paints it again where what it sees is not what the words say:

    picture, "What shape is the red object?"  ->  "ball"  ->  a cube was asked for: once more, of other noise
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from armillary.errors import RequestError
from armillary.modes import Mode
from armillary.prompts import BARE, ONE_MORE, Placed


@dataclass(frozen=True, kw_only=True, slots=True)
class Painting:
    """``painting`` in a checkpoint's ``defaults.json``: it has learnt to, and this is how.

    ``bare``: the words for the place without things, ``one``: for a thing, {placed} filled in. ``reach``: what is
    hidden round its middle, to each side, in shares of the picture. ``bare_steps`` and ``bare_guidance`` of the first
    walk, ``steps`` and ``guidance`` of each thing's. ``tries``: how often a thing is painted at most, until the
    reasoner answers as the words say, {colour} and {shape} filled in: ``shape`` is asked where no other thing has its
    colour, ``colour`` where none has its shape; an empty one is not asked. If no try is right in all, the one that is
    right in most is kept.
    """

    bare: str = BARE
    one: str = ONE_MORE
    reach: float = 0.08
    bare_steps: int = 20
    steps: int = 4
    guidance: float = 1.0
    bare_guidance: float = 1.0
    tries: int = 1
    shape: str = "What shape is the {colour} object?"
    colour: str = "What colour is the {shape}?"

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Painting":
        """As ``defaults.json`` says it. ``TypeError`` or ``ValueError`` for what cannot be."""
        made = cls(**found)
        if (
            "{placed}" not in made.one
            or not 0 < made.reach < 1
            or min(made.steps, made.bare_steps, made.tries) < 1
            or min(made.guidance, made.bare_guidance) < 0
            or (made.shape and "{colour}" not in made.shape)
            or (made.colour and "{shape}" not in made.colour)
        ):
            raise ValueError(f"painting {dict(found)}")
        return made

    def record(self) -> dict[str, Any]:
        """As plain data, in the words of ``defaults.json``."""
        return asdict(self)

    def questions(self, things: Sequence[Placed]) -> list[tuple[str, str]]:
        """What is asked when the last of these things was painted, each with the answer that its words demand.

        Nothing where it is painted once whatever is seen, or where a question would have several answers.
        """
        if self.tries < 2 or not things:
            return []
        colours, shapes = zip(*(_colour_and_shape(one) for one in things), strict=True)
        asked = []
        if self.shape and colours.count(colours[-1]) == 1:
            asked.append((self.shape.format(colour=colours[-1]), shapes[-1]))
        if self.colour and shapes.count(shapes[-1]) == 1:
            asked.append((self.colour.format(shape=shapes[-1]), colours[-1]))
        return asked


def agreed(answers: Sequence[str], wanted: Sequence[str]) -> int:
    """How many answers are the words that were wanted, capitals and a full stop aside."""
    return sum(
        said.strip().rstrip(".").casefold() == true.casefold() for said, true in zip(answers, wanted, strict=True)
    )


def _colour_and_shape(thing: Placed) -> tuple[str, str]:
    colour, _, shape = thing.name.rpartition(" ")
    return colour, shape


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


def check_painted(mode: Mode, given: Mapping[str, Any]) -> None:
    """Raise ``RequestError`` for what changes nothing in a picture that is painted, unless it says what is done."""
    done = {"negative_prompt": "", "shift": mode.shift, "solver": "unipc", "guidance_between": (0, 1), "reuse": 0}
    for name, only in done.items():
        came = given.get(name, only)
        if (tuple(came) if name == "guidance_between" else came) != only:
            raise RequestError(
                f"{name}={came!r} has no use in a picture that is painted thing by thing, in walks of the checkpoint's "
                "own: leave it out, or have it walk once, with upsample=False and words that say no places."
            )
