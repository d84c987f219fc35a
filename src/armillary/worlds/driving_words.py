"""True words about a drive: events, captions, questions and a report, made from the states and from what is seen.

    in    ``Drive``: the world's facts and its moments, one after the other
    out   timed events, captions in four styles, ``Question``s whose answers hold

Only who the front camera sees is asked about (``labels.least_pixels``), and only where the answer is clear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from armillary.records import Moment, Question
from armillary.worlds import questions as q
from armillary.worlds.driving import SIGNAL_LABEL, Driving
from armillary.worlds.driving_traffic import PERSON, SIZES, STEP
from armillary.worlds.labels import Box, box_words, boxes

Event = tuple[float, float, str]
BESIDE = 15.0  # metres within which what the picture's edge cuts may be nearer than what is seen of it
TOWARDS = ("left", "right", "in front", "behind")
SPEEDS = ("speeds up", "slows down", "keeps its speed", "stands still")
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """A lived drive: its world, its moments, and who was seen in each (front camera)."""

    world: Driving
    moments: Sequence[Moment]

    @property
    def speeds(self) -> Array:
        return np.array([m.state["ego"][3] for m in self.moments])

    def seen(self, frame: int) -> dict[str, Box]:
        marks = self.moments[frame].segmentation
        return boxes(marks["front"], self.world.names) if marks and "front" in marks else {}

    def place(self, name: str, frame: int) -> Array:
        """x, y, heading of somebody."""
        number, state = self.world.names.index(name), self.moments[frame].state
        cars = len(state["vehicles"])
        found: Array = (state["vehicles"][number] if number < cars else state["people"][number - cars])[:3]
        return found

    def ahead(self, name: str, frame: int) -> Array:
        """Where somebody's middle is, seen from the front camera: metres to the right and ahead."""
        camera, place = self.moments[frame].state["camera"], self.place(name, frame)
        way = camera[:3, :3].T @ (np.array([place[0], place[1], 0.8]) - camera[:3, 3])
        return np.array([way[0], way[2]])

    def metres(self, name: str, frame: int) -> float:
        """From the front camera to the nearest point of somebody's outline on the ground."""
        traffic, (x, y, yaw) = self.world.scene.traffic, self.place(name, frame)
        number = self.world.names.index(name)
        size = SIZES[traffic.vehicles[number].kind][:2] if number < len(traffic.vehicles) else (PERSON, PERSON)
        east, north = self.moments[frame].state["camera"][:2, 3] - (x, y)
        c, s = abs(np.cos(yaw) * east + np.sin(yaw) * north), abs(np.cos(yaw) * north - np.sin(yaw) * east)
        return float(np.hypot(max(c - size[0] / 2, 0), max(s - size[1] / 2, 0)))


def events(drive: Drive) -> list[Event]:
    """(from, to, words) in seconds, in the order in which they begin."""
    world, found = drive.world, []
    end = (len(drive.moments) - 1) * STEP
    for vehicle in world.scene.traffic.vehicles:
        if vehicle.shift is not None and vehicle.shift[0] < end:
            found.append((vehicle.shift[0], vehicle.shift[0] + vehicle.shift[1], f"the {vehicle.name} cuts in"))
        if vehicle.brake is not None and vehicle.brake[0] < end:
            found.append((vehicle.brake[0], sum(vehicle.brake), f"the {vehicle.name} brakes hard"))
    for walker in world.scene.traffic.walkers:
        inside = [_on_the_road(drive, walker.name, k) for k in range(len(drive.moments))]
        found += [(a, b, f"the {walker.name} crosses the road") for a, b in spans(inside)]
    found += [(a, b, "the car waits") for a, b in spans(drive.speeds < 0.3) if b - a > 0.35]
    signal = np.array([m.state["signal"][0] for m in drive.moments])
    found += [(k * STEP, k * STEP, "the traffic light turns green") for k in np.flatnonzero(np.diff(signal) > 0) + 1]
    if world.failed:
        found.append((end, end, f"the car {world.failed}"))
    done = [k for k, m in enumerate(drive.moments) if m.success]
    if done:
        found.append((done[0] * STEP, done[0] * STEP, "the car reaches its goal"))
    return sorted((round(float(a), 2), round(min(float(b), end), 2), words) for a, b, words in found)


