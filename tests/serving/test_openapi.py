"""The server does what its own description says: schemathesis asks what is allowed and what is not.

``ARMILLARY_SCHEMA_CASES`` and ``ARMILLARY_SCHEMA_SECONDS`` say how many cases of each operation, and for how long (a
few, unless told). One check is told more than its default: a body may fit its schema and still be refused with a 400,
since a model cannot make 18 frames of 4k+1. How long an answer takes is no matter here: the machine may be busy.
"""

import importlib.util
import os
import subprocess
import sys

import httpx
import pytest

SECONDS = os.environ.get("ARMILLARY_SCHEMA_SECONDS", "10")
CASES = int(os.environ.get("ARMILLARY_SCHEMA_CASES", "2"))
TOLD = f"""
[generation]
max-examples = {CASES}
deterministic = true
[checks]
max_response_time = 120
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "404", "413", "415", "429", "503", "504"]
"""


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="pip install schemathesis")
def test_everything_described_is_done_as_described(server, tmp_path):
    (tmp_path / "schemathesis.toml").write_text(TOLD)
    how = ["--phases", "examples,coverage,fuzzing", "--checks", "all", "--request-timeout", "120", "--warnings", "off"]
    config = ["--config-file", str(tmp_path / "schemathesis.toml")]
    line = [sys.executable, "-m", "schemathesis.cli", *config, "run", f"{server.url}/openapi.json", *how]
    line += ["--max-time", SECONDS]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=540)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]


def test_what_is_not_done_at_a_path_is_told_with_all_that_is(server):
    told = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    for path, operations in told.items():
        answer = httpx.options(server.url + path.replace("{", "").replace("}", ""), timeout=60)
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) == {name.upper() for name in operations}, path
