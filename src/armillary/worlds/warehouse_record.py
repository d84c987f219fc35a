"""A shift in the warehouse as an ``Episode``, with true words about it.

    in    a seed and who drives the robot
    out   ``Episode``: two cameras, actions, states, events, captions, questions, boxes, and its recipe

Words are about the fixed camera's picture and name only who is seen in it. Near-misses and collisions are read off
the states, where they are computed from places and speeds alone.
"""

import math
from collections.abc import Sequence

import numpy as np

from armillary.records import Array, Episode, Moment, Question
from armillary.worlds import questions as q
from armillary.worlds.driving_traffic import gap_between
from armillary.worlds.driving_words import spans
from armillary.worlds.labels import Box, box_words, boxes, boxes_in
from armillary.worlds.record import LEAST_STEPS, live
from armillary.worlds.stacked import stacked
from armillary.worlds.warehouse import PUDDLE_LABEL, ROBOT_LABEL, SPEC, Warehouse
from armillary.worlds.warehouse_drivers import driver
from armillary.worlds.warehouse_scene import INCIDENTS, SIZES, STEP

SIDES, WET, PEOPLE = ("left", "right"), ("yes", "no"), q.NUMBERS[:4]
Event = tuple[float, float, str]


def record_warehouse(
    seed: int, kind: str = "expert", *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
    extras: tuple[str, ...] = ("depth", "segmentation", "sound"), max_steps: int = SPEC.max_steps,
    incident: str | None = None,
) -> Episode:  # fmt: skip
    """One shift. ``incident`` (of ``INCIDENTS``) where the seed shall not draw it; size: height, width in pixels.

    Raises ``RequestError`` for an unknown driver or incident.
    """
    world = Warehouse(size=size, views=views, extras=tuple({*extras, "segmentation"}), incident=incident)
    policy = driver(world, kind, seed=seed)
    try:
        lived = list(live(world, policy, seed, max_steps=max_steps, least_steps=4 * LEAST_STEPS))
        moments = [moment for moment, _ in lived]
        seen = [boxes_in("hall", moment.segmentation, world.names) for moment in moments]
        happened = events(world, moments)
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
            **stacked(moments, [action for _, action in lived[1:]], extras),
            captions=captions(world, seen[0], happened, len(moments), size),
            questions=questions(world, moments, seen, happened) if "hall" in views else (), events=happened,
            boxes=seen if views else None, cameras=world.calibrations() if views else None,
            success=any(moment.success for moment in moments),
            recipe={"world": SPEC.name, "seed": seed, "controller": kind, "size": list(size), "incident": incident,
                    "parameters": world.parameters},
        )  # fmt: skip
    finally:
        world.close()


def events(world: Warehouse, moments: Sequence[Moment]) -> list[Event]:
    """(from, to, words) in seconds."""
    end = (len(moments) - 1) * STEP
    miss = np.array([m.state["near_miss"][0] > 0 for m in moments])
    hit = np.array([m.state["collision"][0] > 0 for m in moments])
    found = [(a, b, "a near-miss") for a, b in spans(miss)] + [(a, b, "a collision") for a, b in spans(hit)]
    happens = world.hall.happens
    if happens < end:
        words = "a box falls from a shelf" if world.hall.falling else "a barrel tips over and leaks"
        found.append((happens, min(end, happens + (0.6 if world.hall.falling else 3.0)), words))
    done = [k for k, moment in enumerate(moments) if moment.success]
    if done:
        found.append((done[0] * STEP, done[0] * STEP, "the robot reaches its goal"))
    return sorted((round(float(a), 2), round(float(b), 2), words) for a, b, words in found)


