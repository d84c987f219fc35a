"""Acting: a film whose words tell a deed is made by planning the deed, and then foreseeing what comes of it.

    "The robot lifts the red cube. On the table: ..."       the words of a film
     --Acts.heard-->  tabletop, "Lift the red cube."        who does it, and how its policy is told
    picture, "Lift the red cube."  --policy-->  actions  --forward dynamics-->  the next pictures; and again

A small generator asked for a film from a picture and words sees the mean of all that might come: next to nothing moves,
and other words change nothing. The same generator knows what to do when it is told to, and what comes of what is done.
Asked for these one after the other it shows what the words tell (docs/decisions/0012). Where the words tell no deed,
or a request says how the film's own walk is to go, nothing is acted.

``acting`` in a checkpoint's ``defaults.json`` says in which modes it acts unasked, and which words its bodies heed:
{"modes": ["image-to-video"], "bodies": {"tabletop": {"who": ["The robot"], "deeds": {"lifts": "Lift"}, "orders":
{"lift": "Lift"}}}}. A sentence that begins with who does it and a deed, or with an order, is heard if it goes on with
an article, and told to the policy with the value in that place, *the* for the article, and without places; a value with
a full stop is the whole of what is told, however the sentence goes on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armillary.embodiments import Embodiment, bundled, load_embodiment, load_embodiments
from armillary.errors import RequestError
from armillary.modes import MODES, Mode
from armillary.prompts import things_in
from armillary.sampling.adapters import NONE
from armillary.sampling.painting import Painting
from armillary.sampling.templates import Template

ARTICLES = ("the", "a", "an")
PLACES = ("left", "right", "middle", "upper", "lower", "front", "back")  # *the left tray* is no thing to be painted
_END = re.compile(r"[.!?](?=\s|$)|\n")  # of a sentence
_OBJECT = re.compile(r"\bthe ([a-z]+ [a-z]+)\b")  # of a deed: things of two words
_PLACE = re.compile(r" at \d\d? \d\d?\b")  # as ``prompts.places_in`` reads them
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
        every = [(start, told, body) for body, own in self.bodies.items() for start, told in own.items()]
        for sentence in (one.split() for one in _END.split(prompt)):
            known = [(start, words, body) for start, told, body in every if (words := _said(sentence, start, told))]
            if known:
                _, words, body = max(known, key=lambda one: len(one[0]))
                return body, words
        return None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Acts":
        """As ``defaults.json`` says it. ``KeyError``, ``TypeError`` or ``ValueError`` for what cannot be."""
        modes = tuple(str(name) for name in found["modes"])
        if set(modes) - {mode.name for mode in MODES.values() if "acting" in mode.takes}:
            raise ValueError(f"acting in {modes}")
        return cls(modes=modes, bodies={str(body): _beginnings(**own) for body, own in found["bodies"].items()})


def _said(sentence: Sequence[str], start: str, told: str) -> str:
    """What is told to a policy of a sentence that begins so, empty for one that does not."""
    begun, rest = sentence[: len(start.split())], sentence[len(start.split()) :]
    if " ".join(begun).casefold() != " ".join(start.split()).casefold():
        return ""
    if told.endswith("."):
        return told
    if len(rest) < 2 or rest[0].casefold() not in ARTICLES:
        return ""
    return _PLACE.sub("", " ".join([told, "the", *rest[1:]])) + "."


def _beginnings(
    *, who: Sequence[str], deeds: Mapping[str, str], orders: Mapping[str, str] | None = None
) -> dict[str, str]:
    """How sentences may begin that tell one of these deeds, or order it, and what is told in place of that."""
    if isinstance(who, str):
        raise ValueError(f"who {who!r} is no list")
    found = {f"{one} {deed}": told for one in who for deed, told in deeds.items()} | dict(orders or {})
    if not found or not all(word.strip() for pair in found.items() for word in pair):
        raise ValueError(f"deeds {dict(deeds)} of {list(who)}, orders {orders}")
    return found


def with_things(
    mode: Mode, given: Mapping[str, Any], acts: Acts | None, painting: Painting | None, template: Template | None
) -> Mapping[str, Any]:
    """A request for a film from words that tell a deed and name nothing to be painted, and then name what the deed is
    done to, as the checkpoint paints it: "Lift the red cube." and "On the table: a red cube."; where its prompt is then
    written out by a ``template`` that says where things are.
    """
    prompt = given.get("prompt")
    placed = template is not None and template.places and given.get("upsample", template.usual) is True
    able = placed and mode.video == "hidden" and given.get("dialect", "native") == "native"
    if not able or not isinstance(prompt, str) or acts is None or painting is None:
        return given
    if given.get("acting", None if mode.name in acts.modes else NONE) == NONE:
        return given
    heard = None if things_in(prompt) else acts.heard(prompt)
    found = [] if heard is None else [one for one in _OBJECT.findall(heard[1]) if one.split()[0] not in PLACES]
    if not found:
        return given
    words = prompt.strip() if prompt.strip()[-1] in ".!?" else f"{prompt.strip()}."
    return {**given, "prompt": f"{words} {painting.one.format(placed=' and '.join(f'a {one}' for one in found))}"}


def actor_of(mode: Mode, given: Mapping[str, Any], folder: Path) -> Embodiment | None:
    """The body that a request names to act out its words, one of the checkpoint's; None where it names none.

    ``RequestError`` for one that there is not; a name is never taken for a path.
    """
    asked = given.get("acting")
    if asked is None or asked == NONE or "acting" not in mode.takes:
        return None
    bodies = load_embodiments(folder) or {name: load_embodiment(name) for name in bundled()}
    if not isinstance(asked, str) or asked not in bodies:
        raise RequestError(
            f"acting={str(asked)!r} is nobody who could act: this checkpoint knows {', '.join(sorted(bodies))}. Name "
            f"one of these, or {NONE!r}."
        )
    return bodies[asked]


def rate_of(mode: Mode, given: Mapping[str, Any], folder: Path, embodiment: Embodiment | None, usual: float) -> float:
    """A film's frames a second where nobody says: as often as its body acts, or who is named to act out its words."""
    body = embodiment or actor_of(mode, given, folder)
    return usual if body is None else body.rate_hz


