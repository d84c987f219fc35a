"""The runs by which the bundled model learns more worlds than the tabletop: things that move by themselves, and PushT.

    pico-worlds            lives of each world                              raw/WORLD
    pico-worlds-clips      their clips in one folder                        clips/frames_WORLD_00.npy
    pico-worlds-vae        the tokenizer learns them; what it makes of the tabletop stays, so its windows stay, too
    pico-worlds-decoder    its decoder goes on with clips of the tabletop and of the worlds together
    pico-worlds-windows    windows of a world, with its own body and camera         cache/WORLD, frames/WORLD
    pico-worlds-lesson     the generator learns PushT alone, and forgets the tabletop
    pico-worlds-between    half of the way there: it knows both, each in part
    pico-worlds-generator  from there it goes on with the tabletop and PushT together
    pico-worlds-back       half of the way back to the weights before all that, whose policy is better
    pico-worlds-settled    a few minutes more of everything from there, half of it films, a third the policy
    pico-worlds-rehearsed  it goes on with everything, the policy from many tables
    pico-worlds-hand       the reasoner learns to see the gripper, and what is left to do; the generator waits
    pico-worlds-sounds     a lesson of sounds to films
    pico-worlds-last       everything once more, the rate falling to 0: the bundled generator
    pico-worlds-lives      lives of the six worlds that are not the table         abroad/WORLD
    pico-worlds-abroad     the reasoner learns to see them, and what is asked about them

Everything lies under ``runs/pico/worlds``; the tabletop's data are those of the other runs. A further world is one
more entry of ``TAUGHT``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from armillary.errors import ConfigError
from armillary.run_kinds import Codec, Generator, Reasoner, Run
from armillary.runs_pico import pico_generator
from armillary.training.abroad import Abroad
from armillary.training.between import BetweenRun
from armillary.training.episodes import CacheRun, ClipsRun, DataRun, cut_clips, encode, simulate
from armillary.training.heard import TO_FILM
from armillary.training.imagination import FlowConfig
from armillary.training.loop import Report, Stage

BASE = Path("runs/pico/worlds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """How one world is learnt: who acts, whose body and which camera it is, how many clips and windows of a life.

    ``stills``: how many single frames of an expert's life, with the actions after them; 0 where nobody acts.
    """

    controllers: tuple[str, ...]
    embodiment: str
    camera: str
    clips: int
    windows: int
    stills: int = 0


TAUGHT: Mapping[str, Taught] = {
    "physics": Taught(controllers=("still",), embodiment="camera_pose", camera="main", clips=2, windows=4),
    "pusht": Taught(controllers=("expert", "expert", "clumsy", "expert", "random"), embodiment="pusht_steps",
                    camera="top", clips=4, windows=12, stills=40),
}  # fmt: skip


READ: Mapping[str, tuple[int, tuple[str, ...]]] = {  # lives, and who acts in them where that is not all who may
    "physics": (1240, ("still", "conjurer", "orbit", "conjurer")), "spatial": (500, ()), "drawer": (240, ()),
    "humans": (240, ()), "driving": (160, ()), "warehouse": (130, ()),
}  # fmt: skip
LEARNT = ("pusht",)  # by the generator: of physics the tokenizer keeps too little (28 dB once taught; its gate: 30)


@dataclass(frozen=True, kw_only=True)
class Several:
    """What stages of several worlds share. ``ConfigError`` for a world that ``TAUGHT`` does not name."""

    worlds: tuple[str, ...] = tuple(TAUGHT)

    def __post_init__(self) -> None:
        if not self.worlds or set(self.worlds) - set(TAUGHT):
            raise ConfigError(f"worlds={self.worlds}: name at least one, each one of {', '.join(TAUGHT)}.")


@dataclass(frozen=True, kw_only=True)
class WorldsData(Several):
    """Simulate ``episodes`` lives of each world, each in a folder of its name."""

    out: Path
    episodes: int
    seed: int = 0
    share: tuple[int, int] = (0, 1)

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it (``run_chain.py``)."""
        return tuple(self.out / world for world in self.worlds)

    def start(self, report: Report = print) -> None:
        """Simulate what is not there yet."""
        for world in self.worlds:
            _live(self, world, self.episodes, TAUGHT[world].controllers, report)


