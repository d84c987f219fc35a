"""The two towers and where they meet: tensors in, tensors out, for one device.

sizes        every number that decides a shape        PICO, ModelConfig
positions    where a token stands
attention    who sees whom
tower        one layer of both towers
vision       the reasoner's eyes                       patchify_images, Visual
ports        modalities in, velocities out             patchify, unpatchify
memory       what the reasoner leaves behind           Memory, DecodeCache
two_towers   the model                                 TwoTowers
weights      the checkpoint folder                     load_model, save_model
"""

from armillary.model.memory import DecodeCache, Memory
from armillary.model.ports import action_positions, channel_weights, patchify, unpatchify, video_positions
from armillary.model.sizes import PICO, ModelConfig, TowerConfig, VisionConfig
from armillary.model.two_towers import TwoTowers
from armillary.model.vision import Visual, patchify_images, patchify_video
from armillary.model.weights import load_config, load_model, save_model, write_model_index

__all__ = [
    "PICO",
    "DecodeCache",
    "Memory",
    "ModelConfig",
    "TowerConfig",
    "TwoTowers",
    "VisionConfig",
    "Visual",
    "action_positions",
    "channel_weights",
    "load_config",
    "load_model",
    "patchify",
    "patchify_images",
    "patchify_video",
    "save_model",
    "unpatchify",
    "video_positions",
    "write_model_index",
]
