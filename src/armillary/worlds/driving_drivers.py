"""Who drives: an expert that looks ahead, a clumsy one, one that ignores the words, and chance.

    in    a world (drivers may see its state, a policy may not) and a seed
    out   a ``Policy``: a moment in, nine numbers out that the car can follow exactly

The expert follows its route by pure pursuit (Coulter 1992) and never drives faster than would let it stop gently
behind what is, or is about to be, in its way.
"""

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, Policy
from armillary.worlds.controllers import made
from armillary.worlds.driving import FASTER, FASTEST, SLOWER, TIGHTEST, Driving
from armillary.worlds.driving_map import Line
from armillary.worlds.driving_traffic import EGO_LENGTH, EGO_WIDTH, PERSON, SIZES, SPACE, STEP, safe_speed

SIDEWAYS = 2.6  # m/s2 that passengers bear in a bend
AHEAD_SECONDS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
Array = NDArray[np.float64]


class Driver:
    """Keeps to the route of the words, or to one of its own (``wordless``).

    ``shaky``: drifts, is in a hurry and overlooks who stands in its way half of the time.
    """

    def __init__(self, world: Driving, *, seed: int = 0, wordless: bool = False, shaky: bool = False) -> None:
        self._world, self._seed, self._wordless, self._shaky = world, seed, wordless, shaky
        self.reset()

    def reset(self) -> None:
        """Forget; the next moment is a new episode's first."""
        self._rng = np.random.default_rng([self._seed, 43])
        self._drift, self._asleep = 0.0, self._shaky and bool(self._rng.random() < 0.5)
        self._route: Line | None = None

    def __call__(self, moment: Moment) -> Array:
        """Nine numbers of the embodiment."""
        world = self._world
        if self._route is None:
            lines = [line for line, _ in world.scene.routes.values()]
            self._route = lines[self._rng.integers(len(lines))] if self._wordless else world.route
        place, route = world.place(), self._route
        along, _ = route.nearest(place)
        wish = world.scene.wish * (1.35 if self._shaky else 1.0)
        limit = min(wish, self._bend_speed(route, along))
        if not self._asleep:
            limit = min(limit, self._free_speed(route, along))
        speed = float(np.clip(limit, max(0.0, world.speed - SLOWER * STEP), world.speed + 2.0 * STEP))
        turn = self._steer(route, along, speed)
        if self._shaky:
            self._drift = 0.93 * self._drift + float(self._rng.normal(0, 0.012))
            turn = float(np.clip(turn + self._drift * speed * STEP, -TIGHTEST * speed * STEP, TIGHTEST * speed * STEP))
        return world.action_for(speed * STEP, turn)

    def _steer(self, route: Line, along: float, speed: float) -> float:
        """How far to turn in this step, radians: towards a point ahead on the route."""
        world = self._world
        far = max(3.2, 0.55 * speed)
        rear = world.place() - 1.3 * np.array([np.cos(world.place()[2]), np.sin(world.place()[2]), 0])
        way = route.at(along - 1.3 + far)[:2] - rear[:2]
        off = np.arctan2(way[1], way[0]) - rear[2]
        bend = 2 * np.sin(off) / max(float(np.hypot(*way)), 1.0)
        return float(np.clip(bend, -TIGHTEST, TIGHTEST)) * speed * STEP

    def _bend_speed(self, route: Line, along: float) -> float:
        """What the sharpest bend within reach allows, braking gently until there."""
        limit = FASTEST
        for ahead in range(0, 18, 2):
            turn = route.at(along + ahead + 3)[2] - route.at(along + ahead)[2]
            bend = abs((turn + np.pi) % (2 * np.pi) - np.pi) / 3
            limit = min(limit, float(np.sqrt(SIDEWAYS / max(bend, 1e-3) + 2 * 2.0 * ahead)))
        return limit

    def _free_speed(self, route: Line, along: float) -> float:
        """What vehicles, people and the traffic light allow."""
        world, limit, now = self._world, FASTEST, self._world.scene.traffic.seconds
        nose, traffic = along + EGO_LENGTH / 2, world.scene.traffic
        for vehicle in traffic.vehicles:
            if np.hypot(*(vehicle.place(now) - world.place())[:2]) > 45:
                continue
            for soon in (0.0, 0.6, 1.2):
                place = vehicle.place(now + soon if vehicle.shift else now)
                place[:2] += vehicle.speed * soon * np.array([np.cos(place[2]), np.sin(place[2])])
                at, left = route.nearest(place)
                ways = abs(np.sin(place[2] - route.at(at)[2]))
                length, width, _ = SIZES[vehicle.kind]
                wide = (width + ways * (length - width) + EGO_WIDTH) / 2
                if at > along and abs(left) < wide + 0.35:
                    towards = vehicle.speed * np.cos(place[2] - route.at(at)[2])
                    back = (length * (1 - ways) + width * ways) / 2
                    limit = min(limit, safe_speed(at - back - nose - vehicle.speed * soon, max(towards, 0.0)))
        for walker in traffic.walkers:
            limit = min(limit, self._for_person(route, along, (walker.place(now), walker.velocity(now))))
        scene = world.scene
        waits = scene.stop_at is not None and nose < scene.stop_at + 0.3
        if waits and traffic.signals is not None and not traffic.signals.green(scene.arm, now):
            assert scene.stop_at is not None
            limit = min(limit, safe_speed(scene.stop_at - nose + SPACE - 0.8, 0.0))
        return limit

    def _for_person(self, route: Line, along: float, person: tuple[Array, Array]) -> float:
        """Stop for whoever is in the way, or will be when the car could be there."""
        place, velocity = person
        world, limit = self._world, FASTEST
        for soon in AHEAD_SECONDS:
            at, left = route.nearest(place[:2] + velocity * soon)
            gap = at - along - EGO_LENGTH / 2 - PERSON
            reaches = gap < (world.speed + FASTER * soon / 2) * (soon + 0.8) + 4
            if at > along + EGO_LENGTH / 2 - 0.5 and abs(left) < EGO_WIDTH / 2 + PERSON + 0.45 and reaches:
                limit = min(limit, safe_speed(gap - 0.5, 0.0))
        return limit


class Random:
    """Speeds up, brakes and steers by chance."""

    def __init__(self, world: Driving, *, seed: int) -> None:
        self._world, self._seed = world, seed
        self.reset()

    def reset(self) -> None:
        """Begin the same chance again."""
        self._rng = np.random.default_rng([self._seed, 47])
        self._bend, self._pull = 0.0, 0.0

    def __call__(self, moment: Moment) -> Array:
        """Nine numbers of the embodiment."""
        if self._rng.random() < 0.15:
            self._bend, self._pull = float(self._rng.uniform(-0.06, 0.06)), float(self._rng.uniform(-4, 2.5))
        speed = float(np.clip(self._world.speed + self._pull * STEP, 0, FASTEST))
        return self._world.action_for(speed * STEP, self._bend * speed * STEP)


def driver(world: Driving, kind: str, *, seed: int = 0) -> Policy:
    """Who drives; ``RequestError`` names the kinds there are."""
    return made(
        kind, lambda wordless, shaky: Driver(world, seed=seed, wordless=wordless, shaky=shaky),
        lambda: Random(world, seed=seed),
    )  # fmt: skip
