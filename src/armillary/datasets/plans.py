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


def plans_of(episode: Episode, *, most: int = MOST) -> list[Question]:
    """At most ``most`` questions about what is left, spread over the episode.

    Up to ``MOST`` each is of another number of steps left; more of them are of any frames that leave no doubt. Empty
    where no expert carried its instruction out. Which frames are asked follows from the seed; the answer from the
    states alone.
    """
    if most > MOST:
        return _anywhere(episode, most)
    by_count: dict[int, list[tuple[int, Steps]]] = {}
    for frame, left in enumerate(steps_left(episode)):
        if left is not None:
            by_count.setdefault(len(left), []).append((frame, left))
    counts = sorted(by_count)
    turns = {(episode.seed + turn * len(counts) // most) % len(counts) for turn in range(most)} if counts else set()
    chosen = []
    for count in (counts[turn] for turn in sorted(turns)):
        fitting = by_count[count]
        chosen.append(fitting[episode.seed // len(counts) % len(fitting)])
    return [_question(episode, frame, left) for frame, left in chosen]


def _anywhere(episode: Episode, most: int) -> list[Question]:
    told = [(frame, left) for frame, left in enumerate(steps_left(episode)) if left is not None]
    chosen = np.random.default_rng(episode.seed).permutation(len(told))[:most]
    return [_question(episode, *told[i]) for i in sorted(chosen.tolist())]


def _question(episode: Episode, frame: int, left: Steps) -> Question:
    words = ASK.format(instruction=episode.instruction)
    return Question(task="plan", words=words, answer=said(left), frames=(frame,))


def said(steps: Steps) -> str:
    """The steps as one sentence, commas between them: "Lower the gripper, close the gripper, lift it." """
    return ", ".join(steps).capitalize() + "." if steps else NOTHING


def whole_plan(task: Task) -> Steps:
    """All steps from an open gripper somewhere above the table to the deed. What is left later is an end of them."""
    over, place = f"move above the {task.target}", f"{task.place} tray" if task.kind == "put" else task.place
    if task.kind == "touch":
        return ("close the gripper", over, "lower the gripper")
    if task.kind == "push":
        beside = f"move to the {'right' if task.place == 'left' else 'left'} of the {task.target}"
        return ("close the gripper", beside, "lower the gripper", f"push it to the {task.place}")
    lifted = (over, "lower the gripper", "close the gripper", "lift it")
    return lifted if task.kind == "lift" else (*lifted, f"move above the {place}", "lower it", "open the gripper")


def task_of(episode: Episode) -> Task:
    """What the instruction of a tabletop episode asks for."""
    return parse(episode.instruction, _names(episode))


def _names(episode: Episode) -> list[str]:
    return [one["name"] for one in episode.recipe["parameters"]["objects"]]


def steps_left(episode: Episode) -> list[Steps | None]:
    """For each frame the steps that are still to be done; None where that is in doubt, everywhere if no expert did."""
    length = len(episode.actions) + 1
    told = episode.recipe
    if episode.world != "tabletop" or told.get("controller") != "expert" or not episode.success:
        return [None] * length
    task, names, start = task_of(episode), _names(episode), episode.states["objects"][0]
    counts = [
        _left(task, {name: values[frame] for name, values in episode.states.items()}, names, start)
        for frame in range(length)
    ]
    whole = whole_plan(task)
    return [None if count is None or not _steady(counts, frame) else whole[len(whole) - count :]
            for frame, count in enumerate(counts)]  # fmt: skip


def _steady(counts: list[int | None], frame: int) -> bool:
    """Whether no frame before has fewer steps left than this one, and none after has more."""
    here = counts[frame] or 0
    before = [count for count in counts[:frame] if count is not None]
    after = [count for count in counts[frame:] if count is not None]
    return min(before, default=here) >= here >= max(after)


def _left(task: Task, state: State, names: list[str], start: NDArray[Any]) -> int | None:
    """How many steps are left of the whole plan; None where that is in doubt."""
    number = names.index(task.target)
    thing, finished = state["objects"][number], done(task, state, names, start)
    if task.kind == "touch":
        above_top = state["tip"] - thing - (0, 0, state["halves"][number])
        return 0 if finished else _closing(state, _reaching(above_top, low=0.02), of=3)
    if task.kind == "push":
        sign = -1 if task.place == "left" else 1
        return None if finished else _closing(state, _pushing(state["tip"] - thing, sign), of=4)
    if finished:
        return 0 if task.kind != "lift" or thing[2] > 0.115 else None
    if state["held"][number]:
        return _carrying(task, state, names)
    reach = _reaching(state["tip"] - thing, low=0.018)
    if reach is None or float(state["openness"][0]) < 0.8:
        return None
    return reach + len(whole_plan(task)) - 2


def _reaching(off: NDArray[Any], *, low: float) -> int | None:
    """2 where a gripper ``off`` x y z from where it is to be must move and be lowered, 1 if it is above, 0 there."""
    away = float(np.hypot(*off[:2]))
    if away > AWAY:
        return 2
    if away > AT or low < off[2] < low + 0.012:
        return None
    return int(off[2] >= low)


def _pushing(off: NDArray[Any], sign: int) -> int | None:
    """Steps left of a push, the gripper being ``off`` x y z from the thing; ``sign`` 1 pushes to the right."""
    behind = -sign * off[0]
    if off[2] < 0.018 and abs(off[1]) < AT and 0.03 < behind < BEHIND + AT:
        return 1
    away = float(np.hypot(behind - BEHIND, off[1]))
    if off[2] < 0.03 or AT < away < AWAY:
        return None
    return 3 if away >= AWAY else 2


def _carrying(task: Task, state: State, names: list[str]) -> int | None:
    """Steps left when the thing is held."""
    height, thing = state["tip"][2], state["objects"][names.index(task.target)]
    if task.kind == "lift":
        return 1 if height < 0.075 else None
    if task.kind == "put":
        goal, low = np.array([TRAYS[task.place], TRAY_ROW]), 0.032
    else:
        below = state["objects"][names.index(task.place)]
        goal, low = below[:2], float(below[2]) + 0.058
    away = float(np.hypot(*(thing[:2] - goal)))
    if away > AWAY:
        return 4 if height < 0.1 else 3 if height > 0.12 else None
    if away > AT or low + 0.02 < height < low + 0.035:
        return None
    return 2 if height >= low + 0.035 else 1


def _closing(state: State, count: int | None, *, of: int) -> int | None:
    """Steps left of what is done with a closed gripper: an open one must be closed first of all."""
    openness = float(state["openness"][0])
    if count is None or 0.2 < openness < 0.8:
        return None
    if openness <= 0.2:
        return count
    return of if count == of - 1 else None
