"""What the reasoner learns from: pictures with questions and true answers, and prompts to read.

    in    raw episodes (frames, questions, reports), the text tokenizer
    out   ids b m with labels, and the pictures that the ids keep places for

One sample is one picture and as many question-answer turns as fit, in an order drawn anew each time; only the
answers are learnt. A share of the samples are films ("What is the robot doing?") or prompts without picture, of
which every word is learnt: that is how the reasoner comes to read what the generator is later asked. Plans are
samples of their own: a moment of an expert's episode, and what is left to do (``datasets/plans.py``). So are questions
about other worlds, and whether what is seen there can be (``told_abroad.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from armillary.datasets.dreamt import CLEAR, HALF
from armillary.datasets.plans import plans_of
from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import DataError
from armillary.model import Seen, TwoTowers, Visual, patchify_images, patchify_video
from armillary.prompts import Placed, action_prompt, lying, places_in, relation, things_in, video_prompt
from armillary.records import Episode, Question
from armillary.tokenizers.chat import film_moments, film_seconds, widen
from armillary.tokenizers.text import TextTokenizer
from armillary.training.eyes import UNIT, as_seen

if TYPE_CHECKING:
    from armillary.training.told_abroad import ToldAbroad

REPORT = "Describe what you see."
PLACES = "Say where everything is: {prompt}"  # asked of short words before a picture is painted of them
DOING = "What is the robot doing?"
IMAGE_PLACE, VIDEO_PLACE = "<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>"
NO_LABEL = -100
ABROAD = ("abroad", "strange")  # kinds of batches about other worlds


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One picture (or the four moments of a film) with its questions and answers."""

    frames: NDArray[Any]  # uint8 h w 3, or 4 h w 3 for a film
    turns: tuple[Question, ...]
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Talk:
    """A batch of conversations: ids b m, mask b m, labels b m (-100 where nothing is learnt), the pictures."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    visual: Visual | Seen | None

    def to(self, device: torch.device) -> "Talk":
        """The same on a device."""
        ids, mask, labels = (x.to(device) for x in (self.ids, self.mask, self.labels))
        return Talk(ids=ids, mask=mask, labels=labels, visual=self.visual and self.visual.to(device))


def pictures_of(episode: Episode) -> list[Picture]:
    """Every annotated frame of an episode with its questions, and the film if the deed was done."""
    found = []
    film = episode.frames["front"]
    for number in sorted({q.frames[0] for q in episode.questions}):
        turns = [q for q in episode.questions if q.frames == (number,)]
        words = episode.captions.get(f"report {number}")
        if words:
            turns.append(Question(task="report", words=REPORT, answer=words, frames=(number,)))
        found.append(Picture(frames=film[number].copy(), turns=tuple(turns)))
    if episode.success:
        moments = film_moments(len(film))
        seconds = tuple(film_seconds(moments, episode.fps))
        doing = Question(task="doing", words=DOING, answer=episode.captions["short"], frames=tuple(moments))
        found.append(Picture(frames=film[moments], turns=(doing,), seconds=seconds))
    return found


def plan_pictures(episode: Episode, most: int) -> list[Picture]:
    """At most so many moments of an episode at which it is asked what is left to do, each with that question alone."""
    film = episode.frames["front"]
    return [Picture(frames=film[asked.frames[0]].copy(), turns=(asked,)) for asked in plans_of(episode, most=most)]


def prompts_of(episode: Episode) -> list[str]:
    """The prompts under which the generator will meet this episode."""
    size = {"frames": 17, "fps": episode.fps}
    return [
        action_prompt(episode.instruction, height=256, width=256, **size),  # type: ignore[arg-type]
        video_prompt(episode.captions["dense"], height=128, width=128, **size),  # type: ignore[arg-type]
    ]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A picture in words alone: several ways to say what is on it, and where the ``things`` that they name are."""

    ways: tuple[str, ...]
    things: tuple[Placed, ...]

    @property
    def answer(self) -> str:
        """The places alone, in the order of the words: "34 56, 70 61."."""
        return ", ".join(one.place for one in self.things) + "."


