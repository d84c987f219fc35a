"""Policies of different skill live at the same tables: in physics, and again in what the model imagines.

    live_scripted(name, seed)    ->  Life: a scripted policy in physics, its actions, its pictures, its success
    live_planned(planner, seeds) ->  Life: the model's own policy in physics
    Dream(omni)                  ->  the same actions imagined; the model's own policy in its own imagination

Scripted policies see the state of the world, which no imagination has: what is imagined is their very actions.
The model's own policy sees pictures only, so it also acts on what it imagines. After its last step every life holds
still for a moment, so that what was done can be seen in the pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from armillary.closed_loop.doubt import Change, CycleError, spread
from armillary.closed_loop.drive import Planner, drive, drive_together
from armillary.closed_loop.imagined import CHUNK, Imagined, foresee
from armillary.closed_loop.policies import Chunks
from armillary.evaluation.success import judge_tabletop, progress_tabletop
from armillary.records import Array, Moment, Policy
from armillary.worlds.experts import tabletop_controller
from armillary.worlds.tabletop import Tabletop

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

CAMERA, EMBODIMENT = "front", "tabletop"
STEPS = 44  # of a life at most; then it holds still
LOOKS = 4  # the judge looks at every fourth picture
STAY = np.array([0, 0, 0, 1, 0, 0, 0, 1, 0, 0.0])
SCRIPTED: Mapping[str, str] = {
    "expert": "carries the instruction out",
    "shaking 2 mm": "the expert, drifting at random by 2 mm a step",
    "shaking 3 mm": "the expert, drifting by 3 mm a step",
    "shaking 5 mm": "the expert, drifting by 5 mm a step",
    "clumsy": "the expert, drifting by 12 mm a step, its gripper at times the wrong way",
    "words-blind": "an expert that does something of its own choice",
    "random": "goes to random places, opens and closes",
    "still": "does nothing",
}
MODEL = "model"


@dataclass(frozen=True, kw_only=True, eq=False)
class Life:
    """One policy at one table: ``pictures`` t+1 h w 3, ``actions`` t a (t a multiple of 4), the world's own verdict.

    ``names``: the things on the table. ``steps``: until success, or as many as there were.
    """

    policy: str
    seed: int
    instruction: str
    names: tuple[str, ...]
    success: bool
    steps: int
    actions: Array
    pictures: Array

    @property
    def kind(self) -> str:
        """Of task: put, push, stack, lift, touch."""
        return self.instruction.split()[0].lower()


class Watched:
    """A tabletop that keeps its pictures and what was done in it."""

    spec = Tabletop.spec

    def __init__(self) -> None:
        self.table = Tabletop(views=(CAMERA,))

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        self.moments, self.actions, self._seed = [self.table.reset(seed, instruction)], list[Array](), seed
        return self.moments[0]

    def step(self, action: Array) -> Moment:
        self.actions.append(np.array(action, dtype=np.float64))
        self.moments.append(self.table.step(action))
        return self.moments[-1]

    def close(self) -> None:
        self.table.close()

    def life(self, policy: str) -> Life:
        """What was lived, after holding still for four to seven steps more."""
        steps = len(self.actions)
        still = STAY.copy()
        still[9] = self.actions[-1][9] if steps else 1.0
        for _ in range(LOOKS + -steps % LOOKS):
            self.step(still)
        return Life(
            policy=policy, seed=self._seed, instruction=self.moments[0].instruction, names=tuple(self.table.names),
            success=any(moment.success for moment in self.moments), steps=steps, actions=np.stack(self.actions),
            pictures=np.stack([moment.frames[CAMERA] for moment in self.moments]),
        )  # fmt: skip


class Shaking:
    """A policy whose hand drifts: each step, a random part of ``metres`` comes to four fifths of the last."""

    def __init__(self, policy: Policy, *, metres: float, seed: int) -> None:
        self._policy, self._metres, self._seed = policy, metres, seed
        self.reset()

    def reset(self) -> None:
        self._policy.reset()
        self._rng, self._drift = np.random.default_rng([self._seed, 59]), np.zeros(3)

    def __call__(self, moment: Moment) -> Array:
        action = self._policy(moment)
        self._drift = 0.8 * self._drift + self._rng.normal(0, self._metres, 3)
        action[:3] += self._drift
        return action


class Still:
    """Does nothing, its gripper open."""

    def reset(self) -> None:
        """Nothing to forget."""

    def __call__(self, moment: Moment) -> Array:
        return STAY + np.eye(10)[9]


def scripted(name: str, table: Tabletop, *, seed: int) -> Policy:
    """A policy of ``SCRIPTED`` for that table."""
    if name == "still":
        return Still()
    if name.startswith("shaking"):
        return Shaking(tabletop_controller(table, "expert", seed=seed), metres=int(name.split()[1]) / 1000, seed=seed)
    return tabletop_controller(table, "wordless" if name == "words-blind" else name, seed=seed)


def live_scripted(name: str, seed: int, world: Watched) -> Life:
    """A scripted policy in physics. ``world`` is reset and may be used again."""
    for _ in drive(world, scripted(name, world.table, seed=seed), seed=seed, max_steps=STEPS):
        pass
    return world.life(name)


def live_planned(planner: Planner, seeds: Sequence[int]) -> list[Life]:
    """The model's own policy in physics, side by side."""
    with ExitStack() as stack:
        worlds = [Watched() for _ in seeds]
        for world in worlds:
            stack.callback(world.close)
        for _ in drive_together(worlds, planner, seeds=seeds, max_steps=STEPS):
            pass
        return [world.life(MODEL) for world in worlds]


