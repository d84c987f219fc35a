"""Stage one: the reasoner learns to read, to see, the hand as well, other worlds, what to look for, and to talk.

in    raw episodes, a text tokenizer
out   a checkpoint folder with the reasoner and its eyes; its generator is a copy of the reasoner, or the origin's
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import Tensor, nn

from armillary.datasets.dreamt import NAMES
from armillary.datasets.plans import MOST
from armillary.datasets.raw import load_raw, raw_files
from armillary.errors import ConfigError
from armillary.model import PICO, ModelConfig, Seen, TwoTowers, Visual
from armillary.model.arithmetic import usable_device
from armillary.model.layouts import fresh_folder, move_in
from armillary.model.two_towers import tower_of
from armillary.model.weights import load_model, save_model, save_preprocessor
from armillary.tokenizers.text import TextTokenizer, train_tokenizer
from armillary.training.abroad import Abroad, see_abroad
from armillary.training.compiling import compile_layers
from armillary.training.dreams import DreamSource, Lesson
from armillary.training.eyes import Sight, open_eyes
from armillary.training.hand import notice_hand
from armillary.training.latents import PICTURE
from armillary.training.loop import Report, Stage, kept_state, train_stage
from armillary.training.respelt import respell, respelt, said_of
from armillary.training.talk import ABROAD, Talk, TalkSource, talk_loss
from armillary.training.told_abroad import ToldAbroad

GAP_EVERY = 20
PROMPTS, KEEP_EVERY = 4, 2  # so many prompts' memory is compared, in one step of so many
Kept = Callable[[dict[str, Tensor], np.random.Generator, int], dict[str, Tensor]]
KINDS = ("still",) * 7 + ("film",) * 2 + ("prompt",)


@dataclass(frozen=True, kw_only=True)
class ReasonerRun:
    """Everything that decides how a reasoner is trained. ``data``: raw episodes; ``out``: the run's folder.

    ``origin``: a checkpoint whose words the reasoner already knows, in place of a fresh ``model``; its generator is
    kept as it is, ears included, and its eyes too if ``seeing``, else they begin anew. ``eyes``: the stage in which
    they are taught to see before the talk begins; ``hand``: one in which they learn to see the gripper as well, from
    what they say already.
    ``keep``: how strongly the memory of prompts is held as the origin has it, so that its generator, which has learnt
    to read that memory, goes on understanding it (0: not at all). ``lessons``: stages of dreamt tables between eyes
    and talk; ``taught``: the checkpoint whose words the eyes were taught to speak, where that is not the one to begin
    with. ``stills``: more raw episodes to talk about. ``look_once``: the eyes learn no more while it talks.
    ``shares``, ``most``: how often a task's questions are asked, and how many in a conversation (``TalkSource``).
    ``kinds``: of what the batches of the talk are, in turn: still, film, plan, prompt, layout, and of other worlds
    abroad and strange; ``moments``: of how many frames of an expert's episode it is asked what is left to do.
    ``abroad``: which other worlds there are; ``travels``: the stage in which the eyes learn these. ``own_words``: how
    often a word must be said there to get a token of its own (0: none does); ``tasks``: more raw episodes whose
    instructions the origin's generator knows as they are spelt.
    """

    data: Path
    out: Path
    stage: Stage
    model: ModelConfig = PICO
    longest: int = 192
    episodes: int | None = None
    origin: Path | None = None
    seeing: bool = False
    eyes: Stage | None = None
    hand: Stage | None = None
    keep: float = 0.0
    lessons: tuple[Lesson, ...] = ()
    taught: Path | None = None
    stills: Path | None = None
    look_once: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)
    most: int | None = None
    kinds: tuple[str, ...] = KINDS
    moments: int = MOST
    abroad: Abroad | None = None
    travels: Stage | None = None
    own_words: int = 0
    tasks: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if wrong := [kind for kind in self.kinds if kind not in (*KINDS, "plan", "layout", *ABROAD)]:
            raise ConfigError(
                f"kinds has {wrong[0]!r}: a batch is still, film, plan, prompt or layout, or abroad or strange."
            )
        if self.abroad is None and (self.travels is not None or self.asks_abroad):
            raise ConfigError("other worlds are to be learnt and none is named: say with abroad where their lives are.")
        if self.own_words < 0 or (self.tasks and not self.own_words):
            raise ConfigError(f"own_words={self.own_words}, tasks={self.tasks}: tasks are for own_words above 0.")
        if self.own_words and (self.abroad is None or self.origin is None or self.taught is not None):
            raise ConfigError(
                f"own_words={self.own_words}: say the origin whose tokenizer it is and abroad, and no taught, whose "
                "words would be spelt otherwise."
            )
        if self.origin is None and (self.seeing or self.keep):
            raise ConfigError(f"seeing={self.seeing}, keep={self.keep} without an origin: say whose with --origin.")
        if (self.hand or self.travels) is not None and self.eyes is None and not self.seeing:
            raise ConfigError(
                "the hand and other worlds are learnt by eyes that see: teach them first (eyes), or keep the origin's "
                "(seeing)."
            )

    @property
    def home(self) -> list[Path]:
        """Its folders of raw episodes of the table."""
        return [self.data, *([self.stills] if self.stills else [])]

    @property
    def asks_abroad(self) -> bool:
        """Whether it talks about other worlds."""
        return not {*ABROAD}.isdisjoint(self.kinds)


def learn_tokenizer(data: Path, folder: Path, *, episodes: int = 250, vocabulary: int = 2048) -> TextTokenizer:
    """A tokenizer from the words of the first episodes: prompts, questions, answers, captions.

    Those use few words, so the remaining merges are learnt from general English: Python's own manual, which
    comes with every Python.
    """
    texts: list[str] = list(topics.values())
    for path in raw_files(data)[:episodes]:
        texts += said_of(load_raw(path))
    return train_tokenizer(texts, folder, vocabulary)


def train_reasoner(run: ReasonerRun, report: Report = print) -> bool:
    """Train, or go on training; writes ``out/checkpoint`` when the steps (True) or the minutes (False) are over."""
    folder = run.out / "checkpoint"
    tokenizer = _spelling(run, folder / "text_tokenizer")
    torch.manual_seed(run.stage.seed)
    known = None if run.origin is None else load_model(run.origin, dtype=torch.float32)
    model = TwoTowers(run.model if known is None else known.config)
    device = usable_device(run.stage.device)
    if known is not None:
        model.transformer.load_state_dict(known.transformer.state_dict())
        if run.seeing:
            model.visual.load_state_dict(known.visual.state_dict())
        if run.origin is not None and run.own_words:
            changed = respell(model, TextTokenizer.load(run.origin / "text_tokenizer"), tokenizer)
            report(f"{changed} tokens are words of other worlds now, or parts of them")
        known.to(device).requires_grad_(False)
    spoken = model if run.taught is None else load_model(run.taught, dtype=torch.float32, towers=("reasoner",))
    sight = Sight.of(spoken, tokenizer, NAMES) if run.lessons else None
    begun = kept_state(run.out).exists()  # a talk that has begun keeps its own eyes, if these go on learning
    if run.eyes is not None and (run.look_once or not begun):
        seeing = open_eyes(model, tokenizer, run.data, run.eyes, run.out / "eyes", report)
        if not seeing:
            report("the eyes are half taught and their minutes are over: start the run again, it goes on from here")
            return False
    if (run.look_once or not begun) and not _see_more(run, model, tokenizer, report):
        return False
    model.to(device)  # the eyes may have learnt elsewhere
    source = TalkSource(
        run.home, tokenizer, longest=run.longest, limit=run.episodes, shares=run.shares, most=run.most,
        plans=run.moments if "plan" in run.kinds else 0, eyes=model.visual if run.look_once else None,
        abroad=_told(run),
    )  # fmt: skip
    report(
        f"{len(source.stills)} pictures, {len(source.films)} films, {len(source.plans)} plans, "
        f"{len(source.prompts)} prompts, {len(source.layouts)} layouts"
    )
    reading = [(name, p) for name, p in model.named_parameters() if tower_of(name) == "reasoner"]
    seeing_too = [(name, p) for name, p in model.named_parameters() if tower_of(name) == "vision"]
    if run.stage.compile:
        compile_layers(model, "read")

    kept = _keeping(run, model, known if run.keep else None, source)
    if sight is not None and not begun and not _dream(run, model, tokenizer, sight, reading, kept, report):
        return False

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([run.stage.seed, step])
        talk = source.batch(rng, run.stage.batch, kind=run.kinds[step % len(run.kinds)])
        values = talk_loss(model, talk)
        if step % GAP_EVERY == 0:
            values["sees"] = _sees(model, talk, values["loss"])
        return kept(values, rng, 1)

    learning = reading if run.look_once else [*reading, *seeing_too]
    finished = train_stage(run.stage, run.out, learning, losses, report)
    if run.origin is None:
        model.init_generator_from_reasoner()
    save_model(folder, model, dtype=torch.bfloat16)
    save_preprocessor(folder / "text_tokenizer", model.config, most=max(PICTURE))
    return finished


def _told(run: ReasonerRun) -> ToldAbroad | None:
    """What is asked in other worlds, if the run talks about them."""
    if run.abroad is None or not run.asks_abroad:
        return None
    return ToldAbroad(run.abroad.worlds, run.abroad.shares, run.abroad.tasks)


def _spelling(run: ReasonerRun, folder: Path) -> TextTokenizer:
    """The run's tokenizer: as it was begun with, else the origin's, with words of its own if asked, else a new one."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = fresh_folder(folder)
        if run.origin is None:
            learn_tokenizer(run.data, fresh)
        elif run.abroad is not None and run.own_words:
            known = TextTokenizer.load(run.origin / "text_tokenizer")
            respelt(known, run.abroad.worlds.values(), run.home, run.tasks, run.own_words).save(fresh)
        else:
            shutil.copytree(run.origin / "text_tokenizer", fresh, dirs_exist_ok=True)
        move_in(fresh, folder)
    return TextTokenizer.load(folder)


