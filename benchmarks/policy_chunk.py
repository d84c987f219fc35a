"""How fast a policy answers: 16 actions from one picture, 10 steps, nothing decoded.

    python -m benchmarks.policy_chunk

The whole call is timed as a robot would wait for it: the picture is encoded anew, the prompt's memory is kept.
Runs the bundled model; without one, a model of the same sizes with random weights, which costs the same.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from benchmarks.measure import measure, report

import armillary
from armillary.embodiments import load_embodiment, save_embodiments
from armillary.model import PICO, TwoTowers, save_model, write_model_index
from armillary.sampling.parts import CHECKPOINTS
from armillary.tokenizers.text import train_tokenizer
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

TASK = "put the red cube on the left tray"
STEPS = 10


def random_pico(folder: Path) -> Path:
    """A checkpoint of the bundled model's sizes whose weights mean nothing."""
    train_tokenizer([TASK] * 2, folder / "text_tokenizer", 400)
    save_model(folder, TwoTowers(PICO))
    VideoVAE(VideoVAEConfig()).save(folder / "vae", dtype=torch.bfloat16)
    save_embodiments(folder, [load_embodiment("tabletop")])
    write_model_index(folder)
    return folder


def main(repeats: int = 15, threads: tuple[int, ...] = (2, 1)) -> None:
    """Measure with each number of threads."""
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as room:
        bundled = (CHECKPOINTS / "pico" / "model_index.json").is_file()
        omni = armillary.load("pico" if bundled else random_pico(Path(room)), device="cpu")

        def chunk() -> None:
            omni.imagine("policy", prompt=TASK, image=picture, embodiment="tabletop", steps=STEPS, outputs=("actions",))

        before = torch.get_num_threads()
        for count in threads:
            torch.set_num_threads(count)
            timing = measure(chunk, repeats=repeats)
            weights = "pico" if bundled else "random"
            dtype = str(omni.parts.dtype).removeprefix("torch.")
            report("policy_chunk", timing, actions=16, steps=STEPS, threads=count, dtype=dtype, weights=weights)
        torch.set_num_threads(before)


if __name__ == "__main__":
    main()
