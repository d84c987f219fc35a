"""Speaking: chat turns with pictures in, words out, one at a time.

    messages -> ids and pictures -> the reasoner, cached -> token, token, ... until <|im_end|>
    several chats of any lengths -> one batch, from which each goes when it has ended

Messages are written as for Qwen3-VL: ``content`` is a string, or a list of parts {"type": "text", "text": ...},
{"type": "image", "image": path, Pillow image or array}, {"type": "video", "video": path or frames, "fps": ...}.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armillary.errors import RequestError
from armillary.model import TwoTowers, Visual, fit_for_eyes, patchify_images, patchify_video
from armillary.prompts import chat_text
from armillary.sampling.echo import Echo
from armillary.sampling.parts import Parts
from armillary.sampling.pictures import film_from, picture_from
from armillary.tokenizers.chat import Shown, film_moments, film_seconds, widen

MOST_AT_ONCE = 32  # chats answered as one batch
_HALF_A_CHARACTER = "\ufffd"
_COLDEST = 1e-6  # below it scores would leave what numbers hold, and the likeliest is all that is left anyway
_KINDS: dict[type, tuple[type, ...]] = {int: (int, np.integer), float: (int, float, np.integer, np.floating)}
_SPANS = {"longest": (1, 2**31), "temperature": (0, 1000), "top_k": (0, 2**31), "top_p": (0, 1), "seed": (0, 2**63 - 1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How words are chosen. Temperature 0 always takes the likeliest; above it, chance is drawn from ``seed``.

    ``top_k``: only among the k likeliest (0: all). ``top_p``: only among the likeliest that together have this
    probability.
    """

    longest: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_way(one.name, getattr(self, one.name), one.default)

    @classmethod
    def of(cls, how: Mapping[str, Any]) -> "Manner":
        """From keywords; ``RequestError`` names one that is unknown."""
        known = {one.name: one.default for one in fields(cls)}
        if unknown := [name for name in how if name not in known]:
            raise RequestError(f"{unknown[0]!r} is not a way of speaking: known are {', '.join(known)}.")
        for name, value in how.items():
            _check_way(name, value, known[name])
        return cls(**how)


def _check_way(name: str, value: Any, usual: Any) -> None:
    """``RequestError`` for what no field of a manner of that name can be."""
    kind, (least, most) = _KINDS[type(usual)], _SPANS[name]
    known = isinstance(value, kind) and not isinstance(value, bool)
    if not known or not least <= value <= most or (name == "top_p" and value == 0):
        what = "a whole number" if isinstance(usual, int) else "a number"
        span = "above 0 and at most 1" if name == "top_p" else f"from {least} to {most}"
        raise RequestError(f"{name}={value!r} is out of range: give {what} {span}, such as {usual}.")


def speak(parts: Parts, messages: Sequence[Mapping[str, Any]], manner: Manner) -> Iterator[str]:
    """The assistant's reply, piece by piece; the pieces joined are the reply.

    Everything wrong with the messages raises ``RequestError`` here, before the first piece is asked for.
    """
    return _pieces(parts, _attend(parts, messages, manner))


def speak_many(parts: Parts, chats: Sequence[Sequence[Mapping[str, Any]]], manners: Sequence[Manner]) -> list[str]:
    """The replies to several chats, each in its manner: said together, a word of each at a time.

    A chat is answered as it would be alone, to rounding. ``RequestError`` names the chat, before the first word.
    """
    heard = []
    for number, (chat, manner) in enumerate(zip(chats, manners, strict=True)):
        try:
            heard.append(_attend(parts, chat, manner))
        except RequestError as wrong:
            raise wrong if len(chats) == 1 else RequestError(f"chat {number}: {wrong}") from wrong
    order = sorted(range(len(heard)), key=lambda i: len(heard[i].ids))  # the alike together: less is padded
    said: dict[int, list[int]] = {}
    for start in range(0, len(order), MOST_AT_ONCE):
        group = order[start : start + MOST_AT_ONCE]
        said |= {number: [] for number in group}
        for place, token in _said(parts, [heard[number] for number in group]):
            said[group[place]].append(token)
    return [parts.text.decode(said[number]) for number in range(len(heard))]


def hear(parts: Parts, messages: Sequence[Mapping[str, Any]]) -> tuple[str, Visual | None]:
    """The chat as one string with a place for each visual token, and the pictures; ``RequestError`` if they misfit."""
    if not messages:
        raise RequestError("messages is empty: give at least one turn of the user.")
    text = chat_text(messages)
    shown: list[Shown] = []
    visuals: list[Visual] = []
    for part in _pictured(messages):
        visual, place = _look(parts, part)
        visuals.append(visual)
        shown.append(place)
    return widen(text, shown), Visual.join(visuals) if visuals else None


