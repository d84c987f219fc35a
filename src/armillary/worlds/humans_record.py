"""A scene with people as an ``Episode``, with true words about it.

    in    a seed and how the eye moves
    out   ``Episode``: two cameras, the eye's steps as actions, joints, events, captions, questions, boxes, its recipe

Words are about the eye's own picture (``main``) and name only who is seen in it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.embodiments import relative_pose, rot6d_from_pose
from armillary.errors import RequestError
from armillary.records import Array, Episode, Moment, Question
from armillary.worlds import questions as q
from armillary.worlds.humans import SPEC, STILL, Humans, doing
from armillary.worlds.humans_acts import DOING
from armillary.worlds.humans_body import JOINTS
from armillary.worlds.labels import Box, box_words, boxes_in, in_camera
from armillary.worlds.record import live
from armillary.worlds.stacked import stacked

KINDS = ("still", "orbit", "approach")
POSES = ("upright", "not upright")
Event = tuple[float, float, str]


class Eye:
    """Moves the camera: stands ``still``, goes round the people (``orbit``), or comes nearer (``approach``)."""

    def __init__(self, world: Humans, kind: str, *, seed: int) -> None:
        if kind not in KINDS:
            raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
        self._world, self._kind, self._seed = world, kind, seed
        self.reset()

    def reset(self) -> None:
        """Forget; the next moment is a new episode's first."""
        rng = np.random.default_rng([self._seed, 101])
        self._turn = float(rng.choice([-1, 1]) * rng.uniform(0.006, 0.012))

    def __call__(self, moment: Moment) -> Array:
        """Nine numbers of ``camera_pose``."""
        before = self._world.eye
        after = before.copy()
        if self._kind == "orbit":
            c, s = np.cos(self._turn), np.sin(self._turn)
            round_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
            after[:3, :3], after[:3, 3] = round_z @ before[:3, :3], round_z @ before[:3, 3]
        elif self._kind == "approach":
            after[:3, 3] += abs(self._turn) * 2.2 * before[:3, 2]
        return STILL if self._kind == "still" else rot6d_from_pose(relative_pose(before, after))


def record_humans(
    seed: int, kind: str = "still", *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
    extras: tuple[str, ...] = ("depth", "segmentation", "sound"), max_steps: int = SPEC.max_steps,
    acts: tuple[str, ...] | None = None,
) -> Episode:  # fmt: skip
    """One scene. ``kind``: how the eye moves, of ``KINDS``; ``acts`` as in ``Humans``.

    Raises ``RequestError`` for an unknown kind or act.
    """
    world = Humans(size=size, views=views, extras=tuple({*extras, "segmentation"}), acts=acts)
    policy = Eye(world, kind, seed=seed)
    try:
        lived = list(live(world, policy, seed, max_steps=max_steps))
        moments = [moment for moment, _ in lived]
        seen = [boxes_in("main", moment.segmentation, world.names) for moment in moments]
        happened = events(world, len(moments))
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
            **stacked(moments, [action for _, action in lived[1:]], extras),
            captions=captions(world, seen, happened, kind, size),
            questions=questions(world, moments, seen, happened), events=happened,
            boxes=seen if views else None, cameras=world.calibrations() if views else None, success=False,
            recipe={"world": SPEC.name, "seed": seed, "controller": kind, "size": list(size),
                    "acts": list(acts) if acts else None, "joints": list(JOINTS), "parameters": world.parameters},
        )  # fmt: skip
    finally:
        world.close()


def events(world: Humans, frames: int) -> list[Event]:
    """(from, to, words) in seconds: who does what when."""
    end = (frames - 1) * SPEC.step_seconds
    told = zip(world.acts, doing(world), strict=True)
    return sorted((round(a.when[0], 2), round(min(a.when[1], end), 2), words) for a, words in told if a.when[0] < end)


