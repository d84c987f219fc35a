"""Long looks at a world: thousands of seeds and answers, its experts, kills while recording, pictures a second.

    python -m benchmarks.worlds_checks seeds physics --count 1000      simulated whole, three frames drawn of each
    python -m benchmarks.worlds_checks answers spatial --count 2000    every answer checked by code of its own
    python -m benchmarks.worlds_checks experts driving --count 200     how often the expert does what is asked
    python -m benchmarks.worlds_checks kills physics --count 20        recording killed at random: the same bytes?
    python -m benchmarks.worlds_checks speed physics --count 3         camera frames with all labels, encoded
    python -m benchmarks.worlds_checks twins physics --count 100       impossible twins: found, and equal until then
    python -m benchmarks.worlds_checks sounds physics --count 50       what is heard begins when things touch

``--within 60`` ends after sixty processor seconds, whatever the count; so does the first Ctrl-C or SIGTERM, after the
life that is being lived. Each prints what it found and appends one line to ``results.jsonl``; the exit code is 1 if a
law is broken.
"""

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from inspect import signature
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.measure import Timing, report
from benchmarks.onsets import away, onsets, touching
from benchmarks.sparing import few_pictures, marks_only
from benchmarks.told_apart import share_told, shown
from numpy.typing import NDArray

from armillary import cli
from armillary.datasets.store import EpisodeWriter
from armillary.records import Episode
from armillary.worlds import make_world
from armillary.worlds.catalogue import ENTRIES, found
from armillary.worlds.lives import ALWAYS_ALIKE
from armillary.worlds.physics_laws import broken
from armillary.worlds.questions import template

FAR_METRES, SMALL = 200.0, (64, 64)  # no place, speed or size in any world is beyond
FAR = {"block": 600.0, "disc": 600.0, "disc_velocity": 5000.0, "goal": 600.0, "masses": 1e4}  # pixels; kilograms
ENDING = (signal.SIGINT, signal.SIGTERM)
NEAR_METRES = 0.6  # what fills a picture from there on may be of one colour: a wall before the lens
FEWEST = 10  # answers of a template from which on its shares are looked at
SEEING = ("driving", "drawer", "tabletop")  # whose judges look at colours too


def record(world: str, seed: int, kind: str, **more: Any) -> Episode:
    """One episode of a world by its catalogue entry."""
    episode: Episode = found(ENTRIES[world].record)(seed, kind, **more)
    return episode


def in_time(numbers: Iterable[int], seconds: float) -> Iterator[int]:
    """The numbers, until so many processor seconds are spent or somebody asks the process to end (again: at once)."""
    begun, asked = time.process_time(), []
    usual = {kind: signal.signal(kind, lambda number, _: _end(asked, usual, number)) for kind in ENDING}
    try:
        for number in numbers:
            if asked or time.process_time() - begun > seconds:
                return
            yield number
    finally:
        for kind, handler in usual.items():
            signal.signal(kind, handler)


def _end(asked: list[int], usual: Mapping[int, Any], number: int) -> None:
    asked.append(number)
    signal.signal(number, usual[number])


def seeds(world: str, count: int, first: int, within: float, **more: Any) -> dict[str, Any]:
    """Simulate ``count`` seeds whole; draw three frames of each. What went wrong, by kind."""
    kinds, bad, done, pictures, close = found(ENTRIES[world].kinds), list[tuple[str, str]](), 0, 0, list[str]()
    more["size"] = SMALL[0] if ENTRIES[world].square else SMALL
    with few_pictures(world) as drawn:
        for seed in in_time(range(first, first + count), within):
            done += 1
            episode = record(world, seed, kinds[seed % len(kinds)], extras=("depth",), **more)
            for name, values in episode.states.items():
                if not np.isfinite(values).all():
                    bad.append(("not finite", f"{name} of {seed}"))
                if np.abs(values).max(initial=0) > FAR.get(name, FAR_METRES):
                    bad.append(("exploded", f"{name} of {seed}"))
            for camera, frames in episode.frames.items():
                shown = [k for k in drawn if k < len(frames)]
                pictures += len(shown)
                dull = [k for k in shown if empty(frames[k])]
                if dull and all(walled(episode.depth, camera, k) for k in dull):
                    close.append(f"{camera} of {seed}")
                elif dull:
                    bad.append(("empty picture", f"{camera} of {seed}"))
    faults: dict[str, list[str]] = {}
    for kind, where in bad:
        faults.setdefault(kind, []).append(where)
    return {"seeds": done, "pictures": pictures, "faults": faults, "filled_by_what_is_near": close}


