"""The named runs: each a function that returns every setting of one piece of work; ``armillary train NAME`` starts it.

    pico-data -> pico-clips -> pico-vae -+-> pico-cache ---+-> pico-generator    the bundled model, in this order
    |        |                           +-> pico-decoder -+-> pico-cloning      what its policy is compared with
    |        +-> pico-words -+-> pico-reasoner ------------+
    |        +-> pico-moments ----------------------------+   single frames of the episodes
    |        +-> pico-controls ---------------------------+   films beside what may hold them
    +--> pico-sounds -> pico-sound -> pico-heard ---------+   what is heard in them
    pico-laid -> pico-paintings --------------------------+   tables as they are laid, thing by thing
    pico-stills -> pico-glances --------------------------+   single frames of many more tables, talked about as well
    pico-generator -> pico-corrections -> pico-amends       moments it came to, and what the expert would have done
    tiny        all of it in seconds, for the tests
    finetune    a trained model learns your recordings
    pusht-recordings -> pusht, and droid    finetune, shown twice: gym-pusht, and a real recording

Folders of one run are found by the next under ``runs/``. Every field is also a flag; a run of your own is
``FILE.py:function``, a function without arguments that returns a ``Run``.
"""

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from armillary.errors import ConfigError
from armillary.model import ModelConfig, TowerConfig, VisionConfig
from armillary.post_training.corrections import CorrectionsRun
from armillary.post_training.finetune import FinetuneRun
from armillary.post_training.mixed import MixedRun
from armillary.training.dreams import Lesson
from armillary.training.episodes import CacheRun, ClipsRun, DataRun, cut_clips, encode, simulate
from armillary.training.generator import GeneratorRun, train_generator
from armillary.training.heard import HeardRun
from armillary.training.held import HeldConfig
from armillary.training.imagination import FlowConfig
from armillary.training.loop import Report, Stage
from armillary.training.reasoner import ReasonerRun, learn_tokenizer, train_reasoner
from armillary.training.sound import LivesRun, SoundRun
from armillary.training.vae import VAERun, VideoVAEConfig, train_vae


@runtime_checkable
class Run(Protocol):
    """Settings that know what they are for: ``start`` does the work and writes into their folder."""

    def start(self, report: Report = print) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Data(DataRun):
    """Simulate episodes."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        simulate(self, report)


@dataclass(frozen=True, kw_only=True)
class Clips(ClipsRun):
    """Cut clips for the video tokenizer."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        cut_clips(self, report)


@dataclass(frozen=True, kw_only=True)
class Cache(CacheRun):
    """Encode windows for the generator."""

    def start(self, report: Report = print) -> None:
        """Do it."""
        encode(self, report)


