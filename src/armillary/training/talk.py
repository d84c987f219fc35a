"""What the reasoner learns from: pictures with questions and true answers, and prompts to read.

    in    raw episodes (frames, questions, reports), the text tokenizer
    out   ids b m with labels, and the pictures that the ids keep places for

One sample is one picture and as many question-answer turns as fit, in an order drawn anew each time; only the
answers are learnt. A share of the samples are films ("What is the robot doing?") or prompts without picture, of
which every word is learnt: that is how the reasoner comes to read what the generator is later asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from armillary.datasets.raw import load_raw, raw_files
from armillary.model import TwoTowers, Visual, patchify_images, patchify_video
from armillary.prompts import action_prompt, video_prompt
from armillary.records import Episode
from armillary.tokenizers.chat import film_moments, film_seconds, widen
from armillary.tokenizers.text import TextTokenizer
from armillary.training.eyes import UNIT, as_seen

REPORT = "Describe what you see."
DOING = "What is the robot doing?"
IMAGE_PLACE, VIDEO_PLACE = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
NO_LABEL = -100


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One picture (or the four moments of a film) with its questions and answers."""

    frames: NDArray[Any]  # uint8 h w 3, or 4 h w 3 for a film
    turns: tuple[tuple[str, str], ...]
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Talk:
    """A batch of conversations: ids b m, mask b m, labels b m (-100 where nothing is learnt), the pictures."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    visual: Visual | None


def pictures_of(episode: Episode) -> list[Picture]:
    """Every annotated frame of an episode with its questions, and the film if the deed was done."""
    found = []
    film = episode.frames["front"]
    for number in sorted({q.frames[0] for q in episode.questions}):
        turns = [(q.words, q.answer) for q in episode.questions if q.frames == (number,)]
        words = episode.captions.get(f"report {number}")
        if words:
            turns.append((REPORT, words))
        found.append(Picture(frames=film[number], turns=tuple(turns)))
    if episode.success:
        moments = film_moments(len(film))
        seconds = tuple(film_seconds(moments, episode.fps))
        asked = ((DOING, episode.captions["short"]),)
        found.append(Picture(frames=film[moments], turns=asked, seconds=seconds))
    return found


def prompts_of(episode: Episode) -> list[str]:
    """The prompts under which the generator will meet this episode."""
    size = {"frames": 17, "fps": episode.fps}
    return [
        action_prompt(episode.instruction, height=256, width=256, **size),  # type: ignore[arg-type]
        video_prompt(episode.captions["dense"], height=128, width=128, **size),  # type: ignore[arg-type]
    ]


class TalkSource:
    """All pictures and prompts of a folder of raw episodes, kept in memory."""

    def __init__(self, folder: Path, tokenizer: TextTokenizer, *, longest: int = 192, limit: int | None = None) -> None:
        self._tokenizer, self._longest = tokenizer, longest
        self.stills: list[Picture] = []
        self.films: list[Picture] = []
        self.prompts: list[str] = []
        for path in raw_files(folder)[:limit]:
            episode = load_raw(path)
            for picture in pictures_of(episode):
                (self.films if picture.seconds else self.stills).append(picture)
            self.prompts += prompts_of(episode)
        self._known: dict[str, list[int]] = {}

    def batch(self, rng: np.random.Generator, samples: int, *, kind: str) -> Talk:
        """Draw a batch of ``kind`` still, film or prompt."""
        if kind == "prompt":
            rows = [self._read(self.prompts[int(rng.integers(len(self.prompts)))]) for _ in range(samples)]
            return _padded(rows, None)
        kept = self.films if kind == "film" else self.stills
        drawn = [kept[int(rng.integers(len(kept)))] for _ in range(samples)]
        rows = [self._converse(picture, rng) for picture in drawn]
        if kind == "film":
            visual = Visual.join([patchify_video(as_seen(picture.frames)) for picture in drawn])
        else:
            visual = patchify_images(as_seen(np.stack([picture.frames for picture in drawn])))
        return _padded(rows, visual)

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text)
        return self._known[text]

    def _read(self, prompt: str) -> tuple[list[int], list[int]]:
        ids = self._tokenizer.prompt_ids(prompt)
        return ids, ids

    def _converse(self, picture: Picture, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        tokens = visual_tokens(picture.frames.shape[-3:-1])
        place = VIDEO_PLACE if picture.seconds else IMAGE_PLACE
        shown = [(second, tokens) for second in picture.seconds] if picture.seconds else tokens
        start = widen(f"<|im_start|>user\n{place}", [shown])
        ids: list[int] = []
        labels: list[int] = []
        for number in rng.permutation(len(picture.turns)):
            question, answer = picture.turns[number]
            asked = self._ids(
                (start if not ids else "<|im_start|>user\n") + question + "<|im_end|>\n<|im_start|>assistant\n"
            )
            said, close = self._ids(answer + "<|im_end|>"), self._ids("\n")
            if ids and len(ids) + len(asked) + len(said) + 1 > self._longest:
                continue
            ids += asked + said + close
            labels += [NO_LABEL] * len(asked) + said + [NO_LABEL] * len(close)
        return ids, labels


@lru_cache
def visual_tokens(size: tuple[int, int]) -> int:
    """How many of the reasoner's tokens a picture of ``size`` (height, width) takes."""
    height, width = as_seen(np.zeros((1, *size, 3), np.uint8)).shape[1:3]
    return (height // UNIT) * (width // UNIT)


def _padded(rows: Sequence[tuple[list[int], list[int]]], visual: Visual | None) -> Talk:
    longest = max(len(ids) for ids, _ in rows)
    ids, labels = torch.zeros(len(rows), longest, dtype=torch.long), torch.full((len(rows), longest), NO_LABEL)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, (row, marks) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(row)] = torch.tensor(marks)
        mask[i, : len(row)] = True
    return Talk(ids=ids, mask=mask, labels=labels, visual=visual)


def talk_loss(model: TwoTowers, talk: Talk) -> dict[str, Tensor]:
    """Next-token loss on the labels, and the share of answer tokens that would be said right."""
    hidden = model.hidden(talk.ids, talk.mask, talk.visual)[:, :-1]
    wanted = talk.labels[:, 1:]
    learnt = wanted != NO_LABEL
    scores = model.transformer.lm_head(hidden[learnt]).float()
    right = (scores.argmax(dim=-1) == wanted[learnt]).float().mean()
    return {"loss": functional.cross_entropy(scores, wanted[learnt]), "right": right.detach()}