def settle_acting(
    mode: Mode, given: Mapping[str, Any], acts: Acts | None, folder: Path, *, fps: float, usual: bool
) -> tuple[Embodiment, str] | None:
    """Who acts in a film, and what its policy is told; None where the film walks by itself.

    ``acts``: what the checkpoint in ``folder`` acts out, ``fps``: the film's rate. Not ``usual``: nobody acts unasked.
    ``RequestError`` for a body that is named beside what it leaves no use for, at another rate, or without words.
    """
    prompt = given.get("prompt", "")
    if given.get("acting") == NONE or "acting" not in mode.takes:
        return None
    own = [name for name in OWN_WALK if name in given] + ["dialect"] * (given.get("dialect", "native") != "native")
    body = actor_of(mode, given, folder)
    if body is None:
        heard = acts.heard(prompt) if acts is not None and mode.name in acts.modes and isinstance(prompt, str) else None
        body = None if heard is None or own or not usual else load_embodiments(folder).get(heard[0])
        return None if body is None or heard is None or fps != body.rate_hz else (body, heard[1])
    if own:
        raise RequestError(
            f"{own[0]} has no use where {body.name} acts out the film's words: a plan and what comes of it are walked "
            f"to as the checkpoint always does. Leave it out, or say acting={NONE!r}."
        )
    if fps != body.rate_hz:
        raise RequestError(
            f"fps={fps:g}, but {body.name} acts {body.rate_hz:g} times a second: leave fps out, or say acting={NONE!r}."
        )
    if not isinstance(prompt, str) or not prompt.strip():
        raise RequestError(f"acting={body.name!r} was asked for without words: say in prompt what is to be done.")
    heard = None if acts is None else Acts(bodies={body.name: acts.bodies.get(body.name, {})}).heard(prompt)
    return body, prompt if heard is None else heard[1]