@dataclass(frozen=True, kw_only=True)
class WorldsLives:
    """Simulate lives of the worlds that the reasoner reads, each in a folder of its name; ``of``: how large a part."""

    out: Path
    seed: int = 10_000
    of: float = 1.0
    share: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if not 0 < self.of <= 1:
            raise ConfigError(f"of={self.of}: it must be a part of the lives, above 0 and at most 1.")

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it."""
        return tuple(self.out / world for world in READ)

    def start(self, report: Report = print) -> None:
        """Simulate what is not there yet."""
        for world, (count, controllers) in READ.items():
            _live(self, world, max(len(controllers), 1, round(self.of * count)), controllers, report)


def _live(
    run: WorldsData | WorldsLives, world: str, episodes: int, controllers: tuple[str, ...], report: Report
) -> None:
    """Simulate what is not there yet of one world."""
    lives = DataRun(
        out=run.out / world, episodes=episodes, seed=run.seed, share=run.share, world=world, controllers=controllers
    )
    report(f"{world}: {simulate(lives, report)} episodes")


@dataclass(frozen=True, kw_only=True)
class WorldsClips(Several):
    """Cut clips of each world for the video tokenizer, those of ``a_file`` lives a file, all into one folder."""

    data: Path
    out: Path
    a_file: int = 30
    seed: int = 0

    @property
    def sources(self) -> tuple[Path, ...]:
        """What it reads in ``data``."""
        return tuple(self.data / world for world in self.worlds)

    def start(self, report: Report = print) -> None:
        """Cut what is not there yet."""
        for world in self.worlds:
            how = TAUGHT[world]
            run = ClipsRun(
                data=self.data / world, out=self.out, name=world, camera=how.camera, windows=how.clips,
                a_file=self.a_file, seed=self.seed,
            )  # fmt: skip
            report(f"{world}: {cut_clips(run, report)} clips")


@dataclass(frozen=True, kw_only=True)
class WorldsWindows(Several):
    """Encode windows of each world into ``out/WORLD``, and single frames of its experts into ``frames/WORLD``."""

    data: Path
    vae: Path
    out: Path
    frames: Path
    share: tuple[int, int] = (0, 1)
    threads: int = 1

    @property
    def sources(self) -> tuple[Path, ...]:
        """What it reads in ``data``."""
        return tuple(self.data / world for world in self.worlds)

    @property
    def results(self) -> tuple[Path, ...]:
        """What others read of it."""
        frames = (self.frames / world for world in self.worlds if TAUGHT[world].stills)
        return (*(self.out / world for world in self.worlds), *frames)

    def start(self, report: Report = print) -> None:
        """Encode what is not there yet."""
        for world in self.worlds:
            how = TAUGHT[world]
            films = CacheRun(
                data=self.data / world, vae=self.vae, out=self.out / world, most=how.windows, camera=how.camera,
                embodiment=how.embodiment, share=self.share, threads=self.threads,
            )  # fmt: skip
            report(f"{world}: windows of {encode(films, report)} episodes")
            if how.stills:
                frames = replace(films, out=self.frames / world, most=how.stills, stills=True)
                report(f"{world}: single frames of {encode(frames, report)} episodes")


def pico_worlds() -> Run:
    """600 lives of physics before a camera that stands still, 600 of PushT: 26 minutes of one core (from 71 each)."""
    return WorldsData(out=BASE / "raw", episodes=600)


def pico_worlds_clips() -> Run:
    """Two clips of every life of physics and four of PushT, in one folder: a minute."""
    return WorldsClips(data=BASE / "raw", out=BASE / "clips")


def pico_worlds_vae() -> Run:
    """The tokenizer learns both while its latents of the tabletop's clips stay: 50 minutes of one core."""
    return Codec(
        data=BASE / "clips", kept=Path("runs/pico/clips"), out=BASE / "vae", origin=Path("runs/pico/decoder/vae"),
        minutes=50.0, kept_share=0.45, kept_weight=4.0, crop_share=0.06, learning_rate=1.2e-3, emphasis=0.5,
        square=(8.0, 40.0), warmup_steps=40, ema=0.997,
    )  # fmt: skip


