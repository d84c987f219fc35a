"""A life of PushT as an ``Episode``, with true words made from its state.

    in    a seed and a controller's kind
    out   ``Episode``: frames, actions, states, captions in three styles, questions, and the recipe to make it again

Words use the screen's directions. A question is asked only where its answer is clear of the next one: a fifth of a
direction's width on either side of a border is left out. No question has yes or no for an answer.
"""

from collections.abc import Sequence

import numpy as np

from armillary.records import Array, Episode, Moment, Question
from armillary.worlds.pusht import SPEC, PushT, pusht_controller
from armillary.worlds.pusht_planner import GOAL, corners, rotation
from armillary.worlds.record import LEAST_STEPS, live

DIRECTIONS = ("right", "lower right", "below", "lower left", "left", "upper left", "above", "upper right")
POINTING = ("right", "lower right", "down", "lower left", "left", "upper left", "up", "upper right")
TURNS = ("clockwise", "anticlockwise", "not at all")
PLACES = tuple(
    f"{row} {column}".strip() for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")
)


def record_pusht(
    seed: int, kind: str = "expert", *, size: int = SPEC.size[0], max_steps: int = SPEC.max_steps
) -> Episode:
    """One PushT episode. ``size``: picture side in pixels. ``ConfigError`` for an unknown controller."""
    policy = pusht_controller(kind, seed)
    with PushT(size) as world:
        lived = list(live(world, policy, seed, max_steps=max_steps, least_steps=LEAST_STEPS))
    moments = [moment for moment, _ in lived]
    done = [i for i, moment in enumerate(moments) if moment.success]
    asked = [
        q for number in sorted({0, len(moments) // 2, len(moments) - 1}) for q in questions(moments[number], number)
    ]
    return Episode(
        world=SPEC.name,
        seed=seed,
        fps=SPEC.fps,
        embodiment=SPEC.embodiment,
        frames={camera: np.stack([m.frames[camera] for m in moments]) for camera in moments[0].frames},
        actions=np.stack([action for _, action in lived[1:]]).astype(np.float32),
        states={name: np.stack([m.state[name] for m in moments]) for name in moments[0].state},
        instruction=moments[0].instruction,
        captions=captions(moments),
        questions=asked,
        events=[(done[0] / SPEC.fps, done[0] / SPEC.fps, "success")] if done else [],
        success=bool(done),
        recipe={"world": SPEC.name, "seed": seed, "controller": kind, "size": size, "max_steps": max_steps},
    )


def captions(moments: Sequence[Moment]) -> dict[str, str]:
    """``scene`` says what the first frame shows, ``short`` what is done, ``dense`` both and how it ends."""
    first, last = moments[0], moments[-1]
    scene = (
        f"A white board seen from above. A grey T lies {_at(_middle(first))}, its stem pointing "
        f"{_nearest(_stem(first), POINTING)}; its green target lies in the middle. "
        f"A blue disc is {_at(first.state['disc'])}."
    )
    moved = _middle(last) - _middle(first)
    turned = np.degrees(last.state["block"][2] - first.state["block"][2])
    if last.success:
        short = "The blue disc pushes the grey T onto its green target."
    elif np.linalg.norm(moved) < 8 and abs(turned) < 8:
        short = "The blue disc moves and leaves the grey T where it is."
    else:
        short = "The blue disc pushes the grey T about."
    parts = []
    if np.linalg.norm(moved) >= 24:
        parts.append(f"moves {_towards(moved)}")
    if abs(turned) >= 15:
        parts.append(
            f"turns {'clockwise' if turned > 0 else 'anticlockwise'} by about {round(abs(turned) / 10) * 10} degrees"
        )
    how = f" The T {' and '.join(parts)}." if parts else ""
    end = " In the end it covers its target." if last.success else f" In the end the T lies {_at(_middle(last))}."
    return {"scene": scene, "short": short, "dense": f"{scene} {short}{how}{end}"}


def questions(moment: Moment, frame: int) -> list[Question]:
    """Every question with one clear answer in this moment; ``frame`` is the frame's number."""
    asked = []
    middle, disc = _middle(moment), moment.state["disc"]
    if _clear_cell(middle):
        asked.append(_ask("place", "In which part of the picture is the T?", _place(middle), frame, PLACES))
    if _clear_cell(disc):
        asked.append(_ask("disc", "In which part of the picture is the blue disc?", _place(disc), frame, PLACES))
    if _clear(_stem(moment)):
        words = "Which way does the stem of the T point?"
        asked.append(_ask("pointing", words, _nearest(_stem(moment), POINTING), frame, POINTING))
    if np.linalg.norm(disc - middle) > 40 and _clear(disc - middle):
        words = "Seen from the T, where is the blue disc?"
        asked.append(_ask("relation", words, _nearest(disc - middle, DIRECTIONS), frame, DIRECTIONS))
    way = corners(GOAL).mean(0) - middle
    if np.linalg.norm(way) > 40 and _clear(way):
        words = "Which way must the T move to reach its target?"
        asked.append(_ask("way", words, _nearest(way, POINTING), frame, POINTING))
    turn = float((GOAL[2] - moment.state["block"][2] + np.pi) % (2 * np.pi) - np.pi)
    if abs(turn) < np.radians(6) or np.radians(20) < abs(turn) < np.radians(160):
        answer = "not at all" if abs(turn) < np.radians(6) else "clockwise" if turn > 0 else "anticlockwise"
        asked.append(_ask("turn", "How must the T turn to fit its target?", answer, frame, TURNS))
    return asked


def _ask(task: str, words: str, answer: str, frame: int, choices: tuple[str, ...]) -> Question:
    return Question(task=task, words=words, answer=answer, choices=choices, frames=(frame,))


def _middle(moment: Moment) -> Array:
    return np.asarray(corners(moment.state["block"]).mean(0))


def _stem(moment: Moment) -> Array:
    """The direction from the bar to the stem's foot, on the screen."""
    return np.asarray(rotation(moment.state["block"][2]) @ np.array([0.0, 1.0]))


def _nearest(direction: Array, names: tuple[str, ...]) -> str:
    eighth = np.degrees(np.arctan2(direction[1], direction[0])) / 45
    return names[round(eighth) % 8]


def _clear(direction: Array) -> bool:
    """Whether a direction is at least a fifth of an eighth's width away from the border between two eighths."""
    eighth = np.degrees(np.arctan2(direction[1], direction[0])) / 45
    return bool(abs(eighth - round(eighth)) < 0.3)


def _place(point: Array) -> str:
    column, row = np.clip(np.asarray(point) / (512 / 3), 0, 2.999).astype(int)
    return PLACES[3 * row + column]


def _clear_cell(point: Array) -> bool:
    """Whether a point is at least 17 pixels of the board away from the lines between the nine parts."""
    return bool((np.abs(np.asarray(point)[:, None] - [512 / 3, 1024 / 3]) > 17).all())


def _at(point: Array) -> str:
    place = _place(point)
    return "in the middle" if place == "middle centre" else f"at the {place}"


def _towards(direction: Array) -> str:
    name = _nearest(direction, POINTING)
    return name if name in ("up", "down") else f"to the {name}"
