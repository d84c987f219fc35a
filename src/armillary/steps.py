"""Actions told from where the body is: the next place less the place, for worlds that take places.

    a life of the world's body  --in_steps-->  the same life, its actions those of a body that is seen from a state
    a world                     --Stepped-->   the same world, which takes such actions

A body says so itself (``Embodiment.stands_for``, ``seen_from``). A step does the same wherever the body stands; a place
has to be found on the picture before anything can come of it, and that is learnt from far more films (docs/log.md).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from armillary.embodiments import Embodiment, load_embodiment
from armillary.errors import ConfigError, DataError
from armillary.records import Array, Episode, Moment, World


def in_steps(episode: Episode, body: Embodiment) -> Episode:
    """The episode as ``body`` acts it, where that body stands for the episode's own; else the episode as it is.

    ``DataError`` for an episode that does not keep the state from which the body is seen.
    """
    if not body.seen_from or episode.embodiment != body.stands_for:
        return episode
    if body.seen_from not in episode.states:
        raise DataError(
            f"the episode of seed {episode.seed} keeps {', '.join(episode.states) or 'no state'}: {body.name} is told "
            f"from {body.seen_from!r}; give episodes with that state, or take the body {body.stands_for}."
        )
    places = episode.states[body.seen_from][: len(episode.actions)]
    return replace(episode, actions=(episode.actions - places).astype(np.float32), embodiment=body.name)


def body_in(embodiment: str, bodies: Mapping[str, Embodiment]) -> Embodiment | None:
    """Of a checkpoint's ``bodies`` the one that acts where ``embodiment`` does: one that stands for it, or itself."""
    standing = [body for body in bodies.values() if body.stands_for == embodiment]
    return standing[0] if standing else bodies.get(embodiment)


class Stepped:
    """A world that takes the actions of ``body``: places are the steps and where the body is, within its limits.

    ``ConfigError`` where the body does not stand for the world's own.
    """

    def __init__(self, world: World, body: Embodiment) -> None:
        if not body.seen_from or body.stands_for != world.spec.embodiment:
            raise ConfigError(
                f"{body.name} does not stand for {world.spec.embodiment}, the body of world {world.spec.name!r}: take "
                f"that one."
            )
        self.spec = replace(world.spec, embodiment=body.name)
        self._world, self._body = world, body
        channels = load_embodiment(body.stands_for).channels
        self._low, self._high = (np.array([getattr(one, end) for one in channels]) for end in ("low", "high"))

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """The world's first moment of that seed."""
        return self._seen(self._world.reset(seed, instruction))

    def step(self, action: Array) -> Moment:
        """The next moment, after a step seen from where the body is now."""
        return self._seen(self._world.step(np.clip(self._here + np.asarray(action), self._low, self._high)))

    def close(self) -> None:
        self._world.close()

    def _seen(self, moment: Moment) -> Moment:
        self._here = np.asarray(moment.state[self._body.seen_from], dtype=np.float64)
        return moment


def acting_in(world: World, bodies: Mapping[str, Embodiment]) -> World:
    """The world as a checkpoint that knows these bodies acts in it."""
    body = body_in(world.spec.embodiment, bodies)
    return Stepped(world, body) if body is not None and body.seen_from else world