def pico_worlds_decoder() -> Run:
    """Its decoder goes on, the latents stay: the tabletop's clips come back, PushT's get sharper. 24 minutes."""
    return Codec(
        data=BASE / "clips", kept=Path("runs/pico/clips"), kept_share=0.6, out=BASE / "decoder", minutes=24.0,
        origin=BASE / "vae/vae", decoder_only=True, emphasis=0.4, square=(12.0, 40.0), crop_share=0.0,
        learning_rate=8e-4, warmup_steps=30, ema=0.997,
    )  # fmt: skip


def pico_worlds_windows() -> Run:
    """At most twelve windows of a life of PushT, and single frames of its experts; of physics none (``LEARNT``)."""
    return WorldsWindows(
        worlds=LEARNT, data=BASE / "raw", vae=BASE / "vae/vae", out=BASE / "cache", frames=BASE / "frames"
    )  # fmt: skip


def pico_worlds_lesson() -> Run:
    """Where the disc is sent and what comes of it, of PushT alone: 20 minutes of one core."""
    stage = Stage(
        name="lesson", steps=530, batch=32, rate=2.5e-3, muon=True, warmup=40, decay=0.1, ema=0.998, threads=2,
        compile=True,
    )  # fmt: skip
    flow = FlowConfig(
        action_share=1.0, onwards=0.1, full_noise=0.8, modes={"forward-dynamics": 0.85, "inverse-dynamics": 0.15}
    )
    return Generator(
        origin=Path("runs/pico/generator/checkpoint"), fresh=False, cache=BASE / "cache/pusht",
        vae=BASE / "decoder/vae", out=BASE / "lesson", stage=stage, flow=flow, like={"pusht_steps": "tabletop"},
    )  # fmt: skip


def pico_worlds_between() -> BetweenRun:
    """Half of the way from the weights before that lesson to those after it."""
    return BetweenRun(
        before=Path("runs/pico/generator/checkpoint"), after=BASE / "lesson/checkpoint", out=BASE / "between"
    )


def pico_worlds_generator() -> Generator:
    """From there on everything, the tabletop's windows and PushT's about as often: an hour of one core."""
    stage = Stage(
        name="generator", steps=1600, batch=32, rate=2.2e-3, muon=True, warmup=40, decay=0.6, ema=0.998, threads=2,
        compile=True,
    )  # fmt: skip
    before = pico_generator()
    flow = replace(
        before.flow, stills_share=0.22, still_policy=0.75, painting=0.22, action_share=0.95, onwards=0.15,
        modes={"forward-dynamics": 0.66, "inverse-dynamics": 0.32, "policy": 0.02},
        held=replace(before.flow.held, share=0.1, begun=0.4),
        heard=replace(before.flow.heard, share=0.13, modes={"image-to-video": 0.05, TO_FILM: 0.95}, weight=4.0),
    )  # fmt: skip
    return replace(
        before, origin=BASE / "between", fresh=False, vae=BASE / "decoder/vae",
        same_latents=(before.vae,),  # of the tabletop: ``pico_worlds_vae`` keeps them
        more=tuple(BASE / "cache" / world for world in LEARNT),
        more_stills=tuple(BASE / "frames" / world for world in LEARNT) * 2,
        out=BASE / "generator", stage=stage, flow=flow,
    )  # fmt: skip


def pico_worlds_back() -> Run:
    """Half of the way from the weights before PushT to those after it: the policy comes back."""
    return replace(pico_worlds_between(), after=BASE / "generator/checkpoint", out=BASE / "back")


def pico_worlds_settled() -> Generator:
    """Five minutes of two threads, the rate falling from the start."""
    before = pico_worlds_generator()
    stage = replace(before.stage, name="settled", steps=270, rate=1.1e-3, warmup=15, decay=0.9, ema=0.98)
    flow = replace(
        before.flow, stills_share=0.36, still_policy=0.97, painting=0.08, action_share=1.0, onwards=0.08,
        modes={"forward-dynamics": 0.72, "inverse-dynamics": 0.28}, held=replace(before.flow.held, share=0.04),
        heard=replace(before.flow.heard, share=0.05),
    )  # fmt: skip
    return replace(
        before, origin=BASE / "back", more_stills=(), out=BASE / "settled", stage=stage, flow=flow,
    )  # fmt: skip


