"""One thread for every test: with busy cores, more threads only wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_chance_every_time():
    """Tests draw their random numbers from the same start, whatever ran before."""
    torch.manual_seed(0)
