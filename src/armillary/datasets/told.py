"""Which of a life's words hold of a part of it.

A caption is made of a whole life. The tabletop's names what lies there and the one deed, which any part shows or
begins; those of other worlds go on to what happens later, and how it ends. A window that stops before must not be told
so: a model that learns from such words learns that words lie.
"""

from armillary.records import Episode
from armillary.worlds.questions import clock


def told_of(episode: Episode, start: int, frames: int) -> str | None:
    """What the captions say of ``frames`` frames from ``start`` on; None where nothing of it is known to hold there.

    Of another world than the tabletop, in a life that is longer than that: what its first frame shows, and the events
    that its caption tells and that happen within; of later frames nothing, since things may have moved or gone.
    """
    told = episode.captions
    if episode.world == "tabletop" or "scene" not in told or frames > len(episode.actions):
        return told["dense"]
    if start:
        return None
    within = [f"At {clock(begin)} {words}." for begin, end, words in episode.events if end * episode.fps <= frames - 1]
    return " ".join([told["scene"], *(sentence for sentence in within if sentence in told["dense"])])
