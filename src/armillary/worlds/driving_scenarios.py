"""What happens on the road: a seed draws a scenario, and a scenario is streets, traffic, people and a route.

SCENARIOS   free road, slow car ahead, cut-in, emergency brake, jaywalker, occluded crossing, lane change,
            zebra crossing, junction, red light
in          a scenario's name (or none: the seed draws it) and a generator
out         ``Scene``: traffic, the driven car's start, and every route that may be asked for
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.errors import RequestError
from armillary.worlds.driving_map import LANE, Line, Streets, draw_streets
from armillary.worlds.driving_traffic import SIZES, Signals, Traffic, Vehicle, Walker
from armillary.worlds.humans_body import draw_look
from armillary.worlds.humans_gait import walk
from armillary.worlds.materials import COLOURS

Array = NDArray[np.float64]
SCENARIOS = ("free road", "slow car ahead", "cut-in", "emergency brake", "jaywalker", "occluded crossing",
             "lane change", "zebra crossing", "junction", "red light")  # fmt: skip
FOLLOW = "Follow the road."
SHIFT_METRES, GAIT_SECONDS = 26.0, 14.0  # a lane change's length; how long a gait is made for
VEHICLE_COLOURS = ("red", "yellow", "green", "blue", "white", "black", "orange", "cyan")


@dataclass(kw_only=True, eq=False)
class Scene:
    """A drawn scenario. ``routes``: instruction -> (line, where along it the goal lies); ``asked`` is the drawn one."""

    name: str
    streets: Streets
    traffic: Traffic
    start: Array  # x, y, heading of the driven car's middle
    speed: float
    wish: float
    routes: Mapping[str, tuple[Line, float]]
    asked: str
    arm: int  # the driven car's own arm of a junction
    stop_at: float | None  # where along its line its traffic light stands

    def route(self, instruction: str | None) -> tuple[str, Line, float]:
        """The instruction, its line and its goal; ``RequestError`` names what may be asked here."""
        wanted = self.asked if instruction is None else instruction.strip()
        for words, (line, goal) in self.routes.items():
            if words.lower().rstrip(".") == wanted.lower().rstrip("."):
                return words, line, goal
        raise RequestError(f"instruction {instruction!r} cannot be followed here: ask for {' or '.join(self.routes)}")


def draw_scene(name: str | None, rng: np.random.Generator) -> Scene:
    """A scenario of ``SCENARIOS``; ``RequestError`` if the name is none of them."""
    if name is not None and name not in SCENARIOS:
        raise RequestError(f"scenario {name!r} is unknown: it must be one of {', '.join(SCENARIOS)}.")
    drawn = str(rng.choice(SCENARIOS))
    name = drawn if name is None else name
    if name in ("junction", "red light"):
        return _junction(name, rng)
    return _road(name, rng)


class _Names:
    """Vehicles and people whose colour and kind nobody else has."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._taken = rng, set[str]()

    def vehicle(self, kind: str) -> tuple[str, str]:
        free = [c for c in VEHICLE_COLOURS if f"{c} {kind}" not in self._taken]
        colour = str(self._rng.choice(free))
        self._taken.add(f"{colour} {kind}")
        return f"{colour} {kind}", colour

    def shirt(self) -> tuple[str, ...]:
        return tuple(c for c in COLOURS if f"pedestrian in {c}" not in self._taken)

    def person(self, shirt: str) -> str:
        self._taken.add(f"pedestrian in {shirt}")
        return f"pedestrian in {shirt}"


def _vehicle(
    names: _Names, rng: np.random.Generator, line: Line, along: float, speed: float, *, kind: str | None = None,
    left: float = 0.0,
) -> Vehicle:  # fmt: skip
    kind = kind or str(rng.choice(["car", "car", "car", "van", "truck", "bus"]))
    name, colour = names.vehicle(kind)
    return Vehicle(name=name, kind=kind, colour=colour, line=line, along=along, speed=speed, wish=speed, left=left)


def _walker(names: _Names, rng: np.random.Generator, line: Array, *, begin: float | None, pace: float = 1.0) -> Walker:
    look = draw_look(rng, shirts=names.shirt())
    gait = walk(line, GAIT_SECONDS, scale=look.scale, pace=pace)
    return Walker(name=names.person(look.shirt), look=look, gait=gait, rows=gait.rows(), begin=begin)


