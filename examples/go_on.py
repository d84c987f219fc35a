"""Going on: an imagined film that follows an arm's actions as they come, beside the physics that really does them.

Writes a film, physics on the left and imagination on the right, and prints how fast it came and how near it stayed.
Run: python examples/go_on.py
"""

import argparse
import time
from pathlib import Path

import numpy as np

import armillary
from armillary.evaluation.pixels import psnr
from armillary.media import write_video
from armillary.worlds.record import record_tabletop


def main(steps: int = 1, checkpoint: str = "pico", seed: int = 1_000_001, out: Path = Path("go_on.mp4")) -> float:
    """Four actions in, four frames out, until the life is over; returns frames a second."""
    episode = record_tabletop(seed, "random", views=("front",), extras=())
    count = len(episode.actions) // 4 * 4
    truth, actions = episode.frames["front"][: count + 1], episode.actions[:count]

    film = armillary.load(checkpoint).onwards(image=truth[0], embodiment=episode.embodiment, steps=steps, seed=seed)
    frames, begun = [truth[:1]], time.perf_counter()
    for first in range(0, count, 4):
        frames.append(film.push(actions[first : first + 4]))
    rate = count / (time.perf_counter() - begun)

    imagined = np.concatenate(frames)
    write_video(out, np.concatenate([truth, imagined], axis=2), fps=episode.fps)
    near, far = (psnr(imagined[part], truth[part]) for part in (slice(1, 17), slice(-16, None)))
    print(f"{out}: {count} frames at {rate:.1f} a second; {near:.1f} dB in the first sixteen, {far:.1f} in the last.")
    return rate


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An imagined film that goes on, beside the physics.")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_000_001)
    main(**vars(parser.parse_args()))
