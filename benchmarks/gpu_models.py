"""Large models with random weights on a GPU, for this package and for Diffusers at once, from one set of weights.

    random_model(config, device)  ->  TwoTowers       Both(...)  ->  ours.imagine, theirs(...)

Weights are drawn where they stay: no checkpoint of 30 GB is written. Without a GPU ``device_or_refuse`` says so in one
sentence; ``--tiny`` takes sizes that any machine can carry, on its processor, and writes no results.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import armillary
from armillary.model import EDGE, NANO, ModelConfig, TwoTowers
from armillary.model.weights import Unfilled
from armillary.sampling.parts import Parts
from armillary.tokenizers.published import WAN22
from armillary.tokenizers.text import TextTokenizer, train_tokenizer
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

WORDS = "a red cube is pushed to the left tray while a blue ball rolls away. "


def device_or_refuse(tiny: bool) -> torch.device:
    """The GPU; with ``tiny`` the processor. Ends the program with a sentence where there is no GPU."""
    if tiny:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a GPU and torch sees none: run it where there is one, or with --tiny.")
    return torch.device("cuda")


def sizes(name: str, tiny: bool) -> tuple[ModelConfig, VideoVAEConfig]:
    """Of nano or edge with the published video tokenizer; or the same kind of model, tiny."""
    config = {"nano": NANO, "edge": EDGE}[name]
    if not tiny:
        return config, WAN22
    tower = replace(
        config.tower, layers=2, width=64, heads=4, kv_heads=2, head_width=32, mlp_width=96, rope_axes=(6, 5, 5)
    )
    eyes = replace(config.vision, depth=1, width=24, heads=2, mlp_width=32, grid_side=4, deepstack=())
    return replace(config, tower=tower, vision=eyes, vocabulary=512, sound_dim=0), VideoVAEConfig(
        base_dim=4, decoder_base_dim=4
    )


def random_model(config: ModelConfig, device: torch.device) -> TwoTowers:
    """A model in bfloat16 whose weights mean nothing, drawn on ``device``; the level's embedder is fp32."""
    with torch.device("meta"), Unfilled():
        model = TwoTowers(config)
    model = model.to(torch.bfloat16)
    model.transformer.time_embedder.float()
    model = model.to_empty(device=device).requires_grad_(False).eval()
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" in name and not name.endswith("bias"):
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=0.02)
    return model


class Both:
    """One set of weights in both libraries. ``words``: prompts' tokenizer; ``frames`` of a film in one walk."""

    def __init__(self, name: str, *, tiny: bool, frames: int) -> None:
        from accelerate import init_empty_weights
        from diffusers import AutoencoderKLWan, Cosmos3OmniPipeline, Cosmos3OmniTransformer, UniPCMultistepScheduler
        from transformers import AutoTokenizer

        from armillary.model.layouts import transformer_config

        self.device = device_or_refuse(tiny)
        config, codec = sizes(name, tiny)
        self._room = tempfile.TemporaryDirectory()
        folder = Path(self._room.name)
        self.words = train_tokenizer([WORDS] * 2, folder / "text_tokenizer", 400)
        config = replace(config, vision_start=self.words.vision_start, im_end=self.words.im_end)
        (folder / "defaults.json").write_text(f'{{"size": [192, 320], "fps": 24.0, "frames": {frames}}}')
        (folder / "model_index.json").write_text('{"use_native_flow_schedule": true}')
        model = random_model(config, self.device)
        torch.manual_seed(1)
        vae = VideoVAE(codec).to(self.device, torch.bfloat16).eval().requires_grad_(False)
        parts = Parts(folder, device=self.device, dtype=torch.bfloat16)
        with init_empty_weights(include_buffers=False):  # what is no parameter is not among our tensors
            known = {key: value for key, value in transformer_config(config).items() if not key.startswith("_")}
            transformer = Cosmos3OmniTransformer(**known)
            plain = {key: value for key, value in codec.to_dict().items() if not key.startswith("_")}
            autoencoder = AutoencoderKLWan(**plain)
        transformer.load_state_dict(model.transformer.state_dict(), assign=True)
        autoencoder.load_state_dict(vae.state_dict(), assign=True)
        transformer, autoencoder = transformer.to(self.device), autoencoder.to(self.device)
        parts.hold(model, vae)
        self.ours = armillary.Omni(parts)
        scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, num_train_timesteps=1000
        )
        self.theirs: Any = Cosmos3OmniPipeline(
            transformer=transformer.eval(), text_tokenizer=AutoTokenizer.from_pretrained(folder / "text_tokenizer"),
            vae=autoencoder.eval(), scheduler=scheduler, enable_safety_checker=False, default_use_system_prompt=False,
            use_native_flow_schedule=True,
        )  # fmt: skip
        self.theirs.set_progress_bar_config(disable=True)

    def prompt(self, tokens: int) -> str:
        """Words of about so many ids."""
        return _long(self.words, tokens)


def _long(words: TextTokenizer, tokens: int) -> str:
    one = len(words.encode(WORDS))
    return WORDS * max(1, tokens // one)


def picture(size: tuple[int, int]) -> np.ndarray:
    """Noise, uint8 h w 3."""
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
