"""What needs a GPU says so where there is none, and the same program runs, tiny, on a processor."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results.jsonl"


def run(*words):
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here: nothing is refused")
def test_without_a_gpu_the_benchmark_ends_with_one_sentence():
    done = run("benchmarks.gpu_training")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "this benchmark needs a GPU and torch sees none: run it where there is one, or with --tiny."
    ]


def test_a_tiny_training_step_is_taken_and_nothing_is_written_about_it():
    before = RESULTS.stat().st_size
    done = run("benchmarks.gpu_training", "--tiny", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert "'tiny': 'gpu_training_edge'" in done.stdout
    assert "gpu_training_edge" not in RESULTS.read_text(encoding="utf-8")[before:]
