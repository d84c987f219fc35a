"""Chat over HTTP: OpenAI's messages become turns of the reasoner, its reply becomes OpenAI's chunks.

What the reasoner thinks between ``<think>`` and ``</think>`` stands apart, as ``reasoning_content``.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from armillary.serving.forms import Strict
from armillary.serving.problems import bad
from armillary.serving.settings import Limits

OPENS, CLOSES = "<think>", "</think>"
_MARKS = re.compile(r"<\|(?!box_|object_ref_|quad_)[a-z_]+\|>")


class Url(Strict):
    """Where a picture or film is: a data URL, an allowed URL, or an uploaded file's id."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Part(Strict):
    """A piece of a turn."""

    type: Literal["text", "image_url", "video_url"]
    text: str | None = None
    image_url: Url | str | None = None
    video_url: Url | str | None = None


class Turn(Strict):
    """One turn of a chat. An answer may come back as it went out, with its thoughts and its empty fields."""

    role: Literal["system", "user", "assistant", "developer"]
    content: str | list[Part]
    name: None = None
    refusal: None = None
    annotations: list[Any] | None = Field(default=None, max_length=0)
    audio: None = None
    function_call: None = None
    tool_calls: list[Any] | None = Field(default=None, max_length=0)
    reasoning_content: str | None = Field(default=None, description="of an assistant's turn; not read again")


class FilmIo(Strict):
    """How a film is read: so many frames a second, or so many frames in all, before the reasoner picks its own."""

    fps: float | None = Field(default=None, gt=0, le=120)
    num_frames: int | None = Field(default=None, ge=1, le=512)


class MediaIo(Strict):
    """vLLM's way to say how films are read."""

    video: FilmIo = FilmIo()


class StreamOptions(Strict):
    """Whether the last chunk tells the number of tokens."""

    include_usage: bool = False


class Plain(Strict):
    """The one form of answer there is."""

    type: Literal["text"] = "text"


class ChatBody(Strict):
    """What ``/v1/chat/completions`` takes."""

    messages: list[Turn] = Field(min_length=1)
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    repetition_penalty: float | None = Field(default=None, ge=1, le=1)
    min_p: float | None = Field(default=None, ge=0, le=0)
    logprobs: Literal[False] | None = None
    response_format: Plain | None = None
    media_io_kwargs: MediaIo | None = None
    user: str | None = Field(default=None, max_length=256)
    deadline_seconds: float | None = Field(default=None, gt=0)


def unnested(data: dict[str, Any]) -> dict[str, Any]:
    """A body whose ``extra_body`` lies open: raw clients nest it, the SDK does not."""
    extra = data.get("extra_body")
    if not isinstance(extra, dict):
        return data
    doubled = sorted(set(extra) & set(data))
    if doubled:
        raise bad(f"{doubled[0]} stands both outside and inside extra_body: give it once.", doubled[0], "conflict")
    return {**{k: v for k, v in data.items() if k != "extra_body"}, **extra}


def manner_of(body: ChatBody, limits: Limits) -> dict[str, Any]:
    """How words are chosen, as ``speak.Manner`` takes it; a ``Problem`` for what contradicts itself."""
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise bad(f"max_tokens={body.max_tokens}, but max_completion_tokens={body.max_completion_tokens}: give one.",
                  "max_tokens", "conflict")  # fmt: skip
    if body.stream_options is not None and not body.stream:
        raise bad("stream_options has no effect without stream: leave it out.", "stream_options", "unsupported")
    longest = body.max_completion_tokens or body.max_tokens or min(256, limits.answer)
    if longest > limits.answer:
        name = "max_completion_tokens" if body.max_completion_tokens else "max_tokens"
        raise bad(f"{name}={longest}: an answer has at most {limits.answer} tokens here.", name, "too_large")
    return {
        "longest": longest,
        "temperature": body.temperature or 0.0,
        "top_p": body.top_p or 1.0,
        "top_k": max(0, body.top_k or 0),
        "seed": body.seed or 0,
    }


