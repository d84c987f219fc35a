"""A small checkpoint whose every part is heard, pictures to show it, and how far two answers are apart.

For comparisons with other implementations: with weights as they are drawn for training, half of a model could be
missing and nothing would differ.
"""

from pathlib import Path

import numpy as np
import torch

from armillary.embodiments import load_embodiment, save_embodiments
from armillary.model import ModelConfig, TowerConfig, TwoTowers, VisionConfig, save_model, write_model_index
from armillary.tokenizers.text import train_tokenizer
from armillary.tokenizers.video import VideoVAE, VideoVAEConfig

SHIFT = 3.0
SIZE = 64  # pixels
A_STEP, ALL_STEPS = 1e-5, 1e-3
EDGE = {"mlp": "relu2", "text_norms": False, "memory_norms": True, "eps": 1e-5, "rope_theta": 1e8}
EDGE_EYES = {"kind": "siglip", "temporal_patch": 1, "projector": 40}


@torch.no_grad()
def make_loud(model: TwoTowers) -> None:
    """Draw weights so large that every part of the model matters."""
    for name, tensor in model.named_parameters():
        if (tensor.ndim == 2 and "layers" in name) or "embed_tokens" in name:
            tensor.normal_(std=0.15)
        elif "norm" in name or "modality" in name:
            tensor.add_(torch.randn_like(tensor) * 0.2)


def loud_checkpoint(folder: Path, *, edge: bool = False) -> Path:
    """A small model with weights large enough that every part of it matters."""
    words = train_tokenizer(["push the red cube to the left", "a table from above"] * 5, folder / "text_tokenizer", 400)
    torch.manual_seed(0)
    config = ModelConfig(
        tower=TowerConfig(
            layers=3,
            width=64,
            heads=4,
            kv_heads=2,
            head_width=32,
            mlp_width=96,
            rope_axes=(6, 5, 5),
            **(EDGE if edge else {}),
        ),
        vision=VisionConfig(depth=1, width=24, heads=2, mlp_width=32, grid_side=4, **(EDGE_EYES if edge else {})),
        vocabulary=len(words),
        image_pad=words.image_pad,
        video_pad=words.video_pad,
        vision_start=words.vision_start,
        vision_end=words.vision_end,
    )
    model = TwoTowers(config)
    make_loud(model)
    save_model(folder, model, dtype=torch.float32)
    torch.manual_seed(1)
    statistics = {
        "latents_mean": tuple(torch.randn(48).mul(0.1).tolist()),
        "latents_std": tuple((0.5 + torch.rand(48)).tolist()),
    }
    VideoVAE(VideoVAEConfig(base_dim=4, decoder_base_dim=4, dim_mult=(1, 1, 2, 2), **statistics)).save(folder / "vae")
    save_embodiments(folder, [load_embodiment("tabletop"), load_embodiment("pusht")])
    write_model_index(folder, flow_shift=SHIFT)
    return folder


def picture(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A smooth coloured picture, as a camera would give."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + c) + np.cos(y / (7 + 3 * c)) for c in range(3)]
    return np.clip(127 + 60 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def film(frames: int = 17, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """That picture on its way to the right: uint8 t h w 3."""
    return np.stack([np.roll(picture(height, width), 3 * i, axis=1) for i in range(frames)])


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, as a share of the largest number that should have come."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