def empty(picture: NDArray[np.uint8]) -> bool:
    """Whether a picture (h, w, 3) is of one colour, whichever: no channel deviates by a grey level from its mean.

    Night in fog over a field is not empty, though hardly brighter than black: the car and its beams are seen.
    """
    return bool(picture.std(axis=(0, 1)).max() < 1)


def walled(depth: Mapping[str, NDArray[np.float32]] | None, camera: str, frame: int) -> bool:
    """Whether all that a camera sees is nearer than ``NEAR_METRES``: a robot that stands at a wall sees one colour."""
    if not depth or camera not in depth:
        return False
    return bool(depth[camera][frame].min() > 0 and depth[camera][frame].max() < NEAR_METRES)


def answers(world: str, count: int, first: int, within: float, **more: Any) -> dict[str, Any]:
    """Check at least ``count`` answers with ``benchmarks.answers_WORLD``; and how often each template says the same."""
    judge, kinds = importlib.import_module(f"benchmarks.answers_{world}"), found(ENTRIES[world].kinds)
    said: dict[str, Counter[str]] = defaultdict(Counter)
    asked, bad, episodes = 0, [], 0
    if "views" in signature(found(ENTRIES[world].record)).parameters:
        more["views"] = judge.CAMERAS
    for seed in in_time(itertools.count(first), within):
        if asked >= count:
            break
        episodes += 1
        with nullcontext() if world in SEEING else marks_only():
            episode = record(world, seed, kinds[seed % len(kinds)], **more)
        names = judge.names(episode)
        for question in episode.questions:
            asked += 1
            truth = judge.wrong(episode, question)
            if truth is not None:
                bad.append(f"{world} {seed}: {question.words} said {question.answer!r}, but {truth!r}")
            words = template(question.words.split(":")[0] if "Which of these" in question.words else question.words,
                             names)  # fmt: skip
            said[words][template(question.answer) if "box" in question.answer else question.answer] += 1
    counted = table(said)
    often = usual(counted)
    shares = {words: round(most / count, 3) for words, (most, count, _) in counted.items()}
    for words, share in sorted(shares.items(), key=lambda found: -found[1]):
        _, count, answer = counted[words]
        print(f"{share:.3f} of {count:4d}  {words}  {answer}{'  (too often)' if words in often else ''}")
    above = {words: [shares[words], *rest] for words, (most, *rest) in counted.items() if 2 * most > rest[0]}
    return {
        "answers": asked,
        "episodes": episodes,
        "wrong": len(bad),
        "examples": bad[:8],
        "templates": len(said),
        "templates_counted": len(counted),
        "above_half": above,
        "most_frequent_share": max(shares.values(), default=0),
        "usual": often,
    }


def table(said: Mapping[str, Counter[str]]) -> dict[str, tuple[int, int, str]]:
    """How often the most frequent answer is given, of how many, and which, of each template asked often enough."""
    found = {}
    for words, answers in said.items():
        count, (answer, most) = answers.total(), answers.most_common(1)[0]
        if count >= FEWEST and "box" not in answer:
            found[words] = (most, count, answer)
    return found


def usual(counted: Mapping[str, tuple[int, int, str]]) -> dict[str, str]:
    """Templates of a ``table`` whose first answer has more than half, by more than chance explains (two deviations)."""
    return {words: f"{most} of {count}: {answer}" for words, (most, count, answer) in counted.items()
            if most / count > 0.5 + (0.25 / count) ** 0.5 * 2}  # fmt: skip


