"""What the README tells a newcomer to do works as it stands there, apart from the two make targets."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("armillary ")
]


def ran(arguments, folder):
    """Run in a folder of its own, as a newcomer would; the output on success."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_there_is_something_to_try():
    assert PROGRAMS
    assert COMMANDS


def test_the_commands_run_one_after_the_other_in_an_empty_folder(tmp_path):
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "armillary"
        ran([sys.executable, "-c", "from armillary.cli import main; main()", *arguments], tmp_path)


def test_the_program_runs_in_an_empty_folder_and_prints_an_answer(tmp_path):
    for program in PROGRAMS:
        assert ran([sys.executable, "-c", program], tmp_path).strip()


def test_the_table_of_verbs_is_the_command_line():
    listed = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in TEXT.splitlines() if line[:3] == "| `")))
    from armillary.cli import VERBS

    assert listed == set(VERBS)


def test_the_readme_fits_on_a_screen():
    assert len(TEXT.splitlines()) <= 60