def captions(
    world: Warehouse, seen: dict[str, Box], happened: Sequence[Event], frames: int, size: tuple[int, int]
) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` (cosmos3.md 9.4) and ``report`` (JSON)."""
    hall = world.hall
    movers = [mover.name for mover in hall.movers if mover.name in seen]
    kinds = [box.kind for box in hall.floor if box.name in seen and box.kind != "blocker"]
    things = [f"{kinds.count(kind)} {kind}{'s' if kinds.count(kind) > 1 else ''}" for kind in sorted(set(kinds))]
    scene = (f"A warehouse with four shelves, from left to right {', '.join(hall.colours[:3])} and {hall.colours[3]}. "
             f"There {'is' if len(movers) < 2 else 'are'} {q.listed(movers)}.")  # fmt: skip
    if things:
        scene += f" At the front: {', '.join(things)}."
    if hall.blocked is not None:
        scene += f" Boxes block the {hall.aisle(hall.blocked)}."
    short = "A white robot drives through the warehouse."
    if any(words == "the robot reaches its goal" for _, _, words in happened):
        short = world.instruction.replace("Drive", "A white robot drives")
    story = " ".join(q.sentence(words) for _, _, words in happened if not words.startswith("the robot"))
    subjects = [{"description": name} for name in [*movers, "white robot"]]
    insights = {"near-miss": "Slow down where the aisle meets the main way.", "spill": "Close off and mop the spill.",
                "collision": "Stop, help, and report the collision.", "blocked aisle": "Clear the blocked aisle.",
                "dropped box": "Pick the fallen box up."}  # fmt: skip
    structured = q.structured(scene=scene, story=story or short, subjects=subjects, actions=happened,
                              camera="does not move", size=size, frames=frames, fps=SPEC.fps)  # fmt: skip
    advice = [insights[name] for name in shown(world, happened) if name in insights]
    return {"scene": scene, "short": short, "dense": f"{scene} {short} {story}".strip(), "structured": structured,
            "report": q.report(f"{scene} {short}", happened, advice)}  # fmt: skip


def shown(world: Warehouse, happened: Sequence[Event]) -> list[str]:
    """Which of ``INCIDENTS`` are in this episode, by what happened and stands there; ``calm`` if none."""
    words = {said for _, _, said in happened}
    signs = {"near-miss": "a near-miss", "collision": "a collision", "spill": "a barrel tips over and leaks",
             "dropped box": "a box falls from a shelf"}  # fmt: skip
    found = [name for name, sign in signs.items() if sign in words]
    found += ["blocked aisle"] if world.hall.blocked is not None else []
    return found or ["calm"]


def questions(
    world: Warehouse, moments: Sequence[Moment], seen: Sequence[dict[str, Box]], happened: Sequence[Event]
) -> list[Question]:
    """About three frames of the fixed camera, and about the whole."""
    asked = q.of_frames(len(moments) - 1, 2, lambda k: _of_frame(world, moments[k], seen[k], k))
    told = [a for a in asked if a.choices in (SIDES, WET, PEOPLE)]  # only where a life has more than one answer
    kept = q.contrasted(told, ("relation", "describe", "count"), world.names)
    asked = [a for a in asked if a not in told] + kept
    asked = q.fair(asked, np.random.default_rng([len(moments), 79]), names=world.names)
    everything, incidents = tuple(range(len(moments))), shown(world, happened)
    if len(incidents) == 1:
        asked.append(q.ask("describe", "What is out of the ordinary?", incidents[0], everything, INCIDENTS))
    for begin, _, words in happened:
        if [said for _, _, said in happened].count(words) == 1:
            asked.append(q.ask("when", f"When does this begin: {words}?", q.clock(begin), everything))
    if world.hall.blocked is not None:
        asked.append(q.ask("common sense", "Which aisle can nobody drive through?",
                           f"the {world.hall.aisle(world.hall.blocked)}", 0))  # fmt: skip
    start, end = moments[0].state["robot"][:2], moments[-1].state["robot"][:2]
    if abs(end[0] - start[0]) > 1.0:
        way = "to the right" if end[0] > start[0] else "to the left"
        asked.append(q.ask("trajectory", "Which way does the white robot go, all in all?", way, everything,
                           ("to the left", "to the right")))  # fmt: skip
    return asked


def _of_frame(world: Warehouse, moment: Moment, seen: dict[str, Box], frame: int) -> list[Question]:
    marks = moment.segmentation
    if not marks or "hall" not in marks:
        return []
    picture, movers = marks["hall"], world.hall.movers
    size = (picture.shape[0], picture.shape[1])
    named = [mover.name for mover in movers if mover.name in seen]
    asked = [q.ask("box", f"Where is the {name}?", box_words(seen[name], size), frame) for name in named]
    glimpsed = {world.names[k - 1] for k in np.unique(picture) if 0 < k <= len(world.names)}
    workers = [name for name in named if name.startswith("worker")]
    if all(name in seen for name in glimpsed if name.startswith("worker")):
        asked.append(q.ask("count", "How many people can be seen?", q.NUMBERS[len(workers)], frame, PEOPLE))
    places: dict[str, Array] = {mover.name: moment.state["movers"][k][:3] for k, mover in enumerate(movers)}
    robot = boxes((picture == ROBOT_LABEL).astype(np.int32), ["robot"]).get("robot")
    if robot is not None:
        asked += _beside_robot(world, moment, (robot, seen, places), frame)
    for name in named:
        column = float(places[name][0])
        shelf = int(np.argmin([abs(column - x) for x in (-6.6, -2.2, 2.2, 6.6)]))
        if abs(column - (-6.6, -2.2, 2.2, 6.6)[shelf]) < 1.3 and name in workers:
            words = f"Which shelf is the {name} nearest to, from left to right?"
            asked.append(q.ask("relation", words, f"the {world.hall.colours[shelf]} one", frame, tuple(
                f"the {c} one" for c in world.hall.colours)))  # fmt: skip
    wet, dry = int((picture == PUDDLE_LABEL).sum()) > 40, moment.state["puddle"][0] == 0
    if world.hall.incident == "spill" and (wet or dry):
        asked.append(q.ask("describe", "Is there a puddle on the floor?", "yes" if wet else "no", frame, WET))
    return asked


def _beside_robot(
    world: Warehouse, moment: Moment, what: tuple[Box, dict[str, Box], dict[str, Array]], frame: int
) -> list[Question]:
    """Who is nearest to the white robot (outline to outline), left or right of it (in the picture), how far away."""
    robot, seen, places = what
    mine, asked = moment.state["robot"], []
    gaps = {mover.name: gap_between(mine, SIZES["robot"][:2], places[mover.name], mover.size)
            for mover in world.hall.movers if mover.name in seen}  # fmt: skip
    near = q.extreme(gaps, margin=0.6, largest=False)
    if near and len(gaps) > 1:
        asked.append(q.ask("distance", "Who is nearest to the white robot?", f"the {near}", frame))
    for name in gaps:
        box = seen[name]
        right = (box[0] + box[2] - robot[0] - robot[2]) / 2
        if abs(right) > (box[2] - box[0] + robot[2] - robot[0]) / 2:
            told = "right" if right > 0 else "left"
            words = f"Is the {name} to the left or to the right of the white robot?"
            asked.append(q.ask("relation", words, told, frame, SIDES))
        metres = math.dist(places[name][:2], mine[:2])
        if abs(metres - round(metres)) < 0.3 and 1 <= metres < 9:
            words = f"How many metres are there between the middles of the {name} and the white robot?"
            asked.append(q.ask("distance", words, q.NUMBERS[round(metres)], frame))
    return asked
