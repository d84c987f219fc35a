"""What this machine can do, measured rather than assumed, and what a careful reader wants to know before using it.

examine(folder)   ->  findings: torch, threads, arithmetic, drawing, films, disk; each with a remedy if it fails
review()          ->  findings: every package this one needs with its licence, network use, what is stored
"""

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import armillary

PACKAGE = Path(armillary.__file__).parent
NETWORK = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "urllib3",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
    "websockets",
    "huggingface_hub",
}
ENOUGH_BYTES = 2 * 2**30
_DRAW = "import mujoco; c = mujoco.GLContext(64, 64); c.make_current(); c.free(); print(mujoco.__version__)"
_SIDE, _TIMES = 512, 5  # of the matrices that are multiplied, how often


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. ``remedy``: what would help, empty where all is well. ``needed``: nothing works without."""

    name: str
    value: str
    remedy: str = ""
    needed: bool = False


def examine(folder: Path) -> Iterator[Finding]:
    """Look at this machine, one finding after the other; ``folder`` is where results would be written."""
    yield Finding(name="armillary", value=f"{armillary.__version__}, Python {platform.python_version()}")
    yield from _arithmetic()
    yield _drawing()
    yield from _films()
    yield _disk(folder)
    yield _checkpoints()


def review() -> Iterator[Finding]:
    """Licences of everything that is needed, what goes over the network, what is stored where."""
    yield Finding(name="licence", value="Apache-2.0: this code, and the weights that come with it")
    needs = sorted(dependencies("armillary"), key=str.casefold)
    if not needs:
        yield Finding(
            name="needs", value="unknown", remedy="Install armillary with pip: from a bare folder none are listed."
        )
    for name in needs:
        yield Finding(name=f"needs {name} {metadata.version(name)}", value=licence(name))
    strays = [f"{path.relative_to(PACKAGE)} ({', '.join(sorted(names))})" for path, names in network_imports()]
    network = f"only where you ask for it: {'; '.join(strays)}" if strays else "none: no file imports a network module"
    yield Finding(name="network", value=network)
    kept = (
        "only in the folders you name, and demo/ or runs/ where you name none; no telemetry; hub ids in their own cache"
    )
    yield Finding(name="stored", value=kept)


def dependencies(package: str) -> set[str]:
    """The names of all installed packages that this one needs, and those that they need, extras aside."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        try:
            lines = metadata.requires(waiting.pop()) or []
        except metadata.PackageNotFoundError:
            continue
        for line in lines:
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
            if "extra ==" not in line and name not in found and _installed(name):
                found.add(name)
                waiting.append(name)
    return found


def licence(package: str) -> str:
    """The licence that an installed package states of itself."""
    about = metadata.metadata(package)
    lines = [line.strip() for name in ("License-Expression", "License") for line in about.get_all(name) or []]
    stated = next((line.split("\n")[0] for line in lines if line), "")
    classes = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return stated if stated and len(stated) < 80 else ", ".join(classes) or "not stated: see its home page"


def network_imports() -> Iterator[tuple[Path, set[str]]]:
    """The files of this package that import a module for networks, and which."""
    for path in sorted(PACKAGE.rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        if names & NETWORK:
            yield path, names & NETWORK


def _arithmetic() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = torch.get_num_threads()
    many = f"{threads} thread{'s' * (threads > 1)} on {cores} core{'s' * (cores > 1)}"
    yield Finding(name="torch", value=f"{torch.__version__}, {many}")
    speeds = {kind: _gigaflops(kind) for kind in ("float32", "bfloat16")}
    told = ", ".join(f"{kind} {speed:.0f} GFLOP/s"
                     for kind, speed in speeds.items())  # fmt: skip
    slow = speeds["bfloat16"] < speeds["float32"]
    remedy = "Large matrices are quicker in float32 here, films are not: try --dtype float32 and keep what is quicker."
    yield Finding(name="arithmetic", value=told, remedy=remedy if slow else "")
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        yield Finding(name="gpu", value=f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    else:
        yield Finding(name="gpu", value="none that torch sees: the bundled model does not need one")


def _gigaflops(kind: str) -> float:
    import torch

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[kind]
    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype)
    spent = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        matrix @ matrix
        spent.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / min(spent) / 1e9


def _drawing() -> Finding:
    """Draw in a child process: a broken GL library ends the process that loads it."""
    place = os.environ | {"MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl" if sys.platform == "linux" else "")}
    tried = subprocess.run([sys.executable, "-c", _DRAW], capture_output=True, text=True, env=place, check=False)
    if tried.returncode == 0:
        return Finding(name="drawing", value=f"MuJoCo {tried.stdout.strip()} draws without a screen")
    last = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding(
        name="drawing", value=f"MuJoCo cannot draw ({last})", needed=True,
        remedy="Install libegl1 libegl-mesa0 libgl1-mesa-dri (Debian's names): worlds need them.",
    )  # fmt: skip


def _films() -> Iterator[Finding]:
    import av

    for name, mode, use, needed in (
        ("libx264", "w", "writing films", True),
        ("aac", "w", "writing sound", True),
        ("h264", "r", "reading films", True),
        ("av1", "r", "reading AV1 recordings", False),
    ):
        try:
            av.codec.Codec(name, mode)  # type: ignore[arg-type]
            yield Finding(name=name, value=f"there, for {use}")
        except av.codec.codec.UnknownCodecError:
            remedy = f"Install the package av from its own wheel: it brings {name}."
            yield Finding(name=name, value=f"missing, for {use}", remedy=remedy, needed=needed)


def _disk(folder: Path) -> Finding:
    place = next(one for one in (folder.resolve(), *folder.resolve().parents) if one.is_dir())
    free = shutil.disk_usage(place).free
    low = free < ENOUGH_BYTES
    return Finding(
        name="disk",
        value=f"{free / 2**30:.1f} GiB free at {place}",
        remedy="Make room: recordings are large." if low else "",
    )


def _checkpoints() -> Finding:
    found = sorted(path.parent for path in PACKAGE.glob("checkpoints/*/model_index.json"))
    sizes = [sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20 for folder in found]
    told = ", ".join(f"{folder.name} ({size:.0f} MiB)" for folder, size in zip(found, sizes, strict=True))
    return Finding(
        name="bundled models", value=told or "none",
        remedy="" if found else "Install the package whole: its folder checkpoints is missing.", needed=not found,
    )  # fmt: skip


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
