"""What the model has never seen: episodes, clips and scenes of seeds from 1,000,000 on, made once and kept.

    HeldOut(folder).episode("expert", 7)   ->  Episode, from its file or simulated now
    moving_clips(episode)                  ->  windows of 17 frames in which an object really goes somewhere
    scene(seed)                            ->  a table before anything happens: picture, names, words

No training uses seeds above a million. Every kind of controller, the closed loop, the scenes of text-to-video and
the lives of picture-films and of given-films have their own range of seeds, of at least 50,000, so that no two
sections share an episode by chance.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from armillary import worlds
from armillary.datasets.raw import KINDS, load_raw, save_raw
from armillary.errors import ConfigError
from armillary.evaluation.pixels import centre_of_box
from armillary.records import Array, Episode
from armillary.worlds.captions import captions, seen_boxes
from armillary.worlds.experts import tabletop_controller
from armillary.worlds.record import live, record_tabletop
from armillary.worlds.tabletop import Tabletop

HELD_OUT = 1_000_000  # the first seed that no training may use
RANGES = {"expert": 0, "clumsy": 100_000, "random": 200_000, "policy": 300_000, "scene": 400_000, "trust": 500_000,
          "drift": 600_000, "twins": 700_000, "picture": 800_000, "by-sound": 900_000,
          "given": 950_000}  # fmt: skip
STEPS = {"expert": 44, "clumsy": 28, "random": 28}
FRAMES = 17  # of a clip: 16 actions
MOVED_SHARE = 0.1  # of the width, from which a thing counts as moved
CAMERA = "front"
_WORLD = (
    "tabletop.xml",
    "tabletop.py",
    "tabletop_tasks.py",
    "arm.py",
    "camera.py",
    "experts.py",
    "captions.py",
    "record.py",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldClip:
    """Seventeen frames of a held-out episode. ``moved``: the object that went furthest, None if none went far.

    ``box``: where that object is in the last frame (pixels). ``alone``: whether no other object has its colour.
    """

    seed: int
    kind: str
    start: int
    instruction: str
    video: Array  # uint8 17 h w 3
    actions: Array  # 16 10, physical units
    moved: str | None
    box: tuple[int, int, int, int] | None
    alone: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A table before anything happens. ``boxes``: of the objects seen, in pixels; ``words``: its dense caption."""

    seed: int
    picture: Array
    boxes: Mapping[str, tuple[int, int, int, int]]
    words: str


class HeldOut:
    """The held-out episodes, kept in ``folder``. ``seed``: the first; ``ConfigError`` if training may have seen it.

    ``folder`` is to hold one world's episodes only: see ``world_fingerprint``.
    """

    def __init__(self, folder: Path, *, seed: int = HELD_OUT) -> None:
        if seed < HELD_OUT:
            raise ConfigError(
                f"seed={seed} is no held-out seed: it must be at least {HELD_OUT}, training uses those below."
            )
        self._folder, self._seed = folder, seed

    def seed_of(self, kind: str, number: int) -> int:
        """The seed of the number-th life of a kind of ``RANGES``."""
        return self._seed + RANGES[kind] + number

    def episode(self, kind: str, number: int) -> Episode:
        """The number-th episode of that controller: from its file if there is one, else simulated and kept."""
        return recorded(self._folder, kind, self.seed_of(kind, number))

    def episodes(self, kind: str) -> Iterator[Episode]:
        """Episodes of that controller, without end."""
        number = 0
        while True:
            yield self.episode(kind, number)
            number += 1


def world_fingerprint() -> str:
    """Eight letters that change when the tabletop or who acts in it changes: old episodes are then not used again."""
    whole = hashlib.sha256()
    for name in _WORLD:
        whole.update((Path(worlds.__file__).parent / name).read_bytes())
    return whole.hexdigest()[:8]


def recorded(folder: Path, kind: str, seed: int) -> Episode:
    """One tabletop episode, front camera: from its file in ``folder`` if there is one, else simulated and kept."""

    def lived() -> Episode:
        made = record_tabletop(seed, kind, views=(CAMERA,), extras=(), max_steps=STEPS[kind])
        return replace(made, events=())  # nothing here is measured by its events

    return kept(folder / f"{kind}_{seed:07d}.npz", lived)


def long_life(folder: Path, kind: str, seed: int, *, frames: int) -> Episode:
    """One tabletop life of exactly ``frames`` frames, kept as above."""
    path = folder / f"{kind}_{seed:07d}_of_{frames}.npz"
    return kept(path, lambda: simulated_life(kind, seed, frames=frames))


