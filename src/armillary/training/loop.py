"""The loop of every training: draw a batch, learn, write a line, keep what a kill must not take.

    in    a stage's settings, a model, and a function that makes the losses of step i
    out   ``metrics.jsonl`` (one line every few steps), ``state/`` to go on from, the averaged weights

A batch is a function of (seed, step): nothing but the step's number has to be remembered, so a stage that was
killed goes on with exactly the losses it would have had.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from armillary.errors import CheckpointError, ConfigError
from armillary.media import write_whole
from armillary.model.arithmetic import fast_dtype
from armillary.training.muon import Muon
from armillary.training.parallel import company, gathered, own_part, part_like

Losses = Callable[[int], Mapping[str, Tensor]]  # of a step; "loss" is what is learnt from
Report = Callable[[str], None]
# settings with which a stage may go on otherwise than it began; steps apart, none of them changes what is learnt
MAY_CHANGE = ("name", "steps", "minutes", "threads", "device", "compile", "log_every", "save_seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The settings of one stage of training.

    The rate rises over ``warmup`` steps, stays, and falls to 0 over the last ``decay`` share of the steps.
    ``minutes``: stop (and keep the state) after so long, even if steps are left. ``ema``: the weights' average.
    """

    name: str
    steps: int
    batch: int
    rate: float
    warmup: int = 200
    decay: float = 0.3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    ema: float = 0.998
    seed: int = 0
    bf16: bool = True  # where that is faster (model/arithmetic.py)
    threads: int = 1
    device: str = "cpu"  # or cuda: where the model learns; what it learns from is drawn on the CPU, the same everywhere
    minutes: float = 60.0
    log_every: int = 20
    muon: bool = False  # the matrices inside a tower's layers learn by Muon, all else by AdamW
    compile: bool = False  # the towers' layers are compiled (training/compiling.py)
    slower: tuple[tuple[str, float], ...] = ()  # parameters whose names begin so learn at that share of the rate
    save_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.minutes <= 0:
            raise ConfigError(
                f"steps={self.steps}, batch={self.batch}, minutes={self.minutes}: all three must be positive."
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step (counted from 0)."""
        rising = min(1.0, (step + 1) / max(self.warmup, 1))
        falling = min(1.0, (self.steps - step) / max(self.decay * self.steps, 1))
        return self.rate * rising * falling


class Keeper:
    """What a stage must remember: weights, their average, the optimizer's moments, and how far it is."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.parameters, self.optimizers = dict(parameters), list(optimizers)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}

    def follow(self, decay: float, step: int) -> None:
        """Move the average a little towards the weights; faster in the beginning."""
        share = 1 - min(decay, (1 + step) / (10 + step))
        averages, weights = ([own_part(x) for x in which.values()] for which in (self.average, self.parameters))
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, share)

    def save(self, folder: Path, step: int, stage: Stage) -> None:
        """Write the state, the first process alone; the folder appears whole or not at all."""
        tensors: dict[str, Tensor] = {}
        leads = company().leads
        for name, part in self._parts():
            whole = gathered(part).contiguous()
            if leads:
                tensors[name] = whole
        if leads:
            _keep(tensors, folder, step, stage)

    def _parts(self) -> Iterator[tuple[str, Tensor]]:
        """Everything that a state holds, under its name; of what is spread over several processes, one's own part."""
        yield from ((f"weights/{name}", parameter) for name, parameter in self.parameters.items())
        yield from ((f"average/{name}", average) for name, average in self.average.items())
        for name, parameter in self.parameters.items():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    yield f"optimizer/{name}/{key}", torch.as_tensor(value)

    def load(self, folder: Path, stage: Stage) -> int:
        """Take the state back; returns the next step. ``CheckpointError`` if it belongs to another model,
        ``ConfigError`` if ``stage`` learns otherwise than the one that began it, or is shorter than what is done."""
        done = _agreed(json.loads((folder / "state.json").read_text()), folder, stage)
        tensors = load_file(folder / "state.safetensors")
        wanted = {f"weights/{name}" for name in self.parameters}
        if wanted != {name for name in tensors if name.startswith("weights/")}:
            raise CheckpointError(f"{folder} keeps another model's state: start in a new folder, or delete it.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                for mine, kind in ((parameter, "weights"), (self.average[name], "average")):
                    own_part(mine).copy_(own_part(part_like(tensors[f"{kind}/{name}"], mine)))
                kept = {key.rsplit("/", 1)[1]: part_like(value, parameter) if value.ndim else value.to(parameter.device)
                        for key, value in tensors.items() if key.startswith(f"optimizer/{name}/")}  # fmt: skip
                for optimizer in self.optimizers:
                    if kept and any(parameter is own for group in optimizer.param_groups for own in group["params"]):
                        optimizer.state[parameter] = kept  # type: ignore[assignment]
        return done

    def use_average(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                own_part(parameter).copy_(own_part(self.average[name]))


def _agreed(kept: Mapping[str, Any], folder: Path, stage: Stage) -> int:
    """The next step of a kept state, with which ``stage`` may go on. More steps may be asked for, and fewer than were
    planned, but not fewer than are done."""
    wanted, done = json.loads(json.dumps(asdict(stage))), int(kept["step"])
    before = kept.get("stage", {})
    changed = [name for name in wanted if name not in MAY_CHANGE and before.get(name, wanted[name]) != wanted[name]]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{folder.parent} was begun with {name} {before[name]!r}, now it is {wanted[name]!r}: go on with that or "
            "take another folder."
        )
    if done > stage.steps:
        raise ConfigError(
            f"{folder.parent} has done {done} steps and {stage.steps} are asked for: ask for {done} or more, or take "
            "another folder."
        )
    return done


def _cut_back(log: Path, step: int) -> None:
    """Drop what was logged of steps that are to be done again, since their state was not kept any more."""
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if _step_of(line) <= step]
    if len(kept) < len(lines):
        write_whole(log, lambda draft: draft.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8"))


def _step_of(line: str) -> float:
    """The step of a line of the log; that of a line which a kill cut off is beyond all."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _keep(tensors: dict[str, Tensor], folder: Path, step: int, stage: Stage) -> None:
    draft, old = folder.with_name(folder.name + ".draft"), folder.with_name(folder.name + ".old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file(tensors, draft / "state.safetensors")
    (draft / "state.json").write_text(json.dumps({"step": step, "stage": asdict(stage)}))
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(draft, folder)
    shutil.rmtree(old, ignore_errors=True)


def train_stage(
    stage: Stage, folder: Path, parameters: Iterable[tuple[str, nn.Parameter]], losses: Losses, report: Report = print
) -> bool:
    """Train until the steps are done (True) or the minutes are over (False, state kept). Goes on where it stopped.

    ``losses(step)`` returns means still attached to the graph. At the end the model holds the averaged weights.
    Of several processes (``parallel.py``) the first reads the clock, writes and reports; all of them learn.
    """
    torch.set_num_threads(stage.threads)
    here = company()
    named = dict(parameters)
    optimizers = _optimizers(stage, named)
    keeper = Keeper(named, optimizers)
    state = folder / "state"
    if here.leads:
        folder.mkdir(parents=True, exist_ok=True)
        kept_state(folder)
    here.wait()
    first = keeper.load(state, stage) if state.exists() else 0
    if here.leads:
        (folder / "stage.json").write_text(json.dumps(asdict(stage), indent=1))
        _cut_back(folder / "metrics.jsonl", first)
    began = saved = time.monotonic()
    heard: dict[str, list[float]] = {}
    window = time.monotonic()
    for step in range(first, stage.steps):
        values = learn(stage, step, list(named.values()), optimizers, losses)
        keeper.follow(stage.ema, step)
        for name, value in values.items():
            heard.setdefault(name, []).append(float(value))
        if (step + 1) % stage.log_every == 0:
            means = {name: sum(values) / len(values) for name, values in heard.items()}
            speed = stage.log_every * stage.batch / (time.monotonic() - window)
            line = {"step": step + 1, **means, "rate": stage.rate_at(step), "samples_per_second": speed}
            if here.leads:
                _write(folder, line, report)
            heard, window = {}, time.monotonic()
        if here.leader_says(time.monotonic() - saved > stage.save_seconds):
            keeper.save(state, step + 1, stage)
            saved = time.monotonic()
        if here.leader_says(time.monotonic() - began > stage.minutes * 60) and step + 1 < stage.steps:
            keeper.save(state, step + 1, stage)
            keeper.use_average()
            return False
    keeper.save(state, stage.steps, stage)
    keeper.use_average()
    return True


def kept_state(folder: Path) -> Path:
    """Where a stage's state is; a save that was cut off between its two renames is put right."""
    state, old = folder / "state", folder / "state.old"
    if old.exists() and not state.exists():
        os.replace(old, state)
    return state


def _optimizers(stage: Stage, named: Mapping[str, nn.Parameter]) -> list[torch.optim.Optimizer]:
    """AdamW, and with ``stage.muon`` Muon for the matrices inside layers; vectors do not decay."""
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        share = next((share for prefix, share in stage.slower if name.startswith(prefix)), 1.0)
        inner = stage.muon and parameter.ndim == 2 and ("layers." in name or "blocks." in name)
        groups.setdefault((inner, parameter.ndim >= 2, share), []).append(parameter)
    own: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for (inner, deep, share), members in groups.items():
        own[inner].append({"params": members, "weight_decay": stage.weight_decay if deep else 0.0, "share": share})
    optimizers: list[torch.optim.Optimizer] = []
    if own[False]:
        optimizers.append(torch.optim.AdamW(own[False], lr=stage.rate, betas=stage.betas, fused=True))
    if own[True]:
        optimizers.append(Muon(own[True], lr=stage.rate, bf16=stage.bf16))
    return optimizers


def learn(
    stage: Stage, step: int, parameters: list[nn.Parameter], optimizers: Sequence[torch.optim.Optimizer], losses: Losses
) -> dict[str, Tensor]:
    """One step: make the exercise and mark it, then learn. Returns what to log."""
    with in_bf16(stage.bf16, parameters[0].device):
        values = losses(step)

    for parameter in parameters:
        parameter.grad = None
    values["loss"].backward()
    norm = gathered(clip_grad_norm_(parameters, stage.max_grad_norm))

    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = stage.rate_at(step) * group["share"]
        if math.isfinite(float(norm)):
            optimizer.step()
    return {name: value.detach() for name, value in values.items()} | {"grad_norm": norm.detach()}


def in_bf16(wanted: bool, device: torch.device) -> torch.autocast:
    """Products in bfloat16 within, if that is wanted and faster on this device."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and fast_dtype(device) == torch.bfloat16)


def _write(folder: Path, line: dict[str, float], report: Report) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({name: round(value, 6) for name, value in line.items()}) + "\n")
    report("  ".join(f"{name} {value:.4g}" for name, value in line.items()))
