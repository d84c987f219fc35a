"""Questions about a room in ``spatial``: where things are, for the camera, for other cameras and for the figure.

    Room            a life as questions are made from it: things, poses, what each camera sees
    candidates      everything with one clear answer
    chosen          a fair few, answers drawn evenly, so that none can be guessed

Only what some camera sees is asked about, comparisons only where the difference is clear, and nothing has yes or no
for an answer. ``left`` and ``right`` are always somebody's: the main camera's, another camera's or the figure's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, Question
from armillary.worlds.labels import Box, box_words, boxes, in_camera
from armillary.worlds.materials import COLOURS, MATERIALS
from armillary.worlds.questions import NUMBERS, ask, clock, extreme, fair, listed, sentence
from armillary.worlds.spatial import SPEC, Spatial, hangs
from armillary.worlds.spatial_things import KINDS, SEATS, Thing

CLEAR, ALIGNED = 0.35, 0.3  # metres; metres from the straight line between two things
SIDES, FOUR = ("left", "right"), ("ahead", "behind", "to the left", "to the right")
NOTHING_WRONG = "nothing"


@dataclass(frozen=True, kw_only=True, eq=False)
class Room:
    """A life in words' reach: the world, its moments, boxes by frame and camera, the main camera's calibrations."""

    world: Spatial
    moments: Sequence[Moment]
    seen: Sequence[Mapping[str, Mapping[str, Box]]]
    calibrations: Sequence[Mapping[str, Any]]

    def thing(self, name: str) -> Thing:
        """The thing of that name."""
        return next(thing for thing in self.world.things if thing.name == name)

    def from_camera(self, name: str, camera: str, frame: int) -> NDArray[np.float64]:
        """Where a thing's middle is for a camera: right, down, ahead, metres."""
        calibrated = self.calibrations[frame] if camera == "main" else self.world.calibrations()[camera]
        seen: NDArray[np.float64] = in_camera(self.thing(name).place, calibrated)[0]
        return seen


