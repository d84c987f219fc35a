"""Who acts in a world of cars or robots: the same four kinds, made in one place.

KINDS     expert, clumsy, random, wordless
made      the driver of a kind, or ``RequestError`` that names the kinds there are
"""

from collections.abc import Callable

from armillary.errors import RequestError
from armillary.records import Policy

KINDS = ("expert", "clumsy", "random", "wordless")


def made(kind: str, guided: Callable[[bool, bool], Policy], chance: Callable[[], Policy]) -> Policy:
    """``guided(wordless, shaky)`` or ``chance()``, as ``kind`` says. ``RequestError`` for an unknown kind."""
    if kind not in KINDS:
        raise RequestError(f"controller {kind!r} is unknown: it must be one of {', '.join(KINDS)}.")
    return chance() if kind == "random" else guided(kind == "wordless", kind == "clumsy")
