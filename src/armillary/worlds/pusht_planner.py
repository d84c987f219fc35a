"""Planning for PushT: which push, from which side, brings the T nearer to its target.

A push is a straight stroke of the disc against one place of the T. The T does not glide (its velocity is damped to
nothing at every physics step) and its sides are without friction, so a stroke moves the T by the same rigid motion
wherever the T lies: all strokes are simulated once, in the T's own frame, and planning is only composing motions.

    library()        every stroke -> the rigid motion of the T it causes      (once per process, a fraction of a second)
    best_stroke()    a pose of the T -> the most promising stroke, the road to it   (looking two strokes ahead)
    Roads            the ways for the disc to a stroke's start that leave the T alone

Poses are (x, y, angle): the T's origin (middle of its bar's upper edge) in pixels of the 512x512 table, radians,
x to the right and y down as on the screen, so positive angles turn clockwise.
"""

import heapq
from dataclasses import dataclass
from functools import cache

import numpy as np

from armillary.records import Array

TABLE = 512.0
RADIUS = 15.0  # of the disc
RUN_UP = 5.0  # pixels between where a stroke begins and where the disc touches
BOXES = np.array([[-60.0, 0.0, 60.0, 30.0], [-15.0, 30.0, 15.0, 120.0]])  # bar and stem: left, top, right, bottom
CENTRE = np.array([0.0, 45.0])  # of mass
INERTIA = 3000.0  # over mass, pixels squared
KEYPOINTS = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float)
GOAL = np.array([256.0, 256.0, np.pi / 4])
_MIDDLE = np.array([*KEYPOINTS.mean(0), 0.0])  # of the corners
_SPREAD = float(((KEYPOINTS - KEYPOINTS.mean(0)) ** 2).sum(-1).mean())
CELL = 12.0  # pixels of the grid on which roads are sought
_CELLS = int(TABLE // CELL)
_NEIGHBOURS = tuple((x, y, CELL * float(np.hypot(x, y))) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)
LENGTHS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 60, 75, 90], float)


@dataclass(frozen=True, kw_only=True, eq=False)
class Library:
    """All strokes, in the T's frame before the stroke. s strokes."""

    starts: Array  # s 2, the disc's centre where it touches
    ways: Array  # s 2, unit direction
    lengths: Array  # s, pixels
    motions: Array  # s 3, pose of the T after, seen from its frame before


@dataclass(frozen=True, kw_only=True, eq=False)
class Stroke:
    """One stroke on the table: the disc touches at ``start`` and moves to ``end`` (2 numbers each, pixels)."""

    start: Array
    end: Array
    left: float  # how far the T's corners are from the target afterwards (root mean square, pixels)


def rotation(angle: Array | float) -> Array:
    """... 2 2, turning by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def compose(pose: Array, motion: Array) -> Array:
    """The pose reached from ``pose`` (... 3) by ``motion`` (... 3) seen from its own frame."""
    c, s = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    x, y = motion[..., 0], motion[..., 1]
    return np.stack([pose[..., 0] + c * x - s * y, pose[..., 1] + s * x + c * y, pose[..., 2] + motion[..., 2]], -1)


def corners(pose: Array) -> Array:
    """... 8 2, the T's corners on the table."""
    return np.einsum("...ij,kj->...ki", rotation(pose[..., 2]), KEYPOINTS) + pose[..., None, :2]


def off_target(pose: Array, goal: Array = GOAL) -> Array:
    """..., root mean square distance in pixels of the T's corners from where the target has them."""
    middle = compose(pose, _MIDDLE)[..., :2] - compose(goal, _MIDDLE)[:2]
    turned = 2 * _SPREAD * (1 - np.cos(pose[..., 2] - goal[2]))
    return np.asarray(np.sqrt((middle**2).sum(-1) + turned))


def clearance(points: Array) -> tuple[Array, Array]:
    """Distance (... 2 boxes) of points in the T's frame (... 2) from bar and stem, and outward normals (... 2 2)."""
    middle = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    half = (BOXES[:, 2:] - BOXES[:, :2]) / 2
    offset = points[..., None, :] - middle
    beyond = np.abs(offset) - half
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
    inside = np.minimum(beyond.max(-1), 0)
    corner = np.sign(offset) * np.maximum(beyond, 0)
    flat = np.sign(offset) * (beyond == beyond.max(-1, keepdims=True))
    normal = np.where(outside[..., None] > 1e-9, corner, flat)
    return outside + inside, normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)


