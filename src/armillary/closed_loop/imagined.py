"""The model's imagination as a world: a true first picture, and from then on only what the model says happens.

    a world's reset(seed)            ->  the first moment's picture, true
    the last picture, <= 16 actions  ->  forward dynamics  ->  the next pictures, imagined
    or what was imagined, 4 actions  ->  it goes on        ->  the next four (``sampling/onwards.py``)
    pictures so far, instruction     ->  a judge handed in  ->  success, said of pictures alone

Imagined moments have no state: what cannot be seen is not known. An action can be asked for alone (``step``); then
all actions since the chunk began are imagined again with it, so that after sixteen the film is the one that a single
call would have given. Who knows the next actions beforehand says so (``foresee``; ``drive_together`` does): each
chunk is then one call, and the chunks of many worlds are one batch, but for films that go on, each by itself.

A film that goes on is never decoded and encoded again, so it stays nearer to the truth over many chunks, and things
that are held keep their colour longer. Where it has come to between two fours is imagined again with the next action;
whoever does something else than was foreseen goes on from the last four that were done.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from armillary.errors import ConfigError
from armillary.records import Array, Moment, World, WorldSpec

if TYPE_CHECKING:
    from armillary.sampling.omni import Omni
    from armillary.sampling.onwards import Onwards

CHUNK = 16  # actions imagined in one call: what models of actions are trained on
FOUR = 4  # actions by which a film goes on: those of a latent frame, said here so that torch waits

LEAST_READ = 4  # actions of a chunk, below which its film is too short for a measure


@runtime_checkable
class Judge(Protocol):
    """Says of pictures alone, t h w 3 from the first on, whether the last one shows the instruction done."""

    def __call__(self, pictures: Sequence[Array], instruction: str) -> bool: ...


@runtime_checkable
class Measure(Protocol):
    """How little each imagined film t+1 h w 3 can be believed, given its actions t a: larger is worse."""

    def __call__(self, films: Sequence[Array], actions: Sequence[Array]) -> Sequence[float]: ...


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """When an imagination is no longer believed: a chunk of which ``measure`` says more than ``most``."""

    measure: Measure
    most: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Foreseen:
    """An action, the picture after it, and, if it must not be believed, why."""

    action: Array
    picture: Array
    distrust: str = ""


class Imagined:
    """``world`` as the model imagines it. It is a ``World`` too, so ``drive`` scores a policy in either.

    ``judge``: of success, at every ``judge_every``-th picture; none: nothing succeeds. ``doubt``: where the world is
    over because it is not believed; ``stopped`` then says so. ``chance``: another number gives other noise.
    ``going_on``: whether the film goes on, or each chunk begins with the last picture; None: as the model does better.
    ``world`` is only reset, never stepped; it is closed with this one.
    """

    def __init__(
        self,
        omni: "Omni",
        world: World,
        *,
        judge: Judge | None = None,
        judge_every: int = 1,
        doubt: Doubt | None = None,
        camera: str = "front",
        chance: int = 0,
        steps: int | None = None,
        going_on: bool | None = None,
    ) -> None:
        if camera not in world.spec.cameras:
            raise ConfigError(f"camera={camera!r}: {world.spec.name} has {', '.join(world.spec.cameras)}.")
        if judge_every < 1:
            raise ConfigError(f"judge_every={judge_every}: it must be at least 1.")
        self.spec: WorldSpec = world.spec
        self.omni, self.camera, self.doubt = omni, camera, doubt
        self._world, self._judge, self._every = world, judge, judge_every
        self._chance, self._steps = chance, steps
        self.going_on = omni.goes_on if going_on is None else going_on

    @property
    def pictures(self) -> list[Array]:
        """What was seen so far, uint8 h w 3 each: the first is true."""
        return list(self._pictures)

    def reset(self, seed: int, instruction: str | None = None) -> Moment:
        """The true first picture of that seed. Nothing is imagined yet."""
        first = self._world.reset(seed, instruction)
        self._words, self._seed = first.instruction, seed
        self._pictures: list[Array] = [first.frames[self.camera]]
        self._did: list[Array] = []
        self._begun = 0  # how many of these were done when the chunk began
        self._ahead: deque[_Foreseen] = deque()
        self._plan: list[Array] = []  # actions that are still to be imagined
        self._new = 0  # of the pictures foreseen, how many the last call brought
        self._marks: list[tuple[int, Onwards]] = []  # films that go on, each after so many steps
        self.stopped = ""
        return self._moment(success=False, over=False)

    def step(self, action: Array) -> Moment:
        """The picture after one action, imagined now unless it was foreseen."""
        asked = np.asarray(action)
        if not (self._ahead and np.array_equal(self._ahead[0].action, asked)):
            foresee([self], [asked[None]])
        now = self._ahead.popleft()
        self._pictures.append(now.picture)
        self._did.append(now.action)
        while len(self._marks) > 1 and self._marks[1][0] <= len(self._did):
            del self._marks[0]  # nobody goes back there
        if len(self._did) - self._begun == CHUNK:
            self._begun = len(self._did)
        done = len(self._pictures) - 1
        if now.distrust:
            self.stopped = f"Stopped at step {done}: {now.distrust}"
            return self._moment(success=False, over=True)
        success = self._judge is not None and done % self._every == 0 and self._judge(self._pictures, self._words)
        return self._moment(success=success, over=success)

    def close(self) -> None:
        """Close the world whose first moments these are."""
        self._world.close()

    def _moment(self, *, success: bool, over: bool) -> Moment:
        return Moment(
            frames={self.camera: self._pictures[-1]}, state={}, instruction=self._words, reward=float(success),
            success=success, over=over,
        )  # fmt: skip

    def _intend(self, plan: Array) -> None:
        """What is to be imagined from the picture that is seen now. A single action goes on with its chunk."""
        self._ahead.clear()
        self._marks = [mark for mark in self._marks if mark[0] <= len(self._did)]
        self._plan = list(np.asarray(plan))
        if len(self._plan) > 1:
            self._begun = len(self._did)

    @property
    def _film(self) -> list[Array]:
        """What was seen, and what is foreseen."""
        return [*self._pictures, *(one.picture for one in self._ahead)]

    def _begins(self, at: int, picture: Array) -> dict[str, Any]:
        """With what the model begins a film at that step."""
        walk = {} if self._steps is None else {"steps": self._steps}
        seed = int(np.random.default_rng([self._chance, self._seed, at]).integers(2**31))
        return {**walk, "image": picture, "embodiment": self.spec.embodiment, "size": picture.shape[:2], "seed": seed}

    def _request(self) -> dict[str, Any]:
        """The next chunk, or a step more of it, as the model is asked for it."""
        known = [] if self._ahead else self._did[self._begun :]
        film = self._film
        begun = len(film) - 1 - len(known)
        return self._begins(begun, film[begun]) | {
            "mode": "forward-dynamics", "actions": np.stack([*known, *self._plan[: CHUNK - len(known)]]),
            "outputs": ("video",),
        }  # fmt: skip

    def _gone_on(self, actions: Array) -> Array:
        """A chunk's film t+1 h w 3, given its actions t a, as a film that goes on shows it."""
        if not self._marks:
            self._marks = [(0, self.omni.onwards(**self._begins(0, self._pictures[0])))]
        at, film = self._marks[-1]
        new = min(len(self._plan), len(actions))
        begun = [*self._did, *(one.action for one in self._ahead)][at:]  # the first of four that are not whole
        coming = [*begun, *actions[-new:]]
        whole = len(coming) - len(coming) % FOUR
        shown = []
        if whole:
            film = film.branch()
            shown.append(film.push(np.stack(coming[:whole])))
            self._marks.append((at + whole, film))
        if rest := coming[whole:]:
            as_if = [*rest, *[rest[-1]] * (FOUR - len(rest))]
            shown.append(film.branch().push(np.stack(as_if))[: len(rest)])
        return np.concatenate([np.stack(self._film[new - len(actions) - 1 :]), np.concatenate(shown)[-new:]])

    def _take(self, request: dict[str, Any], film: Array) -> bool:
        """Keep what was imagined of a chunk; whether it is one to be measured."""
        actions = request["actions"]
        self._new = min(len(self._plan), len(actions))
        new = zip(actions[-self._new :], film[-self._new :], strict=True)
        self._ahead += [_Foreseen(action=action, picture=picture) for action, picture in new]
        self._plan = self._plan[self._new :]
        whole = len(actions) == CHUNK or self._new > 1
        return self.doubt is not None and whole and len(actions) >= LEAST_READ

    def _weigh(self, found: float) -> None:
        """If the chunk imagined last is not to be believed, mark it so, and imagine no further."""
        if self.doubt is None or found <= self.doubt.most:
            return
        why = f"the doubt about the imagined film is {found:.3g}, and up to {self.doubt.most:.3g} it is believed."
        kept = list(self._ahead)
        doubted = [replace(one, distrust=why) for one in kept[-self._new :]]
        self._ahead, self._plan = deque([*kept[: -self._new], *doubted]), []