def captions(
    world: Humans, seen: Sequence[dict[str, Box]], happened: Sequence[Event], kind: str, size: tuple[int, int]
) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` (cosmos3.md 9.4) and ``report`` (JSON)."""
    known = [k for k, name in enumerate(world.names) if any(name in frame for frame in seen)]
    people = [f"{world.names[k]} and {world.looks[k].trousers} trousers" for k in known]
    scene = f"A room with {q.listed(people) if people else 'nobody in sight'}."
    told = [doing(world)[k] for k in known]
    short = q.sentence(" and ".join(told)) if told else "An empty room."
    dense = f"{scene} {short}"
    for k in known:
        if world.acts[k].side:
            dense += f" It is the {world.acts[k].side} hand that waves."
    moves = {"orbit": "goes round the people", "approach": "comes nearer"}.get(kind, "does not move")
    subjects = [{"description": f"a {world.names[k]}", "clothing": f"{world.looks[k].shirt} shirt, "
                 f"{world.looks[k].trousers} trousers", "action": DOING[world.acts[k].name],
                 "number_of_arms": "2", "number_of_legs": "2"} for k in known]  # fmt: skip
    structured = q.structured(scene=scene, story=short, subjects=subjects, actions=happened, camera=moves, size=size,
                              frames=len(seen), fps=SPEC.fps)  # fmt: skip
    return {"scene": scene, "short": short, "dense": dense, "structured": structured,
            "report": q.report(f"{scene} {short}", happened, [])}  # fmt: skip


def questions(
    world: Humans, moments: Sequence[Moment], seen: Sequence[dict[str, Box]], happened: Sequence[Event]
) -> list[Question]:
    """About three frames, and about the whole."""
    asked = q.of_frames(len(moments) - 1, 2, lambda k: _of_frame(world, moments[k], seen[k], k))
    poses = q.contrasted([a for a in asked if a.choices == POSES], ("describe",))  # of who changes it
    asked = [a for a in asked if a.choices != POSES] + poses
    asked = q.fair(asked, np.random.default_rng([len(moments), 103]), names=world.names)
    everything = tuple(range(len(moments)))
    choices = tuple(DOING.values())
    for name, act, words in zip(world.names, world.acts, doing(world), strict=True):
        if not all(name in frame for frame in seen[5:-5:5]):
            continue
        asked.append(q.ask("caption", f"What does the {name} do?", DOING[act.name], everything, choices))
        if any(said == words for _, _, said in happened):
            asked.append(q.ask("when", f"When does this begin: {words}?", q.clock(round(act.when[0], 1)), everything))
        if act.side:
            asked.append(q.ask("describe", f"Which hand does the {name} wave with, the left or the right one?",
                               act.side, everything, ("left", "right")))  # fmt: skip
    return asked


def _of_frame(world: Humans, moment: Moment, seen: dict[str, Box], frame: int) -> list[Question]:
    marks = moment.segmentation
    if not marks or "main" not in marks:
        return []
    size = (marks["main"].shape[0], marks["main"].shape[1])
    asked = [q.ask("box", f"Where is the {name}?", box_words(box, size), frame) for name, box in seen.items()]
    glimpsed = {world.names[k - 1] for k in np.unique(marks["main"]) if 0 < k <= len(world.names)}
    if glimpsed == set(seen):
        asked.append(q.ask("count", "How many people can be seen?", q.NUMBERS[len(seen)], frame, q.NUMBERS[:3]))
    chest, head = JOINTS.index("chest"), JOINTS.index("head")
    joints: NDArray[np.float64] = moment.state["joints"]
    view = {"camera_to_world": moment.state["eye"]}
    for name in seen:
        k = world.names.index(name)
        asked.append(q.ask("describe", f"What colour are the trousers of the {name}?", world.looks[k].trousers, frame))
        high, _ = joints[k][head][2], joints[k][chest]
        pose = (
            "upright"
            if high > 0.82 * world.looks[k].height
            else "not upright"
            if high < 0.7 * world.looks[k].height
            else ""
        )
        if pose:
            asked.append(q.ask("describe", f"Is the {name} upright or not upright?", pose, frame, POSES))
    if len(seen) == 2:
        ways = [in_camera(joints[world.names.index(name)][chest], view)[0] for name in seen]
        names = list(seen)
        left = names[0] if ways[0][0] < ways[1][0] else names[1]
        middles = {name: box[0] + box[2] for name, box in seen.items()}  # who is far off may be left in metres alone
        if abs(ways[0][0] - ways[1][0]) > 0.4 and middles[left] < max(middles.values()):
            asked.append(q.ask("relation", "Who is further to the left?", f"the {left}", frame))
        if abs(ways[0][2] - ways[1][2]) > 0.5:
            near = names[0] if ways[0][2] < ways[1][2] else names[1]
            asked.append(q.ask("distance", "Who is nearer to the camera?", f"the {near}", frame))
    return asked
