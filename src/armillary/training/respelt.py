"""Words that other worlds are full of get tokens of their own before the reasoner learns what is said there.

    in    a tokenizer, raw episodes of other worlds and of the table
    out   the same tokenizer with their words as single tokens, and a model that takes each for what its pieces said

Nothing that is said of the table, or said to the generator, is spelt otherwise, so nothing that is known of it is lost
(``tokenizers/own_words.py``). Only words after a space get tokens: the first word of a question or of an answer has
none before it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch.nn import functional

from armillary.controls import Control
from armillary.datasets.raw import load_raw, raw_files
from armillary.model import TwoTowers
from armillary.prompts import BARE, LIES, ONE_MORE, action_prompt, chat_text, control_prompt, lying, video_prompt
from armillary.records import Episode
from armillary.tokenizers.own_words import changed_ids, with_own_words
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import TIER
from armillary.training.latents import ANY_TASK, FRAMES, PICTURE
from armillary.training.talk import DOING, PLACES, REPORT, pictures_of, plan_pictures, prompts_of

LIVES = 150  # of a folder whose words are counted
HOME = 250  # episodes of the table whose words stay as they are
PLANS = 3  # moments of each of these of which it is read what is left to do
AFTER_SPACE = re.compile(r"(?<= )[A-Za-z]+")


def said_of(episode: Episode) -> list[str]:
    """All that is said of an episode of the table: prompts, captions, questions, answers."""
    asked = [turn for picture in pictures_of(episode) for turn in picture.turns]
    told = [words for turn in asked for words in (turn.words, turn.answer)]
    return [*prompts_of(episode), episode.instruction, *episode.captions.values(), *told]


def wordings() -> list[str]:
    """What is said to the model whatever there is to be seen."""
    height, width = PICTURE
    alone = [BARE, ONE_MORE, "", *(lying("ball", how, "cube") for how in LIES)]
    chat = [{"role": role, "content": REPORT} for role in ("system", "user", "assistant")]
    told = [video_prompt(words, frames=frames, fps=10.0, height=height, width=width)
            for words in alone for frames in (FRAMES, 1)]  # fmt: skip
    held = control_prompt(ANY_TASK, get_args(Control), frames=FRAMES, fps=10.0, height=height, width=width)
    return [chat_text(chat), DOING, PLACES, held, *told]


def respelt(
    tokenizer: TextTokenizer, abroad: Iterable[Path], home: Sequence[Path], tasks: Sequence[Path], least: int
) -> TextTokenizer:
    """The tokenizer in which words that are said at least ``least`` times in ``abroad`` are one token each.

    ``home``: raw episodes of the table, whose words stay as they are; ``tasks``: raw episodes whose instructions do.
    """
    kept = wordings()
    for episode in _first(home, HOME):
        plans = [turn for picture in plan_pictures(episode, PLANS) for turn in picture.turns]
        kept += [*said_of(episode), *(words for turn in plans for words in (turn.words, turn.answer))]
    for episode in _first(tasks, LIVES):
        kept.append(action_prompt(episode.instruction, frames=FRAMES, fps=episode.fps, height=TIER, width=TIER))
    read = Counter[str]()
    for episode in _first(abroad, LIVES):
        read.update(words for question in episode.questions for words in (question.words, question.answer))
    often = Counter[str]()
    for words, times in read.items():
        for word in AFTER_SPACE.findall(words):
            often[word] += times
    wanted = [word for word, times in sorted(often.items(), key=lambda one: (-one[1], one[0])) if times >= least]
    return with_own_words(tokenizer, wanted, kept, read)


def _first(folders: Iterable[Path], count: int) -> Iterator[Episode]:
    """The first ``count`` episodes of each folder."""
    return (load_raw(path) for folder in folders for path in raw_files(folder)[:count])


def respell(model: TwoTowers, before: TextTokenizer, now: TextTokenizer) -> int:
    """Let every token that ``now`` has and ``before`` had not mean what its pieces meant; how many there are.

    It is read as their sum, as long as one of them is, so that eyes which speak their directions speak its own; and
    it is as likely to be said as its first piece was.
    """
    changed = changed_ids(before, now)
    read, say = model.transformer.embed_tokens.weight, model.transformer.lm_head.weight
    with torch.no_grad():
        were, said = read.clone(), say.clone()
        for own, pieces in changed.items():
            read[own] = functional.normalize(were[pieces].sum(dim=0), dim=0) * were[pieces].norm(dim=1).mean()
            say[own] = said[pieces[0]]
    return len(changed)
