"""Upsampling: the short words of a request become the longer ones that its checkpoint hears best.

    "a red cube and a blue ball"  ->  user: how the checkpoint's template asks  ->  assistant: the longer words
    "A table. On the table: a red cube at 34 56, a blue ball at 70 61."        ->  what is imagined

The reasoner of the checkpoint writes them, or whoever answers at a URL as OpenAI's chat endpoint does. The rollout's
record keeps both: ``prompt`` as it was asked, ``upsampled_prompt`` as it was imagined. The same request with the same
seed gives the same words, to rounding of its company; of an endpoint that is its own affair.
"""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, build_opener
from urllib.request import Request as Call

from PIL import Image

from armillary.errors import RequestError
from armillary.records import Array
from armillary.sampling.parts import Parts
from armillary.sampling.requests import Request, retold
from armillary.sampling.speak import Manner, speak_many
from armillary.sampling.templates import Upsampling

KEY = "ARMILLARY_UPSAMPLE_KEY"
SECONDS = 120.0  # that an endpoint may be silent
ANOTHER = 1_000_003  # between the seeds of one prompt's tries
MOST_BYTES = 1 << 20  # of an answer that is read


def upsampled(parts: Parts, requests: Sequence[Request]) -> list[Request]:
    """The requests with the words that are imagined; those whose prompts stay are returned as they are.

    Endpoints are asked before any weights load. Where no answer has a place for anything the reasoner is asked once
    more, for the things alone. ``RequestError`` if an endpoint cannot be reached, or nothing usable is said.
    """
    answers: dict[int, list[str]] = {
        i: [_asked_at(request, one)] for i, request in enumerate(requests) if (one := request.upsampling) and one.url
    }
    wanted = {i: one for i, request in enumerate(requests) if (one := request.upsampling) and not one.url}
    answers |= _answered(parts, requests, {i: one.text(requests[i].prompt) for i, one in wanted.items()})
    again = {i: text for i, one in wanted.items() if not one.longer(requests[i].prompt, answers[i])
             and (text := one.plainer(requests[i].prompt))}  # fmt: skip
    answers |= _answered(parts, requests, again)
    return [_said(request, answers[i]) if i in answers else request for i, request in enumerate(requests)]


def _answered(parts: Parts, requests: Sequence[Request], texts: Mapping[int, str]) -> dict[int, list[str]]:
    """What the reasoner says to each of these texts, the k-th request's: as many answers as its template has tries."""
    asked: list[int] = []
    chats: list[list[dict[str, Any]]] = []
    manners = []
    for i, text in texts.items():
        request = requests[i]
        assert request.upsampling is not None
        picture, how = _picture(request), request.upsampling.template
        shown = [] if picture is None else [{"type": "image", "image": picture}]
        for number in range(how.tries):
            seed = (request.seed + number * ANOTHER) % 2**63
            asked.append(i)
            chats.append([{"role": "user", "content": [*shown, {"type": "text", "text": text}]}])
            manners.append(Manner(longest=how.longest, temperature=how.temperature, seed=seed))
    answers: dict[int, list[str]] = {}
    for i, answer in zip(asked, speak_many(parts, chats, manners), strict=True):
        answers.setdefault(i, []).append(answer)
    return answers


def _said(request: Request, answers: Sequence[str]) -> Request:
    assert request.upsampling is not None
    words = request.upsampling.longer(request.prompt, answers)
    if not words:
        raise RequestError(
            f"nothing usable was said when {request.prompt[:60]!r} was to be written out ({answers[0][:60]!r}): ask "
            "with upsample=False."
        )
    record = {**request.record, "upsampled_prompt": words}
    return retold(replace(request, prompt=words, upsampling=None, record=record))


def _picture(request: Request) -> Array | None:
    """The picture uint8 h w 3 that is shown beside the words, if there is one and the template looks at it."""
    if request.upsampling is None or not request.upsampling.template.look:
        return None
    return request.source if request.film is None else request.film[-1]


class _NoRedirects(HTTPRedirectHandler):
    """Another place than the one that was named gets neither the words nor the key."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _asked_at(request: Request, how: Upsampling) -> str:
    """What the endpoint answers."""
    content: list[dict[str, Any]] | str = how.text(request.prompt)
    if (picture := _picture(request)) is not None:
        content = [{"type": "image_url", "image_url": {"url": _data_url(picture)}}, {"type": "text", "text": content}]
    body = {"model": how.model, "messages": [{"role": "user", "content": content}],
            "temperature": how.template.temperature, "seed": request.seed}  # fmt: skip
    headers = {"Content-Type": "application/json", "Accept": "application/json", **_key()}
    where = how.url.partition("?")[0]
    call = Call(how.url, data=json.dumps(body).encode(), headers=headers, method="POST")
    try:
        with build_opener(_NoRedirects).open(call, timeout=SECONDS) as answer:
            data = answer.read(MOST_BYTES + 1)
    except HTTPError as refused:
        with refused:
            why = _reason(refused)
        raise RequestError(
            f"{where} refused to write the prompt out ({refused.code}{why}): mend it, or ask with upsample=False."
        ) from refused
    except (URLError, HTTPException, OSError) as lost:
        raise RequestError(
            f"{where} cannot be reached to write the prompt out ({_cause(lost)}): mend it, or ask with upsample=False."
        ) from lost
    return _words(where, data)


def _cause(lost: Exception) -> object:
    return lost.reason if isinstance(lost, URLError) else lost


def _words(where: str, data: bytes) -> str:
    """The words of a chat's answer, which must be there and whole."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        choice = json.loads(data)["choices"][0]
        words = choice["message"]["content"]
        if not isinstance(words, str) or not words.strip():
            raise ValueError("no words")
        if choice.get("finish_reason") == "length":
            raise ValueError("words that were cut off")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as unusable:
        raise RequestError(
            f"{where} answered with something else than a chat's words ({type(unusable).__name__}: {unusable}): name "
            "an endpoint and a model that write such, or ask with upsample=False."
        ) from unusable
    return words


def _reason(refused: HTTPError) -> str:
    """What a refusal says in OpenAI's form, in front of it a comma; empty if it says nothing so."""
    try:
        said = json.loads(refused.read(MOST_BYTES))["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError, HTTPException, OSError):
        return ""
    return f", {' '.join(str(said).split())[:200]}"


def _key() -> dict[str, str]:
    """The header that names the key, if there is one; ``RequestError`` for a key that no header can hold."""
    key = os.environ.get(KEY, "").strip()
    if not key.isascii() or not key.isprintable():
        raise RequestError(f"{KEY} holds characters that no key has: set it anew.")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _data_url(picture: Array) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
