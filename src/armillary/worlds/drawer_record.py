"""A life at the drawer as an ``Episode``, with true words about table, drawer and deed.

    in    a seed and who acts
    out   ``Episode``: two cameras, actions, states, events, captions, questions, boxes, and its recipe

What is asked about objects is what the tabletop asks; new is what is asked about the drawer. Only what the front
camera sees is asked about, and what lies in the drawer only while it is open.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from armillary.errors import RequestError
from armillary.records import Array, Episode, Moment, Question
from armillary.worlds import questions as q
from armillary.worlds.captions import CLEAR_METRES
from armillary.worlds.captions import questions as about_table
from armillary.worlds.captions import report as listed_places
from armillary.worlds.drawer import CLOSED_TO, OPEN_FROM, SPEC, Drawer
from armillary.worlds.drawer_experts import drawer_controller
from armillary.worlds.experts import KINDS
from armillary.worlds.labels import Box, box_words, boxes_in
from armillary.worlds.record import LEAST_STEPS, live
from armillary.worlds.stacked import stacked

DEEDS = {"open": "The robot opens the drawer.", "close": "The robot closes the drawer."}
FATES = ("it is opened", "it is closed", "it stays as it is")
Event = tuple[float, float, str]


def record_drawer(
    seed: int, kind: str = "expert", *, size: tuple[int, int] = SPEC.size, views: tuple[str, ...] = SPEC.cameras,
    extras: tuple[str, ...] = ("depth", "segmentation", "sound"), max_steps: int = SPEC.max_steps,
) -> Episode:  # fmt: skip
    """One life with all that is known of it. ``size``: height, width in pixels.

    Raises ``RequestError`` for an unknown controller.
    """
    if kind not in KINDS:
        raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
    world = Drawer(size=size, views=views, extras=tuple(dict.fromkeys((*extras, "segmentation"))))
    policy = drawer_controller(world, kind, seed=seed)
    try:
        lived = list(live(world, policy, seed, max_steps=max_steps, least_steps=LEAST_STEPS))
        moments = [moment for moment, _ in lived]
        seen = [boxes_in("front", moment.segmentation, [*world.names, "drawer"]) for moment in moments]
        happened = events(world, moments)
        shown = "front" in views
        return Episode(
            world=SPEC.name, seed=seed, fps=SPEC.fps, embodiment=SPEC.embodiment,
            **stacked(moments, [action for _, action in lived[1:]], extras),
            captions=captions(world, moments, seen[0], happened) if shown else {"short": deed(world, moments)},
            questions=questions(world, moments, seen, happened, seed=seed) if shown else (), events=happened,
            boxes=seen if shown else None, cameras=world.calibrations(),
            success=any(moment.success for moment in moments),
            recipe={"world": SPEC.name, "seed": seed, "controller": kind, "size": list(size),
                    "parameters": world.parameters},
        )  # fmt: skip
    finally:
        world.close()


def slid(moments: Sequence[Moment]) -> Array:
    """How far out the drawer is, metres, of each moment."""
    return np.array([moment.state["drawer"][0] for moment in moments])


def events(world: Drawer, moments: Sequence[Moment]) -> list[Event]:
    """(from, to, words) in seconds: the drawer's ends, what comes into it and leaves it, success."""
    out, told = slid(moments), list[tuple[int, str]]()
    inside = np.array([moment.state["inside"] * (1 - moment.state["held"]) for moment in moments]) > 0
    for k in range(1, len(moments)):
        for words, now in (("the drawer is open", out > OPEN_FROM), ("the drawer is closed", out < CLOSED_TO)):
            told += [(k, words)] * bool(now[k] and not now[k - 1])
        for number in np.flatnonzero(inside[k] & ~inside[k - 1]):
            told.append((k, f"the {world.names[number]} lies in the drawer"))
    told += [(k, "success") for k, moment in enumerate(moments) if moment.success][:1]
    return [(k / SPEC.fps, k / SPEC.fps, words) for k, words in told]


def deed(world: Drawer, moments: Sequence[Moment]) -> str:
    """What the robot does, in one sentence, if it did it."""
    if not any(moment.success for moment in moments):
        return "The robot moves its arm."
    return DEEDS.get(world.job.kind, f"The robot puts the {world.job.target} in the drawer.")


