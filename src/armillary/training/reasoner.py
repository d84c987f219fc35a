"""Stage one: the reasoner learns to read and to see.

in    raw episodes, a text tokenizer
out   a checkpoint folder with the reasoner and its eyes (the generator still as it was initialised)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor

from armillary.datasets.raw import load_raw, raw_files
from armillary.model import PICO, ModelConfig, TwoTowers
from armillary.model.weights import save_model
from armillary.tokenizers.text import TextTokenizer, train_tokenizer
from armillary.training.loop import Report, Stage, train_stage
from armillary.training.talk import TalkSource, pictures_of, prompts_of, talk_loss

KINDS = ("still",) * 7 + ("film",) * 2 + ("prompt",)


@dataclass(frozen=True, kw_only=True)
class ReasonerRun:
    """Everything that decides how a reasoner is trained. ``data``: raw episodes; ``out``: the run's folder."""

    data: Path
    out: Path
    stage: Stage
    model: ModelConfig = PICO
    longest: int = 192
    episodes: int | None = None


def learn_tokenizer(data: Path, folder: Path, *, episodes: int = 250, vocabulary: int = 2048) -> TextTokenizer:
    """A tokenizer from the words of the first episodes: prompts, questions, answers, captions.

    Those use few words, so the remaining merges are learnt from general English: Python's own manual, which
    comes with every Python.
    """
    texts: list[str] = list(topics.values())
    for path in raw_files(data)[:episodes]:
        episode = load_raw(path)
        texts += prompts_of(episode) + [episode.instruction, *episode.captions.values()]
        texts += [words for picture in pictures_of(episode) for turn in picture.turns for words in turn]
    return train_tokenizer(texts, folder, vocabulary)


def train_reasoner(run: ReasonerRun, report: Report = print) -> bool:
    """Train, or go on training; writes ``out/checkpoint`` when the steps (True) or the minutes (False) are over."""
    folder = run.out / "checkpoint"
    words = folder / "text_tokenizer"
    tokenizer = TextTokenizer.load(words) if words.exists() else learn_tokenizer(run.data, words)
    torch.manual_seed(run.stage.seed)
    model = TwoTowers(run.model)
    source = TalkSource(run.data, tokenizer, longest=run.longest, limit=run.episodes)
    report(f"{len(source.stills)} pictures, {len(source.films)} films, {len(source.prompts)} prompts")
    seen = {id(p) for p in model.reasoner_parameters()}
    parameters = [(name, p) for name, p in model.named_parameters() if id(p) in seen]

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([run.stage.seed, step])
        return talk_loss(model, source.batch(rng, run.stage.batch, kind=KINDS[step % len(KINDS)]))

    finished = train_stage(run.stage, run.out, parameters, losses, report)
    model.init_generator_from_reasoner()
    save_model(folder, model, dtype=torch.bfloat16)
    return finished
