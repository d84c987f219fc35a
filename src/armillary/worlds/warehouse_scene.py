"""The warehouse's ground plan and everybody in it: shelves, movers, and what a scenario makes happen.

    INCIDENTS   what a seed may draw: calm, near-miss, collision, spill, blocked aisle, dropped box
    Mover       a fork-lift, robot or person on a line, with a clock that stands still while it waits
    contact     gap in metres and seconds to contact of two movers, from their places and speeds alone

x right, y away from the fixed camera, metres. Four shelves stand across the hall; the main aisle runs before them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.worlds.driving_map import Line
from armillary.worlds.driving_traffic import gap_between
from armillary.worlds.humans_body import Look, draw_look
from armillary.worlds.humans_gait import GAIT_HZ, Gait, walk

Array = NDArray[np.float64]
INCIDENTS = ("calm", "near-miss", "collision", "spill", "blocked aisle", "dropped box")
STEP = 0.1
SHELF_X, SHELF_WIDE, SHELF_FROM, SHELF_TO = (-6.6, -2.2, 2.2, 6.6), 1.3, 2.0, 8.6
HALL = (9.5, -5.0, 9.5)  # half width, front and back wall
SIZES = {"fork-lift": (3.2, 1.25, 2.1), "robot": (0.95, 0.75, 0.45), "person": (0.5, 0.5, 1.75)}  # metres
NEAR_METRES, NEAR_SECONDS, NEVER = 0.3, 1.0, 99.0
SHELF_COLOURS = ("red", "blue", "green", "yellow", "purple", "orange")
GAIT_SECONDS = 16.0


@dataclass(kw_only=True, eq=False)
class Mover:
    """Somebody who follows a line at ``speed`` m/s; people have a gait made beforehand instead.

    ``clock``: seconds on its way, below 0 before it sets off. It waits for all but ``blind_to``.
    """

    name: str
    kind: str
    line: Line
    speed: float
    colour: str
    clock: float = 0.0
    blind_to: str = ""
    stopped: bool = False
    waits: bool = False
    look: Look | None = None
    gait: Gait | None = None
    rows: Array | None = None

    @property
    def size(self) -> tuple[float, float]:
        return SIZES[self.kind][:2]

    def place(self, later: float = 0.0) -> Array:
        """x, y, heading, ``later`` seconds from now."""
        if self.gait is not None:
            row = self.row(later)
            return np.array([*self.gait.pelvis[row, :2], self.gait.yaw[row]])
        return self.line.at(min(max(0.0, self.clock + later) * self.speed, self.line.length))

    def row(self, later: float = 0.0) -> int:
        """Where in its gait a person is."""
        assert self.gait is not None
        return min(round(max(0.0, self.clock + later) * GAIT_HZ), len(self.gait.yaw) - 1)

    def velocity(self) -> Array:
        """m/s, x and y."""
        if self.stopped or self.waits or self.clock <= 0:
            return np.zeros(2)
        moved: Array = (self.place() - self.place(-STEP))[:2] / STEP
        return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """Something that stands on the floor or a shelf: middle x y z, half sizes, colour by name, kind."""

    name: str
    kind: str
    place: tuple[float, float, float]
    half: tuple[float, float, float]
    colour: str


@dataclass(kw_only=True, eq=False)
class Hall:
    """A drawn warehouse. ``happens``: when a spill or a fall begins (seconds), NEVER without one."""

    incident: str
    colours: tuple[str, ...]  # of the four shelves, left to right
    start: Array
    goals: dict[str, Array]  # instruction -> x, y
    asked: str
    movers: list[Mover] = field(default_factory=list)
    floor: list[Box] = field(default_factory=list)  # pallets, barrels, boxes that block
    falling: Box | None = None
    fall_to: tuple[float, float] = (0.0, 0.0)
    happens: float = NEVER
    blocked: int | None = None  # aisle number, between shelf k and k + 1

    def goal(self, instruction: str | None) -> tuple[str, Array]:
        """The instruction and where it leads; ``RequestError`` names what may be asked here."""
        wanted = self.asked if instruction is None else instruction.strip()
        for words, place in self.goals.items():
            if words.lower().rstrip(".") == wanted.lower().rstrip("."):
                return words, place
        raise RequestError(f"instruction {instruction!r} cannot be followed here: ask for {' or '.join(self.goals)}")

    def aisle(self, number: int) -> str:
        """An aisle's name."""
        return f"aisle between the {self.colours[number]} and the {self.colours[number + 1]} shelf"

    def fallen(self, seconds: float) -> Array:
        """Where the falling box is: at rest, in free fall (9.81 m/s2) away from its shelf, or on the floor."""
        assert self.falling is not None
        since = max(0.0, seconds - self.happens)
        x, y, z = self.falling.place
        rest = self.falling.half[2]
        flight = math.sqrt(2 * (z - rest) / 9.81)
        share = min(since / flight, 1.0)
        height = max(rest, z - 4.905 * since**2)
        return np.array([x + share * (self.fall_to[0] - x), y + share * (self.fall_to[1] - y), height])


