"""Episodes as plain arrays, one file each: what training reads while it makes its latents.

    in    ``Episode``s, or a count and a first seed of episodes to be simulated, at the table or in another world
    out   ``episode_000012.npz`` files, whole or not there; ``load_raw`` gives the ``Episode`` back, and
          ``lived_again`` with the depth and the segmentation that files do not keep

Nothing is compressed and nothing is lost; a folder that was cut off is simply continued. For data that
others should read there is ``lerobot.py``.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from armillary.errors import DataError
from armillary.records import Episode, Question
from armillary.worlds.laid import laid_tabletop
from armillary.worlds.lives import Plan, controllers, live
from armillary.worlds.record import record_tabletop, still_tabletop

KINDS = ("expert", "expert", "expert", "clumsy", "random")
STEPS = {"expert": 44, "clumsy": 28, "random": 28}  # at most
SIZE = (128, 128)  # of other worlds' pictures: what the generator's windows are made of


def save_raw(path: Path, episode: Episode) -> None:
    """Write one episode; the file appears whole or not at all. Depth, segmentation and sound are not kept."""
    words = {
        "world": episode.world, "seed": episode.seed, "fps": episode.fps, "embodiment": episode.embodiment,
        "instruction": episode.instruction, "captions": dict(episode.captions), "success": episode.success,
        "questions": [asdict(q) for q in episode.questions], "events": list(episode.events),
        "boxes": [dict(b) for b in episode.boxes] if episode.boxes else None, "recipe": dict(episode.recipe),
    }  # fmt: skip
    arrays = {"actions": episode.actions, "words": np.frombuffer(json.dumps(words).encode(), np.uint8)}
    arrays |= {f"frames/{name}": frames for name, frames in episode.frames.items()}
    arrays |= {f"states/{name}": values for name, values in episode.states.items()}
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(draft, path)


def load_raw(path: Path) -> Episode:
    """The episode of one file; ``DataError`` if it is not such a file."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        words = json.loads(bytes(arrays.pop("words")))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is not an episode ({error}): it must be a file that save_raw wrote. Simulate it again."
        ) from error
    asked = [Question(**{**q, "frames": tuple(q["frames"]), "choices": tuple(q["choices"]) if q["choices"] else None})
             for q in words.pop("questions")]  # fmt: skip
    words["events"] = [(start, end, said) for start, end, said in words["events"]]
    words["boxes"] = words["boxes"] and [{name: tuple(box) for name, box in frame.items()} for frame in words["boxes"]]
    return Episode(
        questions=asked, actions=arrays["actions"],
        frames={name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("frames/")},
        states={name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("states/")}, **words,
    )  # fmt: skip


def raw_files(folder: Path) -> list[Path]:
    """The episodes of a folder, in order; ``DataError`` if there is none."""
    files = sorted(folder.glob("episode_*.npz"))
    if not files:
        raise DataError(f"{folder} holds no episodes: simulate some first, for example with the run `pico-data`.")
    return files


def simulate_raw(
    folder: Path, *, episodes: int, seed: int, stills: bool = False, laid: bool = False, plans: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[int]:  # fmt: skip
    """Simulate tabletop episodes from ``seed`` on into ``folder``, yielding each seed when its file is there.

    Three of five are the expert's, two thirds of those after a detour; the others are clumsy and random. With
    ``stills`` nothing moves: every episode is the one picture of a seed's table, with all that is said of it, and
    with what the expert would do first for ``plans`` instructions (``still_tabletop``). With ``laid`` an episode is
    that table as it is laid (``laid_tabletop``).
    ``share`` (i, n): this process makes every n-th from the i-th on, so several may work on one folder.
    """

    def made(number: int) -> Episode:
        if stills:
            return still_tabletop(number, plans=plans)
        if laid:
            return laid_tabletop(number)
        kind, detour = drawn_life(number)
        return lived(number, kind, detour=detour)

    return each_kept(folder, range(seed + share[0], seed + episodes, share[1]), made)


def simulate_world(
    folder: Path, *, world: str, episodes: int, seed: int, acting: Sequence[str] = (), share: tuple[int, int] = (0, 1)
) -> Iterator[int]:
    """As ``simulate_raw``, in any world: those of ``acting`` live in turn, seed by seed, or all who may.

    The pictures of the first camera are kept. ``RequestError`` for a world or controller that is unknown.
    """
    turns = [Plan(world=world, controller=kind, seed=seed, size=SIZE) for kind in acting or controllers(world)]

    def made(number: int) -> Episode:
        return _first_view(live(turns[number % len(turns)], number))

    return each_kept(folder, range(seed + share[0], seed + episodes, share[1]), made)


def each_kept(folder: Path, seeds: range, made: Callable[[int], Episode]) -> Iterator[int]:
    """Write the episode that ``made`` gives for each seed that has none yet, yielding it when its file is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in seeds:
        path = folder / f"episode_{number:06d}.npz"
        if not path.exists():
            save_raw(path, made(number))
        yield number


def _first_view(episode: Episode) -> Episode:
    """An episode with the pictures of its first camera alone: boxes are of that one."""
    camera = next(iter(episode.frames))
    return replace(episode, frames={camera: episode.frames[camera]})


def drawn_life(seed: int) -> tuple[str, int]:
    """Who acts at the table of a seed in ``simulate_raw``, and after how many steps of detour."""
    rng = np.random.default_rng([seed, 3])
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return kind, int(rng.integers(1, 10)) if kind == "expert" and rng.random() < 0.67 else 0


def lived_again(
    episode: Episode, *, views: tuple[str, ...] = ("front",), extras: tuple[str, ...] = ("depth", "segmentation")
) -> Episode:
    """An episode of ``simulate_raw`` once more, with what files do not keep; ``views`` () draws no pictures.

    ``DataError`` where it does not come out the same to the bit: another world, or one that has changed since.
    """
    recipe = episode.recipe
    kind, detour = str(recipe.get("controller")), int(recipe.get("detour", 0))
    if episode.world != "tabletop" or kind not in STEPS:
        raise DataError(f"an episode of {episode.world!r} by {kind!r} came: only tabletop episodes of the expert, the "
                        "clumsy and the random one can be lived again.")  # fmt: skip
    again = lived(episode.seed, kind, detour=detour, views=views, extras=extras)
    seen = episode.frames if views else {}
    same = all(np.array_equal(again.frames.get(view, ()), frames) for view, frames in seen.items())
    if not same or not np.array_equal(again.actions, episode.actions):
        raise DataError(f"seed {episode.seed} does not come out as it was recorded: the world has changed since. "
                        "Simulate the episodes anew.")  # fmt: skip
    return again


def lived(
    seed: int, kind: str, *, detour: int, views: tuple[str, ...] = ("front",), extras: tuple[str, ...] = ()
) -> Episode:
    """One life at the table, as long as ``simulate_raw`` lets that controller live."""
    return record_tabletop(seed, kind, views=views, extras=extras, detour=detour, max_steps=STEPS[kind])
