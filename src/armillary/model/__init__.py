"""The two towers and where they meet: tensors in, tensors out, for one device.

sizes        every number that decides a shape        PICO, ModelConfig
family       the published models by name             EDGE, NANO, SUPER, FAMILY
positions    where a token stands
attention    who sees whom
tower        one layer of both towers
vision       the reasoner's eyes                       patchify_images, Visual, Seen
ports        modalities in, velocities out             patchify, unpatchify
memory       what the reasoner leaves behind           Memory, DecodeCache
siglip       Edge's eyes
two_towers   the model                                 TwoTowers
walk         its velocity from level to level          Walk
names        what a tensor is called, here and elsewhere
shards       tensors in files                          one by one, straight into place
layouts      the configuration files                   load_config, write_model_index
int8         matrices in whole numbers
stock        weights that are in memory from moment to moment
weights      the checkpoint folder                     load_model, save_model
"""

from armillary.model.family import EDGE, FAMILY, NANO, SUPER, Member, Sampling
from armillary.model.memory import DecodeCache, Memory
from armillary.model.ports import action_positions, channel_weights, patchify, unpatchify, video_positions
from armillary.model.sizes import PICO, ModelConfig, TowerConfig, VisionConfig
from armillary.model.two_towers import TwoTowers
from armillary.model.vision import Seen, Visual, fit_for_eyes, patchify_images, patchify_video
from armillary.model.walk import Walk
from armillary.model.weights import load_config, load_model, save_model, save_native, save_reasoner, write_model_index

__all__ = [
    "EDGE",
    "FAMILY",
    "NANO",
    "PICO",
    "SUPER",
    "DecodeCache",
    "Member",
    "Memory",
    "ModelConfig",
    "Sampling",
    "Seen",
    "TowerConfig",
    "TwoTowers",
    "VisionConfig",
    "Visual",
    "Walk",
    "action_positions",
    "channel_weights",
    "fit_for_eyes",
    "load_config",
    "load_model",
    "patchify",
    "patchify_images",
    "patchify_video",
    "save_model",
    "save_native",
    "save_reasoner",
    "unpatchify",
    "video_positions",
    "write_model_index",
]
