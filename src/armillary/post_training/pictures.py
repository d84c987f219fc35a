"""The video tokenizer learns pictures it does not know: somebody's room instead of a simulated table.

    a trained tokenizer, clips of the recordings  ->  the same tokenizer, a few minutes later

A tokenizer that blurs a scene blurs everything that is imagined in it. Learning goes on from the trained weights with
a small rate; the latents' statistics are taken anew, since the generator learns the recordings afterwards anyway.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from armillary.datasets.byte_clips import ByteClips
from armillary.media import write_array
from armillary.post_training.recordings import film_of, spread
from armillary.records import Episode
from armillary.tokenizers.video import VideoVAE, fit_latent_statistics
from armillary.training.latents import FRAMES
from armillary.training.vae import VAERun, VAETrainer
from armillary.training.vae_data import CropPlan, check_clips, draw, scaled

RATE = 4e-3
MOST_CLIPS = 400
LENGTHS = (
    0.1,
    0.2,
    0.3,
    0.4,
)  # how often a batch has 1, 5, 9, 17 frames: the scene's pictures are learnt soon, its motion later


def adapt_vae(start: Path, episodes: Sequence[Episode], run: VAERun, report: Callable[[str], None] = print) -> Path:
    """Go on training the tokenizer in ``start`` on the episodes' frames; returns the folder of the new one.

    ``run``: its length, seed and rate; ``run.data`` and ``run.out`` are written to. Goes on where it was cut off.
    """
    torch.set_num_threads(run.threads)
    run.out.mkdir(parents=True, exist_ok=True)
    if not (run.data / "frames_00.npy").exists():
        write_clips(run.data, episodes)
    clips = check_clips(ByteClips(run.data))
    old = VideoVAE.load(start)
    trainer = VAETrainer(replace(run, model=old.config))
    if not trainer.resume():
        begin_from(trainer, old)
    plan = CropPlan(side=None, pixels=run.batch * 9 * 128 * 128, canvas_share=run.canvas_share, lengths=LENGTHS)
    while trainer.progress < 1.0:
        before = time.monotonic()
        values = trainer.learn(draw(clips, plan, seed=(run.seed, trainer.step)))
        trainer.seconds += time.monotonic() - before
        if trainer.step % run.report_steps == 0:
            report(f"tokenizer: step {trainer.step}  loss {float(values['loss']):.4g}")
            trainer.save()
    trainer.save()
    vae = trainer.averaged()
    known = (scaled(clip[None]) for clip in clips.known(60))
    vae.config = fit_latent_statistics(vae.to(torch.bfloat16), known)
    vae.save(run.out / "vae", dtype=torch.bfloat16)
    return run.out / "vae"


def write_clips(folder: Path, episodes: Sequence[Episode]) -> None:
    """Windows of the episodes' films as byte clips, at most about ``MOST_CLIPS``."""
    folder.mkdir(parents=True, exist_ok=True)
    windows = [
        film_of(episodes[number])[start : start + FRAMES]
        for number, starts in spread(episodes, MOST_CLIPS)
        for start in starts
    ]
    write_array(folder / "frames_00.npy", np.stack(windows))


def begin_from(trainer: VAETrainer, vae: VideoVAE) -> None:
    """Put a trained tokenizer's weights into a trainer: those that compute, those that learn, their average."""
    tensors = vae.state_dict()
    trainer.vae.load_state_dict(tensors)
    for name, master, average in zip(trainer.names, trainer.master, trainer.average, strict=True):
        master.copy_(tensors[name])
        average.copy_(tensors[name])
