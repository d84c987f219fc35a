"""A scenario's data set, from words to a folder: seeds, lives, labels, the gate, no near-duplicates, export, lineage.

    OUT/             the episodes, in any of the four forms
    OUT/factory/     plan.json       what was asked for, and how it was understood
                     journal.jsonl   every life that was lived: kept as which episode, or left out for which reasons
                     lineage.jsonl   for every episode kept: scenario, recipe, hashes of its frames and actions
                     manifest.json   versions, licence, and the hash of every file: written last

Killed at any time and started again, it goes on: an episode is safe once it is written, a line once it is whole, and a
life between the two is lived again, which gives the same.
"""

import hashlib
import importlib.metadata
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import armillary
from armillary.datasets.lerobot21 import read_lines, write_lines
from armillary.datasets.store import EpisodeWriter, Form
from armillary.datasets.tables import write_json
from armillary.errors import ConfigError, RequestError
from armillary.factory.gate import Gate, likeness, twin_of, why_not
from armillary.factory.scenario import Scenario, read
from armillary.factory.seeds import Chosen, fitting
from armillary.records import Episode
from armillary.worlds import make_world
from armillary.worlds.catalogue import ENTRIES, found
from armillary.worlds.lives import ALWAYS_ALIKE, Plan, controllers, live

Change = Callable[[Episode], Episode]
LICENCE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be made: ``episodes`` of each scenario, all in one world.

    ``seed`` is the first that is tried. ``controller`` acts where a scenario names none (the world's first, without
    it). ``tries``: how many lives may be lived for one that is kept.
    """

    scenarios: tuple[str, ...]
    episodes: int = 20
    world: str | None = None
    seed: int = 0
    controller: str | None = None
    size: tuple[int, int] | None = None
    form: Form = "lerobot"
    licence: str = LICENCE
    tries: int = 10
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        if not self.scenarios or self.episodes < 1 or self.tries < 1:
            raise ConfigError("an order needs a scenario, at least one episode and one try.")


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came of an order: episodes kept, lives lived, and how often each reason left one out."""

    kept: int
    lived: int
    reasons: dict[str, int]


def understood(order: Order) -> list[Scenario]:
    """The scenarios of an order. ``RequestError`` for words that are unknown, or worlds that are several."""
    scenarios = [read(words, order.world) for words in order.scenarios]
    if len({one.world for one in scenarios}) > 1:
        worlds = ", ".join(f"{one.words!r} in {one.world}" for one in scenarios)
        raise RequestError(f"one data set has one world, and these are several: {worlds}. Make a folder for each.")
    return scenarios


