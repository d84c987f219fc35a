"""Where things happen: worlds with ``reset`` and ``step``, who acts in them, and how they are recorded."""

from collections.abc import Callable

from armillary.errors import RequestError
from armillary.records import World

WORLDS = ("tabletop", "pusht")


def make_world(name: str) -> World:
    """The world of that name; ``RequestError`` names those there are. Close it after use."""
    makers: dict[str, Callable[[], World]] = {"tabletop": _tabletop, "pusht": _pusht}
    if name not in makers:
        raise RequestError(f"world {name!r} is unknown: it must be one of {', '.join(WORLDS)}.")
    return makers[name]()


def _tabletop() -> World:
    from armillary.worlds.tabletop import Tabletop

    return Tabletop()


def _pusht() -> World:
    from armillary.worlds.pusht import PushT

    return PushT()
