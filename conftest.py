"""Every test starts alike: one thread, since busy cores only wait for each other, and the same chance."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for child processes

import pytest


@pytest.fixture(autouse=True)
def same_chance_every_time():
    """Tests draw torch's random numbers from the same start, whatever ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