def _see_more(run: ReasonerRun, model: TwoTowers, tokenizer: TextTokenizer, report: Report) -> bool:
    """Let the eyes learn the hand, then other worlds; False if the minutes of one were over before its steps."""
    home = [run.data]
    if run.hand is not None and not notice_hand(model, tokenizer, home, run.hand, run.out / "hand", report):
        report("the eyes half know the hand and their minutes are over: start the run again, it goes on from here")
        return False
    if run.travels is not None and run.abroad is not None:
        seen = see_abroad(model, tokenizer, run.abroad, home, run.travels, run.out / "travels", report)
        if not seen:
            report("the eyes half know the other worlds and their minutes are over: start the run again, it goes on "
                   "from here")  # fmt: skip
        return seen
    return True


def _keeping(run: ReasonerRun, model: TwoTowers, known: TwoTowers | None, source: TalkSource) -> Kept:
    """Adds to a step's figures what it costs to stray from the origin's memory, looked at ``every`` so many steps."""

    def kept(values: dict[str, Tensor], rng: np.random.Generator, every: int) -> dict[str, Tensor]:
        if known is not None:
            values["drift"] = drift(model, known, source.batch(rng, PROMPTS, kind="prompt"))
            values["loss"] = values["loss"] + every * run.keep * values["drift"]
        return values

    return kept