def captions(
    world: Drawer, moments: Sequence[Moment], seen: Mapping[str, Box], happened: Sequence[Event]
) -> dict[str, str]:
    """``scene``, ``short``, ``dense``, ``structured`` and ``report``; ``report N``: places, as the tabletop tells."""
    first, objects = moments[0], [name for name in seen if name != "drawer"]
    lies = dict(zip(world.names, first.state["inside"], strict=True))
    state, side = world.parameters["drawer"], world.parameters["cabinet"]
    before, within = ([name for name in objects if bool(lies[name]) is there] for there in (False, True))
    scene = f"On the table: {q.listed(before)}, and on the {side} a cabinet with {q.listed([f'{state} drawer'])}."
    if within:
        scene += f" In the drawer: {q.listed(within)}."
    short = deed(world, moments)
    told = [event for event in happened if event[2] != "success"]
    story = " ".join(f"At {q.clock(a)} {words}." for a, _, words in told) or "Nothing changes."
    subjects = [{"description": name} for name in [*objects, f"{state} drawer"]]
    frame = first.frames["front"].shape
    full = q.structured(scene=scene, story=story, subjects=subjects, actions=told, camera="does not move",
                        size=(frame[0], frame[1]), frames=len(moments), fps=SPEC.fps)  # fmt: skip
    advice = ["Close the drawer."] if slid(moments)[-1] > OPEN_FROM else []
    return {"scene": scene, "short": short, "dense": f"{short} {scene}", "structured": full,
            "report": q.report(f"{scene} {short}", told, advice),
            **{f"report {k}": listed_places(world, moments[k]) for k in _three(moments)}}  # fmt: skip


def questions(
    world: Drawer, moments: Sequence[Moment], seen: Sequence[Mapping[str, Box]], happened: Sequence[Event], *, seed: int
) -> list[Question]:
    """About three frames, and about the whole; ``seed`` draws which are asked where there are many."""
    rng, asked, about = np.random.default_rng([seed, 103]), list[Question](), list[Question]()
    for k in _three(moments):
        at_handle = np.linalg.norm(moments[k].state["handle"] - moments[k].state["tip"]) < 0.03
        table = about_table(world, moments[k], rng, frame=k)
        asked += [a for a in table if not (at_handle and a.answer == "nothing")]  # it may be holding the handle
        about += _of_drawer(world, moments[k], seen[k], k)
    asked = q.contrasted(asked, ("held",))  # hardly anything is held at the beginning, in the middle, or at the end
    lies = {a.answer: a for a in about if a.task == "where"}
    asked += [a for a in about if a.task not in ("drawer", "where")]
    asked += q.contrasted([a for a in about if a.task == "drawer"], ("drawer",))
    asked += lies.values() if set(lies) != {"nothing"} else ()
    out, everything = slid(moments), tuple(range(len(moments)))
    ends = ["open" if end > OPEN_FROM else "closed" if end < CLOSED_TO else "" for end in (out[0], out[-1])]
    if all(ends):
        fate = FATES[2] if ends[0] == ends[1] else FATES[0 if ends[1] == "open" else 1]
        calm = np.ptp(out) < CLOSED_TO  # what is opened and closed again, or nearly, is not asked about
        if calm or ends[0] != ends[1]:
            asked.append(q.ask("describe", "What happens to the drawer?", fate, everything, FATES))
    words = [said for _, _, said in happened]
    asked += [q.ask("when", f"When do we first see this: {said}?", q.clock(begin), everything)
              for begin, _, said in happened if said != "success" and words.count(said) == 1]  # fmt: skip
    return asked


def _three(moments: Sequence[Moment]) -> list[int]:
    return sorted({0, len(moments) // 2, len(moments) - 1})


def _of_drawer(world: Drawer, moment: Moment, seen: Mapping[str, Box], frame: int) -> list[Question]:
    """Whether it is open, what lies in it, which object is nearest to it, on which side it stands."""
    if "drawer" not in seen or moment.segmentation is None:
        return []
    shape, out = moment.segmentation["front"].shape, float(moment.state["drawer"][0])
    asked = [q.ask("box", "Where is the drawer?", box_words(seen["drawer"], (shape[0], shape[1])), frame)]
    side = world.parameters["cabinet"]
    asked.append(q.ask("viewpoint", "On which side does the cabinet stand?", side, frame, ("left", "right")))
    is_open, is_shut = out > OPEN_FROM, out < CLOSED_TO
    if is_open or is_shut:
        state = "open" if is_open else "closed"
        asked.append(q.ask("drawer", "Is the drawer open or closed?", state, frame, ("open", "closed")))
    names = [name for name in world.names if name in seen]
    lies = {name: bool(moment.state["inside"][world.names.index(name)]) for name in world.names}
    if is_open and len(names) == len(world.names) and not moment.state["held"].any():
        within = [name for name in names if lies[name]]
        asked.append(q.ask("where", "What lies in the drawer?", q.listed(within, article="the"), frame))
    places = {name: moment.state["objects"][world.names.index(name)] for name in names if not lies[name]}
    gaps = {name: float(np.linalg.norm((place - moment.state["handle"])[:2])) for name, place in places.items()}
    near = q.extreme(gaps, margin=CLEAR_METRES, largest=False)
    if near is not None and len(names) == len(world.names) and len(gaps) > 1:
        asked.append(
            q.ask("distance", "Which object outside the drawer is nearest to its handle?", f"the {near}", frame)
        )
    return asked
