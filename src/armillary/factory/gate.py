"""Which episodes are kept: those that are what was asked for, show it, are whole, and are not there already.

why_not(episode, scenario) -> reasons          none: it is good
likeness(episode) -> bytes                     a few numbers that near-duplicates share
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from armillary.datasets.doctor_actions import check_actions
from armillary.datasets.doctor_pictures import check_pictures
from armillary.datasets.doctor_words import check_words
from armillary.datasets.findings import Findings
from armillary.datasets.looks import look
from armillary.embodiments import bundled, load_embodiment
from armillary.factory.facts import facts_of_episode
from armillary.factory.scenario import Scenario
from armillary.records import Array, Episode

THUMB = (12, 16)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What is asked of an episode. ``success``: only those in which the task was done, where the expert acts.

    ``least_motion``: mean change of a pixel's value from the first to any later frame, 0..255, that some camera must
    reach. ``nearest``: two episodes whose thumbnails differ by less on average (0..255) count as one.
    """

    success: bool = True
    least_frames: int = 8
    least_motion: float = 0.3
    nearest: float = 1.5


def why_not(episode: Episode, scenario: Scenario, gate: Gate) -> list[str]:
    """The reasons, a sentence each, for which an episode is not good enough; none where it is."""
    reasons = []
    facts = facts_of_episode(episode)
    for want in scenario.wants:
        if not want.holds(facts):
            reasons.append(f"it is not so that {want.told()}")
    if gate.success and not episode.success and scenario.controller in (None, "expert") and _may_succeed(episode):
        reasons.append("the task was not done")
    frames = len(next(iter(episode.frames.values())))
    if frames < gate.least_frames:
        reasons.append(f"it has {frames} frames, fewer than {gate.least_frames}")
    moved = max(
        float(np.abs(f.astype(np.int16) - f[:1].astype(np.int16)).mean((1, 2, 3)).max())
        for f in episode.frames.values()
    )
    if moved < gate.least_motion:
        reasons.append(f"nothing moves in it ({moved:.2f} of 255)")
    found = Findings()
    seen = [look(episode, 0)]
    check_pictures(seen, found)
    check_words(seen, found)
    body = load_embodiment(episode.embodiment) if episode.embodiment in bundled() else None
    check_actions(seen, body, found)
    reasons += [f"{one.code}: {one.words}" for one in found.settled() if one.severity == "error"]
    return reasons


def likeness(episode: Episode) -> bytes:
    """Thumbnails of the first, the middle and the last frame of the first camera, grey: what near-duplicates share."""
    film = next(iter(episode.frames.values()))
    return b"".join(_thumb(film[i]).tobytes() for i in (0, len(film) // 2, len(film) - 1))


def twin_of(one: bytes, others: Sequence[bytes], nearest: float) -> int | None:
    """The place of the first of ``others`` that is nearly the same; None where there is none."""
    mine = np.frombuffer(one, np.uint8).astype(np.int16)
    for place, other in enumerate(others):
        if np.abs(mine - np.frombuffer(other, np.uint8)).mean() < nearest:
            return place
    return None


def _motion(film: Array) -> float:
    """How much any later frame differs from the first at most, as the mean over its pixels."""
    return float(np.abs(film.astype(np.int16) - film[:1].astype(np.int16)).mean(axis=(1, 2, 3)).max())


def _may_succeed(episode: Episode) -> bool:
    """Whether somebody acts in this world to a purpose: a camera that is carried about can fail at nothing."""
    return episode.embodiment != "camera_pose"


def _thumb(frame: Array) -> Array:
    return np.asarray(Image.fromarray(frame).convert("L").resize((THUMB[1], THUMB[0]), Image.Resampling.BOX))
