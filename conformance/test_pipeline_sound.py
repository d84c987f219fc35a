"""Films with sound against Diffusers' ``Cosmos3OmniPipeline``: the same folder, the same noise, the same waves.

Both walk in float32 from noise of one seed, film and sound side by side; pixels must agree to 1e-3, and the waves to
1e-3 of the loudest sample.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Cosmos3OmniPipeline, UniPCMultistepScheduler
from loud import make_loud
from PIL import Image
from tiny import SMALL_VAE, small_model

import armillary
from armillary.model import save_model, write_model_index
from armillary.tokenizers.sound import SoundVAE, SoundVAEConfig
from armillary.tokenizers.video import VideoVAE

STEPS, SHIFT, SEED, SIZE, ALL_STEPS = 4, 3.0, 5, 64, 1e-3
WORDS = "an arm pushes the red cube"
SMALL = SoundVAEConfig(dec_dim=2, dec_c_mults=(1, 1, 1, 2, 2), enc_dim=8, enc_num_blocks=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sound")
    model, _ = small_model(made, sound=True)
    make_loud(model)
    save_model(made, model, dtype=torch.float32)
    VideoVAE(SMALL_VAE).save(made / "vae")
    ears = SoundVAE(SMALL)
    ears.save(made / "sound_tokenizer")
    write_model_index(made, flow_shift=SHIFT)
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    pipe = Cosmos3OmniPipeline.from_pretrained(folder, dtype=torch.float32, enable_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=SHIFT)
    return pipe


@pytest.mark.parametrize("mode", ["text-to-video", "image-to-video"])
@pytest.mark.parametrize(("frames", "fps"), [(17, 10.0), (5, 24.0)])
def test_what_is_heard_and_seen_is_theirs(folder: Path, theirs: Any, mode: str, frames: int, fps: float) -> None:
    places = np.mgrid[0:SIZE, 0:SIZE].sum(0)[..., None] / np.array([7.0, 9.0, 13.0])
    shown = (127 + 100 * np.sin(places)).astype(np.uint8) if mode == "image-to-video" else None
    wanted = theirs(
        prompt=WORDS, image=None if shown is None else Image.fromarray(shown), height=SIZE, width=SIZE,
        num_frames=frames, fps=fps, num_inference_steps=STEPS, guidance_scale=3.0, enable_sound=True,
        generator=torch.Generator().manual_seed(SEED), output_type="np",
    )  # fmt: skip
    ours = armillary.load(folder, device="cpu", dtype="float32").imagine(
        mode, prompt=WORDS, size=(SIZE, SIZE), frames=frames, fps=fps, steps=STEPS, shift=SHIFT, guidance=3.0,
        seed=SEED, sound=True, dialect="diffusers", **({} if shown is None else {"image": shown}),
    )  # fmt: skip
    assert ours.video is not None and ours.sound is not None
    assert np.abs(ours.video / 255.0 - wanted.video).max() <= 0.5 / 255 + ALL_STEPS
    waves = wanted.sound.float().numpy()
    assert ours.sound.shape == (2, int(frames / fps * 48_000)) and waves.shape[1] >= ours.sound.shape[1]
    loudest = np.abs(waves).max()
    assert 0.01 < loudest <= 1.0, "nothing is compared with nothing"
    assert np.abs(ours.sound - waves[:, : ours.sound.shape[1]]).max() <= ALL_STEPS * loudest