def foresee(worlds: Sequence[Imagined], plans: Sequence[Array]) -> None:
    """Imagine what each world's next actions (k a, k at least 1) lead to: chunk by chunk, all worlds in one batch.

    A film that goes on is imagined by itself.
    """
    for world, plan in zip(worlds, plans, strict=True):
        world._intend(plan)
    while hungry := [world for world in worlds if world._plan]:
        asked = [world._request() for world in hungry]
        films = _films(hungry, asked)
        doubted = [i for i, world in enumerate(hungry) if world._take(asked[i], films[i])]
        for measure in {id(d.measure): d.measure for d in (hungry[i].doubt for i in doubted) if d}.values():
            own = [i for i in doubted if (d := hungry[i].doubt) and d.measure is measure]
            found = measure([films[i] for i in own], [asked[i]["actions"] for i in own])
            for i, value in zip(own, found, strict=True):
                hungry[i]._weigh(float(value))


def foreseeing(worlds: Sequence[World], plans: Sequence[Array]) -> None:
    """``foresee`` for those of the worlds that are imagined; others need nobody to foresee."""
    pairs = [(world, plan) for world, plan in zip(worlds, plans, strict=True) if isinstance(world, Imagined)]
    foresee([world for world, _ in pairs], [plan for _, plan in pairs])


def _films(worlds: Sequence[Imagined], asked: Sequence[dict[str, Any]]) -> list[Array]:
    """What each world's own model says happens, t+1 h w 3; worlds of one model in one batch, but those that go on."""
    found = {i: world._gone_on(asked[i]["actions"]) for i, world in enumerate(worlds) if world.going_on}
    others = [i for i in range(len(worlds)) if i not in found]
    for omni in {id(worlds[i].omni): worlds[i].omni for i in others}.values():
        own = [i for i in others if worlds[i].omni is omni]
        for i, rollout in zip(own, omni.imagine_many([asked[i] for i in own]), strict=True):
            assert rollout.video is not None
            found[i] = rollout.video
    return [found[i] for i in range(len(worlds))]
