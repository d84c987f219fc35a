"""An adapter: a small change of the generator learns some recordings, is put on, and is taken off again.

Records a few lives at the table, learns an adapter of rank 4 from them, and imagines one action chunk with and without
it. Run: python examples/adapters.py
"""

import argparse
from pathlib import Path

import numpy as np

import armillary
from armillary.datasets.raw import save_raw
from armillary.errors import ArmillaryError
from armillary.post_training.finetune import FinetuneRun, finetune
from armillary.worlds.record import record_tabletop

LIVES = 3


def main(steps: int = 100, checkpoint: str = "pico", out: Path = Path("adapters")) -> float:
    """Learn for ``steps`` steps; returns how much the held-out film gained by the adapter, in dB."""
    (out / "recordings").mkdir(parents=True, exist_ok=True)
    for seed in range(LIVES):
        episode = record_tabletop(seed, "expert", views=("front",), extras=())
        save_raw(out / "recordings" / f"episode_{seed:06d}.npz", episode)

    run = FinetuneRun(origin=checkpoint, data=out / "recordings", out=out / "run", embodiment="tabletop",
                      camera="front", rank=4, steps=steps, batch=4, windows=8 * LIVES, clips=4)  # fmt: skip
    figures = finetune(run)["figures"]

    omni = armillary.load(checkpoint, adapter=out / "run/adapter")
    picture, actions = episode.frames["front"][0], episode.actions[:16]
    asked = {"image": picture, "actions": actions, "embodiment": "tabletop"}
    worn, plain = (omni.imagine("forward-dynamics", **asked, **more) for more in ({}, {"adapter": "none"}))
    assert worn.video is not None and plain.video is not None
    apart = np.abs(worn.video.astype(float) - plain.video).mean()
    gained = figures["forward: after minus before, dB"]["value"]
    size = (out / "run/adapter/adapter_model.safetensors").stat().st_size / 1e6
    print(f"{out}: an adapter of {size:.2f} MB, {gained:+.2f} dB on what was held out; with and without it one film "
          f"is {apart:.2f} of 255 apart.")  # fmt: skip
    return float(gained)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="An adapter learnt from recordings, put on and taken off.")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--checkpoint", default="pico")
    try:
        main(**vars(parser.parse_args()))
    except ArmillaryError as wrong:
        parser.exit(2, f"{parser.prog}: {wrong}\n")