def layouts_of(episode: Episode) -> list[Layout]:
    """The first picture of an episode where its places were kept, else none."""
    told, scene = episode.captions, episode.captions.get("scene", "")
    known = {one.thing: one for one in places_in(told.get("report 0", ""))}
    things = [known[thing] for thing in things_in(scene) if thing in known]
    if not things or len(things) != len(known):
        return []
    return [Layout(ways=(told["dense"], scene, scene.partition(": ")[2]), things=tuple(things))]


def related(layout: Layout, rng: np.random.Generator) -> str:
    """Words for it, at times with a sentence or two about how the things lie to one another."""
    things = layout.things
    told = [layout.ways[int(rng.integers(len(layout.ways)))]]
    for _ in range(int(rng.integers(3)) if len(things) > 1 else 0):
        one, other = (things[i] for i in rng.permutation(len(things))[:2])
        if lies := relation(one.x - other.x, one.y - other.y, clear=CLEAR / (2 * HALF)):
            told.append(lying(one.name, lies, other.name))
    return " ".join(told)


class TalkSource:
    """All pictures and prompts of folders of raw episodes, kept in memory.

    ``shares``: how often a question of a task is asked where it could be; 1 where nothing is said. ``most``: turns of
    one conversation. ``eyes``: whose look at every picture is kept: they are to learn no more. ``plans``: at most how
    many more pictures of an expert's episode are kept for what is left to do there; ``DataError`` if there is none.
    ``abroad``: what is asked about other worlds.
    """

    def __init__(
        self, folders: Sequence[Path], tokenizer: TextTokenizer, *, longest: int = 192, limit: int | None = None,
        shares: Mapping[str, float] | None = None, most: int | None = None, eyes: nn.Module | None = None,
        plans: int = 0, abroad: "ToldAbroad | None" = None,
    ) -> None:  # fmt: skip
        self.abroad = abroad
        self._tokenizer, self._longest, self._shares, self._most = tokenizer, longest, dict(shares or {}), most
        self._eyes, self._looked = eyes, dict[int, Seen]()
        self._encode = lru_cache(None)(tokenizer.encode)
        self.stills: list[Picture] = []
        self.films: list[Picture] = []
        self.plans: list[Picture] = []
        self.prompts: list[str] = []
        self.layouts: list[Layout] = []
        for path in [path for folder in folders for path in raw_files(folder)[:limit]]:
            episode = load_raw(path)
            for picture in pictures_of(episode):
                (self.films if picture.seconds else self.stills).append(picture)
            self.plans += plan_pictures(episode, plans) if plans else []
            self.prompts += prompts_of(episode)
            self.layouts += layouts_of(episode)
        if plans and not self.plans:
            raise DataError("plans are to be learnt and no expert of these episodes has carried anything out on the "
                            "tabletop: simulate some, for example with the run `pico-data`.")  # fmt: skip

    def batch(self, rng: np.random.Generator, samples: int, *, kind: str) -> Talk:
        """Draw a batch of ``kind`` still, film, plan, prompt, layout, abroad or strange."""
        if kind == "layout":
            laid = [self.layouts[int(rng.integers(len(self.layouts)))] for _ in range(samples)]
            turns = [Question(task=kind, words=PLACES.format(prompt=related(one, rng)), answer=one.answer, frames=())
                     for one in laid]  # fmt: skip
            return padded([converse(self._encode, None, [turn]) for turn in turns], None)
        if kind == "prompt":
            rows = [self._read(self.prompts[int(rng.integers(len(self.prompts)))]) for _ in range(samples)]
            return padded(rows, None)
        if kind in ABROAD:
            assert self.abroad is not None, "given at the beginning"
            draw, shares = self.abroad.draw if kind == "abroad" else self.abroad.strange, {}
            drawn = [draw(rng) for _ in range(samples)]
        else:
            kept, shares = {"still": self.stills, "film": self.films, "plan": self.plans}[kind], self._shares
            drawn = [kept[int(rng.integers(len(kept)))] for _ in range(samples)]
        rows = [self._converse(picture, rng, shares) for picture in drawn]
        if self._eyes is not None:
            return padded(rows, Seen.join([self._look(picture) for picture in drawn]))
        if kind not in ("still", "plan"):
            return padded(rows, Visual.join([_patches(picture) for picture in drawn]))
        return padded(rows, patchify_images(as_seen(np.stack([picture.frames for picture in drawn]))))

    def _read(self, prompt: str) -> tuple[list[int], list[int]]:
        ids = self._tokenizer.prompt_ids(prompt)
        return ids, ids

    def _look(self, picture: Picture) -> Seen:
        """What the eyes made of a picture when it was first drawn."""
        assert self._eyes is not None
        kept = id(picture.frames)  # its questions may be drawn anew each time
        if kept not in self._looked:
            visual = _patches(picture).to(next(self._eyes.parameters()).device)
            with torch.no_grad():
                tokens, features = self._eyes(visual, torch.float32)
            seen = Seen(tokens=tokens, features=tuple(features), grids=visual.grids)
            self._looked[kept] = seen.to("cpu", torch.bfloat16)
        return self._looked[kept]

    def _converse(
        self, picture: Picture, rng: np.random.Generator, shares: Mapping[str, float]
    ) -> tuple[list[int], list[int]]:
        tokens = visual_tokens(picture.frames.shape[-3:-1])
        turns = picture.turns
        if shares:
            turns = tuple(q for q in turns if rng.random() < shares.get(q.task, 1.0)) or turns
        order = [turns[i] for i in rng.permutation(len(turns))][: self._most]
        shown = [(second, tokens) for second in picture.seconds] if picture.seconds else tokens
        return converse(self._encode, shown, order, longest=self._longest)


