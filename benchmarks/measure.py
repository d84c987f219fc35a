"""How long something takes, told with its circumstances: one line in ``results.jsonl`` for each measurement.

    measure(run) -> median and middle half in milliseconds, and the processor time that the median run used
    alternate(one, other) -> the same of two, in turns: what neighbours do to one they do to the other
    counted(model) -> how often a reasoner was gone through meanwhile
    report(name, timing, **circumstances) -> prints the line and appends it; record(figures): of other figures

On a shared machine the wall clock tells about the neighbours too; the processor time does so less. Compare two
versions in alternation, never across days.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Milliseconds: the median, the ends of the middle half, and the median of processor time over all threads."""

    median_ms: float
    low_ms: float
    high_ms: float
    processor_ms: float
    repeats: int


def measure(run: Callable[[], object], *, warmup: int = 3, repeats: int = 15) -> Timing:
    """Time ``run`` once warm, device work included."""
    spent = [_once(run) for _ in range(warmup + repeats)]
    return _timing(spent[warmup:])


def alternate(*runs: Callable[[], object], warmup: int = 0, repeats: int = 5) -> list[Timing]:
    """Time several in turns."""
    rounds = [[_once(run) for run in runs] for _ in range(warmup + repeats)]
    return [_timing([one[number] for one in rounds[warmup:]]) for number in range(len(runs))]


def _once(run: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds by the clock and by the processor, device work included."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start, busy = time.perf_counter(), time.process_time()
    run()
    wait()
    return (time.perf_counter() - start) * 1e3, (time.process_time() - busy) * 1e3


def _timing(spent: list[tuple[float, float]]) -> Timing:
    walls, processor = zip(*spent, strict=True)
    low, median, high = statistics.quantiles(walls, n=4) if len(walls) > 1 else walls * 3
    return Timing(
        median_ms=round(median, 2),
        low_ms=round(low, 2),
        high_ms=round(high, 2),
        processor_ms=round(statistics.median(processor), 2),
        repeats=len(walls),
    )


@contextmanager
def counted(model: Any) -> Iterator[Counter[str]]:
    """Within it, how many ``passes`` a reasoner (``TwoTowers``) makes, and how many tokens were ``guessed``."""
    plain, told = model.step, Counter[str]()

    def step(ids: Tensor, *rest: Any, every: bool = False, **how: Any) -> Any:
        told["passes"] += 1
        told["guessed"] += ids.shape[1] - 1 if every else 0
        return plain(ids, *rest, every=every, **how)

    model.step = step
    try:
        yield told
    finally:
        del model.step


def report(name: str, timing: Timing, **circumstances: Any) -> dict[str, Any]:
    """Print the measurement as a line of JSON and append it to ``results.jsonl``."""
    return record({"name": name, **circumstances, **asdict(timing)})


def record(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same of figures that are no timing: counts, bytes, several clocks."""
    line = {**figures, **machine(), "commit": commit()}
    text = json.dumps(line)
    print(text, flush=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    return line


def machine() -> dict[str, Any]:
    """Where it ran, how busy others kept the place, and how far behind them it stood (``nice``)."""
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores of {platform.machine()}"
    )
    when = datetime.now(UTC).isoformat(timespec="seconds")
    busy = {"load": round(os.getloadavg()[0], 1), "nice": os.nice(0)}
    return {"device": device, **busy, "torch": torch.__version__, "when": when}


def commit() -> str:
    """The commit that was measured, with a + if files were changed since; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"
