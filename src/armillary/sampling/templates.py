"""Whether a request's prompt is written out before anything is imagined, by whom and how: settled here, done later.

    Asked (upsample, upsample_model)  +  the checkpoint's templates  --settle_upsampling-->  Upsampling, or nothing

A checkpoint says under ``upsampling`` in its ``defaults.json`` how the prompts of a mode are asked for: a small
generator hears words of one kind only, and a template has the short words of people turned into these.
``upsampling.py`` does it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from armillary.errors import RequestError
from armillary.modes import Mode
from armillary.prompts import ONE_MORE, broken, places_in, things_in, with_places
from armillary.sampling.values import words

PLACE = "{prompt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """How the prompts of a mode are written out. ``ask``: what is asked, the prompt in place of ``{prompt}``.

    ``temperature``: 0 takes the likeliest words. ``longest``: at most so many tokens of the reasoner's. ``usual``:
    done unless a request says no. ``look``: the given picture, of a film the last one, is shown before the words.
    ``places``: the answer is places alone, "34 56, 70 61.", of the things that the prompt names, in its order; of so
    many ``tries`` of the reasoner's the one is taken that keeps best what the prompt says of them, and things apart.
    """

    ask: str
    temperature: float = 0.0
    longest: int = 256
    usual: bool = False
    look: bool = False
    places: bool = False
    tries: int = 1

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Template":
        """As ``defaults.json`` says it; ``TypeError`` or ``ValueError`` for what it cannot say."""
        made = cls(**found)
        flags = (made.usual, made.look, made.places)
        plain = isinstance(made.longest, int) and all(isinstance(flag, bool) for flag in flags)
        if not plain or PLACE not in made.ask or made.temperature < 0 or min(made.longest, made.tries) < 1:
            raise ValueError(f"the template {dict(found)}: its ask must have {PLACE}, and what else it has a value")
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Upsampling:
    """What is to be done with one prompt. ``url``: a chat endpoint that has ``model``; empty for the reasoner here."""

    template: Template
    url: str = ""
    model: str = ""

    def text(self, prompt: str) -> str:
        """What is asked about a prompt."""
        return self.template.ask.replace(PLACE, prompt)

    def plainer(self, prompt: str) -> str | None:
        """What is asked where nothing usable was said: the things alone, as captions name them. None if no other."""
        told = ONE_MORE.format(placed=" and ".join(things_in(prompt)))
        return self.text(told) if self.template.places and told != prompt else None

    def longer(self, prompt: str, answers: Sequence[str]) -> str:
        """The words that come of a prompt and what was answered; empty if nothing usable was."""
        if not self.template.places:
            return answers[0].strip()
        placed = [words for words in (with_places(prompt, answer) for answer in answers) if words != prompt]
        most = max((len(places_in(words)) for words in placed), default=0)
        return min((words for words in placed if len(places_in(words)) == most), key=broken, default="")

    def record(self) -> dict[str, Any]:
        """As a request says it; what follows ? in a URL may be secret, and is left out."""
        if not self.url:
            return {"upsample": True}
        return {"upsample": self.url.partition("?")[0], "upsample_model": self.model}


def settle_upsampling(mode: Mode, given: Mapping[str, Any], templates: Mapping[str, Template]) -> Upsampling | None:
    """What is to be done with the prompt of a request, None if nothing is; ``RequestError`` for what cannot be.

    Where nobody says, a mode's prompts are written out as the checkpoint usually does, but not those that are JSON
    or say places already, and not in another dialect than the weights' own.
    """
    asked, prompt, template = given.get("upsample"), given.get("prompt", ""), templates.get(mode.name)
    if not isinstance(asked, str) and "upsample_model" in given:
        raise RequestError("upsample_model has no use without an endpoint that has it: give its URL as upsample.")
    if asked is None:
        written_out = prompt.lstrip().startswith("{") or bool(places_in(prompt))
        kept = mode.name == "reason" or written_out or given.get("dialect", "native") != "native"
        if template is None or not template.usual or not prompt or kept or (template.places and not things_in(prompt)):
            return None
        return Upsampling(template=template)
    if asked is False:
        return None
    if asked is not True and not isinstance(asked, str):
        raise RequestError(f"upsample={asked!r} is no use: give True, False, or the URL of a chat endpoint.")
    if template is None:
        known = f", for {', '.join(templates)} alone" if templates else ""
        raise RequestError(
            f"this checkpoint does not say how a prompt of {mode.name} is written out{known}: leave upsample out, or "
            "say it under 'upsampling' in its defaults.json."
        )
    if not prompt:
        raise RequestError("there is no prompt to be written out: give one, or leave upsample out.")
    if template.places and not things_in(prompt):
        raise RequestError(
            f"prompt {prompt[:60]!r} names nothing that can be given a place: name things as 'a red cube', or leave "
            "upsample out."
        )
    if asked is True:
        return Upsampling(template=template)
    url, model = _endpoint(asked), words(given, "upsample_model", "")
    if not model:
        raise RequestError("upsample names an endpoint, but no model of it: say which as upsample_model.")
    return Upsampling(template=template, url=url, model=model)


def _endpoint(url: str) -> str:
    """Where an OpenAI-compatible server takes chats, of its base URL or of that place itself."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise RequestError(f"upsample={url!r} is no URL: give True, False, or one such as http://127.0.0.1:8000/v1.")
    if "@" in parts.netloc:
        raise RequestError("the URL of upsample has a password in it: put the key into ARMILLARY_UPSAMPLE_KEY instead.")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else path + "/chat/completions"
    return parts._replace(path=path, fragment="").geturl()