def aisle_x(number: int) -> float:
    """The middle of the aisle between shelf ``number`` and the next."""
    return (SHELF_X[number] + SHELF_X[number + 1]) / 2


def contact(one: Mover, other: Mover) -> tuple[float, float]:
    """Metres between two movers, and seconds until they touch if both go on as they do (``NEVER`` if not soon)."""
    a, b, va, vb = one.place(), other.place(), one.velocity(), other.velocity()
    return _contact((a, one.size, va), (b, other.size, vb))


def _contact(
    one: tuple[Array, tuple[float, float], Array], other: tuple[Array, tuple[float, float], Array]
) -> tuple[float, float]:
    (a, size, va), (b, other_size, vb) = one, other
    gap = gap_between(a, size, b, other_size)
    closing = math.hypot(*(va - vb))
    if gap <= 0:
        return 0.0, 0.0
    if closing < 0.05 or gap > 1.6 * closing:
        return gap, NEVER
    for seconds in np.arange(0.1, 1.55, 0.1):
        moved = a.copy()
        moved[:2] += (va - vb) * seconds
        if gap_between(moved, size, b, other_size) <= 0:
            return gap, float(seconds)
    return gap, NEVER


def robot_contact(place: Array, velocity: Array, other: Mover) -> tuple[float, float]:
    """``contact`` for the driven robot."""
    return _contact((place, SIZES["robot"][:2], velocity), (other.place(), other.size, other.velocity()))


def draw_hall(incident: str | None, rng: np.random.Generator) -> Hall:
    """A warehouse; ``RequestError`` if the incident is none of ``INCIDENTS``."""
    if incident is not None and incident not in INCIDENTS:
        raise RequestError(f"incident {incident!r} is unknown: it must be one of {', '.join(INCIDENTS)}.")
    drawn = str(rng.choice(INCIDENTS))
    incident = drawn if incident is None else incident
    colours = tuple(str(c) for c in rng.permutation(SHELF_COLOURS)[:4])
    hall = Hall(incident=incident, colours=colours, start=np.zeros(3), goals={}, asked="")
    if incident == "blocked aisle":
        hall.blocked = int(rng.integers(3))
    for k in range(4):
        hall.goals[f"Drive to the {colours[k]} shelf."] = np.array([SHELF_X[k], 1.1])
    for k in range(3):
        if k != hall.blocked:
            hall.goals[f"Drive into the {hall.aisle(k)}."] = np.array([aisle_x(k), 3.6])
    start_x = float(rng.uniform(-8, 8))
    hall.start = np.array([start_x, float(rng.uniform(-2.6, -1.2)), 0.0 if start_x < 0 else np.pi])
    hall.start[2] += float(rng.uniform(-0.6, 0.6))
    far = [words for words, place in hall.goals.items() if 3.5 < math.hypot(*(place - hall.start[:2])) < 11]
    hall.asked = str(rng.choice(far))
    _stand(hall, rng)
    _move(hall, rng)
    return hall