def converse(
    encode: Callable[[str], list[int]], shown: int | list[tuple[float, int]] | None, turns: Sequence[Question], *,
    longest: int = 1 << 20,
) -> tuple[list[int], list[int]]:  # fmt: skip
    """Ids and labels of one conversation about a picture of ``shown`` tokens, or a film: seconds and tokens each; None
    shows nothing.

    Turns that would make it longer than ``longest`` are left out, but never the first.
    """
    start = "<|im_start|>user\n"
    if shown is not None:
        start = widen(start + (IMAGE_PLACE if isinstance(shown, int) else VIDEO_PLACE), [shown])
    ids: list[int] = []
    labels: list[int] = []
    for turn in turns:
        asked = encode(
            (start if not ids else "<|im_start|>user\n") + turn.words + "<|im_end|>\n<|im_start|>assistant\n"
        )
        said, close = encode(turn.answer + "<|im_end|>"), encode("\n")
        if ids and len(ids) + len(asked) + len(said) + 1 > longest:
            continue
        ids += asked + said + close
        labels += [NO_LABEL] * len(asked) + said + [NO_LABEL] * len(close)
    return ids, labels


def drawn_by_task(questions: Sequence[Question], shares: Mapping[str, float], rng: np.random.Generator) -> Question:
    """One question: its task by the shares of those that can be asked (if none can, any), then which."""
    tasks = [task for task in shares if any(q.task == task for q in questions)]
    if tasks:
        task = tasks[int(rng.choice(len(tasks), p=odds(tasks, shares)))]
        questions = [q for q in questions if q.task == task]
    return questions[int(rng.integers(len(questions)))]


def odds(names: Iterable[str], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """How likely each of ``names`` is drawn: by its share, which is 1 where nothing is said."""
    weights = np.array([shares.get(name, 1.0) for name in names])
    return weights / weights.sum()


def _patches(picture: Picture) -> Visual:
    seen = as_seen(picture.frames if picture.seconds else picture.frames[None])
    return patchify_video(seen) if picture.seconds else patchify_images(seen)


@lru_cache
def visual_tokens(size: tuple[int, int]) -> int:
    """How many of the reasoner's tokens a picture of ``size`` (height, width) takes."""
    height, width = as_seen(np.zeros((1, *size, 3), np.uint8)).shape[1:3]
    return (height // UNIT) * (width // UNIT)


def padded(rows: Sequence[tuple[list[int], list[int]]], visual: Visual | Seen | None) -> Talk:
    """Conversations of several lengths as one batch."""
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
    talk = talk.to(model.device)
    hidden = model.hidden(talk.ids, talk.mask, talk.visual)[:, :-1]
    wanted = talk.labels[:, 1:]
    learnt = wanted != NO_LABEL
    scores = model.transformer.lm_head(hidden[learnt]).float()
    right = (scores.argmax(dim=-1) == wanted[learnt]).float().mean()
    return {"loss": functional.cross_entropy(scores, wanted[learnt]), "right": right.detach()}
