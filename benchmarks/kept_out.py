"""Windows kept out of learning, and how wrong a generator is on them: the same windows and noise whoever is asked.

    divide(cache, folder, held_out)   links to the files of a cache that are kept out (or are not)
    one_an_episode(folder)            one window of each episode
    wrong(model, ..., exercise(...))  errors of forward dynamics, inverse dynamics or policy at a noise level

Groups of ``A_FILE`` episodes are kept out or not, since so many lie in one file of single frames.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from armillary.errors import DataError
from armillary.model import TwoTowers
from armillary.model.shelf import Shelf
from armillary.training.imagination import Exercise, Pool
from armillary.training.latents import A_FILE, FRAMES

EVERY = 10  # one in so many groups of ``A_FILE`` episodes is kept out
FORWARD, INVERSE, POLICY = "forward_video", "inverse_action", "policy_action"
ALL = (FORWARD, INVERSE, POLICY)


def held_out(path: Path) -> bool:
    """Whether a file of a cache (``episode_000225.safetensors``) is kept out: by its first episode's number."""
    return int(path.stem.rpartition("_")[2]) // A_FILE % EVERY == EVERY - 1


def divide(cache: Path, folder: Path, wanted: Callable[[Path], bool]) -> None:
    """A folder of links to the files of a cache that are ``wanted``; ``DataError`` if there is none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = sorted(path for path in cache.glob("*.safetensors") if wanted(path))
    if not files:
        raise DataError(f"{cache} has no file for {folder.name}: give caches of at least {EVERY * A_FILE} episodes.")
    for path in files:
        (folder / path.name).symlink_to(path.resolve())


def one_an_episode(folder: Path) -> list[int]:
    """The first window of each file from which a policy may learn, or its first: places in the loaded cache."""
    places, before = [], 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            rows = json.loads(file.metadata()["rows"])
        places.append(before + next((i for i, row in enumerate(rows) if row["acts"]), 0))
        before += len(rows)
    return places


def exercise(pool: Pool, rows: list[int], figure: str, level: float) -> Exercise:
    """Windows of which the figure's part is hidden at ``level``: after the first frame, or the actions, or both."""
    video = torch.full((len(rows), pool.cells * pool.frames), level)
    video[:, : None if figure == INVERSE else pool.cells] = 0
    action = torch.full((len(rows), FRAMES - 1), 0.0 if figure == FORWARD else level)
    return Exercise(
        pool=pool, rows=rows, prompts=[], video_level=video, action_level=action,
        film_weight=torch.ones(len(rows)), listen=False,
    )  # fmt: skip


def wrong(model: TwoTowers, shelf: Shelf, ids: list[list[int]], asked: Exercise, figure: str) -> list[float]:
    """The mean square error of each sample's hidden numbers, of the same noise whoever is asked."""
    segments, targets, weights = asked.made(torch.Generator().manual_seed(asked.rows[0]))
    said = model.velocity(shelf.batch(ids), segments, fps=asked.fps)
    part = 0 if figure == FORWARD else 1
    counts = ((segments[part].level > 0)[..., None] * (weights[part] > 0)).expand(targets[part].shape)
    error = (said[part] - targets[part]).square() * counts
    return (error.sum(dim=(1, 2)) / counts.sum(dim=(1, 2))).tolist()


def exchanged(tasks: Sequence[str]) -> list[str]:
    """For each prompt the next one that says something else."""
    turned = [[*tasks[i + 1 :], *tasks[: i + 1]] for i in range(len(tasks))]
    return [next((one for one in others if one != own), own) for own, others in zip(tasks, turned, strict=True)]
