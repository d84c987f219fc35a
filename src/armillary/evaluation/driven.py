"""A policy driven in a world, physics or imagined: a film and a line for each life, and how often it succeeded.

    world, policy, seeds  ->  drive_together  ->  results.jsonl, films/1000000.mp4, drive.json

The policy sees pictures and hears words: a checkpoint, or a server (``closed_loop.remote``). Scripted controllers look
at the world's state, which no picture shows: those live in ``armillary simulate``. A run that was stopped goes on with
the seeds that are missing.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armillary.closed_loop.doubt import Change
from armillary.closed_loop.drive import Planner, drive_together
from armillary.closed_loop.imagined import Doubt, Imagined
from armillary.closed_loop.policies import Chunks
from armillary.closed_loop.remote import Remote
from armillary.embodiments import Embodiment, load_embodiments
from armillary.errors import ConfigError, RequestError
from armillary.evaluation.bootstrap import mean
from armillary.evaluation.success import judge_tabletop
from armillary.media import write_video, write_whole
from armillary.records import Array, World, WorldSpec
from armillary.sampling.defaults import EXECUTE
from armillary.sampling.omni import Omni, load
from armillary.sampling.parts import find_checkpoint
from armillary.steps import acting_in
from armillary.worlds import make_world
from armillary.worlds.catalogue import ENTRIES, found

TOGETHER = 8  # worlds side by side
JUDGES = {"tabletop": judge_tabletop}  # of success, from pictures alone
LOOKS = 4  # the judge looks at every fourth imagined picture


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What is driven. ``imagined``: the checkpoint in whose imagination; empty: physics. ``doubt``: how far a chunk
    may go from its first picture (``closed_loop.doubt.Change``) and still be believed; None: any. ``steps`` at most,
    ``execute`` of each chunk; None: what the world, and the checkpoint, has. ``adapter``: what the policy's checkpoint
    wears, ``imagined_adapter``: the imagining one's, both as ``armillary.load`` takes them.

    Raises ``RequestError`` for an unknown world, or one of the world's own controllers; ``ConfigError`` for counts.
    """

    world: str
    policy: str
    imagined: str = ""
    episodes: int = 8
    seed: int = 1_000_000
    steps: int | None = None
    execute: int | None = None
    doubt: float | None = None
    adapter: str | None = None
    imagined_adapter: str | None = None

    def __post_init__(self) -> None:
        if self.world not in ENTRIES:
            raise RequestError(f"world {self.world!r} is unknown: it must be one of {', '.join(ENTRIES)}.")
        if self.policy in found(ENTRIES[self.world].kinds):
            raise RequestError(
                f"{self.policy} looks at the world's state, not at pictures: `armillary simulate {self.world} OUT "
                f"--controller {self.policy}` records it; drive takes a checkpoint or ws://HOST:PORT."
            )
        for name, least in (("episodes", 1), ("seed", 0), ("steps", 1), ("execute", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name}={value}: it must be at least {least}.")
        if self.doubt is not None and not self.imagined:
            raise ConfigError("doubt has a use in imagination alone: name a checkpoint that imagines, or leave it out.")
        if self.imagined_adapter is not None and not self.imagined:
            raise ConfigError("imagined_adapter needs a checkpoint that imagines: name one, or leave it out.")
        if self.adapter is not None and _elsewhere(self):
            raise ConfigError(f"adapter={self.adapter!r} cannot be put on a server's policy: serve it there with it.")


@dataclass(frozen=True, kw_only=True)
class Ride:
    """One life. ``success`` None: nobody can judge it. ``stopped``: why an imagination was no longer believed."""

    seed: int
    instruction: str
    steps: int
    success: bool | None
    reward: float
    stopped: str
    film: str


def drive_all(plan: Driven, out: Path, *, report: Callable[[str], None] = print) -> list[Ride]:
    """Drive what is not there yet; returns every life, in the order of seeds. Raises what its parts raise."""
    kept = _begun(plan, out)
    missing = [seed for seed in range(plan.seed, plan.seed + plan.episodes) if seed not in kept]
    if missing:
        with _planner(plan) as planner:
            dreams = load(plan.imagined, adapter=plan.imagined_adapter) if plan.imagined else None
            for first in range(0, len(missing), TOGETHER):
                for ride in _lived(plan, planner, dreams, missing[first : first + TOGETHER], out):
                    kept[ride.seed] = ride
                    report(_told(ride))
                write_whole(out / "results.jsonl", lambda draft: draft.write_text(_lines(kept), encoding="utf-8"))
    return [kept[seed] for seed in range(plan.seed, plan.seed + plan.episodes)]


def verdict(rides: Sequence[Ride]) -> str:
    """How often it succeeded, in one sentence with its interval."""
    known = [ride for ride in rides if ride.success is not None]
    if not known:
        return f"{len(rides)} lives; nobody can tell success from pictures of this world."
    figure = mean([bool(ride.success) for ride in known], [ride.seed for ride in known])
    stopped = sum(bool(ride.stopped) for ride in rides)
    return (
        f"{100 * figure.value:.0f} % of {figure.n} succeeded (95 %: {100 * figure.low:.0f} to {100 * figure.high:.0f})"
        + (f"; {stopped} no longer believed." if stopped else ".")
    )


def _begun(plan: Driven, out: Path) -> dict[int, Ride]:
    """The lives that are there of the same plan and the same checkpoints; more episodes of it may be asked for."""
    wanted: dict[str, Any] = {name: value for name, value in asdict(plan).items() if name != "episodes"}
    names = {"policy": ("" if _elsewhere(plan) else plan.policy, plan.adapter),
             "imagined": (plan.imagined, plan.imagined_adapter)}  # fmt: skip
    wanted |= {f"{role}'s weights": _what(name, adapter) for role, (name, adapter) in names.items() if name}
    settled = out / "drive.json"
    if settled.is_file():
        before = json.loads(settled.read_text("utf-8"))
        if changed := [f"{name} {before.get(name)!r}" for name in wanted if before.get(name) != wanted[name]]:
            raise RequestError(f"{out} was begun with {', '.join(changed)}: go on with that, or take another folder.")
    elif out.exists() and any(out.iterdir()):
        raise RequestError(f"{out} is there already: name a new folder, so that nothing is overwritten.")
    (out / "films").mkdir(parents=True, exist_ok=True)
    write_whole(settled, lambda draft: draft.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8"))
    lines = (out / "results.jsonl").read_text("utf-8").splitlines() if (out / "results.jsonl").is_file() else []
    rides = [Ride(**json.loads(line)) for line in lines]
    return {ride.seed: ride for ride in rides if (out / ride.film).is_file()}


def _elsewhere(plan: Driven) -> bool:
    """Whether the policy is a server's, of whose weights nothing is known here."""
    return plan.policy.startswith(("ws://", "wss://"))


def _what(checkpoint: str, adapter: str | None) -> str:
    """What a checkpoint is made of now: weights, what it says of itself, and what it wears."""
    return "-".join(one[:16] for one in load(checkpoint, adapter=adapter).parts.made_from.values())


@contextmanager
def _planner(plan: Driven) -> Iterator[Planner]:
    spec = _spec(plan)
    camera = spec.cameras[0]
    if _elsewhere(plan):
        with Remote(plan.policy, camera=camera, execute=plan.execute or EXECUTE) as remote:
            yield remote
        return
    omni = load(plan.policy, adapter=plan.adapter)
    yield Chunks(omni=omni, embodiment=spec.embodiment, camera=camera, execute=plan.execute)


def _bodies(plan: Driven) -> dict[str, Embodiment]:
    """Those of the policy's checkpoint; none where it runs elsewhere."""
    return {} if _elsewhere(plan) else load_embodiments(find_checkpoint(plan.policy))


def _spec(plan: Driven) -> WorldSpec:
    made = acting_in(make_world(plan.world), _bodies(plan))
    made.close()
    return made.spec


def _lived(plan: Driven, planner: Planner, dreams: Omni | None, seeds: Sequence[int], out: Path) -> list[Ride]:
    with ExitStack() as stack:
        worlds = [_world(plan, dreams) for _ in seeds]
        for world in worlds:
            stack.callback(world.close)
        camera, most = worlds[0].spec.cameras[0], plan.steps or worlds[0].spec.max_steps
        pictures: list[list[Array]] = [[] for _ in seeds]
        latest: list[Any] = [None] * len(seeds)
        for i, moment in drive_together(worlds, planner, seeds=list(seeds), max_steps=most):
            pictures[i].append(moment.frames[camera])
            latest[i] = moment
        rides = []
        for world, seed, seen, moment in zip(worlds, seeds, pictures, latest, strict=True):
            film = f"films/{seed}.mp4"
            write_video(out / film, np.stack(seen), fps=world.spec.fps)
            judged = not plan.imagined or plan.world in JUDGES
            stopped = world.stopped if isinstance(world, Imagined) else ""
            rides.append(Ride(
                seed=seed, instruction=moment.instruction, steps=len(seen) - 1, film=film, reward=float(moment.reward),
                success=bool(moment.success) if judged else None, stopped=stopped,
            ))  # fmt: skip
        return rides


def _world(plan: Driven, dreams: Omni | None) -> World:
    world = acting_in(make_world(plan.world), _bodies(plan))
    if dreams is None:
        return world
    doubt = None if plan.doubt is None else Doubt(measure=Change(), most=plan.doubt)
    judge, camera = JUDGES.get(plan.world), world.spec.cameras[0]
    return Imagined(dreams, world, judge=judge, judge_every=LOOKS, doubt=doubt, camera=camera)


def _lines(rides: Mapping[int, Ride]) -> str:
    return "".join(json.dumps(asdict(rides[seed])) + "\n" for seed in sorted(rides))


def _told(ride: Ride) -> str:
    said = {True: "done", False: "not done", None: "not judged"}[ride.success]
    return f"{ride.seed}  {said:<10} {ride.steps:>3} steps  {ride.instruction}" + (
        f"  ({ride.stopped})" if ride.stopped else ""
    )