def candidates(room: Room, rng: np.random.Generator) -> list[Question]:
    """Everything that can be asked of this life."""
    last, asked = len(room.moments) - 1, []
    for frame in sorted({0, last // 2, last}):
        names = list(room.seen[frame]["main"])
        asked += _places(room, names, frame) + _sizes(room, names, frame) + _viewpoints(room, names, frame)
        asked += _single(room, names, frame)
    asked += _counts(room) + _hidden(room) + _through_time(room) + _sense(room, rng)
    return asked


def chosen(asked: Sequence[Question], room: Room, rng: np.random.Generator) -> list[Question]:
    """At most two of each template, with different answers where there are any."""
    return fair(asked, rng, each=2, names=[*room.world.names, *COLOURS, *KINDS])


def describe(room: Room, name: str, frame: int) -> str:
    """One thing in words: what, of what, how tall, where in the picture."""
    thing = room.thing(name)
    left, _, right, _ = room.seen[frame]["main"][name]
    column = (left + right) / 2 / room.moments[frame].frames["main"].shape[1]
    where = "on the left" if column < 0.36 else "on the right" if column > 0.64 else "in the middle"
    return f"{listed([name])} of {MATERIALS[thing.coat].name}, {_tall(thing)} tall, {where} of the picture"


def way_for(figure: Thing, place: Any) -> tuple[str, float]:
    """Where a place is for the figure, of ``FOUR``, and how many degrees it would turn (left positive)."""
    away = np.asarray(place, np.float64)[:2] - figure.place[:2]
    ahead, left = float(away @ figure.front), float(away @ (-figure.front[1], figure.front[0]))
    turn = float(np.degrees(np.arctan2(left, ahead)))
    return FOUR[0 if abs(turn) < 45 else 1 if abs(turn) > 135 else 2 if turn > 0 else 3], turn


def _tall(thing: Thing) -> str:
    return f"about {round(200 * thing.half[2] / 10) * 10} centimetres"


def _metres(distance: float) -> str:
    half_steps = round(2 * distance) / 2
    return f"about {half_steps:g} metre{'' if half_steps == 1 else 's'}"


def _flat(thing: Thing, other: Thing) -> float:
    """Metres between two middles on the floor."""
    return float(np.hypot(thing.place[0] - other.place[0], thing.place[1] - other.place[1]))


def _places(room: Room, names: Sequence[str], frame: int) -> list[Question]:
    """Left and right, nearer, behind, between, and how far."""
    asked: list[Question] = []
    at = {name: room.from_camera(name, "main", frame) for name in names}
    for one, other in permutations(names, 2):
        away = at[one] - at[other]
        if abs(away[0]) > CLEAR:
            side = "right" if away[0] > 0 else "left"
            asked.append(ask("relation", f"Is the {one} left or right of the {other}?", side, frame, SIDES))
        if one < other and abs(away[2]) > CLEAR:
            near = one if away[2] < 0 else other
            asked.append(ask("distance", f"Which is nearer, the {one} or the {other}?", f"the {near}", frame))
    for name in names:
        left, _, right, _ = room.seen[frame]["main"][name]
        after = [
            n for n in names if at[n][2] > at[name][2] + CLEAR and _over((left, right), room.seen[frame]["main"][n])
        ]
        if len(after) == 1:
            asked.append(ask("relation", f"What stands behind the {name}?", f"the {after[0]}", frame))
    for one, other in combinations(names, 2):
        between = _between(room, one, other)
        if between is not None and between in names:
            words = f"What stands between the {one} and the {other}?"
            asked.append(ask("relation", words, f"the {between}", frame))
        gap = _flat(room.thing(one), room.thing(other))
        if abs(gap * 2 - round(gap * 2)) < 0.3:
            words = f"How far apart are the middles of the {one} and the {other}, along the floor?"
            asked.append(ask("distance", words, _metres(gap), frame))
    return asked


def _over(span: tuple[int, int], box: Box) -> bool:
    """Whether a box stands over the same columns as ``span``, for at least half of the narrower one."""
    shared = min(span[1], box[2]) - max(span[0], box[0])
    return shared > 0.5 * min(span[1] - span[0], box[2] - box[0])


def _between(room: Room, one: str, other: str) -> str | None:
    """The only thing near the middle of the line between two, all others well away from it."""
    a, b = (np.array(room.thing(name).place[:2]) for name in (one, other))
    length, found = float(np.linalg.norm(b - a)), []
    for thing in room.world.things:
        if thing.name in (one, other):
            continue
        along = float((np.array(thing.place[:2]) - a) @ (b - a)) / length
        aside = float(np.linalg.norm(np.array(thing.place[:2]) - a - along / length * (b - a)))
        if 0.2 * length < along < 0.8 * length and aside < ALIGNED:
            found.append(thing.name)
        elif 0 < along < length and aside < 2 * ALIGNED:
            return None
    return found[0] if len(found) == 1 else None


def _sizes(room: Room, names: Sequence[str], frame: int) -> list[Question]:
    asked = []
    for one, other in combinations(names, 2):
        a, b = (2 * room.thing(name).half[2] for name in (one, other))
        if abs(a - b) > 0.15:
            asked.append(
                ask("size", f"Which is taller, the {one} or the {other}?", f"the {one if a > b else other}", frame)
            )
    tall = {name: 2.0 * room.thing(name).half[2] for name in names}
    for words, largest in (("tallest", True), ("lowest", False)):
        name = extreme(tall, margin=0.1, largest=largest)
        if name and len(names) > 2:
            asked.append(ask("size", f"Which thing in view is the {words}?", f"the {name}", frame))
    return asked


def _viewpoints(room: Room, names: Sequence[str], frame: int) -> list[Question]:
    """What another camera, or the figure, would say."""
    asked: list[Question] = []
    for camera in ("left", "right"):
        here = [name for name in names if name in room.seen[frame][camera]]
        at = {name: room.from_camera(name, camera, frame) for name in here}
        for one, other in permutations(here, 2):
            if abs(at[one][0] - at[other][0]) > CLEAR:
                side = "right" if at[one][0] > at[other][0] else "left"
                words = f"Seen from the {camera} camera, is the {one} left or right of the {other}?"
                asked.append(ask("viewpoint", words, side, frame, SIDES))
    figure = room.world.things[0]
    if figure.name not in names:
        return asked
    for name in names:
        way, turn = way_for(figure, room.thing(name).place)
        clear = min(abs(abs(turn) - edge) for edge in (45, 135)) > 12
        if name != figure.name and clear and _flat(figure, room.thing(name)) > 0.5:
            words = f"For the {figure.name}, which way is the {name}?"
            asked.append(ask("viewpoint", words, way, frame, FOUR))
            about = round(abs(turn) / 30) * 30
            turning = f"turn {'left' if turn > 0 else 'right'} by about {about} degrees, then " if about else ""
            words = f"How does the {figure.name} get to the {name}?"
            asked.append(
                ask("plan", words, sentence(f"{turning}walk {_metres(_flat(figure, room.thing(name)))}"), frame)
            )
    return asked


def _single(room: Room, names: Sequence[str], frame: int) -> list[Question]:
    asked, size = [], room.moments[frame].frames["main"].shape[:2]
    for name in names:
        box = box_words(room.seen[frame]["main"][name], (size[0], size[1]))
        asked.append(ask("box", f"Where is the {name}?", box, frame))
        asked.append(ask("describe", f"Describe the {name}.", sentence(describe(room, name, frame)), frame))
        far = float(np.linalg.norm(room.from_camera(name, "main", frame)))
        if abs(2 * far - round(2 * far)) < 0.3:
            words = f"How far is the {name} from the camera?"
            asked.append(ask("distance", words, _metres(far), frame))
        if sum(thing.noun == room.thing(name).noun for thing in room.world.things) == 1:
            thing = room.thing(name)
            asked.append(ask("describe", f"What colour is the {thing.noun}?", thing.colour, frame, COLOURS))
    return asked


def _counts(room: Room) -> list[Question]:
    """How many of a kind, or of a colour, where all of them are seen at once."""
    asked = []
    for frame, seen in enumerate(room.seen):
        if len(seen["main"]) < len(room.world.things):
            continue
        for noun in sorted({thing.noun for thing in room.world.things} - {"figure"}):
            count = sum(thing.noun == noun for thing in room.world.things)
            plural = {"box": "boxes", "shelf": "shelves"}.get(noun, f"{noun}s")
            asked.append(ask("count", f"How many {plural} are there?", NUMBERS[count], frame, NUMBERS[:8]))
        for colour in COLOURS:
            count = sum(thing.colour == colour for thing in room.world.things)
            if count == 0:
                continue
            words = f"How many things are {colour}?"
            asked.append(ask("count", words, NUMBERS[count], frame, NUMBERS[:8]))
        break
    return asked


def _hidden(room: Room) -> list[Question]:
    """Which camera does not see a thing that another one sees; which thing a camera misses."""
    asked, pixels = [], _pixels(room.moments[0], room.world.names)
    for name in room.world.names:
        none = [camera for camera in SPEC.cameras if pixels[camera][name] == 0]
        well = [camera for camera in SPEC.cameras if name in room.seen[0][camera]]
        if len(none) == 1 and len(well) == 2:
            asked.append(ask("visibility", f"Which camera cannot see the {name}?", none[0], 0, SPEC.cameras))
        if len(well) == 1 and len(none) == 2:
            asked.append(ask("visibility", f"Which camera alone sees the {name}?", well[0], 0, SPEC.cameras))
    for camera in SPEC.cameras:
        missed = [name for name in room.world.names if pixels[camera][name] == 0]
        if len(missed) == 1 and any(missed[0] in room.seen[0][other] for other in SPEC.cameras):
            asked.append(ask("visibility", f"What can the {camera} camera not see?", f"the {missed[0]}", 0))
    return asked


def _pixels(moment: Moment, names: Sequence[str]) -> dict[str, dict[str, int]]:
    assert moment.segmentation is not None
    counts = {c: np.bincount(m.ravel(), minlength=len(names) + 1) for c, m in moment.segmentation.items()}
    return {camera: {name: int(c[1 + i]) for i, name in enumerate(names)} for camera, c in counts.items()}


def _through_time(room: Room) -> list[Question]:
    """How the camera moves; when things come into view and go."""
    asked, last = [], len(room.moments) - 1
    first, end = (np.array(room.calibrations[k]["camera_to_world"]) for k in (0, last))
    right, _, ahead = first[:3, :3].T @ (end[:3, 3] - first[:3, 3])
    ways = {"left": -right, "right": right, "forward": ahead, "backward": -ahead}
    way = extreme(ways, margin=0.2)
    if way and ways[way] > 0.3:
        asked.append(ask("trajectory", "Which way does the camera go?", way, (0, last), tuple(ways)))
    arrivals = appearances(room)
    for seconds, name in arrivals:
        asked.append(ask("when", f"When does the {name} come into view?", clock(seconds), (0, last)))
    if len(arrivals) == 1 or (len(arrivals) > 1 and arrivals[1][0] > arrivals[0][0]):
        asked.append(ask("next", "What comes into view next?", f"the {arrivals[0][1]}", 0))
    return asked


def appearances(room: Room) -> list[tuple[float, str]]:
    """When things first come into the main camera's view that it did not see at first: seconds, name."""
    assert all(moment.segmentation is not None for moment in room.moments)
    found = []
    never = {name for name, count in _pixels(room.moments[0], room.world.names)["main"].items() if count == 0}
    for frame, seen in enumerate(room.seen):
        for name in sorted(never & set(seen["main"])):
            never.discard(name)
            found.append((frame / SPEC.fps, name))
    return found


def _sense(room: Room, rng: np.random.Generator) -> list[Question]:
    """What things are for, what cannot be, and the whole in words."""
    asked, names = [], list(room.seen[0]["main"])
    seats = [name for name in names if room.thing(name).noun in SEATS]
    others = [name for name in names if room.thing(name).noun in ("lamp", "plant", "ball", "vase", "bin", "shelf")]
    if seats and len(others) > 1:
        offered = [*others[:3], seats[int(rng.integers(len(seats)))]]
        offered = [offered[i] for i in rng.permutation(len(offered))]
        words = f"On which of these would one sit: {'; '.join(offered)}?"
        asked.append(ask("common sense", words, next(n for n in offered if n in seats), 0, offered))
    hanging = [thing.name for thing in room.world.things if hangs(thing)]
    if set(hanging) <= set(names) and (hanging or rng.random() < 0.2):
        answer = f"the {hanging[0]}" if hanging else NOTHING_WRONG
        asked.append(ask("plausibility", "What hangs in the air with nothing to hold it?", answer, 0))
    if len(names) > 2:
        asked.append(ask("report", "What is in the room?", sentence(listed(names)), 0))
        left = sorted(names, key=lambda name: room.seen[0]["main"][name][0])
        asked.append(ask("caption", "Name the things in view, from left to right.", sentence(listed(left)), 0))
    return asked


def look(world: Spatial, moment: Moment) -> dict[str, dict[str, Box]]:
    """The boxes of every camera at one moment."""
    assert moment.segmentation is not None
    return {camera: boxes(marks, world.names) for camera, marks in moment.segmentation.items()}
