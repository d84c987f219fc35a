"""Acting out: a film whose words tell a deed, and what physics makes of the actions that it came with.

The model sees one picture of a table and reads a sentence; it plans, and imagines what its plan leads to. The same
actions are then done in the world itself. Writes a film, physics on the left and imagination on the right.
Run: python examples/act_out.py --words "The robot pushes the blue cube to the right." --steps 16
On the usual seed's table stand a blue cube, a blue ball and a purple cylinder; another seed lays another table. Without
words the table asks for something itself. What the hand touches blurs in the imagined film, and fades after two seconds
or so; later plans look at such pictures.
"""

import argparse
from pathlib import Path

import numpy as np

import armillary
from armillary.errors import ArmillaryError
from armillary.evaluation.pixels import psnr
from armillary.media import write_video
from armillary.worlds.tabletop import SPEC, Tabletop


def main(
    steps: int = 32,
    checkpoint: str = "pico",
    seed: int = 1_300_000,
    words: str | None = None,
    out: Path = Path("act_out.mp4"),
) -> float:
    """A film of ``steps`` actions, up to the next four; returns dB over repeating its first frame."""
    world = Tabletop(views=("front",))
    try:
        moment = world.reset(seed)
        words = words or moment.instruction
        film = armillary.load(checkpoint).imagine(
            "image-to-video", image=moment.frames["front"], prompt=words, frames=1 + 4 * -(-steps // 4), seed=seed,
            acting=SPEC.embodiment,
        )  # fmt: skip
        assert film.video is not None and film.actions is not None
        frames = [moment.frames["front"], *(world.step(action).frames["front"] for action in film.actions)]
    finally:
        world.close()
    truth = np.stack(frames)
    write_video(out, np.concatenate([truth, film.video], axis=2), fps=SPEC.fps)
    still = np.broadcast_to(truth[:1], truth.shape)
    gained = psnr(film.video[1:], truth[1:]) - psnr(still[1:], truth[1:])
    print(f"{out}: {words} To what physics makes of its actions the film is {gained:+.1f} dB nearer than a still one.")
    return gained


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A film of a deed, and its actions in physics.")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_300_000)
    parser.add_argument("--words")
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