def spans(flags: Sequence[bool] | NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(from, to) in seconds of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, int), [0]])))
    return [(a * STEP, (b - 1) * STEP) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def captions(drive: Drive, happened: Sequence[Event], size: tuple[int, int], kind: str) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` (cosmos3.md 9.4) and ``report`` (JSON)."""
    world, seen = drive.world, list(drive.seen(0))
    sky, streets = world.sky, world.scene.streets
    place = {"straight": "a straight street", "bend": "a street that bends", "crossroads": "a crossroads",
             "t-junction": "a T-junction"}[streets.kind]  # fmt: skip
    weather = {"clear": "a clear sky", "overcast": "an overcast sky", "rain": "rain", "fog": "fog", "snow": "snow"}
    lanes = "one lane" if streets.lanes == 1 else "two lanes"
    hour = {"day": "by day", "dusk": "at dusk", "night": "at night"}[sky.hour]
    scene = (f"A view from a car on {place} with {lanes} each way, {hour}, {weather[sky.weather]}. "
             f"Ahead: {q.listed(seen)}.")  # fmt: skip
    turn = turned(drive)
    short = {"left": "The car turns left.", "right": "The car turns right.", "straight on": "The car drives on."}[turn]
    if world.instruction.startswith("Change") and any(m.success for m in drive.moments):
        short = world.instruction.replace("Change", "The car changes")
    if world.failed:
        short = f"The car {world.failed}."
    story = " ".join(q.sentence(words) for _, _, words in happened if words != "the car reaches its goal")
    dense = f"{scene} {short} {story}".strip()
    tall = {"vehicle": "on the road", "pedestrian": "on foot"}
    subjects = [{"description": name, "location": tall["pedestrian" if name.startswith("pedestrian") else "vehicle"]}
                for name in seen]  # fmt: skip
    structured = q.structured(
        scene=scene, story=story or short, subjects=subjects, actions=happened, camera="moves with the car", size=size,
        frames=len(drive.moments), fps=1 / STEP,
        extra={"lighting": {"conditions": f"{hour}, {weather[sky.weather]}"},
               "background_setting": f"houses and trees along {place}"},
    )  # fmt: skip
    insights = ["Brake earlier and keep more distance."] if world.failed else []
    if kind == "expert" and any("cross" in words for _, _, words in happened):
        insights.append("Expect people to step onto the road here.")
    return {"scene": scene, "short": short, "dense": dense, "structured": structured,
            "report": q.report(f"{scene} {short}", happened, insights)}  # fmt: skip


def turned(drive: Drive) -> str:
    """What the car did at the junction: left, right, or straight on (streets that bend count as straight on)."""
    if drive.world.scene.streets.box == 0:
        return "straight on"
    yaw = np.unwrap([m.state["ego"][2] for m in drive.moments])
    bend = yaw[-1] - yaw[0]
    return "left" if bend > 0.7 else "right" if bend < -0.7 else "straight on"


def went_through(drive: Drive) -> bool:
    """Whether the car came into a junction and out of it again: else it went no way there."""
    box = drive.world.scene.streets.box
    away = [float(np.hypot(*m.state["ego"][:2])) for m in drive.moments]
    return min(away) < box < away[-1]


def questions(drive: Drive, happened: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    """Questions about five frames, and about the whole."""
    last, names = len(drive.moments) - 1, [f"the {name}" for name in drive.world.names]
    asked = q.of_frames(last, 4, lambda frame: _of_frame(drive, frame))
    asked = q.fair(q.contrasted(asked, ("viewpoint", "count"), names), rng, each=2, names=names)
    return asked + _of_film(drive, happened, rng)


def _of_frame(drive: Drive, frame: int) -> list[Question]:
    seen, moment = drive.seen(frame), drive.moments[frame]
    if moment.segmentation is None:
        return []
    marks = moment.segmentation["front"]
    size = (marks.shape[0], marks.shape[1])
    asked = [q.ask("box", f"Where is the {name}?", box_words(box, size), frame) for name, box in seen.items()]
    asked += _places(drive, seen, frame)
    names = drive.world.names
    cars = [name for name in names if not name.startswith("pedestrian")]
    glimpsed = {names[k - 1] for k in np.unique(marks) if 0 < k <= len(names)}
    if all(name in seen for name in glimpsed):
        count = sum(name in seen for name in cars)
        offered = q.NUMBERS[:6]
        if count < 6:
            asked.append(q.ask("count", "How many vehicles can be seen?", q.NUMBERS[count], frame, offered))
    for name in seen:
        kind = name.split()[-1] if name in cars else "pedestrian"
        if sum((n.split()[-1] if n in cars else "pedestrian") == kind for n in glimpsed) == 1:
            colour = name.split()[0] if name in cars else name.split()[-1]
            words = f"What colour is the {kind}?" if name in cars else "What colour does the pedestrian wear?"
            asked.append(q.ask("describe", words, colour, frame))
    signal = moment.state["signal"][0]
    mine = SIGNAL_LABEL + drive.world.scene.arm
    if signal and int((marks == mine).sum()) > 30 and not ((marks >= SIGNAL_LABEL) & (marks != mine)).any():
        answer = "green" if signal > 0 else "red"
        asked.append(q.ask("describe", "What does the traffic light show?", answer, frame, ("red", "green")))
    return asked


def _places(drive: Drive, seen: Mapping[str, Box], frame: int) -> list[Question]:
    """Distance, nearer and farther, left and right, and the view of others."""
    away = {name: drive.metres(name, frame) for name in seen}
    asked = []
    nearest = q.extreme(away, margin=2.0, largest=False)
    if nearest is not None and len(away) > 1:
        asked.append(q.ask("distance", "Who is nearest to the camera?", f"the {nearest}", frame))
    width = drive.moments[frame].frames["front"].shape[1]
    for name, metres in away.items():
        left_end, right_end = seen[name][0], seen[name][2]
        cut = metres < BESIDE and (left_end <= 0 or right_end >= width)  # its nearest point is out of sight
        cut |= any(away[o] < metres and seen[o][0] <= right_end and seen[o][2] >= left_end for o in seen if o != name)
        if metres < 40 and not cut and abs(metres / 5 - round(metres / 5)) < 0.35:
            words = f"How far away is the {name}, to the nearest 5 metres?"
            asked.append(q.ask("distance", words, f"{max(5, 5 * round(metres / 5))} m", frame))
        me, place = drive.moments[frame].state["ego"], drive.place(name, frame)
        way = me[:2] - place[:2]
        front = float(way @ (np.cos(place[2]), np.sin(place[2])))
        left = float(way @ (-np.sin(place[2]), np.cos(place[2])))
        if abs(abs(front) - abs(left)) > 0.4 * max(abs(front), abs(left)):
            told = (
                ("in front" if front > 0 else "behind") if abs(front) > abs(left) else "left" if left > 0 else "right"
            )
            words = f"Seen from the {name}, where is the car with the camera?"
            asked.append(q.ask("viewpoint", words, told, frame, TOWARDS))
    names = list(seen)
    for one, other in pairwise(names):
        a, b = ((seen[name][0] + seen[name][2]) / 2 for name in (one, other))
        if abs(a - b) > (seen[one][2] - seen[one][0] + seen[other][2] - seen[other][0]) / 2:
            words = f"Which is further to the left, the {one} or the {other}?"
            asked.append(q.ask("relation", words, f"the {one if a < b else other}", frame))
    return asked


def _of_film(drive: Drive, happened: Sequence[Event], rng: np.random.Generator) -> list[Question]:
    everything = tuple(range(len(drive.moments)))
    asked = []
    if went_through(drive):
        asked.append(q.ask("trajectory", "Which way does the car go at the junction?", turned(drive), everything,
                           ("left", "right", "straight on")))  # fmt: skip
    for words, begin in _first_seen(drive, happened).items():
        asked.append(q.ask("when", f"When do we first see this: {words}?", q.clock(begin), everything))
    does = [_soon(drive, frame) for frame in range(len(everything) - 10)]
    for told in rng.permutation(sorted(set(does)))[:2].tolist() if len(set(does)) > 1 else ():
        frame = int(rng.choice([k for k, one in enumerate(does) if one == told]))  # two, so that no answer is usual
        asked.append(q.ask("next", "What does the car do in the next second?", told, frame, SPEEDS))
    why = _why(drive)
    if why:
        asked.append(q.ask("common sense", "Why does the car stand still?", why[1], why[0]))
    asked.append(
        q.ask("plan", f"{drive.moments[0].instruction} What does the car do, step by step?", steps(drive), everything)
    )
    return asked


def _first_seen(drive: Drive, happened: Sequence[Event]) -> dict[str, float]:
    """What happens -> the first second in which it does and whoever does it is in sight."""
    found: dict[str, float] = {}
    for begin, end, words in happened:
        if words == "the car waits" and (drive.speeds[: round(begin / STEP)] < 0.3).any():
            continue  # it has stood before, too shortly to be told
        who = [name for name in drive.world.names if f"the {name} " in words]
        frames = range(round(begin / STEP), round(end / STEP) + 1)
        shown = [k for k in frames if words == "the car waits" or (who and who[0] in drive.seen(k))]
        if shown and words not in found:
            found[words] = round(shown[0] * STEP, 2)
    return found


def _soon(drive: Drive, frame: int) -> str:
    before, after = drive.speeds[frame], drive.speeds[frame + 10]
    if max(drive.speeds[frame : frame + 11]) < 0.3:
        return "stands still"
    return "speeds up" if after > before + 0.8 else "slows down" if after < before - 0.8 else "keeps its speed"


def steps(drive: Drive) -> str:
    """The car's way in words: what its speed did, one after the other, and its turn."""
    found: list[str] = []
    yaw = np.unwrap([m.state["ego"][2] for m in drive.moments])
    for frame in range(0, len(drive.moments) - 10, 5):
        does = {"speeds up": "speed up", "slows down": "slow down", "keeps its speed": "drive on",
                "stands still": "wait"}[_soon(drive, frame)]  # fmt: skip
        if does == "drive on" and min(drive.speeds[frame : frame + 11]) < 1:
            continue  # it comes to rest or sets off, as its neighbours say
        if drive.world.scene.streets.box and abs(yaw[frame + 10] - yaw[frame]) > 0.4:
            does = f"turn {'left' if yaw[frame + 10] > yaw[frame] else 'right'}"
        if not found or found[-1] != does:
            found.append(does)
    return ", ".join(found) or "drive on"


def _why(drive: Drive) -> tuple[int, str] | None:
    """(frame, reason) where the car stands and one visible thing explains it."""
    for frame in np.flatnonzero(drive.speeds < 0.2).tolist():
        state, seen = drive.moments[frame].state, drive.seen(frame)
        crossing = [n for n in seen if n.startswith("pedestrian") and _on_the_road(drive, n, frame)
                    and drive.ahead(n, frame)[1] < 16]  # fmt: skip
        before = [n for n in seen if not n.startswith("pedestrian") and 0 < drive.ahead(n, frame)[1] < 9
                  and abs(drive.ahead(n, frame)[0]) < 1.2]  # fmt: skip
        reasons = [f"the {n} is crossing" for n in crossing] + [f"the {n} is in the way" for n in before]
        reasons += ["the traffic light is red"] if state["signal"][0] < 0 else []
        if len(reasons) == 1:
            return frame, reasons[0]
    return None


def _on_the_road(drive: Drive, name: str, frame: int) -> bool:
    """Whether somebody is between the kerbs."""
    streets, place = drive.world.scene.streets, drive.place(name, frame)[:2]
    if streets.box and np.hypot(*place) < streets.half:
        return True
    for arm in streets.arms:
        along, left = arm.nearest(place)
        if 0 < along < arm.length - 0.5 and abs(left) < streets.half - 0.1:
            return True
    return False
