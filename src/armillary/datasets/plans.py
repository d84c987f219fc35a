"""What is left to do at the table: a plan in steps for a frame of an expert's episode, worked out from its states.

    in    an expert's successful tabletop episode: its instruction and the recorded states (metres)
    out   ``plans_of``: at most four questions "… What is left to do, step by step?", each with its frame

The words alone do not answer it: the further the arm has come, the fewer steps are left ("Nothing." in the end), so
one has to look. A frame is asked about only where the states leave no doubt which step is next (a gripper two
centimetres short of being above a thing is in doubt), and only where the arm does not fall back: no frame before
it has fewer steps left, and none after it more. What has been pushed is never asked about: one picture does not tell
how far a thing has come.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.records import Episode, Question
from armillary.worlds.tabletop_tasks import TRAY_ROW, TRAYS, Task, done, parse

ASK, NOTHING = "{instruction} What is left to do, step by step?", "Nothing."
MOST = 4  # questions of one episode
AT, AWAY = 0.015, 0.03  # metres aside within which the gripper is above a place, beyond which it is not
BEHIND = 0.062  # metres beside a thing from where it is pushed
State = Mapping[str, NDArray[Any]]
Steps = tuple[str, ...]


def plans_of(episode: Episode) -> list[Question]:
    """At most ``MOST`` questions about what is left, one for a number of steps left, spread over the episode.

    Empty where no expert carried its instruction out. Which numbers and frames are asked follows from the seed; the
    answer from the states alone.
    """
    by_count: dict[int, list[tuple[int, Steps]]] = {}
    for frame, left in enumerate(steps_left(episode)):
        if left is not None:
            by_count.setdefault(len(left), []).append((frame, left))
    counts = sorted(by_count)
    turns = {(episode.seed + turn * len(counts) // MOST) % len(counts) for turn in range(MOST)} if counts else set()
    chosen = []
    for count in (counts[turn] for turn in sorted(turns)):
        fitting = by_count[count]
        chosen.append(fitting[episode.seed // len(counts) % len(fitting)])
    words = ASK.format(instruction=episode.instruction)
    return [Question(task="plan", words=words, answer=said(left), frames=(frame,)) for frame, left in chosen]


def said(steps: Steps) -> str:
    """The steps as one sentence, commas between them: "Lower the gripper, close the gripper, lift it." """
    return ", ".join(steps).capitalize() + "." if steps else NOTHING


def steps_left(episode: Episode) -> list[Steps | None]:
    """For each frame the steps that are still to be done; None where that is in doubt, everywhere if no expert did."""
    length = len(episode.actions) + 1
    told = episode.recipe
    if episode.world != "tabletop" or told.get("controller") != "expert" or not episode.success:
        return [None] * length
    names = [one["name"] for one in told["parameters"]["objects"]]
    task, start = parse(episode.instruction, names), episode.states["objects"][0]
    found = [
        _left(task, {name: values[frame] for name, values in episode.states.items()}, names, start)
        for frame in range(length)
    ]
    return [left if left is not None and _steady(found, frame) else None for frame, left in enumerate(found)]


def _steady(found: list[Steps | None], frame: int) -> bool:
    """Whether no frame before has fewer steps left than this one, and none after has more."""
    here = len(found[frame] or ())
    before = [len(left) for left in found[:frame] if left is not None]
    after = [len(left) for left in found[frame:] if left is not None]
    return min(before, default=here) >= here >= max(after)


def _left(task: Task, state: State, names: list[str], start: NDArray[Any]) -> Steps | None:
    number = names.index(task.target)
    thing, over = state["objects"][number], f"move above the {task.target}"
    finished = done(task, state, names, start)
    if task.kind == "touch":
        place = thing + (0, 0, state["halves"][number])
        return () if finished else _closed(state, _reach(state["tip"] - place, over, "lower the gripper", low=0.02))
    if task.kind == "push":
        side, sign = ("right", -1) if task.place == "left" else ("left", 1)
        beside = (f"move to the {side} of the {task.target}", "lower the gripper", f"push it to the {task.place}")
        return None if finished else _closed(state, _pushing(state["tip"] - thing, sign, beside))
    if finished:
        return () if task.kind != "lift" or thing[2] > 0.115 else None
    if state["held"][number]:
        return _carrying(task, state, names)
    return _opened(state, _reach(state["tip"] - thing, over, "lower the gripper", "close the gripper", low=0.018), task)


def _reach(off: NDArray[Any], over: str, *down: str, low: float) -> Steps | None:
    """What is left until the gripper, ``off`` x y z from where it is to be, is there, and what is done there."""
    away = float(np.hypot(*off[:2]))
    if away > AWAY:
        return (over, *down)
    if away > AT or low < off[2] < low + 0.012:
        return None
    return down if off[2] >= low else down[1:]


def _pushing(off: NDArray[Any], sign: int, steps: Steps) -> Steps | None:
    """What is left of a push, the gripper being ``off`` x y z from the thing; ``sign`` 1 pushes to the right."""
    behind = -sign * off[0]
    if off[2] < 0.018 and abs(off[1]) < AT and 0.03 < behind < BEHIND + AT:
        return steps[2:]
    away = float(np.hypot(behind - BEHIND, off[1]))
    if off[2] < 0.03 or AT < away < AWAY:
        return None
    return steps if away >= AWAY else steps[1:]


def _carrying(task: Task, state: State, names: list[str]) -> Steps | None:
    """What is left when the thing is held."""
    height, thing = state["tip"][2], state["objects"][names.index(task.target)]
    if task.kind == "lift":
        return _after_grip(task) if height < 0.075 else None
    if task.kind == "put":
        goal, low = np.array([TRAYS[task.place], TRAY_ROW]), 0.032
    else:
        below = state["objects"][names.index(task.place)]
        goal, low = below[:2], float(below[2]) + 0.058
    steps = _after_grip(task)
    away = float(np.hypot(*(thing[:2] - goal)))
    if away > AWAY:
        return steps if height < 0.1 else steps[1:] if height > 0.12 else None
    if away > AT or low + 0.02 < height < low + 0.035:
        return None
    return steps[2:] if height >= low + 0.035 else steps[3:]


def _closed(state: State, steps: Steps | None) -> Steps | None:
    """Those steps with a closed gripper, which has to be closed first where it is open."""
    openness = float(state["openness"][0])
    if steps is None or 0.2 < openness < 0.8:
        return None
    return ("close the gripper", *steps) if openness >= 0.8 else steps


def _opened(state: State, steps: Steps | None, task: Task) -> Steps | None:
    """Those steps up to a firm grip, made with an open gripper, and all that follows it."""
    if steps is None or float(state["openness"][0]) < 0.8:
        return None
    return (*steps, *_after_grip(task))


def _after_grip(task: Task) -> Steps:
    """What follows once the thing is held."""
    if task.kind == "lift":
        return ("lift it",)
    place = f"{task.place} tray" if task.kind == "put" else task.place
    return ("lift it", f"move above the {place}", "lower it", "open the gripper")
