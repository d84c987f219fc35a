"""What a deep session has drawn is written down once all of it has passed."""

import sys
from pathlib import Path

from drawn import DEEP, DRAWN

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for benchmarks

from benchmarks.measure import record


def pytest_sessionfinish(exitstatus):
    if DEEP and exitstatus == 0:
        for comparison, examples in DRAWN.items():
            record({"name": "conformance_shapes", "comparison": comparison, "examples": examples})