def _stand(hall: Hall, rng: np.random.Generator) -> None:
    """Pallets at the front wall, barrels, and what the incident needs."""
    for k, x in enumerate(rng.permutation([-7.5, -4.5, -1.5, 1.5, 4.5, 7.5])[: int(rng.integers(2, 5))]):
        kind = str(rng.choice(["pallet", "barrel"]))
        if kind == "pallet":
            tall = float(rng.uniform(0.3, 0.6))
            hall.floor.append(Box(name=f"pallet {k}", kind=kind, place=(float(x), -4.3, tall), half=(0.6, 0.5, tall),
                                  colour="cardboard"))  # fmt: skip
        else:
            colour = str(rng.choice(["blue", "green", "red"]))
            hall.floor.append(Box(name=f"barrel {k}", kind=kind, place=(float(x), -4.2, 0.45), half=(0.3, 0.3, 0.45),
                                  colour=colour))  # fmt: skip
    if hall.blocked is not None:
        x = aisle_x(hall.blocked)
        for k, off in enumerate((-0.95, 0.0, 0.95)):
            tall = float(rng.uniform(0.35, 0.6))
            hall.floor.append(Box(name=f"blocking box {k}", kind="blocker", place=(x + off, 3.0, tall),
                                  half=(0.45, 0.42, tall), colour="cardboard"))  # fmt: skip
    hall.happens = float(rng.uniform(1.0, 3.0)) if hall.incident in ("spill", "dropped box") else NEVER
    if hall.incident == "spill":
        x, y = float(rng.choice([-1, 1]) * rng.uniform(1.5, 5)), -3.6
        hall.floor = [b for b in hall.floor if abs(b.place[0] - x) > 1.6]
        hall.floor.append(Box(name="leaking barrel", kind="barrel", place=(x, y, 0.45), half=(0.3, 0.3, 0.45),
                              colour=str(rng.choice(["blue", "green", "red"]))))  # fmt: skip
    if hall.incident == "dropped box":
        shelf, side = int(rng.integers(4)), int(rng.choice([-1, 1]))
        side = {0: 1, 3: -1}.get(shelf, side)
        x, y = SHELF_X[shelf] + side * (SHELF_WIDE / 2 - 0.2), float(rng.uniform(2.5, 3.4))
        hall.falling = Box(name="falling box", kind="box", place=(x, y, 1.55), half=(0.26, 0.26, 0.24), colour="pink")
        hall.fall_to = (SHELF_X[shelf] + side * (SHELF_WIDE / 2 + float(rng.uniform(0.4, 0.7))), y - 0.1)


def _person(name: str, line: Array, rng: np.random.Generator, *, clock: float, shirt: str) -> Mover:
    look = draw_look(rng, shirts=(shirt,), hat=str(rng.choice(["white", "yellow", "blue"])))
    gait = walk(line, GAIT_SECONDS, scale=look.scale, pace=1.2)
    return Mover(name=name, kind="person", line=Line(line), speed=1.3, colour=shirt, clock=clock, look=look, gait=gait,
                 rows=gait.rows())  # fmt: skip


def _move(hall: Hall, rng: np.random.Generator) -> None:
    """Fork-lift, people and other robots; in a near-miss or collision, fork-lift and person meet."""
    shirts = [str(c) for c in rng.permutation(["orange", "cyan", "red", "green", "white"])]
    sign = float(rng.choice([-1, 1]))
    meets = hall.incident in ("near-miss", "collision")
    lane = float(rng.uniform(-1.0, -0.6))
    forth = Line([(-sign * 8.0, lane), (sign * 8.2, lane)])
    truck = Mover(name="fork-lift", kind="fork-lift", line=forth, speed=float(rng.uniform(1.6, 2.2)), colour="yellow",
)  # fmt: skip
    aisle = int(rng.choice([k for k in range(3) if k != hall.blocked]))
    down = np.array([[aisle_x(aisle), 5.5], [aisle_x(aisle), -3.2]])
    if meets:
        person = _person(f"worker in {shirts[0]}", down, rng, clock=0.0, shirt=shirts[0])
        _meet(hall, truck, person, rng)
        truck.blind_to, person.blind_to = person.name, truck.name
        hall.movers += [truck, person]
    else:
        if rng.random() < 0.7:
            truck.clock = -float(rng.uniform(0, 3))
            hall.movers.append(truck)
        line = down if rng.random() < 0.5 else np.array([[sign * 7, -3.0], [-sign * 5, -3.0]])
        hall.movers.append(
            _person(f"worker in {shirts[0]}", line, rng, clock=-float(rng.uniform(0, 2)), shirt=shirts[0])
        )
    if rng.random() < 0.6:
        x = aisle_x(int(rng.integers(3)))
        line = np.array([[x + 0.5, 8.0], [x + 0.5, 6.2]])
        hall.movers.append(_person(f"worker in {shirts[1]}", line, rng, clock=-0.5, shirt=shirts[1]))
    if rng.random() < 0.6:
        line_y = float(rng.uniform(-3.0, -2.7)) if meets else -2.8
        other = Line([(sign * 8.5, line_y), (-sign * 8.5, line_y)])
        hall.movers.append(Mover(name="other robot", kind="robot", line=other, speed=float(rng.uniform(0.6, 1.1)),
                                 colour="orange", clock=-float(rng.uniform(0, 2))))  # fmt: skip
    _leave_room(hall)


