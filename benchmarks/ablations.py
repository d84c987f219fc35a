"""What each choice in training the generator is worth: small trainings that differ in one thing, at equal samples.

    python -m benchmarks.ablations [--cache DIR] [--stills DIR] [--arms base,dense] [--seeds 0,1] [--steps 225]

Each arm begins with a checkpoint's reasoner, frozen, a generator that is a copy of it, and ports drawn by the seed. It
learns forward dynamics, inverse dynamics and policy from windows and the policy from single frames too, then says how
wrong it is on windows of episodes that no arm learnt from: every tenth 25 are kept out of both caches. An arm and a
seed that are done are a line in ``results.jsonl`` and a file under ``--out``; started again, what is missing is done,
a training that was cut off goes on. At the end: differences from ``base``, with intervals over episodes and seeds.
``--layers 2`` takes the first two layers of both towers: a small model of the same kind, for little time.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks import kept_out
from benchmarks.kept_out import ALL, FORWARD, INVERSE, POLICY, divide, exchanged, held_out
from benchmarks.measure import record
from benchmarks.one_tower import Afresh, inner, share_weights
from torch import Tensor

from armillary.errors import ConfigError
from armillary.evaluation.bootstrap import DRAWS, Figure
from armillary.evaluation.held_out import HELD_OUT
from armillary.model import TwoTowers
from armillary.model.shelf import Shelf
from armillary.model.two_towers import tower_of
from armillary.model.weights import load_config, load_model
from armillary.prompts import action_prompt
from armillary.sampling.parts import find_checkpoint
from armillary.tokenizers.text import TextTokenizer
from armillary.tokenizers.video import TIER
from armillary.training.compiling import compile_layers
from armillary.training.episodes import DataRun, simulate
from armillary.training.imagination import FlowConfig, FlowSource, Pool
from armillary.training.latents import ANY_TASK, FRAMES, Windows, load_cache
from armillary.training.loop import Stage, train_stage
from armillary.training.talk import TalkSource, talk_loss

LEVELS = (1.0, 0.6)  # pure noise, and half-way
TABLES, TOLD = 300_000, 200  # the first seed and the number of the tables that the rehearsing tower is asked about
ASKED = 40  # conversations about held-out tables
JOINT = FlowConfig(
    stills_share=0.25, still_policy=1.0, action_share=1.0, onwards=0.0,
    modes={"forward-dynamics": 0.4, "inverse-dynamics": 0.2, "policy": 0.4},
)  # fmt: skip
WORDS = ("words_loss", "words_right")  # of answers: the loss on their tokens, and the share of these said right


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A training that differs from ``base`` in one thing.

    ``tower``: ``two``; ``dense``, one tower for words too, learning; ``kept``, the same, only its ports learn;
    ``rehearsing``, ``dense`` that is asked about pictures meanwhile. ``told``: the figures that it can be judged by.
    """

    name: str
    flow: FlowConfig = JOINT
    tower: str = "two"
    told: tuple[str, ...] = ALL

    @property
    def words_move(self) -> bool:
        """Whether what reads is learning."""
        return self.tower in ("dense", "rehearsing")


def _alone(mode: str, told: str) -> Arm:
    """One mode and nothing else; single frames are the policy's."""
    share = JOINT.stills_share if mode == "policy" else 0.0
    return Arm(name=f"{mode}_alone", flow=replace(JOINT, modes={mode: 1.0}, stills_share=share), told=(told,))