def _road(name: str, rng: np.random.Generator) -> Scene:
    """Scenarios on a street without a junction."""
    wide = name in ("cut-in", "lane change") or rng.random() < 0.4
    kind = str(rng.choice(["straight", "bend"])) if name != "occluded crossing" else "straight"
    streets = draw_streets(kind, 2 if wide else 1, rng)
    traffic, names = Traffic(streets=streets), _Names(rng)
    lane = int(rng.integers(2)) if wide else 0
    if name in ("jaywalker", "occluded crossing", "zebra crossing"):
        lane = streets.lanes - 1
    mine = streets.through(1, 0, lane)
    begin, speed = float(rng.uniform(20, 28)), float(rng.uniform(7.5, 10.5))
    goal = begin + 46.0
    routes = {FOLLOW: (mine, goal)}
    asked = FOLLOW
    other = streets.through(1, 0, 1 - lane) if wide else None
    if name == "lane change" or (wide and name == "free road"):
        words = "Change to the left lane." if lane == 1 else "Change to the right lane."
        assert other is not None
        routes[words] = (_changing(mine, other, begin + 10.0), goal)
        asked = words if name == "lane change" else FOLLOW
    if name in ("slow car ahead", "emergency brake"):
        ahead = _vehicle(names, rng, mine, begin + float(rng.uniform(15, 19)), speed)
        if name == "slow car ahead":
            ahead.wish = ahead.speed = float(rng.uniform(5.0, 6.5))
        else:
            ahead.brake = (float(rng.uniform(1.2, 2.5)), float(rng.uniform(1.8, 2.4)))
        traffic.vehicles.append(ahead)
    if name == "cut-in":
        assert other is not None
        cutter = _vehicle(names, rng, other, begin + float(rng.uniform(8.5, 12)), speed * 0.9, kind="car")
        cutter.shift = (float(rng.uniform(0.9, 1.8)), 1.8, LANE if lane == 0 else -LANE)
        cutter.blind = True
        traffic.vehicles.append(cutter)
    if name in ("jaywalker", "occluded crossing", "zebra crossing"):
        _crosser(name, traffic, names, rng, (mine, begin))
    _fill(traffic, names, rng, begin)
    return Scene(name=name, streets=streets, traffic=traffic, start=mine.at(begin), speed=speed, wish=speed + 0.5,
                 routes=routes, asked=asked, arm=1, stop_at=None)  # fmt: skip


def _changing(mine: Line, other: Line, begin: float) -> Line:
    """From one lane to the other within ``SHIFT_METRES``."""
    steps = np.arange(0.0, min(mine.length, other.length), 1.0)
    share = np.clip((steps - begin) / SHIFT_METRES, 0, 1)
    share = (share * share * (3 - 2 * share))[:, None]
    a = np.array([mine.at(s)[:2] for s in steps])
    b = np.array([other.at(other.nearest(place)[0])[:2] for place in a])
    return Line((1 - share) * a + share * b)


def _crosser(name: str, traffic: Traffic, names: _Names, rng: np.random.Generator, ego: tuple[Line, float]) -> None:
    """Somebody who steps into the road ahead; behind a parked van if the crossing is an occluded one."""
    mine, begin = ego
    streets = traffic.streets
    kerb = LANE / 2 + 0.5  # to the right of the driven car's lane, which is the outermost
    if name == "zebra crossing":
        line = streets.crossings[0].points
        mark = mine.nearest(line.mean(0))[0]
        line = line if rng.random() < 0.5 else line[::-1]
        trigger = float(rng.uniform(3.0, 4.0))
    else:
        mark = begin + float(rng.uniform(27, 33))
        where = mine.at(mark)
        side = np.array([-np.sin(where[2]), np.cos(where[2])])
        far = 2 * streets.half - LANE / 2 + 1.0
        line = where[:2] + np.outer([-kerb - (0.7 if name == "occluded crossing" else 0.3), far], side)
        trigger = float(rng.uniform(2.4, 2.9))
    walker = _walker(names, rng, line, begin=None, pace=float(rng.uniform(1.2, 1.6)))
    walker.trigger, walker.mark = trigger, mark
    traffic.walkers.append(walker)
    if name == "occluded crossing":
        kind = str(rng.choice(["van", "truck"]))
        van = _vehicle(names, rng, mine, mark - 1.2 - SIZES[kind][0] / 2, 0.0, kind=kind)
        van.left, van.parked = -(LANE / 2 + SIZES[kind][1] / 2 + 0.15), True
        traffic.vehicles.append(van)


