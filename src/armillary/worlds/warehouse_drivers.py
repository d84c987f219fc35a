"""Who drives the robot: an expert that finds a way and gives way, a clumsy one, one that ignores the words, chance.

    in    a world (drivers may see its state, a policy may not) and a seed
    out   a ``Policy``: a moment in, nine numbers out

The expert's way is the shortest on a grid around shelves and things (A*; Hart, Nilsson and Raphael 1968); it stops
for whoever will be near it within two seconds. If it stands where that one wants to go, it makes room: it drives to a
place beside everybody's way, since who comes up to it would wait for it as it waits for him, and goes on behind him.
"""

import heapq
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, Policy
from armillary.worlds.controllers import made
from armillary.worlds.driving_map import Line
from armillary.worlds.driving_traffic import gap_between
from armillary.worlds.warehouse import FASTER, FASTEST, TURN, Warehouse
from armillary.worlds.warehouse_scene import HALL, SHELF_FROM, SHELF_TO, SHELF_WIDE, SHELF_X, SIZES, STEP, Mover

CELL, ROOM, PATIENCE = 0.3, 0.68, 10  # metres, metres, steps until the way is looked for again
# seconds of others' ways; metres from them to stand aside, and to go on; steps in which each waits for the other
AHEAD, BESIDE, BEHIND, STUCK = 6.0, 1.2, 0.8, 5
Array = NDArray[np.float64]
Cell = tuple[int, int]


def way(world: Warehouse, goal: Array) -> Line:
    """The shortest line from where the robot is to ``goal``, around all that stands; straight if there is none."""
    start, end = _cell(world.robot[:2]), _cell(goal)
    free = _free(world)
    free[start] = free[end] = True
    waiting: list[tuple[float, float, Cell, Cell | None]] = [(0.0, 0.0, start, None)]
    came: dict[Cell, Cell | None] = {}
    while waiting and end not in came:
        _, cost, here, before = heapq.heappop(waiting)
        if here in came:
            continue
        came[here] = before
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            there = (here[0] + dx, here[1] + dy)
            if free.get(there, False) and there not in came:
                far = cost + math.hypot(dx, dy)
                heapq.heappush(waiting, (far + math.hypot(there[0] - end[0], there[1] - end[1]), far, there, here))
    if end not in came:
        return Line([(world.robot[0], world.robot[1]), (goal[0], goal[1])])
    points, cell = [goal], came[end]
    while cell is not None and cell != start:
        points.append(np.array(cell) * CELL)
        cell = came[cell]
    return Line(np.array([*points, world.robot[:2]])[::-1])


def _cell(place: Array) -> Cell:
    return round(float(place[0]) / CELL), round(float(place[1]) / CELL)


def _free(world: Warehouse) -> dict[Cell, bool]:
    """Where the robot's middle may be: ``ROOM`` from shelves, walls, things, and whoever stands still."""
    wide, front, back = HALL
    middle, depth = (SHELF_FROM + SHELF_TO) / 2, (SHELF_TO - SHELF_FROM) / 2
    blocks = [(x, middle, SHELF_WIDE / 2, depth) for x in SHELF_X]
    blocks += [(*b.place[:2], *b.half[:2]) for b in world.hall.floor]
    for mover in world.hall.movers:
        if not mover.velocity().any():
            half = mover.size[0] / 2 if abs(math.cos(mover.place()[2])) > 0.5 else mover.size[1] / 2
            blocks.append((*mover.place()[:2], half + 0.1, mover.size[1] / 2 + 0.1))
    xs, ys = (
        np.arange(-round(wide / CELL), round(wide / CELL) + 1),
        np.arange(round(front / CELL), round(back / CELL) + 1),
    )
    x, y = np.meshgrid(xs * CELL, ys * CELL, indexing="ij")
    good = (abs(x) < wide - 1.0) & (y > front + 0.9) & (y < back - 1.0)
    for a, b, half, deep in blocks:
        good &= (abs(x - a) > half + ROOM) | (abs(y - b) > deep + ROOM)
    return {(x, y): free for x, row in zip(xs.tolist(), good.tolist(), strict=True)
            for y, free in zip(ys.tolist(), row, strict=True)}  # fmt: skip


def _ways(movers: Iterable[Mover]) -> Array:
    """Where those who go will be in the next ``AHEAD`` seconds, nose, middle and tail: x, y and half their width."""
    rows = []
    for mover in movers:
        for later in np.arange(0.0, AHEAD + 0.1, 0.25):
            x, y, heading = mover.place(float(later))
            for off in (-mover.size[0] / 2, 0.0, mover.size[0] / 2):
                rows.append((x + off * math.cos(heading), y + off * math.sin(heading), mover.size[1] / 2))
    return np.array(rows).reshape(-1, 3)


def _apart(places: Array, ways: Array) -> Array:
    """Metres from each of ``places`` (n 2) to the nearest of others' ways, as ``_ways`` gives them."""
    if not len(ways):
        return np.full(len(places), np.inf)
    away = np.hypot(*(places[:, None, :2] - ways[None, :, :2]).transpose(2, 0, 1)) - ways[:, 2]
    nearest: Array = away.min(axis=1)
    return nearest


def _beside(world: Warehouse, goal: Array) -> Array | None:
    """A place near by, and rather near ``goal``, that is on nobody's way; None if there is none within 6 m."""
    free = _free(world)
    roomy = [(x, y) for x, y in free if all(free.get(c, False) for c in ((x, y), (x - 1, y), (x + 1, y), (x, y - 1),
                                                                         (x, y + 1)))]  # fmt: skip
    cells = CELL * np.array(roomy, np.float64).reshape(-1, 2)
    far = np.hypot(*(cells - world.robot[:2]).T)
    good = (far < 6) & (_apart(cells, _ways(m for m in world.hall.movers if not m.stopped)) > BESIDE)
    if not good.any():
        return None
    cost = far[good] + 0.3 * np.hypot(*(cells[good] - goal).T)
    place: Array = cells[good][cost.argmin()]
    return place


