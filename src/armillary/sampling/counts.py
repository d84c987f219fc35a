"""How much a request asks of the model: walks, and evaluations of them, told before the first."""

from armillary.sampling.lengths import FRAMES_A_LATENT
from armillary.sampling.requests import Request


def count_stretches(request: Request) -> int:
    """How many walks a request takes."""
    return len(_steps(request))


def count_evaluations(request: Request) -> int:
    """How often the model is asked for a request at most: once a step of each walk, in each try of a painted thing."""
    return sum(_steps(request))


def _steps(request: Request) -> list[int]:
    """The steps of every walk that a request takes."""
    how, things = request.painting, request.things
    steps = 0 if request.schedule is None else len(request.schedule.stops)
    painted: list[int] = []
    if how is not None and things:
        tries = [how.tries if how.questions(things[: i + 1]) else 1 for i in range(len(things))]
        painted = [how.bare_steps, *[how.steps] * sum(tries)]
    longest, lead = request.mode.frames, lead_of(request)
    if request.controlled is not None:
        lead = request.controlled.overlap
    left = request.frames - longest
    walks = 1 if left <= 0 else 1 + -(-left // (longest - lead))
    film = [] if painted and request.frames == 1 else [steps] * walks
    if request.acted is not None:
        plan, ahead = request.acted
        film = [*_steps(plan), *_steps(ahead)] * -(-(request.frames - 1) // (ahead.frames - 1))
    heard = [] if request.listening is None else [len(request.listening.stops)] * len(window_starts(request))
    return [*painted, *film, *heard]


def lead_of(request: Request) -> int:
    """How many frames a stretch shares with the one before."""
    return 1 + FRAMES_A_LATENT * (request.mode.given_latent_frames - 1)


def window_starts(request: Request) -> range:
    """Where the windows of a film that is given as a whole begin."""
    return range(0, request.frames - 1, request.mode.frames - 1)
