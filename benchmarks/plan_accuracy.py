"""Whether ``armillary plan`` is right: predicted peak memory and seconds beside those of five runs of several shapes.

    python -m benchmarks.plan_accuracy [--runs 5] [--checkpoint pico] [--only policy film_int8]

Each shape is asked for in a fresh process, on one thread, once for the peak (weights included) and then ``--runs``
times for the seconds, of which the median counts; each seed is another and the prompt is read anew. Seconds are
counted by the clock and by the processor, in the plan's own measurement of the machine too: beside busy neighbours
only the processor's say something about the plan.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from benchmarks.measure import RESULTS, commit, machine

from armillary.plan import FIRST_USE, foresee, request_of, this_machine, work_of

WORDS = "a red cube is pushed to the left tray"
SHAPES: dict[str, dict[str, Any]] = {
    "policy": {"mode": "policy", "frames": 17, "steps": 10, "guidance": 1.0},
    "text_to_video": {"mode": "text-to-video", "frames": 17, "steps": 10, "guidance": 3.0},
    "text_to_image": {"mode": "text-to-image", "frames": 1, "size": (256, 256), "steps": 10, "guidance": 3.0},
    "large_film": {"mode": "text-to-video", "frames": 17, "size": (256, 256), "steps": 4, "guidance": 1.0},
    "long_film": {"mode": "image-to-video", "frames": 49, "steps": 4, "guidance": 3.0},
    "forward_dynamics": {"mode": "forward-dynamics", "frames": 17, "steps": 4, "guidance": 1.0},
    "film_int8": {"mode": "text-to-video", "frames": 17, "steps": 10, "guidance": 3.0, "weights": "int8"},
    "policy_offload": {"mode": "policy", "frames": 17, "steps": 10, "guidance": 1.0, "offload": "towers"},
}
_CHILD = """
import json, sys, time, torch, numpy as np
torch.set_num_threads(1)
import armillary
from armillary.plan import _resident
checkpoint, asked, runs, dtype = json.loads(sys.argv[1])
mode = asked.pop("mode")
how = {name: asked.pop(name) for name in ("weights", "offload") if name in asked}
if mode in ("policy", "forward-dynamics", "image-to-video"):
    asked["image"] = np.zeros((128, 128, 3), np.uint8)
if mode in ("policy", "forward-dynamics"):
    asked["embodiment"] = "tabletop"
if mode == "forward-dynamics":
    asked["actions"] = [[0.01, 0, 0, 1, 0, 0, 0, 1, 0, 1]] * (asked["frames"] - 1)
omni = armillary.load(checkpoint, device="cpu", dtype=dtype, **how)
taken = _resident()
spent = []
for seed in range(runs + 1):
    omni.parts.shelf.forget()
    start = time.perf_counter(), time.process_time()
    omni.imagine(mode, seed=seed, **asked)
    spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    if not seed:
        lines = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
        peak = int(lines["VmHWM"].split()[0]) * 1024
print(json.dumps([taken, peak, spent[1:]]))
"""


def main(runs: int = 5, checkpoint: str = "pico", dtype: str = "bfloat16", only: Sequence[str] = ()) -> None:
    """Predict, run, and write a line for each shape."""
    torch.set_num_threads(1)
    for name, asked in SHAPES.items():
        if only and name not in only:
            continue
        told = json.dumps([checkpoint, {"prompt": WORDS, **asked}, runs, dtype])
        done = subprocess.run([sys.executable, "-c", _CHILD, told], capture_output=True, text=True, check=True)
        taken, peak, spent = json.loads(done.stdout.splitlines()[-1])
        job = request_of(checkpoint, asked["mode"], **{k: v for k, v in asked.items() if k != "mode"}, dtype=dtype)
        work = work_of(job)
        line: dict[str, Any] = {"name": f"plan_{name}", "checkpoint": checkpoint, "dtype": dtype, "runs": runs}
        line |= {"threads": 1, **asked}
        for number, (kind, clock) in enumerate((("clock", time.perf_counter), ("processor", time.process_time))):
            plan = foresee(work, replace(this_machine(job, clock=clock), taken=taken + FIRST_USE))
            measured = statistics.median(run[number] for run in spent)
            line |= {f"{kind}_seconds": round(measured, 3), f"{kind}_predicted": round(plan.total_seconds, 3)}
            line[f"{kind}_over_measured"] = round(plan.total_seconds / measured, 2)
            line |= {"peak_mib": round(peak / 2**20), "peak_predicted_mib": round(plan.peak / 2**20)}
            line["peak_over_measured"] = round(plan.peak / peak, 3)
        text = json.dumps({**line, **machine(), "commit": commit()})
        print(text, flush=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--only", nargs="*", default=(), choices=tuple(SHAPES))
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    main(**vars(parser.parse_args()))
