"""Acting: a film whose words tell a deed is made by planning the deed, and then foreseeing what comes of it.

    "The robot lifts the red cube. On the table: ..."       the words of a film
     --Acts.heard-->  tabletop, "Lift the red cube."        who does it, and how its policy is told
    picture, "Lift the red cube."  --policy-->  actions  --forward dynamics-->  the next pictures; and again

A small generator asked for a film from a picture and words sees the mean of all that might come: next to nothing moves,
and other words change nothing. The same generator knows what to do when it is told to, and what comes of what is done.
Asked for these one after the other it shows what the words tell (docs/decisions/0012). Where the words tell no deed,
or a request says how the film's own walk is to go, nothing is acted.

``acting`` in a checkpoint's ``defaults.json`` says in which modes it acts unasked, and which words its bodies heed:
{"modes": ["image-to-video"], "bodies": {"tabletop": {"who": ["The robot"], "deeds": {"lifts": "Lift"}}}}. A sentence
that begins with a deed, or with who does it and the deed, is told to the policy with the value in that place; a value
with a full stop is the whole of what it is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.embodiments import Embodiment, load_embodiments
from armillary.errors import RequestError
from armillary.modes import MODES, Mode

NONE = "none"
OWN_WALK = (
    "steps",
    "guidance",
    "shift",
    "solver",
    "negative_prompt",
    "guidance_between",
    "reuse",
    "latents",
    "adapter",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Acts:
    """``modes``: in which modes a checkpoint acts unasked. ``bodies``: by name the beginnings of sentences that it
    heeds, and what its policy is told in their place."""

    modes: tuple[str, ...] = ()
    bodies: Mapping[str, Mapping[str, str]]

    def heard(self, prompt: str) -> tuple[str, str] | None:
        """Who does what the first sentence tells that anybody knows, and in which words: of several beginnings the
        longest. None where no sentence tells a deed."""
        every = [(heard, told, body) for body, own in self.bodies.items() for heard, told in own.items()]
        for sentence in (" ".join(one.split()) for one in prompt.split(".")):
            known = [one for one in every if _begins(sentence, *one[:2])]
            if known:
                heard, told, body = max(known, key=lambda one: len(one[0]))
                return body, told if told.endswith(".") else f"{told}{sentence[len(heard) :]}."
        return None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Acts":
        """As ``defaults.json`` says it. ``KeyError``, ``TypeError`` or ``ValueError`` for what cannot be."""
        modes = tuple(str(name) for name in found["modes"])
        if set(modes) - {mode.name for mode in MODES.values() if "acting" in mode.takes}:
            raise ValueError(f"acting in {modes}")
        return cls(modes=modes, bodies={str(body): _beginnings(**own) for body, own in found["bodies"].items()})


def _begins(sentence: str, heard: str, told: str) -> bool:
    """Whether a sentence begins so; more must follow where what is told is not the whole."""
    words, start = sentence.casefold().split(), heard.casefold().split()
    return words[: len(start)] == start and (told.endswith(".") or len(words) > len(start))


def _beginnings(*, who: Sequence[str], deeds: Mapping[str, str]) -> dict[str, str]:
    """How sentences may begin that tell one of these deeds, and what is told in place of that."""
    found: dict[str, str] = {}
    for deed, told in deeds.items():
        if not deed.strip() or not told.strip() or isinstance(who, str):
            raise ValueError(f"deed {deed!r}: {told!r} of {who!r}")
        alone = [deed] if told.endswith(".") else [deed, told]
        found |= dict.fromkeys([*alone, *(f"{one} {deed}" for one in who)], told)
    return found


def settle_acting(
    mode: Mode, given: Mapping[str, Any], acts: Acts | None, folder: Path, *, usual: bool
) -> tuple[Embodiment, str] | None:
    """Who acts in a film, and what its policy is told; None where the film walks by itself.

    ``acts``: what the checkpoint in ``folder`` acts out. Not ``usual``: nobody acts unasked. ``RequestError`` for
    ``acting`` beside what it leaves no use for, of a body that cannot act here, or without words.
    """
    asked, prompt = given.get("acting"), given.get("prompt", "")
    if asked == NONE or "acting" not in mode.takes:
        return None
    own = [name for name in OWN_WALK if name in given] + ["dialect"] * (given.get("dialect", "native") != "native")
    if asked is None:
        heard = acts.heard(prompt) if acts is not None and mode.name in acts.modes and isinstance(prompt, str) else None
        if heard is None or own or not usual:
            return None
        body = load_embodiments(folder).get(heard[0])
        return (body, heard[1]) if body is not None and given.get("fps", body.rate_hz) == body.rate_hz else None
    bodies = load_embodiments(folder)
    body = bodies.get(str(asked))
    if body is None:
        known = ", ".join(sorted(bodies)) or "no one"
        raise RequestError(
            f"acting={str(asked)!r} is nobody who could act: this checkpoint knows {known}. Name one, or {NONE!r}."
        )
    if own:
        raise RequestError(
            f"{own[0]} has no use where {body.name} acts out the film's words: a plan and what comes of it are walked "
            f"to as the checkpoint always does. Leave it out, or say acting={NONE!r}."
        )
    if given.get("fps", body.rate_hz) != body.rate_hz:
        raise RequestError(
            f"fps={given['fps']:g}, but {body.name} acts {body.rate_hz:g} times a second: leave fps out, or say "
            f"acting={NONE!r}."
        )
    if not isinstance(prompt, str) or not prompt.strip():
        raise RequestError(f"acting={body.name!r} was asked for without words: say in prompt what is to be done.")
    heard = None if acts is None else Acts(bodies={body.name: acts.bodies.get(body.name, {})}).heard(prompt)
    return body, prompt if heard is None else heard[1]
