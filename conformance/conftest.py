"""What a deep session has drawn is written down when it ends and nothing in it failed: whole, or ended by hand."""

import signal
import sys
from pathlib import Path

import pytest
from drawn import DEEP, DIFFERED, DRAWN

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for benchmarks

from benchmarks.measure import record


def pytest_configure():
    if DEEP:  # Ctrl-C, and kill for a session in the background: both end it in order
        for way in (signal.SIGINT, signal.SIGTERM):
            signal.signal(way, signal.default_int_handler)


def pytest_sessionfinish(session, exitstatus):
    whole = exitstatus == pytest.ExitCode.OK
    by_hand = exitstatus == pytest.ExitCode.INTERRUPTED and not session.testsfailed and not DIFFERED
    if DEEP and (whole or by_hand):
        for comparison, examples in DRAWN.items():
            ended = {} if whole else {"ended": "by hand, none had differed"}
            record({"name": "conformance_shapes", "comparison": comparison, "examples": examples, **ended})