def judged(pictures: Sequence[Array], instruction: str) -> bool:
    """Whether the judge, who looks at every fourth picture, sees the instruction done at any of them."""
    return any(judge_tabletop(pictures[: i + 1], instruction) for i in _looks(pictures))


def progressed(pictures: Sequence[Array], instruction: str) -> float:
    """How much of the way the same judge sees gone at best, 0 to 1."""
    return max((progress_tabletop(pictures[: i + 1], instruction) for i in _looks(pictures)), default=0.0)


def _looks(pictures: Sequence[Array]) -> range:
    return range(LOOKS, len(pictures), LOOKS)


def chunks_of(film: Array, actions: Array) -> list[tuple[Array, Array]]:
    """What is imagined in one call each: films t+1 h w 3 and their actions t a."""
    starts = range(0, len(actions), CHUNK)
    return [(film[start : start + CHUNK + 1], actions[start : start + CHUNK]) for start in starts]


def change(film: Array, actions: Array) -> float:
    """How far the worst chunk of a film t+1 h w 3 goes from its first picture (``closed_loop.doubt.Change``)."""
    pairs = chunks_of(film, actions)
    return max(Change()([part for part, _ in pairs], [done for _, done in pairs]), default=0.0)


@runtime_checkable
class Dreamer(Protocol):
    """Who imagines. Physics itself can stand in for it: then nothing may be wrong."""

    planner: Planner | None

    def replay(self, lives: Sequence[Life]) -> list[Array]:
        """What the same actions lead to, from each life's first picture: films t+1 h w 3."""
        ...

    def act(self, seeds: Sequence[int]) -> list[Array]:
        """What the model's own policy sees where everything it sees is imagined: films t+1 h w 3."""
        ...

    def doubts(self, films: Sequence[Array], actions: Sequence[Array]) -> list[tuple[float, float]]:
        """Of each film the worst chunk's cycle error, and the mean spread of its chunks imagined again."""
        ...


class Dream:
    """A model that imagines, as a ``Dreamer``. ``told`` hears of every batch."""

    def __init__(self, omni: "Omni", *, told: Callable[[str], None] = lambda what: None) -> None:
        self._omni, self._told = omni, told
        self._cycle = CycleError(omni=omni, embodiment=EMBODIMENT)
        self.planner: Planner | None = Chunks(omni=omni, embodiment=EMBODIMENT)

    def replay(self, lives: Sequence[Life]) -> list[Array]:
        self._told(f"imagining {len(lives)} lives")
        worlds = [Imagined(self._omni, _Remembered(life.pictures[0], life.instruction)) for life in lives]
        for world, life in zip(worlds, lives, strict=True):
            world.reset(life.seed)
        foresee(worlds, [life.actions for life in lives])
        for world, life in zip(worlds, lives, strict=True):
            for action in life.actions:
                world.step(action)
        return [np.stack(world.pictures) for world in worlds]

    def act(self, seeds: Sequence[int]) -> list[Array]:
        self._told(f"acting in imagination at {len(seeds)} tables")
        assert self.planner is not None
        with ExitStack() as stack:
            worlds = []
            for _ in seeds:
                table = Tabletop(views=(CAMERA,))
                stack.callback(table.close)
                worlds.append(Imagined(self._omni, table, judge=judge_tabletop, judge_every=LOOKS))
            for _ in drive_together(worlds, self.planner, seeds=seeds, max_steps=STEPS + LOOKS):
                pass
            return [np.stack(world.pictures) for world in worlds]

    def doubts(self, films: Sequence[Array], actions: Sequence[Array]) -> list[tuple[float, float]]:
        self._told(f"doubting {len(films)} films")
        chunks = [(i, *chunk) for i, pair in enumerate(zip(films, actions, strict=True)) for chunk in chunks_of(*pair)]
        cycles = self._cycle([film for _, film, _ in chunks], [done for _, _, done in chunks])
        again = [Imagined(self._omni, _Remembered(film[0], ""), chance=1) for _, film, _ in chunks]
        for number, world in enumerate(again):
            world.reset(number)
        foresee(again, [done for _, _, done in chunks])
        spreads = [
            spread([film[1:], np.stack([world.step(action).frames[CAMERA] for action in done])])
            for world, (_, film, done) in zip(again, chunks, strict=True)
        ]
        owners = np.array([i for i, _, _ in chunks])
        return [
            (float(np.max(np.array(cycles)[owners == i])), float(np.mean(np.array(spreads)[owners == i])))
            for i in range(len(films))
        ]


class _Remembered:
    """A world of which only the first picture is known; enough to imagine from."""

    spec = replace(Tabletop.spec, cameras=(CAMERA,))

    def __init__(self, picture: Array, instruction: str) -> None:
        self._first = Moment(
            frames={CAMERA: picture}, state={}, instruction=instruction, reward=0.0, success=False, over=False
        )

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        return self._first

    def step(self, action: Array) -> Moment:
        return self._first

    def close(self) -> None:
        """Nothing to free."""
