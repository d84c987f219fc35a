"""Restyling: the edges of a film hold another one, which moves as it does and looks as the words say.

Writes a film: the recording, its edges, and what was imagined under them; prints how many of the edges were kept.
Run: python examples/restyle.py, or --checkpoint FOLDER with another model that has learnt transfer. The bundled one
keeps shapes and places, and gives them looks of its own: it does not heed words.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import armillary
from armillary import controls
from armillary.media import write_video
from armillary.worlds.record import record_tabletop

FRAMES = 9
WORDS = "the same table by candlelight, everything on it carved from wood"


def main(steps: int = 10, checkpoint: str = "pico", seed: int = 1_000_001, out: Path = Path("restyle.mp4")) -> float:
    """Imagine ``FRAMES`` frames with ``steps`` evaluations; returns the share of edges kept, less that of a still."""
    episode = record_tabletop(seed, "expert", views=("front",), extras=())
    recorded = episode.frames["front"][:FRAMES]
    edges = controls.edge(recorded)

    omni = armillary.load(checkpoint)
    rollout = omni.imagine("transfer", prompt=WORDS, controls={"edge": edges}, steps=steps, size=recorded.shape[1:3])
    imagined = rollout.video
    assert imagined is not None

    write_video(out, np.concatenate([recorded, edges, imagined], axis=2), fps=rollout.fps)
    still = np.broadcast_to(recorded[:1], recorded.shape)
    kept, by_a_still = kept_edges(edges, controls.edge(imagined)), kept_edges(edges, controls.edge(still))
    print(f"{out}: {kept:.0%} of the edges were kept; the first frame, repeated, keeps {by_a_still:.0%}.")
    return kept - by_a_still


def kept_edges(wanted: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
    """The share of the wanted edge pixels that have a found one at most a pixel away."""
    there = np.pad(found[..., 0] > 0, ((0, 0), (1, 1), (1, 1)))
    h, w = wanted.shape[1:3]
    near = np.any([there[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)
    return float(near[wanted[..., 0] > 0].mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A film under the edges of another.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=1_000_001)
    main(**vars(parser.parse_args()))
