"""The model as a policy: it sees a picture and hears words, plans a chunk of actions, does some, plans again.

Chunks       many moments -> the next actions of each, in one batch of the model
OmniPolicy   the same for one world, an action at a time
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armillary.errors import ConfigError
from armillary.records import Array, Moment

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """A planner that asks the model: of each planned chunk the first ``execute`` actions are given out.

    ``execute``, and ``steps`` of the solver; None: as many as the checkpoint takes. ``camera``: whose picture it sees.
    """

    omni: "Omni"
    embodiment: str
    execute: int | None = None
    steps: int | None = None
    camera: str = "front"

    def __post_init__(self) -> None:
        if any(one is not None and one < 1 for one in (self.execute, self.steps)):
            raise ConfigError(f"execute={self.execute}, steps={self.steps}: both must be at least 1.")

    def __call__(self, moments: Sequence[Moment], seeds: Sequence[int]) -> list[Array]:
        """The first ``execute`` planned actions of each moment, t a in physical units."""
        walk = {} if self.steps is None else {"steps": self.steps}
        requests = [
            walk
            | {
                "mode": "policy",
                "prompt": moment.instruction,
                "image": moment.frames[self.camera],
                "embodiment": self.embodiment,
                "seed": seed,
                "outputs": ("actions",),
            }
            for moment, seed in zip(moments, seeds, strict=True)
        ]
        plans = [rollout.actions for rollout in self.omni.imagine_many(requests)]
        done = self.execute or self.omni.parts.defaults.execute_of(self.embodiment)
        return [plan[:done] for plan in plans if plan is not None]


class OmniPolicy:
    """One world's policy. ``seed`` makes its noise; ``reset`` forgets the plan and starts the noise anew."""

    def __init__(
        self,
        omni: "Omni",
        embodiment: str,
        *,
        execute: int | None = None,
        steps: int | None = None,
        camera: str = "front",
        seed: int = 0,
    ) -> None:
        self._chunks = Chunks(omni=omni, embodiment=embodiment, execute=execute, steps=steps, camera=camera)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        self._plan: deque[Array] = deque()
        self._plans = 0

    def __call__(self, moment: Moment) -> Array:
        if not self._plan:
            (plan,) = self._chunks([moment], [self._seed + self._plans])
            self._plan.extend(plan)
            self._plans += 1
        return self._plan.popleft()