ARMS = (
    Arm(name="base"),
    Arm(name="dense", tower="dense"),
    _alone("policy", POLICY),
    _alone("forward-dynamics", FORWARD),
    _alone("inverse-dynamics", INVERSE),
    Arm(name="no_policy_video", flow=replace(JOINT, policy_video=0.0)),
    Arm(name="action_weight_10", flow=replace(JOINT, action_weight=10.0)),
    Arm(name="full_noise_0", flow=replace(JOINT, full_noise=0.0)),
    Arm(name="dense_kept", tower="kept"),
    Arm(name="shift_1", flow=replace(JOINT, shift=1.0)),
    Arm(name="dense_rehearsing", tower="rehearsing"),
    Arm(name="full_policy_video", flow=replace(JOINT, policy_video=1.0)),
    Arm(name="action_weight_160", flow=replace(JOINT, action_weight=160.0)),
)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What all arms share: where they begin, what they learn from and what is kept out, how long, where it goes."""

    origin: Path
    out: Path
    films: Windows
    stills: Windows | None
    held: Windows
    which: list[int]  # the held-out windows asked about: one of each episode
    stage: Stage
    layers: int  # of both towers, the first ones; where some are missing nobody speaks, and words are not asked about
    words: TextTokenizer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", TextTokenizer.load(self.origin / "text_tokenizer"))


def beginning(ground: Ground, arm: Arm, seed: int) -> TwoTowers:
    """The arm's model before it learns."""
    known = load_model(ground.origin, dtype=torch.float32)
    torch.manual_seed(seed)
    layers = min(ground.layers, known.config.tower.layers)
    model = TwoTowers(replace(known.config, tower=replace(known.config.tower, layers=layers)))
    names = model.state_dict()
    kept = {name: x for name, x in known.state_dict().items() if name in names and tower_of(name) != "generator"}
    model.load_state_dict(kept, strict=False)
    model.init_generator_from_reasoner()
    if arm.tower != "two":
        share_weights(model)
    return model


