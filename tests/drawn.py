"""How many shapes each comparison draws, and how many it has drawn: ``DEEP=1`` draws many and leaves their count.

The count of a session in which nothing differed stands in ``benchmarks/results.jsonl`` (``conftest.py``), also of one
that was ended by hand. ``DEEP=370`` draws 370 a case: what an earlier session left. Each session draws others.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings

DEEP = int(os.environ.get("DEEP") or 0)
DRAWN: Counter[str] = Counter()  # by comparison
DIFFERED: set[str] = set()


def shapes(usual: int, deep: int) -> Any:
    """Settings of a comparison that draws ``usual`` examples, or ``deep`` of them, or as many as ``DEEP`` says."""
    many = deep if DEEP == 1 else DEEP or usual
    return settings(max_examples=many, deadline=None, suppress_health_check=list(HealthCheck))


@contextmanager
def compared(comparison: str) -> Iterator[None]:
    """Within it one example is compared: counted if it holds, remembered if it does not."""
    try:
        yield
    except Exception:
        DIFFERED.add(comparison)
        raise
    DRAWN[comparison] += 1
