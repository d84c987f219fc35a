"""The runs that make adapters of the bundled checkpoint, which stays as it is.

    pico-onwards-lives    lives of the tabletop of 65 frames, which nobody has learnt from
    pico-onwards-films    their latents, whole lives at a time
    pico-onwards-pushed   and those of PushT's boards that last so long
    pico-onwards          the adapter with which films go on: bundled
    pico-few-steps        one for films from a picture in four steps: brought little (docs/log.md), not bundled

Everything lies under ``runs/pico/adapters``. The boards are those of ``pico-after-boards``, the windows those of
``pico-cache``.
"""

from pathlib import Path

from armillary.post_training.few_steps import FewStepsRun
from armillary.post_training.going_on import LongFilmsRun, OnwardsRun
from armillary.post_training.lasting import LastingRun
from armillary.runs_after import AFTER
from armillary.training.living import LivingConfig
from armillary.training.loop import Stage

ADAPTERS = Path("runs/pico/adapters")
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


def pico_few_steps() -> FewStepsRun:
    """Films of the tabletop that begin with a picture, and what is said of them: five minutes of one core."""
    stage = Stage(
        name="adapter", steps=600, batch=16, rate=1e-3, warmup=20, decay=0.5, ema=0.99, weight_decay=0.0, compile=True
    )
    return FewStepsRun(cache=Path("runs/pico/cache"), out=ADAPTERS / "few_steps", stage=stage)
