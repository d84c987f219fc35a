"""Acting: the model looks, hears an instruction, plans sixteen actions, does them, and looks again.

The physics answers; a film of it is written.
Run: python examples/act.py --instruction "Push the blue ball to the left."
On the usual seed's table stand a blue cube, a blue ball and a purple cylinder; another seed lays another table. Without
an instruction the table asks for something itself.
"""

import argparse
from pathlib import Path

import numpy as np

import armillary
from armillary.closed_loop.policies import OmniPolicy
from armillary.errors import ArmillaryError
from armillary.media import write_video
from armillary.worlds.tabletop import SPEC, Tabletop


def main(
    steps: int = SPEC.max_steps,
    checkpoint: str = "pico",
    seed: int = 1_300_000,
    instruction: str | None = None,
    out: Path = Path("act.mp4"),
) -> bool:
    """Drive the table of ``seed`` for at most ``steps`` actions; returns whether it was done."""
    policy = OmniPolicy(armillary.load(checkpoint), SPEC.embodiment, seed=seed)
    world = Tabletop(views=("front",))
    try:
        moment = world.reset(seed, instruction)
        frames = [moment.frames["front"]]
        while not moment.over and len(frames) <= steps:
            moment = world.step(policy(moment))
            frames.append(moment.frames["front"])
    finally:
        world.close()
    write_video(out, np.stack(frames), fps=SPEC.fps)
    ending = "done" if moment.success else "not done"
    print(f"{out}: {moment.instruction} {ending} after {len(frames) - 1} steps")
    return moment.success


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The policy in closed loop.")
    parser.add_argument("--steps", type=int, default=SPEC.max_steps)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_300_000)
    parser.add_argument("--instruction")
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