def _leave_room(hall: Hall) -> None:
    """Nobody begins within 1.2 m of somebody else or of the driven robot."""
    kept: list[Mover] = []
    robot = (hall.start, SIZES["robot"][:2])
    for mover in hall.movers:
        others = [robot, *((m.place(), m.size) for m in kept)]
        if all(gap_between(mover.place(), mover.size, place, size) > 1.2 for place, size in others):
            kept.append(mover)
        elif mover.blind_to:
            kept.append(mover)
            away = -float(np.sign(mover.place()[0]))
            hall.start[0] += 1.6 * away
            while any(gap_between(hall.start, robot[1], m.place(), m.size) <= 1.2 for m in kept):
                hall.start[0] += 0.4 * away
    hall.movers = kept


def _meet(hall: Hall, truck: Mover, person: Mover, rng: np.random.Generator) -> None:
    """Choose when the fork-lift sets off so that the two nearly touch, or do, as the incident says."""
    best, wanted = (np.inf, 0.0), 0.0 if hall.incident == "collision" else 0.16
    for begin in rng.permutation(np.arange(-5.0, 1.0, 0.05)):
        truck.clock = float(begin)
        gap = min(_gap_later(truck, person, s) for s in np.arange(0.0, 9.0, 0.1))
        miss = abs(gap - wanted)
        if hall.incident == "near-miss" and gap < 0.06:
            continue
        if miss < best[0]:
            best = (miss, float(begin))
        if miss < 0.05 and (gap <= 0 or hall.incident == "near-miss"):
            break
    truck.clock = best[1]


def _gap_later(one: Mover, other: Mover, seconds: float) -> float:
    a, b = one.place(seconds), other.place(seconds)
    if math.hypot(a[0] - b[0], a[1] - b[1]) > 3:
        return 3.0
    return gap_between(a, one.size, b, other.size)


def advance(movers: Sequence[Mover], robot: Array) -> None:
    """0.1 s: everybody goes on, or waits where somebody is just ahead; who has touched stands still."""
    for mover in movers:
        others = [(o.place(), o.size) for o in movers if o is not mover and o.name != mover.blind_to]
        others.append((robot, SIZES["robot"][:2]))
        mover.waits = mover.stopped or (mover.clock >= 0 and _in_the_way(mover, others))
        mover.clock += 0.0 if mover.waits else STEP
    for k, one in enumerate(movers):
        for other in movers[k + 1 :]:
            if gap_between(one.place(), one.size, other.place(), other.size) <= 0:
                one.stopped = other.stopped = True


def _in_the_way(mover: Mover, others: Sequence[tuple[Array, tuple[float, float]]]) -> bool:
    """Whether somebody is, within the next second, where this mover wants to go."""
    for soon in (0.4, 0.9):
        place = mover.place(soon)
        for other, size in others:
            if gap_between(place, mover.size, other, size) < 0.45:
                now = gap_between(mover.place(), mover.size, other, size)
                if gap_between(mover.place(0.1), mover.size, other, size) < now:
                    return True
    return False
