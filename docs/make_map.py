"""Writes docs/map.md: every program file of the repository, with the first sentence of its own docstring."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src/armillary", "tests", "conformance", "examples", "benchmarks", "docs")
HEAD = """\
# The map

Every program file, in its own words. Made by `make map`; a test compares it with the files.
"""


def program_files() -> list[Path]:
    """Every Python file of the repository's folders, and the embodiment files, in order."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found += (ROOT / "src/armillary/embodiment_files").glob("*.toml")
    return sorted(path for path in found if "__pycache__" not in path.parts)


def first_line(path: Path) -> str:
    """The first line of a file's docstring, or of a TOML file's comment; empty if it has none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        line = text.split("\n", 1)[0]
        return line.removeprefix("# ") if line.startswith("# ") else ""
    return (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]


def made() -> str:
    """The map's text as it should be now."""
    folders: dict[Path, list[str]] = {}
    for path in program_files():
        lines = folders.setdefault(path.parent, [])
        lines.append(f"| `{path.name}` | {first_line(path).replace('|', chr(92) + '|')} |")
    parts = [HEAD]
    for folder in sorted(folders, key=lambda folder: (FOLDERS.index(_top(folder)), folder)):
        table = "\n".join(["| file | in its own words |", "|---|---|", *folders[folder]])
        parts.append(f"## {folder.relative_to(ROOT)}\n\n{table}\n")
    return "\n".join(parts)


def _top(folder: Path) -> str:
    inside = folder.relative_to(ROOT).as_posix()
    return next(top for top in FOLDERS if inside == top or inside.startswith(f"{top}/"))


if __name__ == "__main__":
    (ROOT / "docs/map.md").write_text(made(), encoding="utf-8")
