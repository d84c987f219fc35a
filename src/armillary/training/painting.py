"""One thing more on the table: how the generator comes to hear words, and to paint a picture from them.

    in    pictures of tables as they are laid (``worlds/laid.py``), as tokens
    out   of each the tokens round its newest thing hidden, everything else as it was one picture before, that picture
          as a whole beside it, and the words for that thing; or bare tables, all of them hidden

A whole picture from a whole caption teaches no word: which of the things stands where is chance, so the mean of all
tables is the best that can be said, and exchanged captions cost nothing for eighty thousand pictures (docs/log.md).
With everything given but one thing, the place is known and only the word can say what is there. That is how a picture
is painted as well (``sampling/painting.py``): the levels are per token, so it needs nothing new of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from armillary.model.positions import tokens_near
from armillary.prompts import BARE, ONE_MORE, Placed, video_prompt
from armillary.training.latents import PICTURE, Windows

REACH = 0.08  # round the middle of a thing's box, in shares of the picture; what the sampler takes as well
ALL_HIDDEN = 0.15  # how often it is bare tables; at .06 they were forgotten beside whole pictures (docs/log.md)


@dataclass(frozen=True, kw_only=True, eq=False)
class Laid:
    """Pictures of a cache in which one thing more is on the table, and those without any: rows of ``windows``.

    ``more`` k, the row before each being the picture without it; ``hidden`` k n and ``words`` k of each; ``bare``.
    """

    windows: Windows
    more: np.ndarray
    hidden: Tensor
    words: list[str]
    bare: np.ndarray

    @classmethod
    def among(cls, windows: Windows) -> "Laid":
        """Which they are. A thing that the picture does not show, because another hides it, is left out."""
        more = [i for i in range(1, len(windows)) if windows.named[i] and windows.opening[i] == windows.opening[i - 1]]
        plane = (windows.size[1] // 2, windows.size[2] // 2)
        newest = [_placed(windows.named[i]) for i in more]
        hidden = [tokens_near((one.x, one.y), plane, REACH) for one in newest]
        words = [ONE_MORE.format(placed=one.words) for one in newest]
        bare = np.flatnonzero(windows.opening == np.arange(len(windows)))
        return cls(windows=windows, more=np.array(more), hidden=torch.stack(hidden), words=words, bare=bare)

    def draw(self, rng: np.random.Generator, samples: int) -> "Drawn":
        """A batch of bare tables, or (most often) of tables with one thing more."""
        if rng.random() < ALL_HIDDEN:
            rows = rng.choice(self.bare, samples).tolist()
            return Drawn(rows=rows, words=[BARE] * samples, hidden=torch.ones(samples, self.hidden.shape[1]) > 0)
        drawn = rng.integers(len(self.more), size=samples)
        rows, hidden = self.more[drawn].tolist(), self.hidden[torch.from_numpy(drawn)]
        words = [self.words[i] for i in drawn]
        before, true = (self.windows.video[which].float() for which in ([row - 1 for row in rows], rows))
        seen = torch.where(hidden[..., None], true, before)
        return Drawn(rows=rows, words=words, hidden=hidden, before=before, seen=seen)


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Rows of a batch, their words, which tokens are ``hidden`` b n, and ``before`` b n d: the pictures without the
    newest thing, where there is one; ``seen`` b n d: those, but as it is where it is hidden."""

    rows: list[int]
    words: list[str]
    hidden: Tensor
    before: Tensor | None = None
    seen: Tensor | None = None

    @property
    def prompts(self) -> list[str]:
        return [video_prompt(one, frames=1, fps=1.0, height=PICTURE[0], width=PICTURE[1]) for one in self.words]


def _placed(named: Mapping[str, Sequence[int]]) -> Placed:
    """The only thing that is named, and the middle of its box in hundredths, as the reasoner says where it is."""
    ((name, (left, top, right, bottom)),) = named.items()
    middle = round(50 * (left + right) / PICTURE[1]) / 100, round(50 * (top + bottom) / PICTURE[0]) / 100
    return Placed(thing=f"a {name}", x=min(middle[0], 0.99), y=min(middle[1], 0.99))
