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
    "patchify",
    "patchify_images",
    "patchify_video",
    "unpatchify",
    "video_positions",
]
