"""Going on: an imagined film that follows an arm's actions as they come, beside the physics that really does them.

Writes a film, physics on the left and imagination on the right, and prints how fast it came, how near it stayed beside
the first frame repeated, and how far the table's colour went. Each four frames begin with the last that was imagined,
so what goes wrong stays: the bundled model's tables drift towards a middling colour (here from pink to a greenish grey;
in five of eight lives by 5 of 255 and more), and after a few seconds the arm is a smear. At the end of a life in which
little but the arm moves, the first frame repeated is often as near.
Run: python examples/go_on.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import armillary
from armillary.errors import ArmillaryError
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
    still = np.broadcast_to(truth[:1], truth.shape)
    (near, near_still), (far, far_still) = (
        (psnr(imagined[part], truth[part]), psnr(still[part], truth[part])) for part in (slice(1, 17), slice(-16, None))
    )
    print(f"{out}: {count} frames at {rate:.1f} a second; {near:.1f} dB in the first sixteen (the first frame repeated "
          f"{near_still:.1f}), {far:.1f} in the last ({far_still:.1f}); the table's colour went "
          f"{abs(table(imagined[-1]) - table(truth[0])).mean():.0f} of 255 astray.")  # fmt: skip
    return rate


def table(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The table's colour: the median of the picture's lowest fifth, where little else lies."""
    return np.median(frame[-(len(frame) // 5) :].reshape(-1, 3), axis=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An imagined film that goes on, beside the physics.")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_000_001)
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
