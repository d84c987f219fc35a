"""The house rules that a machine can keep: short files, short functions, docstrings, a true map, no loose ends."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 7

_spec = importlib.util.spec_from_file_location("make_map", ROOT / "docs/make_map.py")
make_map = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_map)

PROGRAMS = [path for path in make_map.program_files() if path.suffix == ".py"]
SOURCES = [path for path in PROGRAMS if (ROOT / "src") in path.parents]


def name(path):
    return path.relative_to(ROOT).as_posix()


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def parameters(function):
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in named if argument.arg not in ("self", "cls")]


def is_a_verb(path, function):
    """Verbs of the command line are their own interface: each parameter is an option."""
    return path.parent.name == "armillary" and path.name.startswith("cli") and not function.name.startswith("_")


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_a_file_is_short_and_opens_with_a_sentence(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    assert make_map.first_line(path).endswith((".", ":", "?")), "open with a sentence that a newcomer understands"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_fit_on_a_screen(path):
    for function in functions(path):
        if function.name in ("imagine", "__init__") or is_a_verb(path, function):
            continue  # these are their own interface
        length = function.end_lineno - function.lineno + 1
        assert length <= LONGEST_FUNCTION, f"{function.name} has {length} lines"
        asked = parameters(function)
        assert len(asked) <= MOST_PARAMETERS, f"{function.name} takes {len(asked)}: {', '.join(asked)}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_whatever_others_may_call_says_what_it_does(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [
        node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    ]
    assert not [node.name for node in public if not ast.get_docstring(node)]


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_loose_ends(path):
    text = path.read_text(encoding="utf-8")
    for loose in (r"\bTODO\b(?!.*#\d+)", r"\bFIXME\b", r"\bNotImplementedError\b", r"except Exception", r"__future__"):
        assert not re.search(loose, text), f"{loose} in {name(path)}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_fields_are_declared_and_not_guessed_at(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    guesses = [n.lineno for n in calls if n.func.id == "hasattr" or (n.func.id == "getattr" and len(n.args) == 3)]
    assert not guesses, f"lines {guesses}"


def test_the_map_shows_every_file_and_no_other():
    assert (ROOT / "docs/map.md").read_text(encoding="utf-8") == make_map.made(), "run make map"


def test_tests_have_different_names_wherever_they_lie():
    names = [path.stem for path in PROGRAMS if path.stem.startswith("test_")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", sorted((ROOT / "docs/decisions").glob("*.md")), ids=name)
def test_a_decision_says_why_and_what_would_undo_it(path):
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)
    heads = ["Decision", "Because", "Instead of", "Costs", "Law", "Undo when"]
    assert [head for head in heads if f"**{head}.**" not in text] == []
    assert len(text.splitlines()) <= 60, "a decision is at most a page"