@dataclass(frozen=True, kw_only=True)
class Codec(VAERun):
    """Train the video tokenizer."""

    def start(self, report: Report = print) -> None:
        """Do it, or go on."""
        figures = train_vae(self)
        report("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


@dataclass(frozen=True, kw_only=True)
class Reasoner(ReasonerRun):
    """Train the reasoner."""

    def start(self, report: Report = print) -> None:
        """Do it, or go on."""
        train_reasoner(self, report)


@dataclass(frozen=True, kw_only=True)
class Generator:
    """Train the generator of the checkpoint ``origin``; the other fields are those of ``GeneratorRun``."""

    origin: Path
    cache: Path
    vae: Path
    out: Path
    stage: Stage
    flow: FlowConfig = field(default_factory=FlowConfig)
    fresh: bool = True
    stills: Path | None = None
    controls: Path | None = None
    laid: Path | None = None
    sounds: Path | None = None
    sound_tokenizer: Path | None = None

    def start(self, report: Report = print) -> None:
        """Do it, or go on."""
        fields = {name: value for name, value in vars(self).items() if name != "origin"}
        train_generator(GeneratorRun(start=self.origin, **fields), report)


@dataclass(frozen=True, kw_only=True)
class WholeWay:
    """The smallest thing through every stage: the checkpoint comes to lie in ``out/generator/checkpoint``."""

    out: Path
    episodes: int = 3
    steps: int = 6
    seed: int = 0
    model: ModelConfig
    codec: VAERun

    def start(self, report: Report = print) -> None:
        """Do all of it, or go on."""
        raw, clips, vae = self.out / "raw", self.out / "clips", self.out / "vae"
        simulate(DataRun(out=raw, episodes=self.episodes, seed=self.seed), report)
        cut_clips(ClipsRun(data=raw, out=clips, seed=self.seed), report)
        train_vae(replace(self.codec, data=clips, out=vae, seed=self.seed))
        encode(CacheRun(data=raw, vae=vae / "vae", out=self.out / "cache", most=2), report)

        stage = Stage(
            name="reasoner", steps=self.steps, batch=4, rate=2e-3, warmup=1, seed=self.seed, bf16=False, log_every=1
        )
        read = self.out / "reasoner/checkpoint"
        learn_tokenizer(raw, read / "text_tokenizer", vocabulary=self.model.vocabulary)
        train_reasoner(ReasonerRun(data=raw, out=read.parent, stage=stage, model=self.model), report)
        train_generator(
            GeneratorRun(
                start=read, cache=self.out / "cache", vae=vae / "vae", out=self.out / "generator",
                stage=replace(stage, name="generator"),
            ),
            report,
        )  # fmt: skip


def pico_data() -> Run:
    """2,700 tabletop episodes: about 40 minutes of one core (the video tokenizer learnt from the first 1,400)."""
    return Data(out=Path("runs/pico/raw"), episodes=2700)


def pico_clips() -> Run:
    """Two clips of every episode."""
    return Clips(data=Path("runs/pico/raw"), out=Path("runs/pico/clips"))


def pico_vae() -> Run:
    """The video tokenizer: an hour of two cores. The bundled one had two (``--origin`` goes on from given weights)."""
    return Codec(data=Path("runs/pico/clips"), out=Path("runs/pico/vae"), minutes=60.0, threads=2)


def pico_decoder() -> Run:
    """Its decoder goes on learning, the latents stay: a quarter of an hour of one core."""
    return Codec(
        data=Path("runs/pico/clips"), out=Path("runs/pico/decoder"), origin=Path("runs/pico/vae/vae"), minutes=13.0,
        decoder_only=True, crop_share=0.0, learning_rate=7e-4, emphasis=0.4, square=(10.0, 40.0),
    )  # fmt: skip


def pico_words() -> Run:
    """Its first half: the reasoner learns the words, its eyes hardly open."""
    stage = Stage(name="words", steps=2600, batch=16, rate=1.2e-3, slower=(("visual.", 0.2),))
    return Reasoner(data=Path("runs/pico/raw"), out=Path("runs/pico/words"), stage=stage)


def pico_reasoner() -> Run:
    """The bundled reasoner: eyes that speak its words, lessons about dreamt tables, then talk about what is seen."""
    eyes = Stage(
        name="eyes", steps=2000, batch=32, rate=3e-3, muon=True, warmup=100, weight_decay=0.05, decay=0.4, threads=2
    )
    stage = Stage(
        name="reasoner", steps=400, batch=32, rate=3e-3, muon=True, warmup=30, weight_decay=0.02, decay=0.5,
        threads=2, compile=True,
    )  # fmt: skip
    return Reasoner(
        data=Path("runs/pico/raw"), stills=Path("runs/pico/stills"), out=Path("runs/pico/reasoner"), stage=stage,
        eyes=eyes, look_once=True, longest=288, most=6, origin=Path("runs/pico/words/checkpoint"),
        shares={"shape": 0.1, "colour": 0.35, "extreme": 0.35, "relation": 0.4, "report": 0.05, "box": 0.5},
        kinds=("still", "still", "layout", "still", "layout", "still", "prompt", "still", "layout", "film"),
        lessons=(
            _lesson(130, 5e-3, colour=0.85, shape=0.15),
            _lesson(120, 5e-3, extreme=0.8, colour=0.15, shape=0.05),
            _lesson(420, 6e-3, relation=0.88, extreme=0.08, colour=0.03, count=0.01),
            _lesson(300, 5e-3, box=0.88, relation=0.06, extreme=0.04, colour=0.02),
        ),
    )  # fmt: skip


def _lesson(steps: int, rate: float, **shares: float) -> Lesson:
    stage = Stage(
        name="lesson", steps=steps, batch=96, rate=rate, muon=True, warmup=40, weight_decay=0.02, decay=0.2, threads=2
    )
    return Lesson(stage=stage, shares=shares)


def pico_cache() -> Run:
    """Windows of every episode, encoded by the bundled video tokenizer."""
    return Cache(data=Path("runs/pico/raw"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/cache"), most=6)


def pico_stills() -> Run:
    """9,000 more tables, one picture of each, and what the expert would do first for five instructions: 40 minutes."""
    return Data(out=Path("runs/pico/stills"), episodes=9000, seed=100_000, stills=True)


def pico_glances() -> Run:
    """Those pictures, encoded, into ``runs/pico/frames``."""
    return Cache(
        data=Path("runs/pico/stills"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/frames"), stills=True
    )


def pico_moments() -> Run:
    """Single frames of the episodes, encoded, into the same folder."""
    return Cache(
        data=Path("runs/pico/raw"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/frames"), stills=True, most=12
    )


def pico_controls() -> Run:
    """Two windows of every episode beside their edges, blurred colours, depth and labels, lived again for these."""
    return Cache(
        data=Path("runs/pico/raw"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/controls"), controls=True, most=2
    )


def pico_sounds() -> Run:
    """What is heard in the episodes, and in 50 to 200 lives of five other worlds: ten minutes of one core."""
    lives = {"tabletop": 2700, "drawer": 100, "humans": 100, "physics": 60, "driving": 50, "warehouse": 50}
    return LivesRun(out=Path("runs/pico/sounds"), lives=lives)


def pico_sound() -> Run:
    """The sound tokenizer: the tabletop's sounds more than half of the time."""
    shares = {"tabletop": 0.6, "drawer": 0.15, "humans": 0.08, "physics": 0.09, "driving": 0.04, "warehouse": 0.04}
    return SoundRun(data=Path("runs/pico/sounds"), out=Path("runs/pico/sound"), shares=shares)


def pico_heard() -> Run:
    """What is heard in the episodes' windows, encoded: a few minutes."""
    base = Path("runs/pico")
    return HeardRun(data=base / "raw", vae=base / "sound/sound_tokenizer", out=base / "heard", kept=base / "sounds")


def pico_laid() -> Run:
    """2,400 more tables as they are laid, thing by thing: a quarter of an hour of one core."""
    return Data(out=Path("runs/pico/laid"), episodes=2400, seed=200_000, laid=True)


def pico_paintings() -> Run:
    """Those pictures, encoded: what a picture from words is learnt from."""
    return Cache(data=Path("runs/pico/laid"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/paintings"), laid=True)


def pico_corrections() -> Run:
    """The trained policy acts at 600 tables, the expert says what it would do wherever it came to: 20 minutes."""
    return CorrectionsRun(
        origin=Path("runs/pico/generator/checkpoint"), out=Path("runs/pico/corrections"), lives=600, seed=200_000
    )


def pico_amends() -> Run:
    """Those moments, encoded, among the other single frames: ``pico-generator`` goes on with them."""
    return Cache(
        data=Path("runs/pico/corrections"), vae=Path("runs/pico/vae/vae"), out=Path("runs/pico/frames"), stills=True
    )


def pico_generator() -> Run:
    """The bundled model, ``runs/pico/generator/checkpoint``; it came in parts of other shares (docs/log.md)."""
    stage = Stage(
        name="generator", steps=6000, batch=32, rate=2e-3, muon=True, warmup=100, decay=0.4, threads=2, compile=True
    )  # fmt: skip
    flow = FlowConfig(
        stills_share=0.35, still_policy=0.75, painting=0.15, full_noise=0.8, full_noise_films=0.25, action_share=0.92,
        onwards=0.2, held=HeldConfig(share=0.4, begun=0.3),
        modes={"forward-dynamics": 0.65, "inverse-dynamics": 0.3, "policy": 0.05},
    )  # fmt: skip
    return Generator(
        origin=Path("runs/pico/reasoner/checkpoint"), cache=Path("runs/pico/cache"), stills=Path("runs/pico/frames"),
        controls=Path("runs/pico/controls"), laid=Path("runs/pico/paintings"), vae=Path("runs/pico/decoder/vae"),
        out=Path("runs/pico/generator"),
        sounds=Path("runs/pico/heard"), sound_tokenizer=Path("runs/pico/sound/sound_tokenizer"), stage=stage, flow=flow,
    )  # fmt: skip


def pico_cloning() -> Run:
    """Behaviour cloning of the same size, to compare with: picture and words in, actions out, nothing imagined."""
    stage = Stage(
        name="cloning", steps=1200, batch=32, rate=3e-3, muon=True, warmup=100, decay=0.5, threads=2, compile=True
    )
    flow = FlowConfig(action_share=1.0, modes={"policy": 1.0}, policy_video=0.0, full_noise=1.0)
    return Generator(
        origin=Path("runs/pico/reasoner/checkpoint"), cache=Path("runs/pico/cache"), vae=Path("runs/pico/decoder/vae"),
        out=Path("runs/pico/cloning"), stage=stage, flow=flow,
    )  # fmt: skip


def tiny() -> Run:
    """Every stage in well under a minute. The tests use it, so it always works."""
    model = ModelConfig(
        tower=TowerConfig(layers=2, width=32, heads=2, kv_heads=1, head_width=32, mlp_width=64, rope_axes=(6, 5, 5)),
        vision=VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4),
        vocabulary=512,
    )
    small = VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2))
    codec = VAERun(data=Path(), out=Path(), steps=6, model=small, batch=1, report_steps=1)
    return WholeWay(out=Path("runs/tiny"), model=model, codec=codec)


def finetune() -> Run:
    """A trained model learns your recordings: say which with --data, whose body with --embodiment, where with --out."""
    return FinetuneRun(origin="pico", data=Path("recordings"), out=Path("runs/finetune"), embodiment="tabletop")


def pusht_recordings() -> Run:
    """80 lives of gym-pusht, three of five the planning expert's: a minute of one core."""
    return MixedRun(out=Path("runs/pusht/recordings"), world="pusht", episodes=80)


def pusht() -> Run:
    """The bundled model learns to push the T from recordings, and is driven in the world it came from."""
    return FinetuneRun(
        origin="pico", data=Path("runs/pusht/recordings"), out=Path("runs/pusht/finetune"), embodiment="pusht",
        minutes=7.0, vae_minutes=3.0, windows=600, clips=48, rate=1e-3, world="pusht", lives=10, compile=True,
    )  # fmt: skip


def droid() -> Run:
    """The bundled model learns a real arm in a real room from one recording: say where it is with --data."""
    return FinetuneRun(
        origin="pico", data=Path("droid_lerobot"), out=Path("runs/droid"), embodiment="droid", like="tabletop",
        minutes=6.0, vae_minutes=11.0, windows=300, clips=32, rate=1e-3, compile=True,
    )  # fmt: skip


RUNS: dict[str, Callable[[], Run]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        pico_data, pico_clips, pico_vae, pico_decoder, pico_words, pico_reasoner, pico_cache, pico_stills, pico_glances,
        pico_moments, pico_controls, pico_sounds, pico_sound, pico_heard, pico_laid, pico_paintings, pico_corrections,
        pico_amends, pico_generator, pico_cloning, tiny, finetune, pusht_recordings, pusht, droid,
    )
}  # fmt: skip


def find_run(name: str) -> Callable[[], Run]:
    """The function of a named run, or of ``FILE.py:function``. ``ConfigError`` if there is none."""
    if name in RUNS:
        return RUNS[name]
    file, colon, function = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, RUNS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"run {name!r} is unknown: it must be one of {', '.join(RUNS)}, or FILE.py:function. Nearest: {near!r}."
        )
    return _from_file(Path(file), function)


def _from_file(path: Path, function: str) -> Callable[[], Run]:
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r} ending in .py: give FILE.py:function.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = vars(module).get(function)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise ConfigError(f"{path} has no function {function!r}: it has {', '.join(names) or 'none'}.")

    def made() -> Run:
        run = found()
        if not isinstance(run, Run):
            raise ConfigError(
                f"{path.name}:{function} returned {type(run).__name__}: a run has a method start(report)."
            )
        return run

    return made
