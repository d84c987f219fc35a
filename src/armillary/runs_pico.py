"""The runs that make the bundled model from the tabletop alone; ``runs.py`` has their picture and their names."""

from pathlib import Path

from armillary.post_training.corrections import CorrectionsRun
from armillary.run_kinds import Cache, Clips, Codec, Data, Generator, Reasoner, Run
from armillary.training.dreams import Lesson
from armillary.training.heard import HeardRun
from armillary.training.held import HeldConfig
from armillary.training.imagination import FlowConfig
from armillary.training.loop import Stage
from armillary.training.sound import LivesRun, SoundRun


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
    """The bundled reasoner: eyes that speak its words, lessons about dreamt tables, then talk about what is seen.

    At the pace of the bundled one's parts 75 minutes of one to two cores: 18 for eyes, 34 for lessons, 23 for talk.
    """
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
        kinds=("still", "plan", "layout", "still", "plan", "layout", "still", "prompt", "plan", "layout", "film"),
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
    """Windows of every episode, encoded by the bundled video tokenizer: some ten minutes of half a core."""
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


def pico_generator() -> Generator:
    """The bundled model, ``runs/pico/generator/checkpoint``; it came in parts of other shares (docs/log.md).

    At the pace of ``pico-worlds-last`` some 100 minutes of two threads: it stops after an hour, start it again.
    """
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