class Driver:
    """Goes where the words say, or to a place of its own choice (``wordless``).

    ``shaky``: drifts, and half of the time overlooks who comes.
    """

    def __init__(self, world: Warehouse, *, seed: int = 0, wordless: bool = False, shaky: bool = False) -> None:
        self._world, self._seed, self._wordless, self._shaky = world, seed, wordless, shaky
        self.reset()

    def reset(self) -> None:
        """Forget; the next moment is a new episode's first."""
        self._rng = np.random.default_rng([self._seed, 71])
        self._line: Line | None = None
        self._goal: Array | None = None
        self._age = 0
        self._drift, self._asleep = 0.0, self._shaky and bool(self._rng.random() < 0.5)
        self._aside: Array | None = None  # where it makes room
        self._passing: list[Mover] = []  # for whom
        self._stuck = 0

    def __call__(self, moment: Moment) -> Array:
        """Nine numbers of the embodiment."""
        world = self._world
        if self._goal is None:
            goals = list(world.hall.goals.values())
            self._goal = goals[self._rng.integers(len(goals))] if self._wordless else world.goal
        if self._line is None or self._age % PATIENCE == 0:
            if self._aside is not None and self._passed(self._goal):
                self._aside = None
            self._line = way(world, self._goal if self._aside is None else self._aside)
        self._age += 1
        along, _ = self._line.nearest(world.robot)
        left = self._line.length - along
        target = self._line.at(min(along + 0.7, self._line.length))[:2] - world.robot[:2]
        off = math.atan2(target[1], target[0]) - world.robot[2]
        off = (off + math.pi) % (2 * math.pi) - math.pi
        if math.hypot(*target) < 0.25:
            off = 0.0
        wish = 0.0 if abs(off) > 0.7 else FASTEST * max(0.25, 1 - abs(off))
        wish = min(wish, math.sqrt(2 * 1.2 * max(left - 0.1, 0.0)))
        if self._aside is None and math.hypot(*(self._goal - world.robot[:2])) < 0.36:
            wish = 0.0
        elif not self._asleep and (near := self._somebody_near()) is not None:
            wish = 0.0
            self._make_room(near, self._goal)
        speed = float(np.clip(wish, max(world.speed - FASTER, 0.0), world.speed + 0.15))
        turn = float(np.clip(0.5 * off, -TURN, TURN))
        if self._shaky:
            self._drift = 0.92 * self._drift + float(self._rng.normal(0, 0.02))
            turn = float(np.clip(turn + self._drift, -TURN, TURN))
        return world.action_for(speed * STEP, turn)

    def _make_room(self, near: Mover, goal: Array) -> None:
        """Look for a place beside, if ``near`` comes from where the robot is sent, or each waits for the other."""
        robot = self._world.robot[None, :2]
        self._stuck = self._stuck + 1 if near.waits and not near.stopped else 0
        if self._aside is not None or near.stopped or _apart(robot, _ways([near]))[0] > BEHIND:
            return
        if self._stuck >= STUCK or _apart(goal[None], _ways([near]))[0] < BEHIND:
            self._aside, self._passing = _beside(self._world, goal), [near]
        if self._aside is not None:
            self._line = way(self._world, self._aside)

    def _passed(self, goal: Array) -> bool:
        """Whether the way to the goal is no longer the way of those it made room for."""
        line = way(self._world, goal)
        mine = np.array([line.at(along) for along in np.arange(0.0, line.length + 0.3, 0.3)])
        return bool((_apart(mine, _ways(m for m in self._passing if not m.stopped)) > BEHIND).all())

    def _somebody_near(self) -> Mover | None:
        """Whom the robot, going on for up to two seconds, comes within 0.6 m of (0.2 m of who stands), if anybody."""
        world, size = self._world, SIZES["robot"][:2]
        assert self._line is not None
        along, _ = self._line.nearest(world.robot)
        for mover in world.hall.movers:
            now = gap_between(world.robot, size, mover.place(), mover.size)
            if now > 6:
                continue
            goes = bool(mover.velocity().any())
            room = 0.6 if goes else 0.2
            for soon in (0.3, 0.7, 1.1, 1.6, 2.1):
                mine = self._line.at(min(along + max(world.speed, 0.7) * soon, self._line.length))
                gap = gap_between(mine, size, mover.place(soon if goes else 0.0), mover.size)
                if gap < room and gap < now:
                    return mover
        return None


class Random:
    """Goes and turns by chance."""

    def __init__(self, world: Warehouse, *, seed: int) -> None:
        self._world, self._seed = world, seed
        self.reset()

    def reset(self) -> None:
        """Begin the same chance again."""
        self._rng = np.random.default_rng([self._seed, 73])
        self._turn, self._speed = 0.0, 0.5

    def __call__(self, moment: Moment) -> Array:
        """Nine numbers of the embodiment."""
        if self._rng.random() < 0.12:
            self._turn, self._speed = float(self._rng.uniform(-0.12, 0.12)), float(self._rng.uniform(0, 1.4))
        return self._world.action_for(self._speed * STEP, self._turn)


def driver(world: Warehouse, kind: str, *, seed: int = 0) -> Policy:
    """Who drives; ``RequestError`` names the kinds there are."""
    return made(
        kind, lambda wordless, shaky: Driver(world, seed=seed, wordless=wordless, shaky=shaky),
        lambda: Random(world, seed=seed),
    )  # fmt: skip
