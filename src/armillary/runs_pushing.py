"""The runs by which the bundled policy learns to push PushT's T, from what its planner would do afresh.

    pico-pushing-replans   what the planner would do from moments of the boards, and in the mirror
    pico-pushing-moments   these, encoded, told in steps
    pico-pushing-first     the generator learns them, and rehearses everything else
    pico-pushing-own       it pushes by itself: moments that no planner comes to
    pico-pushing-amends    what the planner would have done there ...
    pico-pushing-moved     ... encoded
    pico-pushing-both      the generator goes on with both, the rate falling to 0
    pico-pushing-last      and once more, mostly with films, of which it has lost a little
    pico-pushing-bundle    what it has become, and all else as before: the bundled checkpoint

Everything lies under ``runs/pico/pushing``; the boards are those of ``pico-after-boards``.
"""

from dataclasses import replace
from pathlib import Path

from armillary.post_training.assembled import AssembledRun
from armillary.post_training.own_lives import OwnLivesRun
from armillary.post_training.replanned import ReplannedRun
from armillary.run_kinds import Cache, Generator, Run
from armillary.runs_after import AFTER, pico_after_steps

PUSHING = Path("runs/pico/pushing")


def pico_pushing_replans() -> ReplannedRun:
    """24 moments of each board, twice with those in the mirror: three quarters of an hour of two cores."""
    return ReplannedRun(data=AFTER / "fresh/boards", out=PUSHING / "replans")


def pico_pushing_moments() -> Run:
    """Some 46,000 pictures with sixteen steps each: six minutes of one core."""
    return _encoded("replans", "moments")


def pico_pushing_first() -> Generator:
    """Four of five batches are plans from one picture, seven of ten of these PushT's: half an hour of two threads.

    Where a T can be pushed from two sides the mean of both pushes from none: a plan is drawn in several steps, and so
    less of it is learnt from pure noise.
    """
    before = pico_after_steps()
    stage = replace(before.stage, name="first", steps=970, rate=2e-3, decay=0.05)
    flow = replace(
        before.flow, stills_share=0.8, still_policy=0.96, painting=0.04, full_noise_alone=0.4,
        held=replace(before.flow.held, share=0.02), heard=replace(before.flow.heard, share=0.08),
        modes={"forward-dynamics": 0.8, "inverse-dynamics": 0.2},
    )  # fmt: skip
    return replace(
        before, origin=AFTER / "steps/checkpoint", out=PUSHING / "first", stage=stage, flow=flow,
        more_stills=(*before.more_stills, *(PUSHING / "moments",) * 2),
    )  # fmt: skip


def pico_pushing_own() -> OwnLivesRun:
    """32 boards, 160 steps of the model: a minute."""
    return OwnLivesRun(origin=PUSHING / "first/checkpoint", out=PUSHING / "own", lives=32, seed=8_000, most_steps=160)


def pico_pushing_amends() -> ReplannedRun:
    """What should have been done: two minutes of one core."""
    return ReplannedRun(data=PUSHING / "own", out=PUSHING / "amends")


def pico_pushing_moved() -> Run:
    """These, encoded."""
    return _encoded("amends", "moved")


def pico_pushing_both() -> Generator:
    """The rate falling from early on: half an hour of two threads."""
    before = pico_pushing_first()
    stage = replace(before.stage, name="both", steps=1900, decay=0.6)
    flow = replace(
        before.flow, stills_share=0.7, painting=0.05, full_noise_alone=0.5,
        heard=replace(before.flow.heard, share=0.1),
    )  # fmt: skip
    return replace(
        before, origin=PUSHING / "first/checkpoint", out=PUSHING / "both", stage=stage, flow=flow,
        more_stills=(*before.more_stills, *(PUSHING / "moved",) * 4),
    )  # fmt: skip


def pico_pushing_last() -> Generator:
    """Films again, a third of the batches plans: twenty minutes of two threads."""
    before = pico_pushing_both()
    stage = replace(before.stage, name="last", steps=1080, rate=1.6e-3, decay=0.85)
    flow = replace(
        before.flow, stills_share=0.3, full_noise_alone=0.6, onwards=0.06, held=replace(before.flow.held, share=0.03)
    )
    return replace(before, origin=PUSHING / "both/checkpoint", out=PUSHING / "last", stage=stage, flow=flow)


def pico_pushing_bundle() -> AssembledRun:
    """What is bundled: the generator that went on, beside what it worked with."""
    return AssembledRun(
        model=PUSHING / "last/checkpoint",
        like=AFTER / "whole",
        out=PUSHING / "bundle",
        steps={"policy/pusht_steps": 4},
        execute={"tabletop": 16, "pusht_steps": 8},
        halved=True,
    )


def _encoded(data: str, out: str) -> Cache:
    return Cache(
        data=PUSHING / data, vae=AFTER / "shown_on/vae", out=PUSHING / out, stills=True, camera="top",
        embodiment="pusht_steps",
    )  # fmt: skip
