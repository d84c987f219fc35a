"""Where things happen: worlds with ``reset`` and ``step``, who acts in them, and how they are recorded."""

from armillary.errors import RequestError
from armillary.records import World
from armillary.worlds.catalogue import ENTRIES, found

WORLDS = tuple(name for name, entry in ENTRIES.items() if not entry.foreign)
OTHERS = tuple(name for name, entry in ENTRIES.items() if entry.foreign)  # others' environments, if installed


def make_world(name: str) -> World:
    """The world of that name; ``RequestError`` names those there are. Close it after use."""
    if name not in ENTRIES:
        raise RequestError(f"world {name!r} is unknown: it must be one of {', '.join(ENTRIES)}.")
    made: World = found(ENTRIES[name].make)()
    return made