def _fill(traffic: Traffic, names: _Names, rng: np.random.Generator, begin: float) -> None:
    """Oncoming traffic, parked cars and people on the pavements. The driven car begins at ``begin`` metres."""
    streets = traffic.streets
    for lane in range(streets.lanes):
        towards = streets.through(0, 1, lane)
        for k in range(int(rng.integers(0, 3))):
            traffic.vehicles.append(
                _vehicle(names, rng, towards, 14.0 + 30 * k + float(rng.uniform(0, 14)), float(rng.uniform(6, 10)))
            )
    if not any(v.parked for v in traffic.vehicles):
        edge = streets.through(1, 0, streets.lanes - 1)
        for _ in range(int(rng.integers(0, 3))):
            along = float(rng.uniform(begin + 4, begin + 60))
            if any(abs(v.along - along) < 12 and v.parked for v in traffic.vehicles) or traffic.walkers:
                continue
            car = _vehicle(names, rng, edge, along, 0.0, kind="car")
            car.left, car.parked = -(LANE / 2 + SIZES["car"][1] / 2 + 0.3), True
            traffic.vehicles.append(car)
    for sign in rng.permutation([-1, 1])[: int(rng.integers(0, 3))]:
        kerb = streets.through(1, 0, 0).shifted(LANE / 2 + sign * (streets.half + 2.6))
        first = float(rng.uniform(begin + 12, begin + 45))
        steps = np.arange(first, first + 18.0, 1.0)
        line = np.array([kerb.at(s)[:2] for s in (steps if rng.random() < 0.5 else steps[::-1])])
        traffic.walkers.append(_walker(names, rng, line, begin=0.0))


def _junction(name: str, rng: np.random.Generator) -> Scene:
    """A junction with traffic lights; behind a red one the car begins by waiting or by stopping."""
    streets = draw_streets(str(rng.choice(["crossroads", "t-junction"])), int(rng.integers(1, 3)), rng)
    arms, start = len(streets.arms), int(rng.integers(len(streets.arms)))
    exits = {streets.turn(start, end): end for end in range(arms) if end != start}
    stop = streets.inbound(start, 0).length - 5.6
    begin = stop - float(rng.uniform(13, 20))
    words = {"straight on": "Drive straight on.", "left": "Turn left at the junction.",
             "right": "Turn right at the junction."}  # fmt: skip
    lanes = {"left": 0, "right": streets.lanes - 1, "straight on": int(rng.integers(streets.lanes))}
    asked = str(rng.choice(sorted(exits)))
    lane = lanes[asked]
    routes = {}
    for turn, end in exits.items():
        if lanes[turn] == lane or turn == "straight on" or turn == asked:
            line = streets.through(start, end, lane)
            routes[words[turn]] = (line, line.length - streets.arms[end].length + 9.0)
    traffic, names = Traffic(streets=streets), _Names(rng)
    others = [arm for arm in range(arms) if arm != start]
    cross = int(rng.choice(others))
    if name == "red light":
        until = float(rng.uniform(0.6, 1.4))
        traffic.signals = Signals(turns=((until, cross), (until + 1.8, -1), (99.0, start)))
    else:
        traffic.signals = Signals(turns=((99.0, start),))
    mine = streets.inbound(start, lane)
    speed = float(rng.uniform(6.5, 8.5))
    if rng.random() < 0.4:
        kind = "car" if asked != "straight on" else None
        ahead = _vehicle(names, rng, routes[words[asked]][0], min(begin + 13.0, stop - 3.0), speed, kind=kind)
        ahead.stop_at, ahead.arm = stop, start
        traffic.vehicles.append(ahead)
    for arm in others:
        ends = [end for end in range(arms) if end != arm]
        for k in range(int(rng.integers(1, 3))):
            at = int(rng.integers(streets.lanes))
            line = streets.through(arm, int(rng.choice(ends)), at)
            moving = name == "red light" and arm == cross
            place = stop + 4.0 if moving else stop - 3.5 - 2.0 * (at == 1) - 9.5 * k - float(rng.uniform(0, 6))
            if moving and k:
                continue
            car = _vehicle(names, rng, line, place, 7.0 if moving else 5.0, kind=str(rng.choice(["car", "car", "van"])))
            car.wish, car.stop_at, car.arm = 8.0, stop, arm
            traffic.vehicles.append(car)
    _no_overlap(traffic)
    if rng.random() < 0.5:
        end = exits[asked] if asked != "straight on" else cross
        across = streets.crossings[end].points
        traffic.walkers.append(_walker(names, rng, across if rng.random() < 0.5 else across[::-1],
                                       begin=float(rng.uniform(0, 1.5)) - 4.0 * (streets.lanes - 1),
                                       pace=1.4))  # fmt: skip
    return Scene(name=name, streets=streets, traffic=traffic, start=mine.at(begin), speed=speed, wish=speed + 1.0,
                 routes=routes, asked=words[asked], arm=start, stop_at=stop)  # fmt: skip


def _no_overlap(traffic: Traffic) -> None:
    """Leave out vehicles that would begin inside one another."""
    kept: list[Vehicle] = []
    for vehicle in traffic.vehicles:
        here = vehicle.place(0.0)
        if all(np.hypot(*(other.place(0.0) - here)[:2]) > (vehicle.length + other.length) / 2 + 1 for other in kept):
            kept.append(vehicle)
    traffic.vehicles[:] = kept
