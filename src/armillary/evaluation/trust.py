"""When can the imagination be trusted? Policies of different skill, scored in physics and in what a model imagines.

    seeds x policies  ->  a life in physics, the same actions imagined  ->  lives.jsonl, trust.json, index.html

Asked are: do the two rank policies alike, by success and by how much of the way they go; how often is a failure
imagined as a success; does the model's own doubt (``closed_loop.doubt``) tell the imaginations that went wrong, and
from where on should they be stopped? Success and progress are seen in pictures (``success.py``), in both alike; the
world's own verdict on physics says how good that judge is.

A line a life is kept as soon as its batch is done, and no life of the same weights, world and code is lived twice.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.errors import ConfigError
from armillary.evaluation.held_out import HELD_OUT, HeldOut, world_fingerprint
from armillary.evaluation.lives import (
    MODEL,
    SCRIPTED,
    Dream,
    Dreamer,
    Life,
    Watched,
    change,
    judged,
    live_planned,
    live_scripted,
    progressed,
)
from armillary.evaluation.success import judgeable, patch_of
from armillary.evaluation.trust_figures import figures_of, table_of
from armillary.evaluation.trust_page import Shown, page_of_trust, scatter_of
from armillary.media import write_whole
from armillary.records import Array
from armillary.sampling.omni import load
from armillary.worlds.tabletop import Tabletop

BATCH = 8  # tables side by side
NEAR_SHARE = 0.05  # of the width: further from its true place, a thing is imagined wrong
LEAST_SEEN = 30  # pixels of a thing's colour in the true picture, to ask where it is
RULES = 4  # of judging and scoring: another number, and earlier lives are not used again


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One policy at one table. ``physics``: the world's verdict; ``seen``: the judge's on its true pictures.

    ``imagined``: the judge's on the same actions imagined. ``acted``: on the model's own policy acting in imagination.
    ``progress_seen``, ``progress_imagined``, ``progress_acted``: of the same pictures, how much of the way was gone.
    ``off``: how far, in shares of the width, the worst placed thing of the last imagined picture is from its true
    place (1: nowhere), None if none can be told by its colour. ``change``: how far the film goes. ``cycle`` and
    ``spread``: the model's own doubt, None if it was not asked.
    """

    policy: str
    seed: int
    kind: str
    steps: int
    physics: bool
    seen: bool
    imagined: bool
    acted: bool | None
    progress_seen: float
    progress_imagined: float
    progress_acted: float | None
    off: float | None
    change: float
    cycle: float | None
    spread: float | None

    @property
    def wrong(self) -> bool | None:
        """Whether something stands elsewhere in the imagination than in truth; None if that cannot be told."""
        return None if self.off is None else self.off > NEAR_SHARE


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``seeds``: tables for each policy, whose first seed is ``first``. ``shown``: of how many a film is on the page.

    ``doubted``: of how many tables the model is asked how far it believes itself.
    """

    seeds: int = 20
    first: int = HELD_OUT
    shown: int = 2
    doubted: int = 10
    policies: tuple[str, ...] = (*SCRIPTED, MODEL)

    def __post_init__(self) -> None:
        unknown = set(self.policies) - {*SCRIPTED, MODEL}
        if unknown or len(self.policies) < 2:
            raise ConfigError(f"policies={self.policies}: name at least two of {', '.join((*SCRIPTED, MODEL))}.")
        if self.seeds < 2:
            raise ConfigError(f"seeds={self.seeds}: it must be at least 2, or nothing can be said of chance.")


def evaluate_trust(
    checkpoint: str | Path,
    *,
    out: Path,
    seeds: int = 20,
    seed: int = HELD_OUT,
    policies: Sequence[str] = (),
    adapter: str | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure how far a checkpoint's imagination can be trusted, into the folder ``out``; what ``trust.json`` holds.

    ``adapter``: as ``load`` takes it. ``policies``: of ``lives.SCRIPTED`` and ``model``, at least two; all if none.
    Raises ``ConfigError`` for fewer than two seeds, a seed that training may have seen, or an unknown policy,
    ``CheckpointError`` if there is no checkpoint.
    """
    plan = Plan(seeds=seeds, first=seed, doubted=(seeds + 1) // 2, policies=tuple(policies) or Plan.policies)
    HeldOut(out, seed=seed)
    omni = load(checkpoint, adapter=adapter)
    made_from = {
        "checkpoint": omni.parts.folder.name, **omni.parts.made_from, "world": world_fingerprint(),
        "dtype": str(omni.parts.dtype).removeprefix("torch."), "rules": RULES,
        **({} if adapter is None else {"adapter": adapter}),
    }  # fmt: skip
    return measure_trust(Dream(omni, told=report), plan, out=out, made_from=made_from, report=report)


def evaluate_and_tell(
    checkpoint: str | Path,
    *,
    out: Path,
    seeds: int,
    seed: int,
    policies: Sequence[str],
    adapter: str | None,
    as_json: bool,
) -> None:
    """``evaluate_trust`` for the command line: progress on stderr, figures on stdout."""
    found = evaluate_trust(
        checkpoint, out=out, seeds=seeds, seed=seed, policies=policies, adapter=adapter,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(json.dumps(found, indent=1) if as_json else f"{table_of(found)}\n{out / 'index.html'}: open it in a browser")


def measure_trust(
    dreamer: Dreamer,
    plan: Plan,
    *,
    out: Path,
    made_from: dict[str, Any],
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """``evaluate_trust`` for whoever imagines: live what has not been lived yet, then write figures and page.

    ``made_from``: what the lives depend on. Lives in ``out`` that were made from anything else are thrown away.
    """
    out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    tables, skipped = _tables(plan)
    samples = _kept(out, made_from)
    for start in range(0, len(tables), BATCH):
        for policy in plan.policies:
            batch = [s for s in tables[start : start + BATCH] if (policy, s) not in samples]
            if not batch:
                continue
            report(f"{policy}: tables {start + 1} to {min(start + BATCH, len(tables))} of {len(tables)}")
            for sample in _lived(dreamer, policy, batch, plan=plan, tables=tables, out=out):
                samples[policy, sample.seed] = sample
            _write(out / "lives.jsonl", "".join(json.dumps(asdict(one)) + "\n" for one in samples.values()))
    wanted = [samples[policy, seed] for policy in plan.policies for seed in tables]
    found = {
        "made_from": made_from, "command": _command(plan, made_from), "tables": len(tables), "tables_skipped": skipped,
        "policies": {name: SCRIPTED.get(name, "the model, from pictures") for name in plan.policies},
        "interval": "95 %, 2000 draws of whole tables", "seconds": round(time.monotonic() - begun, 1),
        **figures_of(wanted),
    }  # fmt: skip
    _write(out / "trust.json", json.dumps(found, indent=1) + "\n")
    _write(out / "table.md", table_of(found))
    _write(out / "scatter.svg", scatter_of(found))
    shown = [_shown(samples[policy, seed], out) for seed in tables[: plan.shown] for policy in plan.policies]
    _write(out / "index.html", page_of_trust(found, shown))
    return found


def _command(plan: Plan, made_from: dict[str, Any]) -> str:
    line = ["armillary", "evaluate", str(made_from.get("checkpoint", "")), "--suite", "trust", "--seeds",
            str(plan.seeds), "--seed", str(plan.first)]  # fmt: skip
    line += ["--adapter", made_from["adapter"]] if "adapter" in made_from else []
    return shlex.join([*line, *(() if plan.policies == Plan.policies else ("--policies", *plan.policies))])


def _tables(plan: Plan) -> tuple[list[int], int]:
    """The first so many seeds whose instruction colour alone can judge; and how many were passed over."""
    held, world = HeldOut(Path(), seed=plan.first), Tabletop(views=())
    found: list[int] = []
    number = 0
    while len(found) < plan.seeds:
        seed = held.seed_of("trust", number)
        number += 1
        words = world.reset(seed).instruction
        if judgeable(words, world.names):
            found.append(seed)
    return found, number - plan.seeds


def _lived(
    dreamer: Dreamer, policy: str, seeds: Sequence[int], *, plan: Plan, tables: Sequence[int], out: Path
) -> list[Sample]:
    """A policy at these tables, in physics and imagined."""
    acted: list[Array | None] = [None] * len(seeds)
    if policy == MODEL:
        assert dreamer.planner is not None, "a dreamer without a planner has no policy of its own"
        lives = live_planned(dreamer.planner, seeds)
        acted = [*dreamer.act(seeds)]
    else:
        world = Watched()
        lives = [live_scripted(policy, seed, world) for seed in seeds]
        world.close()
    films = dreamer.replay(lives)
    asked = [i for i, life in enumerate(lives) if life.seed in tables[:: max(1, len(tables) // plan.doubted)]]
    doubts = dict(zip(asked, dreamer.doubts([films[i] for i in asked], [lives[i].actions for i in asked]), strict=True))
    samples = []
    for i, (life, film) in enumerate(zip(lives, films, strict=True)):
        cycle, apart = doubts.get(i, (None, None))
        own = acted[i]
        true, dreamt = _seen(life.pictures, life), _seen(film, life)
        lived = None if own is None else _seen(own, life)
        samples.append(Sample(
            policy=policy, seed=life.seed, kind=life.kind, steps=life.steps, physics=life.success,
            seen=true[0], imagined=dreamt[0], acted=lived and lived[0],
            progress_seen=true[1], progress_imagined=dreamt[1], progress_acted=lived and lived[1],
            off=misplaced(life, film), change=round(change(film, life.actions), 3), cycle=cycle, spread=apart,
        ))  # fmt: skip
        if life.seed in tables[: plan.shown]:
            _keep_film(life, film, out)
    return samples


def _seen(film: Array, life: Life) -> tuple[bool, float]:
    """What the judge says of a film of that life: whether it shows success, and how much of the way."""
    pictures = list(film)
    return judged(pictures, life.instruction), round(progressed(pictures, life.instruction), 4)


def misplaced(life: Life, film: Array) -> float | None:
    """How far the worst placed thing of the last imagined picture is from its true place, in shares of the width.

    1 if its colour is nowhere; None if no thing can be told by its colour in the true picture.
    """
    colours = [name.split()[0] for name in life.names]
    far = []
    for colour in colours:
        true, found = patch_of(life.pictures[-1], colour), patch_of(film[-1], colour)
        if colours.count(colour) == 1 and true is not None and true.pixels >= LEAST_SEEN:
            far.append(float(np.linalg.norm(found.middle - true.middle)) / film.shape[2] if found else 1.0)
    return round(max(far), 4) if far else None


def _kept(out: Path, made_from: dict[str, Any]) -> dict[tuple[str, int], Sample]:
    """The lives that were lived before, of the same making."""
    made, lines = out / "made_from.json", out / "lives.jsonl"
    if made.is_file() and json.loads(made.read_text("utf-8")) == made_from and lines.is_file():
        kept = [Sample(**json.loads(line)) for line in lines.read_text("utf-8").splitlines()]
        return {(one.policy, one.seed): one for one in kept}
    lines.unlink(missing_ok=True)
    _write(made, json.dumps(made_from, indent=1) + "\n")
    return {}


def _film_path(out: Path, policy: str, seed: int) -> Path:
    return out / "films" / f"{policy.replace(' ', '_')}_{seed}.npz"


def _keep_film(life: Life, film: Array, out: Path) -> None:
    path = _film_path(out, life.policy, life.seed)
    path.parent.mkdir(exist_ok=True)

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.savez_compressed(file, true=life.pictures, imagined=film, words=np.array(life.instruction))

    write_whole(path, write)


def _shown(sample: Sample, out: Path) -> Shown:
    with np.load(_film_path(out, sample.policy, sample.seed)) as kept:
        return Shown(
            policy=sample.policy, words=str(kept["words"]), true=kept["true"], imagined=kept["imagined"],
            physics=sample.physics, judged=sample.imagined,
        )  # fmt: skip


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))
