"""The folders import only along the data's way. This table is the architecture."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src/armillary"

GROUND = {
    "records",
    "modes",
    "embodiments",
    "steps",
    "media",
    "prompts",
    "controls",
    "errors",
}  # they import only each other
MAY_IMPORT = {
    "worlds": set(),
    "datasets": {"worlds"},
    "factory": {"worlds", "datasets"},
    "tokenizers": set(),
    "model": set(),
    "training": {"datasets", "tokenizers", "model"},
    "sampling": {"tokenizers", "model"},
    "serving": {"sampling", "plan"},
    "closed_loop": {"worlds", "sampling", "serving"},  # of serving only its client
    "evaluation": {"worlds", "datasets", "tokenizers", "sampling", "closed_loop"},
    "post_training": {
        "worlds", "datasets", "tokenizers", "model", "training", "sampling", "closed_loop", "evaluation",
    },
}  # fmt: skip
RUNS = {"training", "model", "post_training", "run_kinds", "runs_pico", "runs_worlds", "runs_after", "runs_pushing",
        "runs_adapters", "runs_whole", "run_chain"}  # fmt: skip
EVERYTHING = {
    *MAY_IMPORT,
    *RUNS,
    "plan",
    "plan_usual",
    "doctor",
    "explain",
    "runs",
    "cli",
    "cli_data",
    "cli_drive",
    "cli_parts",
    "cli_plan",
}
TOP = {
    "__main__": {"cli"},
    "plan": {"model", "tokenizers", "plan_usual"},
    "plan_usual": {"model", "tokenizers"},
    "doctor": set(),
    "run_kinds": {"training", "model"},
    "runs_pico": {"training", "post_training", "run_kinds"},
    "runs_worlds": {"training", "run_kinds", "runs_pico"},
    "runs_after": {"post_training", "run_kinds", "runs_worlds"},
    "runs_pushing": {"post_training", "run_kinds", "runs_after"},
    "runs_adapters": {"post_training", "training", "run_kinds", "runs_after"},
    "run_chain": {"training", "run_kinds"},
    "runs_whole": RUNS - {"training", "model", "runs_whole"},
    "runs": RUNS,
    "cli": EVERYTHING,
    "cli_data": EVERYTHING,
    "cli_drive": {"evaluation", "cli_parts"},
    "cli_parts": set(),
    "cli_plan": {"plan", "explain", "doctor", "cli_parts"},
    "explain": {"worlds", "datasets", "tokenizers", "model", "training", "sampling", "runs"},
    "__init__": {"sampling"},  # only when ``load`` is first asked for
}
FOLDERS = sorted(p.name for p in SOURCE.iterdir() if p.is_dir() and any(p.rglob("*.py")) and p.name != "checkpoints")
TOP_FILES = sorted(path.stem for path in SOURCE.glob("*.py"))


def imported(path):
    """The rooms and ground files that a file imports, wherever in it the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: write the whole name, armillary.…"
            deeper = node.module == "armillary"
            names = [f"armillary.{alias.name}" for alias in node.names] if deeper else [node.module]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("armillary.")}
    offered = {"__version__": None, "load": "sampling", "Omni": "sampling"}  # what ``armillary`` itself gives
    return {offered.get(room, room) for room in rooms} - {None}


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_imports_only_what_lies_before_it(folder):
    assert folder in MAY_IMPORT, f"{folder} has no place in the table: give it one"
    strays = {
        f"{path.relative_to(SOURCE)} imports {other}"
        for path in (SOURCE / folder).rglob("*.py")
        for other in imported(path) - {folder} - GROUND - MAY_IMPORT[folder]
    }
    assert not strays


@pytest.mark.parametrize("name", TOP_FILES)
def test_the_ground_stands_on_itself_and_the_top_on_what_it_may(name):
    allowed = GROUND if name in GROUND else GROUND | TOP[name]
    assert not imported(SOURCE / f"{name}.py") - allowed - {name}


def test_the_arrows_make_no_circle():
    settled = set(GROUND) | {"plan"}
    waiting = {folder: before - {"plan"} for folder, before in MAY_IMPORT.items()}
    while waiting:
        ready = {folder for folder, before in waiting.items() if before <= settled}
        assert ready, f"a circle among {sorted(waiting)}"
        settled |= ready
        waiting = {folder: before for folder, before in waiting.items() if folder not in ready}


def test_the_model_is_written_for_one_device():
    words = ("torch.distributed", "fully_shard", "DeviceMesh")
    assert not [p.name for p in (SOURCE / "model").glob("*.py") if any(w in p.read_text("utf-8") for w in words)]


def modules_after(program):
    """What is in ``sys.modules`` after a program ran in a child process without the tests' import hook."""
    code = f"import sys\ntry:\n    {program}\nexcept SystemExit:\n    pass\nprint('\\nLOADED', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(result.stdout.rsplit("LOADED", 1)[1].split())


HEAVY = {"torch", "transformers", "diffusers", "mujoco", "av", "pyarrow"}


def test_importing_the_package_loads_nothing_heavy():
    assert not HEAVY & modules_after("import armillary; armillary.__version__")


@pytest.mark.parametrize("line", [["--help"], ["no-such-verb"], ["imagine", "--help"]])
def test_help_and_mistakes_answer_without_loading_anything_heavy(line):
    loaded = modules_after(f"import armillary.cli; sys.argv = ['armillary', *{line}]; armillary.cli.main()")
    assert "tyro" in loaded
    assert not HEAVY & loaded


def test_a_name_the_package_does_not_offer_is_refused():
    import armillary

    with pytest.raises(AttributeError, match="it offers Omni, __version__, load"):
        armillary.lod  # noqa: B018 - the access itself is the test