def pico_worlds_rehearsed() -> Generator:
    """The generator goes on with everything: an hour of one core."""
    before = pico_worlds_settled()
    stage = replace(before.stage, name="rehearsed", steps=1000, rate=2e-3, warmup=40, decay=0.25, ema=0.998)
    flow = replace(
        before.flow, stills_share=0.22, still_policy=0.92, onwards=0.12, action_share=0.99,
        modes={"forward-dynamics": 0.66, "inverse-dynamics": 0.34}, heard=replace(before.flow.heard, share=0.2),
    )  # fmt: skip
    return replace(before, origin=BASE / "settled/checkpoint", out=BASE / "rehearsed", stage=stage, flow=flow)


def pico_worlds_hand() -> Reasoner:
    """The eyes learn where the gripper is, the reasoner what is left to do: an hour and a quarter of half a core."""
    hand = Stage(name="hand", steps=1500, batch=32, rate=2e-3, muon=True, warmup=40, decay=0.6)
    stage = Stage(
        name="plans", steps=1000, batch=20, rate=2e-3, muon=True, warmup=30, weight_decay=0.02, decay=0.75, ema=0.99,
        compile=True,
    )  # fmt: skip
    return Reasoner(
        origin=BASE / "rehearsed/checkpoint", seeing=True, look_once=True, hand=hand, data=Path("runs/pico/raw"),
        out=BASE / "hand", stage=stage, keep=2.5, moments=14, longest=288, most=4,
        shares={"shape": 0.1, "colour": 0.35, "extreme": 0.35, "relation": 0.4, "report": 0.05, "box": 0.5},
        kinds=("plan", "still", "plan", "still", "plan", "layout", "plan", "still", "plan", "prompt", "still"),
    )  # fmt: skip


def pico_worlds_sounds() -> Generator:
    """Sounds to films, hardly anything else: six minutes of two threads."""
    before = pico_worlds_rehearsed()
    stage = replace(before.stage, name="sounds", steps=240, rate=2.5e-3, warmup=15, decay=0.3, ema=0.99)
    flow = replace(
        before.flow, stills_share=0.0, painting=0.0, held=replace(before.flow.held, share=0.0),
        heard=replace(before.flow.heard, share=0.9),
    )  # fmt: skip
    return replace(before, origin=BASE / "hand/checkpoint", out=BASE / "sounds", stage=stage, flow=flow)


def pico_worlds_last() -> Generator:
    """What the bundled generator was last learnt by: 45 minutes of two threads, the rate falling from early on.

    It was walked twice, with its sounds; the second time from its own weights, longer, with more lives (docs/log.md).
    """
    before = pico_worlds_rehearsed()
    stage = replace(before.stage, name="last", steps=2600, rate=1.8e-3, warmup=30, decay=0.75, ema=0.99)
    flow = replace(
        before.flow, onwards=0.08, painting=0.09, held=replace(before.flow.held, share=0.04),
        heard=replace(before.flow.heard, share=0.13),
        modes={"forward-dynamics": 0.68, "inverse-dynamics": 0.32},
    )  # fmt: skip
    return replace(before, origin=BASE / "sounds/checkpoint", out=BASE / "last", stage=stage, flow=flow)


def pico_worlds_lives() -> Run:
    """2,510 lives of six worlds, 1,240 of them of ``physics``: twenty minutes of two threads."""
    return WorldsLives(out=BASE / "abroad")


def pico_worlds_abroad() -> Reasoner:
    """The eyes learn six more worlds and keep the table, then the reasoner what is asked there: 80 minutes."""
    before = pico_worlds_hand()
    travels = Stage(
        name="travels", steps=2200, batch=48, rate=2.5e-3, muon=True, warmup=40, decay=0.6, weight_decay=0.02, threads=2
    )
    return replace(
        before, origin=BASE / "last/checkpoint", out=BASE / "reads", hand=None, travels=travels,
        stage=replace(before.stage, name="reads", steps=2000, batch=16, threads=2, decay=0.7),
        abroad=Abroad(worlds={world: BASE / "abroad" / world for world in READ}),
        kinds=("abroad", "strange", "plan", "abroad", "still", "abroad", "layout", "abroad", "strange", "plan",
               "abroad", "still", "abroad", "prompt", "abroad"),
    )  # fmt: skip
