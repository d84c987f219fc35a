"""Foreseeing: the model is told what an arm will do, and imagines it beside the physics that really does it.

Writes a film, physics on the left and imagination on the right, and prints how near they are.
Run: python examples/foresee.py
"""

import argparse
from pathlib import Path

import numpy as np

import armillary
from armillary.errors import ArmillaryError
from armillary.evaluation.pixels import psnr
from armillary.media import write_video
from armillary.worlds.record import record_tabletop

ACTIONS = 16


def main(steps: int = 10, checkpoint: str = "pico", seed: int = 1_000_001, out: Path = Path("foresee.mp4")) -> float:
    """Imagine ``ACTIONS`` actions with ``steps`` evaluations; returns dB over repeating the first frame."""
    episode = record_tabletop(seed, "expert", views=("front",), extras=())
    truth, actions = episode.frames["front"][: ACTIONS + 1], episode.actions[:ACTIONS]

    omni = armillary.load(checkpoint)
    rollout = omni.imagine(
        "forward-dynamics", image=truth[0], actions=actions, embodiment=episode.embodiment, steps=steps
    )
    imagined = rollout.video
    assert imagined is not None

    write_video(out, np.concatenate([truth, imagined], axis=2), fps=rollout.fps)
    still = np.broadcast_to(truth[:1], truth.shape)
    gained = psnr(imagined[1:], truth[1:]) - psnr(still[1:], truth[1:])
    print(f"{out}: {episode.instruction} The imagined film is {gained:+.1f} dB against repeating the first frame.")
    return gained


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Forward dynamics beside the physics.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_000_001)
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