def produce(
    order: Order, out: Path, *, workers: int = 1, labeller: Change | None = None, imagination: Change | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Made:  # fmt: skip
    """Make the data set of ``order`` in ``out``, or go on with it.

    ``imagination`` may change an episode's pictures, ``labeller`` its words and labels, in this order, before the
    gate. Both must give the same for the same episode. Raises ``RequestError`` where ``out`` is something else's, or
    where ``tries`` lives for each episode were not enough.
    """
    scenarios = understood(order)
    notes = _begin(order, scenarios, out)
    spec = make_world(scenarios[0].world).spec
    journal = _Journal(notes / "journal.jsonl")
    writer = EpisodeWriter(
        out, fps=spec.fps, cameras=spec.cameras, robot=spec.embodiment, states=ALWAYS_ALIKE[spec.name] or None,
        form=order.form,
    )  # fmt: skip
    known = [bytes.fromhex(line["likeness"]) for line in journal.lines if line["kept"] is not None]
    for place, scenario in enumerate(scenarios):
        before = [line for line in journal.lines if line["scenario"] == place]
        kept, lived = sum(line["kept"] is not None for line in before), len(before)
        chosen = fitting(scenario, before[-1]["seed"] + 1 if before else order.seed)
        if kept == order.episodes:
            continue
        for choice, episode in _lives(order, scenario, chosen, workers):
            for change in (imagination, labeller):
                episode = episode if change is None else change(episode)
            reasons = why_not(episode, scenario, order.gate)
            mine = likeness(episode)
            if not reasons and (twin := twin_of(mine, known, order.gate.nearest)) is not None:
                reasons = [f"near-duplicate: nearly the same as episode {twin}"]
            number = None
            if not reasons:
                number = len(known)
                if number == writer.next_index:  # else it was written, and killed before the journal had it
                    writer.write(episode)
                known.append(mine)
                kept += 1
            lived += 1
            journal.add({"scenario": place, "seed": choice.seed, "instruction": choice.instruction,
                         "pins": dict(choice.pins), "kept": number, "reasons": reasons, "likeness": mine.hex(),
                         **_traced(episode)})  # fmt: skip
            report(f"{kept} of {order.episodes} kept of {lived} lived: {scenario.words}")
            if kept == order.episodes:
                break
            if lived >= order.tries * order.episodes:
                gave = f"{lived} lives gave {kept} of {order.episodes} episodes of {scenario.words!r}"
                raise RequestError(
                    f"{gave}: most were left out because {_most(journal.lines)}. Ask for less, or allow more tries."
                )
    writer.close()
    return _end(order, scenarios, out, journal.lines)


class _Journal:
    """Lines that are whole or not there; a torn last line is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        self.lines: list[dict[str, Any]] = read_lines(path, "seed") if whole else []

    def add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _begin(order: Order, scenarios: Sequence[Scenario], out: Path) -> Path:
    notes = out / "factory"
    wanted = json.loads(json.dumps({"order": asdict(order), "understood": [asdict(one) for one in scenarios]}))
    plan = notes / "plan.json"
    if plan.is_file():
        if json.loads(plan.read_text(encoding="utf-8")) != wanted:
            raise RequestError(
                f"{out} was begun with another order (see {plan}): go on with that, or take a new folder."
            )
        return notes
    if out.is_file() or (out.is_dir() and any(place != notes for place in out.iterdir())):
        raise RequestError(f"{out} is there already: name a new folder, so that nothing is overwritten.")
    notes.mkdir(parents=True, exist_ok=True)
    write_json(plan, wanted)
    return notes


def _lives(
    order: Order, scenario: Scenario, chosen: Iterator[Chosen], workers: int
) -> Iterator[tuple[Chosen, Episode]]:
    """Episodes of chosen seeds, in their order; several processes live a little ahead."""
    kind = scenario.controller or order.controller or controllers(scenario.world)[0]
    size = order.size or make_world(scenario.world).spec.size
    plan = Plan(world=scenario.world, controller=kind, seed=order.seed, size=size)
    if workers <= 1:
        yield from ((choice, _lived(plan, choice)) for choice in chosen)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[tuple[Chosen, Future[Episode]]] = deque()
        try:
            while True:
                try:
                    choice = next(chosen)
                except RequestError:  # no more seeds fit: what is being lived still counts
                    while waiting:
                        first, life = waiting.popleft()
                        yield first, life.result()
                    raise
                waiting.append((choice, pool.submit(_lived, plan, choice)))
                if len(waiting) > workers:
                    first, life = waiting.popleft()
                    yield first, life.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _lived(plan: Plan, choice: Chosen) -> Episode:
    if choice.instruction is not None:
        from armillary.worlds.record import record_asked

        return record_asked(choice.seed, plan.controller, instruction=choice.instruction, size=plan.size)
    if choice.pins:
        pins = {"fixed": choice.pins} if plan.world == "driving" else choice.pins
        pinned: Episode = found(ENTRIES[plan.world].record)(choice.seed, plan.controller, size=plan.size, **pins)
        return pinned
    return live(plan, choice.seed)


def _traced(episode: Episode) -> dict[str, Any]:
    """What makes an episode again, and the hashes that show it is the same."""
    frames = hashlib.sha256()
    for camera in sorted(episode.frames):
        frames.update(camera.encode() + episode.frames[camera].tobytes())
    recipe = {k: v for k, v in episode.recipe.items() if k != "parameters"}
    return {"recipe": recipe, "frames_sha256": frames.hexdigest(),
            "actions_sha256": hashlib.sha256(episode.actions.tobytes()).hexdigest()}  # fmt: skip


def _most(lines: Sequence[dict[str, Any]]) -> str:
    counts = _reasons(lines)
    return max(counts, key=lambda reason: counts[reason], default="of nothing")


def _reasons(lines: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How often each reason left a life out; near-duplicates and findings without their particulars."""
    counts: dict[str, int] = {}
    for line in lines:
        for reason in line["reasons"]:
            short = reason.partition(":")[0]
            counts[short] = counts.get(short, 0) + 1
    return counts


def _end(order: Order, scenarios: Sequence[Scenario], out: Path, lines: Sequence[dict[str, Any]]) -> Made:
    kept = [line for line in lines if line["kept"] is not None]
    rows = [{"episode": line["kept"], "scenario": scenarios[line["scenario"]].words, "world": scenarios[0].world,
             "conditions": [want.told() for want in scenarios[line["scenario"]].wants],
             **{k: v for k, v in line.items() if k not in ("kept", "scenario", "reasons", "likeness")}}
            for line in kept]  # fmt: skip
    write_lines(out / "factory/lineage.jsonl", rows)
    files = sorted(f for f in out.rglob("*") if f.is_file() and f.name != "manifest.json")
    extra = {"pusht": ("gym-pusht",)}.get(ENTRIES[scenarios[0].world].extra, ())
    write_json(out / "factory/manifest.json", {
        "licence": order.licence, "episodes": len(kept), "lived": len(lines), "left_out": _reasons(lines),
        "versions": {"armillary": armillary.__version__}
        | {name: importlib.metadata.version(name) for name in ("mujoco", "numpy", "av", *extra)},
        "sha256": {f.relative_to(out).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
    })  # fmt: skip
    return Made(kept=len(kept), lived=len(lines), reasons=_reasons(lines))