def pushed(pose: Array, disc: Array) -> Array:
    """The T's pose (n 3) once the disc at ``disc`` (n 2) has pressed it out of its way, quasi-statically."""
    for box in (0, 1):
        turn = rotation(pose[:, 2])
        local = np.einsum("nji,nj->ni", turn, disc - pose[:, :2])
        distance, normal = clearance(local)
        depth = np.maximum(RADIUS - distance[:, box], 0)
        n = normal[:, box]
        arm = local - n * RADIUS - CENTRE
        lever = arm[:, 0] * n[:, 1] - arm[:, 1] * n[:, 0]
        give = depth / (1 + lever**2 / INERTIA)
        centre = np.einsum("nij,j->ni", turn, CENTRE) + pose[:, :2] - np.einsum("nij,nj->ni", turn, n) * give[:, None]
        angle = pose[:, 2] - lever * give / INERTIA
        pose = np.concatenate([centre - np.einsum("nij,j->ni", rotation(angle), CENTRE), angle[:, None]], -1)
    return pose


@cache
def library() -> Library:
    """Simulate every stroke once."""
    starts, normals = _touching_places()
    slants = np.array([-0.6, -0.3, 0.0, 0.3, 0.6])
    start = np.repeat(starts, len(slants), axis=0)
    way = np.einsum("sij,nj->nsi", rotation(slants), -normals).reshape(-1, 2)
    pose = np.zeros((len(start), 3))
    motions = []
    for travelled in np.arange(0.5, LENGTHS[-1] + 0.25, 0.5):
        pose = pushed(pose, start + way * travelled)
        if np.any(np.abs(LENGTHS - travelled) < 1e-9):
            motions.append(pose)
    count = len(LENGTHS)
    return Library(
        starts=np.tile(start, (count, 1)),
        ways=np.tile(way, (count, 1)),
        lengths=np.repeat(LENGTHS, len(start)),
        motions=np.concatenate(motions),
    )


def best_stroke(pose: Array, disc: Array, goal: Array, hurry: float, beam: int = 24) -> tuple[Stroke, Array] | None:
    """The stroke that promises most and the road (n 2) to where it begins; None where the disc can reach none.

    ``pose`` 3 of the T, ``disc`` 2. What counts is how far the corners are from the target after two strokes, plus
    ``hurry`` pixels for each step of time that reaching and making the strokes takes.
    """
    lib, roads = library(), Roads(pose, disc)
    turn = rotation(pose[2])
    starts, ways = lib.starts @ turn.T + pose[:2], lib.ways @ turn.T
    ends = starts + lib.lengths[:, None] * ways
    after = compose(pose[None], lib.motions)
    inside = _inside(after) >= min(0.0, float(_inside(pose))) - 0.2  # a T at the edge may stay there, not go further
    allowed = _on_table(starts, 16) & _on_table(ends, 16) & inside
    steps = roads.length(starts - RUN_UP * ways) / 20 + lib.lengths / 12 + 5
    left = off_target(after, goal)
    once = np.where(allowed, left + hurry * steps, np.inf)
    firsts = _spread_best(once, beam)
    score = [min(once[i], _second_look(after[i], ends[i], goal, hurry) + hurry * steps[i]) for i in firsts]
    for k in np.argsort(score, kind="stable"):
        stroke = Stroke(start=starts[firsts[k]], end=ends[firsts[k]], left=float(left[firsts[k]]))
        road = roads.to(stroke.start - RUN_UP * ways[firsts[k]])
        if road is not None:
            return stroke, road
    return None