def film_of(body: ChatBody) -> dict[str, Any]:
    """How films are read: so many frames a second, or so many in all, or nothing said."""
    told = body.media_io_kwargs.video.model_dump(exclude_none=True) if body.media_io_kwargs else {}
    if len(told) > 1:
        raise bad("media_io_kwargs.video has fps and num_frames: give one of them.", "media_io_kwargs", "conflict")
    return told


def stops_of(body: ChatBody) -> list[str]:
    """Words at which the answer ends; they are not part of it."""
    stops = [body.stop] if isinstance(body.stop, str) else list(body.stop or ())
    if len(stops) > 4 or any(not stop or len(stop) > 256 for stop in stops):
        raise bad("stop has more than 4 words, an empty or a very long one: give up to 4 short ones.", "stop")
    return stops


def pieces_of(body: ChatBody, limits: Limits) -> Iterator[tuple[str, str, str, str]]:
    """Every part of every turn: role, kind (text, image, video), where the client wrote it, words or reference."""
    letters = 0
    pictures = 0
    for number, turn in enumerate(body.messages):
        if turn.reasoning_content is not None and turn.role != "assistant":
            place = f"messages.{number}.reasoning_content"
            raise bad(f"{place} stands in a turn of {turn.role}: only the assistant's have thoughts.", place)
        parts = [Part(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content
        for index, part in enumerate(parts):
            place = f"messages.{number}.content.{index}"
            kind = part.type.removesuffix("_url")
            value = {"text": part.text, "image": part.image_url, "video": part.video_url}[kind]
            given = [name for name in ("text", "image_url", "video_url") if part.model_dump()[name] is not None]
            if given != [part.type]:
                raise bad(f"{place} is {part.type} and has {given}: it must have {part.type} alone.", place)
            words = value.url if isinstance(value, Url) else str(value)
            if kind == "text":
                letters += len(words)
                if mark := _MARKS.search(words):
                    raise bad(f"{place} holds {mark[0]!r}, a mark of the model's own: leave it out.", place)
            else:
                pictures += 1
            yield turn.role if turn.role != "developer" else "system", kind, place, words
    if letters > limits.words:
        raise bad(f"the chat has {letters} characters: at most {limits.words} are read here.", "messages", "too_large")
    if pictures > limits.pictures:
        raise bad(f"the chat shows {pictures} pictures and films: at most {limits.pictures} are looked at.",
                  "messages", "too_large")  # fmt: skip


class Apart:
    """Takes a reply as it grows, gives what may be shown: thoughts and words apart, stops cut off."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self._sent = {"reasoning": 0, "content": 0}
        self.stopped = False

    def split(self, text: str) -> tuple[str, str]:
        """Thoughts and words of a reply so far."""
        if not text.lstrip().startswith(OPENS):
            return "", self._cut(text)
        thought, closed, rest = text.lstrip()[len(OPENS) :].partition(CLOSES)
        return thought, self._cut(rest.lstrip("\n")) if closed else ""

    def _cut(self, text: str) -> str:
        ends = [text.find(stop) for stop in self._stops if stop in text]
        if ends:
            self.stopped = True
            return text[: min(ends)]
        return text

    def news(self, text: str, *, over: bool) -> tuple[str, str]:
        """What is new since the last call; while the reply grows, what may yet become a mark is held back."""
        thought, words = self.split(text)
        if not over:
            if len(text.lstrip()) < len(OPENS) and OPENS.startswith(text.lstrip()):
                return "", ""
            marks = (CLOSES,) if thought and not words else ()
            thought = _held_back(thought, marks) if not words else thought
            words = words if self.stopped else _held_back(words, tuple(self._stops))
        fresh = thought[self._sent["reasoning"] :], words[self._sent["content"] :]
        self._sent = {"reasoning": max(len(thought), self._sent["reasoning"]),
                      "content": max(len(words), self._sent["content"])}  # fmt: skip
        return fresh


def _held_back(text: str, marks: tuple[str, ...]) -> str:
    """The text without an end that may be the beginning of a mark."""
    most = max((n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
    return text[: len(text) - most]