def simulated_life(kind: str, seed: int, *, frames: int) -> Episode:
    """One tabletop life of exactly ``frames`` frames, who succeeds goes on: pictures and actions."""
    with ExitStack() as stack:
        world = Tabletop(views=(CAMERA,))
        stack.callback(world.close)
        policy = tabletop_controller(world, kind, seed=seed)
        pairs = list(live(world, policy, seed, max_steps=frames - 1, least_steps=frames - 1))
        moments = [moment for moment, _ in pairs]
        return Episode(
            world=world.spec.name, seed=seed, fps=world.spec.fps, embodiment=world.spec.embodiment,
            frames={CAMERA: np.stack([moment.frames[CAMERA] for moment in moments])},
            actions=np.array([action for _, action in pairs[1:]], np.float32), states={},
            instruction=moments[0].instruction, success=any(moment.success for moment in moments),
            recipe={"world": world.spec.name, "seed": seed, "controller": kind, "steps": frames - 1},
        )  # fmt: skip


def kept(path: Path, lived: Callable[[], Episode]) -> Episode:
    """The episode of that file; if there is none, what ``lived`` gives, kept there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_raw(path, lived())
    return load_raw(path)


def moving_clips(episode: Episode) -> list[HeldClip]:
    """Windows that do not overlap and in which an object's centre goes at least a tenth of the width."""
    found: list[HeldClip] = []
    start = 0
    while start + FRAMES <= len(episode.actions) + 1:
        clip = clip_at(episode, start)
        if clip.moved is not None:
            found.append(clip)
            start += FRAMES - 1
        else:
            start += 4
    return found


def clip_at(episode: Episode, start: int) -> HeldClip:
    """The window of 17 frames that begins at ``start``, with what moved in it."""
    assert episode.boxes is not None
    width = episode.frames[CAMERA].shape[2]
    first, last = episode.boxes[start], episode.boxes[start + FRAMES - 1]
    ways = {name: float(np.linalg.norm(centre_of_box(last[name]) - centre_of_box(first[name]))) for name in first
            if name in last}  # fmt: skip
    furthest = max(ways, key=lambda name: ways[name], default=None)
    moved = furthest if furthest is not None and ways[furthest] >= MOVED_SHARE * width else None
    names = [thing["name"] for thing in episode.recipe["parameters"]["objects"]]
    return HeldClip(
        seed=episode.seed, kind=episode.recipe["controller"], start=start, instruction=episode.instruction,
        video=episode.frames[CAMERA][start : start + FRAMES], actions=episode.actions[start : start + FRAMES - 1],
        moved=moved, box=tuple(last[moved]) if moved else None,
        alone=moved is not None and [name.split()[0] for name in names].count(moved.split()[0]) == 1,
    )  # fmt: skip


def gather_moving(held: HeldOut, count: int, *, on_found: Callable[[int], None] | None = None) -> list[HeldClip]:
    """``count`` clips in which something moves, of two expert episodes to each clumsy one, in order of their seeds."""
    sources = [held.episodes("expert"), held.episodes("clumsy")]
    found: list[HeldClip] = []
    turn = 0
    while len(found) < count:
        found += moving_clips(next(sources[turn % 3 == 2]))[: count - len(found)]
        turn += 1
        if on_found is not None:
            on_found(len(found))
    return found


def scene(seed: int, world: Tabletop) -> Scene:
    """The table of that seed. The caption says the deed as done, as in the episodes of the expert.

    ``world``: a tabletop with the front camera and segmentation; it is reset and may be used again.
    """
    moment = world.reset(seed)
    assert moment.segmentation is not None
    boxes = seen_boxes(world, moment.segmentation[CAMERA])
    return Scene(
        seed=seed, picture=moment.frames[CAMERA], boxes=boxes,
        words=captions(world, list(boxes), succeeded=True)["dense"],
    )  # fmt: skip


def held_out_clips(count: int, *, seed: int = HELD_OUT) -> Iterator[tuple[Array, Array]]:
    """One clip 17 h w 3 and its true masks 17 h w of each of ``count`` tabletop episodes, seeds from ``seed`` on.

    All controllers are drawn alike, none takes a detour; the window's place is drawn by the seed.
    """
    for number in range(seed, seed + count):
        rng = np.random.default_rng([number, 17])
        kind = KINDS[int(rng.integers(len(KINDS)))]
        episode = record_tabletop(number, kind, views=("front",), extras=("segmentation",), max_steps=44)
        assert episode.segmentation is not None
        frames, masks = episode.frames["front"], episode.segmentation["front"]
        window = slice(start := int(rng.integers(len(frames) - 16)), start + 17)
        yield np.array(frames[window]), np.minimum(masks[window], 255).astype(np.uint8)