def _dream(
    run: ReasonerRun, model: TwoTowers, tokenizer: TextTokenizer, sight: Sight,
    reading: list[tuple[str, nn.Parameter]], kept: Kept, report: Report,
) -> bool:  # fmt: skip
    """Go through the lessons, one after the other; False if the minutes of one were over before its steps."""
    for number, lesson in enumerate(run.lessons):
        dreams = DreamSource(sight, tokenizer, lesson, deepstack=len(run.model.vision.deepstack))

        def losses(step: int, lesson: Lesson = lesson, dreams: DreamSource = dreams) -> Mapping[str, Tensor]:
            rng = np.random.default_rng([lesson.stage.seed, step])
            values = talk_loss(model, dreams.batch(rng, lesson.stage.batch))
            return values if step % KEEP_EVERY else kept(values, rng, KEEP_EVERY)

        if not train_stage(lesson.stage, run.out / f"lesson_{number}", reading, losses, report):
            report(f"lesson {number} is not over and its minutes are: start the run again, it goes on from here")
            return False
    return True


def drift(model: TwoTowers, known: TwoTowers, prompts: Talk) -> Tensor:
    """How far the memory of prompts is from that of ``known``: the relative square error, mean of keys and values."""
    prompts = prompts.to(model.device)
    with torch.no_grad():
        then = known.read(prompts.ids, prompts.mask)
    now = model.read(prompts.ids, prompts.mask)
    there = then.mask[:, None, :, None]
    parts = zip(now.keys + now.values, then.keys + then.values, strict=True)
    return torch.stack(
        [((a - b).float().square() * there).sum() / (b.float().square() * there).sum() for a, b in parts]
    ).mean()


def _sees(model: TwoTowers, talk: Talk, loss: Tensor) -> Tensor:
    """How much worse the answers get when every picture is another sample's: 0 means the eyes are not used.

    An earlier run at one rate for all grew picture tokens a thousand times too large and saw nothing, while its
    loss fell all the same; hence this figure, and the slower rate of the eyes.
    """
    if talk.visual is None:
        return torch.zeros(())
    with torch.no_grad():
        return talk_loss(model, replace(talk, visual=_exchanged(talk.visual, len(talk.ids))))["loss"] - loss.detach()


def _exchanged(visual: Visual | Seen, samples: int) -> Visual | Seen:
    """Every sample's picture becomes the next one's."""
    if isinstance(visual, Seen):
        shift = len(visual.tokens) // samples
        features = tuple(feature.roll(shift, 0) for feature in visual.features)
        return replace(visual, tokens=visual.tokens.roll(shift, 0), features=features)
    return replace(visual, patches=visual.patches.roll(len(visual.patches) // samples, 0))