def _pictured(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        if not isinstance(message["content"], str):
            yield from (part for part in message["content"] if "image" in part or "video" in part)


def _look(parts: Parts, part: Mapping[str, Any]) -> tuple[Visual, Shown]:
    """A picture or film as patches, and the places it takes in the text."""
    eyes = parts.sizes.vision
    side, unit = max(parts.defaults.size), eyes.patch * eyes.merge
    cut = {"patch": eyes.patch, "merge": eyes.merge, "temporal_patch": eyes.temporal_patch}
    if "image" in part:
        picture = picture_from(part["image"], "image")
        visual = patchify_images(fit_for_eyes(picture[None], most=side, unit=unit), **cut)
        return visual, visual.tokens(eyes.merge)[0]
    fps = part.get("fps", parts.defaults.fps)
    if not isinstance(fps, (int, float)) or not fps > 0:
        raise RequestError(f"fps={fps!r} of a film in the chat: frames a second must be a number above 0.")
    film = film_from(part["video"], "video", float(fps))
    moments = film_moments(len(film))
    visual = patchify_video(fit_for_eyes(film[moments], most=side, unit=unit), **cut)
    return visual, list(zip(film_seconds(moments, fps), visual.tokens(eyes.merge), strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """A chat as the reasoner reads it, how to reply, and in how many tokens at most."""

    ids: list[int]
    visual: Visual | None
    manner: Manner
    longest: int


def _attend(parts: Parts, messages: Sequence[Mapping[str, Any]], manner: Manner) -> Heard:
    text, visual = hear(parts, messages)
    ids = parts.text.encode(text)
    room = parts.longest_chat - len(ids)
    if room < 1:
        raise RequestError(
            f"the chat has {len(ids)} tokens, which leaves no room for a reply: at most {parts.longest_chat} are read "
            "and said, shorten it."
        )
    return Heard(ids=ids, visual=visual, manner=manner, longest=min(manner.longest, room))


def _pieces(parts: Parts, heard: Heard) -> Iterator[str]:
    said: list[int] = []
    sent = 0
    for _, token in _said(parts, [heard]):
        said.append(token)
        words = parts.text.decode(said)
        if not words.endswith(_HALF_A_CHARACTER):
            yield words[sent:]
            sent = len(words)
    rest = parts.text.decode(said)[sent:]
    if rest:
        yield rest


def _said(parts: Parts, heard: Sequence[Heard]) -> Iterator[tuple[int, int]]:
    eyes = ("vision",) if any(one.visual is not None for one in heard) else ()
    said = say(parts.model("reasoner", *eyes), heard, ends=(parts.text.im_end, parts.text.endoftext))
    return said if parts.offload == "none" else iter(list(said))  # later its weights may be gone


def say(
    model: TwoTowers, heard: Sequence[Heard], *, ends: Collection[int], guess: bool = True
) -> Iterator[tuple[int, int]]:
    """(number of the chat, id) as replies are said, until each has met one of ``ends`` or is as long as it may be.

    A step looks at one new token of each chat that goes on; the rest is remembered. ``guess``: a chat that is alone
    is also shown what may come next (``Echo``), of which it says what it would have said anyway.
    """
    device = model.device
    chances = [torch.Generator().manual_seed(one.manner.seed) for one in heard]
    texts = [list(one.ids) for one in heard]
    full = [len(one.ids) + one.longest for one in heard]
    going = list(range(len(heard)))  # which chat each row of the batch belongs to
    rows, how = laid_out([(one.ids, one.visual) for one in heard], device)
    cache, echo = None, None
    guesses: list[int] = []
    surely = not any(one.manner.temperature for one in heard)  # else chance needs every token's score
    while going:
        with torch.inference_mode():
            found, cache = model.step(rows.to(device), cache, **how, likeliest=surely)
        scores = None if surely else found.view(len(going), -1, found.shape[-1]).float()
        likeliest = (found.view(len(going), -1) if scores is None else scores.argmax(dim=-1)).tolist()
        stay = []
        unsaid = 0
        for place, number in enumerate(going):
            own = None if scores is None else scores[place]
            tokens = _agreed(own, likeliest[place], guesses, heard[number].manner, chances[number])
            unsaid = 1 + len(guesses) - len(tokens)
            for token in tokens:
                if token in ends:
                    break
                yield number, token
                texts[number].append(token)
            else:
                stay += [place] if len(texts[number]) < full[number] else []
        cache = cache.shorter(unsaid)
        if len(stay) < len(going):
            going = [going[place] for place in stay]
            cache = cache.select(torch.tensor(stay, dtype=torch.long, device=device))
        if guess and len(going) == 1:
            text = texts[going[0]]
            echo = echo or Echo(text)
            echo.follow(text)
            guesses = echo.guesses(full[going[0]] - len(text) - 1)
        rows = torch.tensor([[texts[number][-1], *guesses] for number in going])
        how = {"every": True} if guesses else {}


def laid_out(
    chats: Sequence[tuple[Sequence[int], Visual | None]], device: torch.device
) -> tuple[Tensor, dict[str, Any]]:
    """Chats as ids and pictures: the ids side by side, and what else the reasoner is given with them."""
    rows, mask = side_by_side([ids for ids, _ in chats])
    visuals = [visual for _, visual in chats if visual is not None]
    return rows, {"mask": mask.to(device), "visual": Visual.join(visuals).to(device) if visuals else None}


def side_by_side(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of several lengths b m, padded on the right, and which of them are real, b m."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]


def _agreed(
    scores: Tensor | None, likeliest: Sequence[int], guesses: Sequence[int], manner: Manner, chance: torch.Generator
) -> list[int]:
    """What is said: one token, and as long as each was guessed, the next. ``scores`` n v; None: nothing is drawn."""
    said: list[int] = []
    for place, likely in enumerate(likeliest):
        if scores is None or manner.temperature == 0:
            said.append(likely)
        else:
            said.append(choose(scores[place].cpu(), manner, chance))
        if place == len(guesses) or said[place] != guesses[place]:
            break
    return said


def choose(scores: Tensor, manner: Manner, chance: torch.Generator) -> int:
    """One token's id, of scores v: the likeliest, or drawn as ``manner`` says."""
    if manner.temperature == 0:
        return int(scores.argmax())
    order = scores.argsort(descending=True)
    if manner.top_k:
        order = order[: manner.top_k]
    share = (scores[order] / max(manner.temperature, _COLDEST)).softmax(dim=0)
    before = share.cumsum(dim=0) - share  # the likeliest is always kept
    kept = share * (before < manner.top_p)
    return int(order[torch.multinomial(kept, 1, generator=chance)])
