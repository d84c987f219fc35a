"""The runs that make adapters of the bundled checkpoint, which stays as it is.

    pico-onwards-lives    lives of the tabletop of 65 frames, which nobody has learnt from
    pico-onwards-films    their latents, whole lives at a time
    pico-onwards-pushed   and those of PushT's boards that last so long
    pico-onwards          the adapter with which films go on: bundled
    pico-told-lives       lives of the tabletop with all that is said of them, which nobody has learnt from
    pico-told-windows     windows of these
    pico-told-heard       what is heard in them
    pico-few-steps        the adapter for films from a picture in four steps without guidance: bundled
    pico-by-sound         the adapter for films and plans that go with a sound: bundled

Everything lies under ``runs/pico/adapters``. The boards are those of ``pico-after-boards``.
"""

from pathlib import Path

import armillary
from armillary.post_training.by_sound import BySoundRun
from armillary.post_training.few_steps import FewStepsRun
from armillary.post_training.going_on import LongFilmsRun, OnwardsRun
from armillary.post_training.lasting import LastingRun
from armillary.run_kinds import Cache, Data
from armillary.runs_after import AFTER
from armillary.training.heard import HeardRun
from armillary.training.living import LivingConfig
from armillary.training.loop import Stage

ADAPTERS, PICO = Path("runs/pico/adapters"), Path(armillary.__file__).parent / "checkpoints/pico"
LOOKS = ("add_k_proj", "add_q_proj", "add_v_proj", "to_add_out")  # who looks at what: a third of an adapter's numbers
_STAGE = Stage(
    name="adapter", steps=700, batch=8, rate=2e-3, warmup=20, decay=0.5, ema=0.99, weight_decay=0.0, threads=2,
    compile=True,
)  # fmt: skip


def pico_onwards_lives() -> LastingRun:
    """800 lives in which who succeeds goes on: ten minutes of one core."""
    return LastingRun(out=ADAPTERS / "lives", episodes=800, seed=780_000)


def pico_onwards_films() -> LongFilmsRun:
    """One film of each: eight minutes of one core."""
    return LongFilmsRun(data=ADAPTERS / "lives", out=ADAPTERS / "films")


def pico_onwards_pushed() -> LongFilmsRun:
    """At most two of each board: eight minutes of one core."""
    return LongFilmsRun(
        data=AFTER / "fresh/boards", out=ADAPTERS / "pushed", embodiment="pusht_steps", camera="top", most=2
    )


def pico_onwards() -> OnwardsRun:
    """Eight films a step, lived from their first picture to their last frame: half an hour of two threads."""
    return OnwardsRun(
        films=(ADAPTERS / "films", ADAPTERS / "pushed"), out=ADAPTERS / "onwards", stage=_STAGE, rank=4, keep=2,
        living=LivingConfig(through=3),
    )  # fmt: skip


def pico_told_lives() -> Data:
    """3,600 lives: half an hour of one core, which several may share."""
    return Data(out=ADAPTERS / "told", episodes=3600, seed=792_000)


def pico_told_windows() -> Cache:
    """At most five windows of each: 40 minutes of one core."""
    return Cache(data=ADAPTERS / "told", vae=PICO / "vae", out=ADAPTERS / "windows", most=5)


def pico_told_heard() -> HeardRun:
    """Their sounds, lived again and encoded: ten minutes of one core."""
    return HeardRun(data=ADAPTERS / "told", vae=PICO / "sound_tokenizer", out=ADAPTERS / "heard")


def pico_few_steps() -> FewStepsRun:
    """Films of the tabletop that begin with a picture, and what is said of them: five minutes of one core."""
    stage = Stage(
        name="adapter", steps=1100, batch=16, rate=1.5e-3, warmup=20, decay=0.6, ema=0.995, weight_decay=0.0,
        compile=True,
    )  # fmt: skip
    return FewStepsRun(
        cache=ADAPTERS / "windows", out=ADAPTERS / "few_steps", stage=stage, rank=1, alpha=2.0, targets=LOOKS
    )


def pico_by_sound() -> BySoundRun:
    """Plans by their sound, and films: twenty minutes of one core."""
    stage = Stage(
        name="adapter", steps=3600, batch=16, rate=3e-3, warmup=20, decay=0.5, ema=0.99, weight_decay=0.0, compile=True
    )
    return BySoundRun(
        caches=(ADAPTERS / "windows",), sounds=(ADAPTERS / "heard",), out=ADAPTERS / "by_sound", stage=stage, rank=2,
        alpha=4.0, targets=LOOKS,
    )  # fmt: skip
