"""How many shapes each comparison draws, and how many it has drawn: ``DEEP=1`` draws many and leaves their count.

The count of a session that passed stands in ``benchmarks/results.jsonl`` (``conftest.py``).
"""

import os
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings

DEEP = bool(os.environ.get("DEEP"))
DRAWN: Counter[str] = Counter()  # by comparison


def shapes(usual: int, deep: int) -> Any:
    """Settings of a comparison that draws ``usual`` examples, or ``deep`` of them."""
    return settings(max_examples=deep if DEEP else usual, deadline=None, suppress_health_check=list(HealthCheck))
