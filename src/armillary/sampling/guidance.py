"""What the solver walks along: the model's velocity, made stronger towards the prompt where that is asked.

    velocity = without + guidance * (with - without)

``with`` has read the prompt, ``without`` the negative prompt. Both branches run as one batch of twice the size
over two memories; with guidance 1 the second branch is not run at all (cosmos3.md 5.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from armillary.model.memory import Memory
from armillary.model.two_towers import TwoTowers
from armillary.model.walk import Walk
from armillary.records import Modality, Segment
from armillary.sampling.solver import Stop


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One modality of a walk: what is given, and what is to be found.

    ``tokens`` b n d: the given numbers, anything where hidden. ``hidden`` b n: True where to be found.
    ``channels`` b 1 d: 1 where a number exists, 0 where it is padding (None: all exist).
    """

    modality: Modality
    tokens: Tensor
    hidden: Tensor
    positions: Tensor
    domain: Tensor | None = None
    channels: Tensor | None = None


class Field:
    """The velocity of a batch of walks of one layout, as the solver wants it: one flat state b s, float32.

    The state holds every part in which anything is hidden; a part given as a whole is shown to the model and
    otherwise left alone. ``guidance`` b, or None for no guidance; with it ``memory`` holds 2b samples, those of
    the prompts first. ``fps`` b.
    """

    def __init__(
        self, model: TwoTowers, memory: Memory, parts: Sequence[Part], *, fps: Tensor, guidance: Tensor | None = None
    ) -> None:
        self.parts = tuple(parts)
        self.guidance = None if guidance is None else guidance[:, None]
        self.moving = [bool(part.hidden.any()) for part in self.parts]
        segments = [
            Segment(
                modality=part.modality,
                tokens=self._for_both(part.tokens),
                positions=self._for_both(part.positions),
                level=self._for_both(part.hidden.float()),
                domain=None if part.domain is None else self._for_both(part.domain),
            )
            for part in self.parts
        ]
        self._walk = Walk(model, memory, segments, fps=self._for_both(fps))

    def start(self, noise: Sequence[Tensor | None]) -> Tensor:
        """The state at level 1: noise b n d where hidden, the given numbers elsewhere, zeros in padding."""
        pieces = []
        for part, moves, sound in zip(self.parts, self.moving, noise, strict=True):
            if moves and sound is not None:
                sound = sound if part.channels is None else sound * part.channels
                pieces.append(torch.where(part.hidden[..., None], sound, part.tokens).flatten(1))
        return torch.cat(pieces, dim=1)

    def tokens(self, state: Tensor) -> list[Tensor]:
        """Each part's tokens b n d, out of the flat state or as given."""
        found, at = [], 0
        for part, moves in zip(self.parts, self.moving, strict=True):
            if moves:
                size = part.tokens[0].numel()
                found.append(state[:, at : at + size].view(part.tokens.shape))
                at += size
            else:
                found.append(part.tokens)
        return found

    def __call__(self, state: Tensor, stop: Stop) -> Tensor:
        """Velocity b s of the state at a stop; exact zeros where given, and in padding."""
        velocities = self._walk([self._for_both(tokens) for tokens in self.tokens(state)], stop.embedded)
        flat = torch.cat(
            [
                (v if part.channels is None else v * self._for_both(part.channels)).flatten(1)
                for part, moves, v in zip(self.parts, self.moving, velocities, strict=True)
                if moves
            ],
            dim=1,
        )
        if self.guidance is None:
            return flat
        towards, without = flat.chunk(2)
        return without + self.guidance * (towards - without)

    def _for_both(self, x: Tensor) -> Tensor:
        return x if self.guidance is None else torch.cat((x, x))