class Roads:
    """Where the disc can go from ``disc`` without touching the T at ``pose``, and how far that is.

    A grid of ``CELL`` pixels, cheapest roads first (Dijkstra). Beside the T a pixel costs three.
    """

    def __init__(self, pose: Array, disc: Array) -> None:
        self._pose, self._disc = pose, disc
        axis = (np.arange(_CELLS) + 0.5) * CELL
        self._grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
        self._toll = _toll(pose, self._grid)
        self._source = self._cell(disc)
        self._came: dict[tuple[int, int], tuple[int, int]] = {}
        self._cost = np.full((_CELLS, _CELLS), np.inf)
        self._explore()

    def length(self, points: Array) -> Array:
        """n, the cost in pixels of the road to each of n 2 points; infinite where there is none."""
        cells = self._cells_about(points)
        return np.asarray((self._cost[cells[..., 0], cells[..., 1]] + self._last_bit(points, cells)).min(-1))

    def to(self, point: Array) -> Array | None:
        """The road's points (n 2), from the disc to ``point``; None where there is none."""
        cells = self._cells_about(point[None])
        cost = (self._cost[cells[..., 0], cells[..., 1]] + self._last_bit(point[None], cells))[0]
        if not np.isfinite(cost.min()):
            return None
        here = (int(cells[0, cost.argmin(), 0]), int(cells[0, cost.argmin(), 1]))
        places = [point]
        while here != self._source:
            places.append(self._grid[here])
            here = self._came[here]
        return _straightened(self._pose, np.array([*places, self._disc])[::-1])

    def _explore(self) -> None:
        toll, cost = self._toll, self._cost
        toll[self._source] = min(float(toll[self._source]), 30.0)
        cost[self._source] = 0.0
        queue = [(0.0, self._source)]
        while queue:
            so_far, here = heapq.heappop(queue)
            if so_far > cost[here]:
                continue
            for dx, dy, far in _NEIGHBOURS:
                there = (here[0] + dx, here[1] + dy)
                if not (0 <= there[0] < _CELLS and 0 <= there[1] < _CELLS):
                    continue
                new = so_far + far * float(toll[there])
                if new < cost[there]:
                    cost[there], self._came[there] = new, here
                    heapq.heappush(queue, (new, there))

    def _cell(self, point: Array) -> tuple[int, int]:
        x, y = np.clip((point // CELL).astype(int), 0, _CELLS - 1)
        return int(x), int(y)

    def _cells_about(self, points: Array) -> Array:
        """n 9 2, the cell of each point and its neighbours."""
        about = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), -1).reshape(9, 2)
        return np.asarray(np.clip((points // CELL).astype(int)[:, None] + about, 0, _CELLS - 1))

    def _last_bit(self, points: Array, cells: Array) -> Array:
        return np.asarray(3 * np.linalg.norm(points[:, None] - self._grid[cells[..., 0], cells[..., 1]], axis=-1))


def _touching_places() -> tuple[Array, Array]:
    """Where the disc's centre touches each side of the T (n 2) and the sides' outward normals (n 2)."""
    places, normals = [], []
    for here, there in zip(KEYPOINTS, np.roll(KEYPOINTS, -1, axis=0), strict=True):
        along = there - here
        size = np.linalg.norm(along)
        normal = np.array([along[1], -along[0]]) / size
        for share in np.linspace(0.03, 0.97, max(3, int(size // 3))):
            places.append(here + share * along + normal * RADIUS)
            normals.append(normal)
    place = np.array(places)
    free = clearance(place)[0].min(-1) > RADIUS - 0.01
    return place[free], np.array(normals)[free]


def _on_table(points: Array, margin: float) -> Array:
    return np.asarray(((points > margin) & (points < TABLE - margin)).all(-1))


def _inside(pose: Array) -> Array:
    """..., how far the T's outermost corner is from the walls, pixels; negative beyond."""
    places = corners(pose)
    return np.asarray(np.minimum(places, TABLE - places).min((-1, -2)) - 9.0)


def _gap(pose: Array, points: Array) -> Array:
    """..., distance of points on the table (... 2) from the T."""
    return clearance((points - pose[:2]) @ rotation(pose[2]))[0].min(-1)


def _second_look(pose: Array, disc: Array, goal: Array, hurry: float) -> float:
    """The best that one more stroke can make of ``pose``."""
    lib = library()
    steps = np.linalg.norm(lib.starts @ rotation(pose[2]).T + pose[:2] - disc, axis=-1) / 20 + lib.lengths / 12 + 8
    return float((off_target(compose(pose[None], lib.motions), goal) + hurry * steps).min())


def _spread_best(score: Array, count: int) -> list[int]:
    """The best stroke of each touching place and slant, the best ``count`` of those, best first."""
    table = score.reshape(len(LENGTHS), -1)
    length = table.argmin(0)
    best = table[length, np.arange(table.shape[1])]
    chosen = np.argsort(best, kind="stable")[:count]
    return [int(length[k] * table.shape[1] + k) for k in chosen if np.isfinite(best[k])]


def _toll(pose: Array, points: Array) -> Array:
    """What a pixel of road costs there: dear beside the T, infinite in it and beyond the table's edge."""
    gap = _gap(pose, points)
    toll = np.where(gap < RADIUS + 10, 3.0, 1.0)
    toll = np.where(gap < RADIUS + 2, np.inf, toll)
    return np.where(_on_table(points, 15), toll, np.inf)


def _straightened(pose: Array, road: Array) -> Array:
    """The road without the corners that it does not need."""
    kept = [0]
    while kept[-1] < len(road) - 1:
        here = kept[-1]
        ahead = here + 1
        for there in range(len(road) - 1, here + 1, -1):
            line = road[here] + np.linspace(0, 1, 24)[:, None] * (road[there] - road[here])
            gap = _gap(pose, line)
            near_ends = np.minimum(gap[0], gap[-1])
            if gap.min() >= min(RADIUS + 8, near_ends - 1e-6):
                ahead = there
                break
        kept.append(ahead)
    return road[kept]