def experts(world: str, count: int, first: int, within: float) -> dict[str, Any]:
    """How often the expert does what is asked, unseen: ``count`` seeds, and the seeds in which it does not."""
    failed, done = [], 0
    for seed in in_time(range(first, first + count), within):
        done += 1
        if not record(world, seed, "expert", views=(), extras=()).success:
            failed.append(seed)
    return {"seeds": done, "success": round(1 - len(failed) / max(done, 1), 4), "failed": failed}


def kills(world: str, count: int, first: int, within: float) -> dict[str, Any]:
    """A recording of six short lives, killed ``count`` times at random moments and begun again: are the bytes equal?

    Each is a process of its own that runs ``armillary simulate``, split off from this one when all is imported.
    """
    rng, killed, unlike = np.random.default_rng(first), 0, 0
    found(ENTRIES[world].record)
    with tempfile.TemporaryDirectory() as room:
        whole, cut = Path(room) / "whole", Path(room) / "cut"
        asked = ("--episodes", "6", "--seed", str(first), "--size", "32", "32")
        begun = time.perf_counter()
        _simulated(world, str(whole), *asked).join()
        lasts = time.perf_counter() - begun
        for _ in in_time(itertools.count(), within):
            if killed >= count:
                break
            process = _simulated(world, str(cut), *asked)
            process.join(float(rng.uniform(0.1, 0.9)) * lasts)
            if process.is_alive():
                process.kill()
                killed += 1
            process.join()
            if process.exitcode == 0:
                unlike += _contents(whole) != _contents(cut)
                shutil.rmtree(cut)
        last = _simulated(world, str(cut), *asked)
        last.join()
        unlike += last.exitcode != 0 or _contents(whole) != _contents(cut)
        files = len(_contents(whole))
    return {"kills": killed, "unlike": unlike, "files": files}


def _simulated(*asked: str) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=_simulate, args=(asked,))
    process.start()
    return process


def _simulate(asked: Sequence[str]) -> None:
    sys.argv = ["armillary", "simulate", *asked]
    cli.main()


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def speed(world: str, count: int, size: tuple[int, int]) -> dict[str, Any]:
    """Camera frames a second and a processor second: simulated, drawn with all labels, put into words, encoded."""
    kind = found(ENTRIES[world].kinds)[0]
    _recorded(world, kind, range(1), size)  # whatever is loaded once is loaded
    wall, work = time.perf_counter(), time.process_time()
    frames = _recorded(world, kind, range(1, 1 + count), size)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    return {"size": list(size), "frames": frames, "frames_a_second": round(frames / wall, 1),
            "frames_a_processor_second": round(frames / work, 1)}  # fmt: skip


def _recorded(world: str, kind: str, lives: range, size: tuple[int, int]) -> int:
    """Record those lives into a folder that is thrown away; how many camera frames they were."""
    spec, frames = make_world(world).spec, 0
    alike = {"fps": spec.fps, "cameras": spec.cameras, "robot": spec.embodiment, "states": ALWAYS_ALIKE[world]}
    with tempfile.TemporaryDirectory() as room, EpisodeWriter(Path(room) / "data", **alike) as writer:
        for seed in lives:
            episode = record(world, seed, kind, size=size)
            frames += sum(len(f) for f in episode.frames.values())
            writer.write(episode)
    return frames


