"""How recordings are taught: as many steps as fit the minutes, of the generator's matrices or of an adapter.

    model, windows       -> the generator learns                 teach
    checkpoint, windows  -> an adapter learns, ``out/adapter``   teach_adapter

A run that was cut off goes on where it was, with as many steps as were planned.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from armillary.media import write_whole
from armillary.model import TwoTowers, load_model, low_rank
from armillary.model.two_towers import tower_of
from armillary.modes import MODES
from armillary.post_training.adapted import AdapterRun, train_adapter
from armillary.tokenizers.text import TextTokenizer
from armillary.training.compiling import compile_layers
from armillary.training.imagination import FlowConfig, FlowSource
from armillary.training.latents import Windows
from armillary.training.loop import Report, Stage, in_bf16, train_stage

NO_LIMIT = 1e6  # minutes, where a run's length is given in steps
PLAN = "steps.json"
TRIED_STEPS = 3  # that are timed to know how many fit


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """How long and how fast recordings are learnt, into which folder, and what of the generator learns.

    ``steps``: a length in steps instead of ``minutes``: repeatable. ``rank``: an adapter of so many rows learns, and
    nothing else (0: every matrix of the generator does). ``alpha``: over the rank, how much it counts (0: twice the
    rank).
    """

    out: Path
    minutes: float = 6.0
    steps: int | None = None
    batch: int = 16
    rate: float = 1e-3
    ema: float = 0.99
    rank: int = 0  # of an adapter, which alone then learns
    alpha: float = 0.0  # else twice the rank
    seed: int = 0
    threads: int = 1
    device: str = "cpu"  # or cuda
    compile: bool = False  # half as long a step, for half a minute at the beginning
    flow: FlowConfig = field(
        default_factory=lambda: FlowConfig(action_share=1.0, drop_task=0.0, full_noise=0.8, history=0.0)
    )


def teach(
    run: Teaching, model: TwoTowers, tokenizer: TextTokenizer, windows: Windows, report: Report
) -> tuple[float, bool]:
    """Train the generator on the windows; returns how long it took, in seconds, and whether all steps were done."""
    source = FlowSource(model.to(run.device), tokenizer, windows, _flow(run, windows))
    parameters = [(name, p) for name, p in model.named_parameters() if tower_of(name) == "generator"]

    if run.compile:
        compile_layers(model, "generate")

    def losses(step: int) -> Mapping[str, Tensor]:
        return source.losses(np.random.default_rng([run.seed, step]), run.batch)

    steps = _planned(run, [p for _, p in parameters], losses)
    stage = _stage(run, steps, windows, report)
    began = time.monotonic()
    done = train_stage(stage, run.out, parameters, losses, report)
    return time.monotonic() - began, _told(run, done, steps, report)


def teach_adapter(run: Teaching, base: Path, windows: Windows, report: Report) -> bool:
    """Train an adapter on the windows and write it; whether all steps were done."""
    flow = _flow(run, windows)
    alpha = run.alpha or 2.0 * run.rank
    steps = _known_steps(run)
    if steps is None:
        model = load_model(base, dtype=torch.float32).to(run.device)
        with low_rank.learning(model, rank=run.rank, alpha=alpha, seed=run.seed) as parameters:
            source = FlowSource(model, TextTokenizer.load(base / "text_tokenizer"), windows, flow)
            if run.compile:
                compile_layers(model, "generate")

            def losses(step: int) -> Mapping[str, Tensor]:
                return source.losses(np.random.default_rng([run.seed, step]), run.batch)

            steps = _planned(run, list(parameters.values()), losses)
    stage = _stage(run, steps, windows, report)
    adapter = AdapterRun(out=run.out, stage=stage, origin=str(base), rank=run.rank, alpha=alpha)
    where = {"modes": [name for name in MODES if flow.modes.get(name, 0) > 0]}
    done = train_adapter(adapter, lambda model, words: FlowSource(model, words, windows, flow), where, report)
    return _told(run, done, steps, report)


def _flow(run: Teaching, windows: Windows) -> FlowConfig:
    """How exercises are drawn: of recordings in which nobody acts, none for the policy."""
    if windows.acts.any():
        return run.flow
    return replace(run.flow, modes={name: share for name, share in run.flow.modes.items() if name != "policy"})


def _stage(run: Teaching, steps: int, windows: Windows, report: Report) -> Stage:
    report(f"{len(windows)} windows, {steps} steps of {run.batch}")
    return Stage(
        name="finetune", steps=steps, batch=run.batch, rate=run.rate, warmup=max(1, steps // 20), decay=0.6,
        ema=run.ema, seed=run.seed, threads=run.threads, device=run.device, muon=not run.rank, compile=run.compile,
        minutes=1.5 * run.minutes if run.steps is None else NO_LIMIT,
    )  # fmt: skip


def _told(run: Teaching, done: bool, steps: int, report: Report) -> bool:
    """The same, told where the minutes were over before."""
    if not done:
        report(
            f"{1.5 * run.minutes:g} minutes are over and not all {steps} steps are done: what follows is of the "
            "weights so far. The same command goes on from there."
        )
    return done


def _planned(run: Teaching, parameters: list[nn.Parameter], losses: Callable[[int], Mapping[str, Tensor]]) -> int:
    """How many steps the run has: as asked, as planned before it was cut off, or as many as fit its minutes."""
    if (known := _known_steps(run)) is not None:
        return known
    for trial in range(TRIED_STEPS + 1):
        if trial == 1:
            began = time.monotonic()  # the first step also reads the prompts
        with in_bf16(True, parameters[0].device):
            loss = losses(trial)["loss"]
        loss.backward()
        float(loss.detach())  # a GPU is waited for here
        for parameter in parameters:
            parameter.grad = None
    each = 1.1 * (time.monotonic() - began) / TRIED_STEPS  # the optimizer's share on top
    steps = max(10, int(run.minutes * 60 / each))
    write_json(run.out / PLAN, {"steps": steps, "seconds_a_step": each})
    return steps


def _known_steps(run: Teaching) -> int | None:
    """As many as were asked for, or planned before the run was cut off; None where nothing says."""
    plan = run.out / PLAN
    return int(json.loads(plan.read_text())["steps"]) if run.steps is None and plan.exists() else run.steps


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole."""
    write_whole(path, lambda draft: draft.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8"))
