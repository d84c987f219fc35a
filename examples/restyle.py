"""Under a control: of a film only its blur is known, and its first frame; the model imagines the film that was blurred.

Writes a film: the recording, its blur, and what was imagined under it; prints how near that comes to the recording,
beside the film that is imagined without the control, the first frame repeated, and the blur itself.
Run: python examples/restyle.py, or --checkpoint FOLDER with another model that has learnt transfer. The bundled one
restyles nothing: it does not heed words, and colours are those of the blur; the arm moves as it did, but what it holds
often smears.
"""

import argparse
from pathlib import Path

import numpy as np

import armillary
from armillary import controls
from armillary.errors import ArmillaryError
from armillary.evaluation.pixels import psnr
from armillary.media import write_video
from armillary.worlds.record import record_tabletop

FRAMES = 17


def main(steps: int = 10, checkpoint: str = "pico", seed: int = 300_001, out: Path = Path("restyle.mp4")) -> float:
    """Imagine ``FRAMES`` frames with ``steps`` evaluations; returns how many dB the control brings them nearer."""
    episode = record_tabletop(seed, "expert", views=("front",), extras=())
    recorded = episode.frames["front"][:FRAMES]
    blurred = controls.blur(recorded)
    asked = {"prompt": episode.captions["dense"], "steps": steps, "size": recorded.shape[1:3], "seed": seed}

    omni = armillary.load(checkpoint)
    held = omni.imagine("transfer", controls={"blur": blurred}, video=recorded, given_frames=1, **asked)
    free = omni.imagine("image-to-video", image=recorded[0], frames=len(recorded), acting="none", **asked)
    assert held.video is not None and free.video is not None

    write_video(out, np.concatenate([recorded, blurred, held.video], axis=2), fps=held.fps)
    still = np.broadcast_to(recorded[:1], recorded.shape)
    films = (held.video, free.video, still, blurred)
    near, without, by_a_still, by_the_blur = (psnr(film[1:], recorded[1:]) for film in films)
    print(f"{out}: {episode.instruction} Nearness to the recording (PSNR): under its blur {near:.1f} dB, without "
          f"it {without:.1f}, the first repeated {by_a_still:.1f}, the blur itself {by_the_blur:.1f}.")  # fmt: skip
    return near - without


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A film under the blur of another.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--checkpoint", default="pico")
    parser.add_argument("--seed", type=int, default=300_001)
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