def twins(world: str, count: int, first: int, within: float) -> dict[str, Any]:
    """Impossible twins of ``count`` seeds: made, found from the state, equal to the partner until the moment.

    States are compared in every moment, pictures in the first and in the last two beforehand. And how often a
    classifier tells twin and partner apart by the last of these, and, to see that it can, by the one that follows.
    """
    made, unlike, alarms, done = 0, 0, 0, 0
    missed: list[int] = []
    before, after = list[Any](), list[Any]()
    for seed in in_time(range(first, first + count), within):
        done += 1
        unseen = found(ENTRIES[world].make)(size=SMALL, views=(), twin="any")
        unseen.reset(seed)
        until = unseen.spell.step + 1 if unseen.spell else 0
        with few_pictures(world, (0, until - 2, until - 1, until)):
            partner = record(world, seed, "still", extras=(), size=SMALL)
            alarms += bool(broken(partner))
            if not until:
                continue
            twin = record(world, seed, "still", extras=(), twin="any", size=SMALL)
        made, spell = made + 1, twin.recipe["twin"]
        if not any(n == spell["item"] and law == spell["kind"] for _, n, law in broken(twin)):
            missed.append(seed)
        assert all(life.frames["main"][until - 1].any() for life in (partner, twin))
        pictures = all(np.array_equal(partner.frames[c][:until], twin.frames[c][:until]) for c in twin.frames)
        states = all(np.array_equal(partner.states[s][:until], twin.states[s][:until]) for s in twin.states)
        unlike += not (pictures and states)
        for moment, told in ((until - 1, before), (until, after)):
            told.append([shown(life.frames["main"], moment) for life in (partner, twin)])
    told_apart = {"told_apart_before": round(share_told(np.array(before)), 3),
                  "told_apart_after": round(share_told(np.array(after)), 3)} if made >= FEWEST else {}  # fmt: skip
    return {"seeds": done, "twins": made, "not_found": missed, "unlike_before": unlike, "false_alarms": alarms,
            **told_apart}  # fmt: skip


def sounds(world: str, count: int, first: int, within: float) -> dict[str, Any]:
    """How far what is heard of ``count`` lives begins from a contact of any two bodies: more than a physics step?

    ``near_fresh`` is the share within a step of a contact that is no mere trembling, ``by_chance`` the share that would
    be near those of the life before.
    """
    kind, done, step, others = found(ENTRIES[world].kinds)[0], 0, 0.0, list[float]()
    off, fresh, chance = list[float](), list[float](), list[float]()
    for seed in in_time(range(first, first + count), within):
        done += 1
        with few_pictures(world), touching() as touched:
            episode = record(world, seed, kind, extras=("sound",), size=SMALL)
        assert episode.sound is not None
        step, begun = touched.step, touched.begun(episode.sound)
        heard, firm = onsets(episode.sound), [one - begun for one in touched.fresh]
        off += away(heard, [one - begun for one in touched.all]).tolist()
        fresh += away(heard, firm).tolist()
        chance += away(heard, others).tolist() if others else []
        others = firm
    near_fresh, by_chance = (round(float(np.mean([abs(one) <= step + 1e-6 for one in which])), 3) if which else 0.0
                             for which in (fresh, chance))  # fmt: skip
    return {"lives": done, "onsets": len(off), "step_ms": round(step * 1e3, 3),
            "not_within_a_step": sum(abs(one) > step + 1e-6 for one in off),
            "worst_ms": round(1e3 * max((abs(one) for one in off), default=0.0), 3),
            "near_fresh": near_fresh, "by_chance": by_chance}  # fmt: skip


LOOKS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "seeds": seeds, "answers": answers, "experts": experts, "kills": kills, "twins": twins, "sounds": sounds,
}  # fmt: skip


def main() -> None:
    """Look, print, append to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", *LOOKS))
    parser.add_argument("world")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--within", type=float, default=1e9, help="stop after so many processor seconds")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    told = parser.parse_args()
    begun = time.perf_counter()
    if told.what == "speed":
        result = speed(told.world, told.count, tuple(told.size))
    else:
        result = LOOKS[told.what](told.world, told.count, told.first, told.within)
    print(json.dumps(result, indent=1))
    spent = (time.perf_counter() - begun) * 1e3
    timing = Timing(median_ms=spent, low_ms=spent, high_ms=spent, processor_ms=time.process_time() * 1e3, repeats=1)
    report(f"world_{told.what}", timing, world=told.world, first=told.first, **result, cores=os.cpu_count())
    if (
        result.get("unlike")
        or result.get("faults")
        or result.get("wrong")
        or result.get("not_found")
        or result.get("unlike_before")
        or result.get("files") == 0
        or result.get("usual")
        or result.get("not_within_a_step")
        or result.get("false_alarms")
    ):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