def learning(model: TwoTowers, arm: Arm) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters that learn; all others are frozen."""
    found = [(name, p) for name, p in model.named_parameters() if tower_of(name) == "generator"]
    if arm.words_move:
        found += inner(model)
    model.requires_grad_(False)
    for _, parameter in found:
        parameter.requires_grad_(True)
    return found


def train(ground: Ground, arm: Arm, seed: int, folder: Path) -> tuple[TwoTowers, dict[str, Any]]:
    """The arm's model after its steps, and what that took: the seconds since it was last started."""
    model = beginning(ground, arm, seed)
    parameters = learning(model, arm)
    source = FlowSource(model, ground.words, ground.films, arm.flow, ground.stills)
    if arm.words_move:
        source.shelf = Afresh(model)
    stage = replace(ground.stage, name=arm.name, seed=seed)
    talk = tables(ground, TABLES, TOLD) if arm.tower == "rehearsing" else None
    if stage.compile:
        compile_layers(model, "generate")
        if arm.words_move:
            compile_layers(model, "read")

    def losses(step: int) -> dict[str, Tensor]:
        values = source.losses(np.random.default_rng([seed, step]), stage.batch)
        if talk is not None:
            said = talk_loss(model, talk.batch(np.random.default_rng([seed, step, 1]), stage.batch // 4, kind="still"))
            values |= {"loss": values["loss"] + said["loss"], "words": said["loss"].detach()}
        return values

    spent = time.process_time()
    if not train_stage(stage, folder, parameters, losses):
        raise SystemExit(f"the {stage.minutes} minutes of {arm.name} are over: start it again, it goes on from here.")
    numbers = {
        "learnt": sum(p.numel() for _, p in parameters),
        "processor_seconds": round(time.process_time() - spent, 1),
    }
    layers = sum(p.numel() for _, p in inner(model))
    return model, {**numbers, "layers": layers, "samples": stage.steps * stage.batch}


@torch.no_grad()
def examine(ground: Ground, model: TwoTowers) -> dict[str, list[float]]:
    """Errors on held-out windows by figure and level, and the loss on the words of answers."""
    pool, windows = Pool(ground.held, JOINT), ground.held
    shelf, ids = Shelf(lambda: model, room=4096), ground.words.prompt_ids
    size = {"frames": FRAMES, "height": TIER, "width": TIER}
    found: dict[str, list[float]] = {}
    for figure in ALL:
        rows = [row for row in ground.which if figure != POLICY or windows.acts[row]]
        tasks = [windows.task[row] for row in rows]
        prompts = {"": tasks, "_exchanged": exchanged(tasks)}
        if figure != POLICY:
            prompts = {"": [action_prompt(ANY_TASK, fps=float(windows.fps[row]), **size) for row in rows]}
        for level in LEVELS:
            for how, words in prompts.items() if level == 1 else [("", prompts[""])]:
                errors = found.setdefault(f"{figure}{how}@{level:g}", [])
                for first in range(0, len(rows), ground.stage.batch):
                    some = slice(first, first + ground.stage.batch)
                    read = [ids(one) for one in words[some]]
                    shelf.read_ahead(read)
                    asked = kept_out.exercise(pool, rows[some], figure, level)
                    errors += kept_out.wrong(model, shelf, read, asked, figure)
    whole = load_config(ground.origin).tower.layers == model.config.tower.layers
    return found | (answers(ground, model) if whole else {})


@torch.no_grad()
def answers(ground: Ground, model: TwoTowers) -> dict[str, list[float]]:
    """How well it still answers: of each conversation about a held-out table the loss, and the share said right."""
    talk, rng = tables(ground, HELD_OUT, ASKED), np.random.default_rng(0)
    said = [talk_loss(model, talk.batch(rng, 1, kind="still")) for _ in range(ASKED)]
    return {name: [float(one[key]) for one in said] for name, key in zip(WORDS, ("loss", "right"), strict=True)}


def nothing_learnt(ground: Ground) -> dict[str, list[float]]:
    """Errors at pure noise of repeating the first frame, and of always doing the mean of all actions."""
    pool, windows, width = Pool(ground.held, JOINT), ground.held, int(ground.held.width[0])
    video = windows.video[ground.which].float()
    still = (video - video[:, : pool.cells].repeat(1, pool.frames, 1)).square()[:, pool.cells :]
    usual = ground.films.actions.mean(dim=(0, 1))
    moves = (windows.actions - usual).square()[..., :width].mean(dim=(1, 2))
    acting = [row for row in ground.which if windows.acts[row]]
    return {f"{FORWARD}@1": still.mean(dim=(1, 2)).tolist(), f"{INVERSE}@1": moves[ground.which].tolist(),
            f"{POLICY}@1": moves[acting].tolist()}  # fmt: skip


def tables(ground: Ground, first: int, count: int) -> TalkSource:
    """Questions about ``count`` tables from a seed on, which are simulated if they are not there."""
    folder = ground.out / f"tables_{first}"
    simulate(DataRun(out=folder, episodes=count, seed=first, stills=True, plans=0), lambda _: None)
    return TalkSource([folder], ground.words, most=6)


def run(ground: Ground, arm: Arm, seed: int) -> None:
    """Train and examine an arm, unless that was done; ``figures.json`` appears when all of it is done."""
    folder = ground.out / f"{arm.name}_{seed}"
    done = folder / "figures.json"
    if done.exists():
        return
    model, numbers = train(ground, arm, seed, folder / "training")
    figures = examine(ground, model)
    means = {name: round(float(np.mean(errors)), 5) for name, errors in figures.items()}
    count = {"depth": model.config.tower.layers, "n": len(ground.which), "n_policy": len(figures[f"{POLICY}@1"])}
    record({"name": "ablation", "arm": arm.name, "seed": seed, **numbers, **count, **means})
    draft = done.with_suffix(".draft")
    draft.write_text(json.dumps({"numbers": numbers, "figures": figures}))
    os.replace(draft, done)
    shutil.rmtree(folder / "training" / "state")


def difference(base: list[list[float]], other: list[list[float]]) -> tuple[Figure, list[float]]:
    """By which share the mean error of an arm (seeds, each a list over windows) is above the base's; of each seed too.

    The interval draws windows (one an episode), the same for both arms, and seeds, the same number of each: with two
    seeds half of the draws hold one of them twice, so it is as wide as two can tell, and that is not much.
    """
    own, its = np.array(other), np.array(base)
    rng = np.random.default_rng(41)
    seeds, windows = own.shape
    often = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    count = rng.multinomial(windows, np.full(windows, 1 / windows), size=DRAWS)

    def total(errors: np.ndarray) -> np.ndarray:
        return np.einsum("ds,sw,dw->d", often, errors, count)

    low, high = np.quantile(total(own) / total(its) - 1, [0.025, 0.975])
    value = float(own.mean() / its.mean() - 1)
    figure = Figure(value=value, low=float(low), high=float(high), n=own.size, episodes=windows)
    return figure, (own.mean(axis=1) / its.mean(axis=1) - 1).tolist()


def table(out: Path, seeds: Sequence[int]) -> str:
    """Base's errors, then the other arms' differences from them, and what other instructions cost each arm."""
    kept: dict[str, list[dict[str, list[float]]]] = {}
    for arm in ARMS:
        files = [out / f"{arm.name}_{seed}" / "figures.json" for seed in seeds]
        if all(file.exists() for file in files):
            kept[arm.name] = [json.loads(file.read_text())["figures"] for file in files]
    lines = []
    for arm in ARMS:
        if arm.name not in kept or "base" not in kept:
            continue
        own, base = kept[arm.name], kept["base"]
        for figure in own[0]:
            plain = figure.split("@")[0]
            if plain.removesuffix("_exchanged") not in (*arm.told, *WORDS):
                continue
            errors = [one[figure] for one in own]
            told = f"{arm.name:22} {figure:28} {np.mean(errors):.4f}"
            against = base if "_exchanged" not in figure else own
            if figure != "words_right" and (arm.name != "base" or against is own):
                share, each = difference([one[figure.replace("_exchanged", "")] for one in against], errors)
                apart = ", ".join(f"{100 * one:+.1f}" for one in each)
                told += f"  {100 * share.value:+6.1f} [{100 * share.low:+.1f}, {100 * share.high:+.1f}] %  ({apart})"
            lines.append(told)
    return "\n".join(lines)


def chosen(names: str) -> list[Arm]:
    """The arms of a list with commas, in the order of the table; ``ConfigError`` for a name that there is not."""
    known = {arm.name: arm for arm in ARMS}
    wanted = list(known) if names == "all" else names.split(",")
    for name in wanted:
        if name not in known:
            raise ConfigError(f"arm {name!r} is unknown: it must be of {', '.join(known)}, or all.")
    return [arm for arm in ARMS if arm.name in wanted]


def prepare(given: argparse.Namespace) -> Ground:
    """Both caches divided and loaded, one thread, and how the stage goes.

    ``ConfigError`` if the folder holds arms of other settings: those would not be compared at equal samples.
    """
    torch.set_num_threads(1)
    out: Path = given.out
    settings = {name: str(value) for name, value in vars(given).items() if name not in ("arms", "seeds", "out")}
    kept = out / "settings.json"
    before = json.loads(kept.read_text()) if kept.exists() else settings
    if before != settings:
        other = ", ".join(f"{name}={before.get(name)}" for name in settings if before.get(name) != settings[name])
        raise ConfigError(f"{out} holds arms with {other}: say so again, or choose another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(settings))
    divide(given.cache, out / "films", lambda path: not held_out(path))
    divide(given.cache, out / "held", held_out)
    divide(given.stills, out / "stills", lambda path: not held_out(path))
    stage = Stage(
        name="", steps=given.steps, batch=given.batch, rate=3e-3, muon=True, warmup=given.steps // 10, decay=0.4,
        minutes=600.0, compile=not given.plain,
    )  # fmt: skip
    return Ground(
        origin=find_checkpoint(given.origin), out=out, films=load_cache(out / "films"), held=load_cache(out / "held"),
        stills=load_cache(out / "stills"), which=kept_out.one_an_episode(out / "held")[: given.episodes], stage=stage,
        layers=given.layers,
    )  # fmt: skip


def main(given: argparse.Namespace) -> None:
    """Run what is missing of the arms and seeds, then print the table."""
    arms, seeds = chosen(given.arms), [int(seed) for seed in given.seeds.split(",")]
    ground = prepare(given)
    print(f"{len(ground.films)} windows, {len(ground.which)} held-out episodes", flush=True)
    usual = {name: round(float(np.mean(errors)), 5) for name, errors in nothing_learnt(ground).items()}
    print("without a model", usual, flush=True)
    for arm in arms:
        for seed in seeds:
            run(ground, arm, seed)
    print(table(ground.out, seeds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/pico/cache"))
    parser.add_argument("--stills", type=Path, default=Path("runs/pico/frames"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    parser.add_argument("--origin", default="pico")
    parser.add_argument("--arms", default="all", help="of " + ", ".join(arm.name for arm in ARMS))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--steps", type=int, default=225)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--episodes", type=int, default=150, help="at most so many held-out ones are asked about")
    parser.add_argument("--layers", type=int, default=1000, help="only so many of both towers, the first ones")
    parser.add_argument("--plain", action="store_true", help="layers are not compiled")
    main(parser.parse_args())
