"""How far an imagined film can be believed, said without knowing the truth.

    change         how far does the film go from its first picture, which is known?
    cycle error    actions -> film (forward dynamics) -> actions read off it (inverse dynamics): how far apart?
    spread         the same actions imagined again from other noise: how far apart are the pictures?

The more happens in a film, the more of it can be wrong: that asks nothing of the model and costs nothing. A film in
which the arm does not do what it was told, or nothing can be made out, has a large cycle error. Which of them tells
wrong films from right ones is measured against physics (``armillary evaluate --suite trust``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from armillary.embodiments import load_embodiment
from armillary.records import Array

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni

FOUR = 4  # frames a latent: a film to be read has 4k+1


@dataclass(frozen=True, kw_only=True)
class Change:
    """A ``Measure`` of imagined films: how far any picture is from the first, a pixel's root mean square, 0 to 255."""

    def __call__(self, films: Sequence[Array], actions: Sequence[Array]) -> list[float]:
        """``films`` t+1 h w 3, t at least 1; ``actions`` are not asked."""
        return [max(_apart(picture, film[0]) for picture in film[1:]) for film in films]


def _apart(one: Array, other: Array) -> float:
    return float(np.sqrt(np.square(one.astype(np.float32) - other.astype(np.float32)).mean()))


@dataclass(frozen=True, kw_only=True)
class CycleError:
    """A ``Measure`` of imagined films: mean distance of actions read from actions given, both as the model learns them.

    That is after the embodiment's normaliser, so that metres and openings weigh alike; over the channels that
    ``channels`` names (none: all of them). ``seed`` makes the noise of the reading.
    """

    omni: "Omni"
    embodiment: str
    channels: tuple[str, ...] = ()
    seed: int = 0

    def __call__(self, films: Sequence[Array], actions: Sequence[Array]) -> list[float]:
        """``films`` t+1 h w 3, ``actions`` t a of each, t at least 4. Beyond the last 4k+1 frames nothing is read."""
        body = load_embodiment(self.embodiment, self.omni.parts.folder)
        names = [channel.name for channel in body.channels]
        kept = [names.index(name) for name in self.channels or names]
        requests = [
            {"mode": "inverse-dynamics", "video": film[: 1 + (len(film) - 1) // FOUR * FOUR],
             "size": film.shape[1:3], "embodiment": self.embodiment, "seed": self.seed}
            for film in films
        ]  # fmt: skip
        found = []
        for given, rollout in zip(actions, self.omni.imagine_many(requests), strict=True):
            assert rollout.actions is not None
            read = body.encode(rollout.actions)[:, kept]
            found.append(float(np.abs(read - body.encode(given)[: len(read), kept]).mean()))
        return found


def spread(films: Sequence[Array]) -> float:
    """How far films of the same actions from other noise are apart: mean standard deviation of a pixel, 0 to 255."""
    return float(np.stack(films).astype(np.float32).std(axis=0).mean())
