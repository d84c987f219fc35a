"""What is true of a life before it is lived: the parameters its seed drew, the things that are there, the instruction.

facts_of(world, moment) -> Facts        from any ``World``; those with ``parameters`` tell most
bare_world(name)                        the world without pictures, so that a thousand seeds take seconds
"""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from armillary.records import Episode, Moment, World
from armillary.worlds.catalogue import ENTRIES, found


@dataclass(frozen=True, kw_only=True)
class Facts:
    """``values``: parameter -> what it is, in words; ``things``: list -> the names in it; ``instruction`` as given."""

    values: Mapping[str, str]
    things: Mapping[str, tuple[str, ...]]
    instruction: str


def bare_world(name: str, pins: Mapping[str, str] | None = None) -> World:
    """The world of that name, without cameras where it can do without. ``pins``: parameters that are not drawn."""
    make = found(ENTRIES[name].make)
    bare = {"views": ()} if "views" in signature(make).parameters else {}
    made: World = make(**bare, **(pins or {}))
    return made


def facts_of(world: World, moment: Moment) -> Facts:
    """The facts of a life that has just begun."""
    drawn = vars(world).get("parameters") or {}
    extra = _board(moment) if world.spec.name == "pusht" else {}
    return _facts({**drawn, **extra}, moment.instruction)


def facts_of_episode(episode: Episode) -> Facts:
    """The facts of a recorded life, as its recipe keeps them."""
    drawn: dict[str, Any] = dict(episode.recipe.get("parameters") or {})
    if episode.world == "pusht":
        state = {name: values[0] for name, values in episode.states.items()}
        first = Moment(frames={}, state=state, instruction=episode.instruction, reward=0.0, success=False, over=False)
        drawn |= _board(first)
    return _facts(drawn, episode.instruction)


def _facts(drawn: Mapping[str, Any], instruction: str) -> Facts:
    values, things = {}, {}
    for key, value in drawn.items():
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            values[key] = str(value)
        elif isinstance(value, (list, tuple)):
            names = [
                one if isinstance(one, str) else one.get("name") if isinstance(one, Mapping) else None for one in value
            ]
            if all(isinstance(name, str) for name in names):
                things[key] = tuple(str(name) for name in names)
    return Facts(values=values, things=things, instruction=instruction)


def _board(moment: Moment) -> dict[str, str]:
    """Where PushT's T and disc lie, in the words of its own captions."""
    from armillary.worlds.pusht_record import captions

    scene = captions([moment])["scene"]
    parts = scene.split("A grey T lies ")[1].split(", its stem pointing ")
    return {
        "place": parts[0].removeprefix("at the ").removeprefix("in the "),
        "pointing": parts[1].split(";")[0],
        "disc": scene.split("A blue disc is ")[1].rstrip(".").removeprefix("at the ").removeprefix("in the "),
    }
