"""Sound beside a film: 25 tokens a second walk from noise together with the frames, and become waves; or are given.

    stretches, samples         --sound_part-->   Part b n 64, all hidden, and its noise
    stretches that hear, same  --hearing_part--> Part b n 64, all given
    tokens b n 64              --heard-->        float32 2 s at 48 kHz for each stretch that is listened to

Film and sound see each other at every step; the sound stands beside the film, n / 25 seconds after its start.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.model import ModelConfig
from armillary.model.ports import sound_positions
from armillary.records import SOUND_HZ
from armillary.sampling.guidance import Part
from armillary.sampling.stretches import Stretch
from armillary.tokenizers.sound import SoundVAE, at_peak


def sound_part(
    config: ModelConfig, stretches: Sequence[Stretch], samples: int, device: torch.device
) -> tuple[Part, Tensor]:
    """The tokens that sounds of ``samples`` at 48 kHz have, all to be found, and noise for them, each b n d."""
    count = -(-samples // round(SOUND_HZ / config.sound_rate))
    noise = torch.stack([s.draw("sound", (config.sound_dim, count)) for s in stretches]).transpose(1, 2)
    places = sound_positions(count, rate=config.sound_rate).expand(len(stretches), -1, -1)
    part = Part(
        modality="sound",
        tokens=torch.zeros(noise.shape, device=device),
        hidden=torch.ones(noise.shape[:2], dtype=torch.bool, device=device),
        positions=places.to(device),
    )
    return part, noise.to(device)


def hearing_part(vae: SoundVAE, config: ModelConfig, stretches: Sequence[Stretch], device: torch.device) -> Part:
    """The tokens of the sounds that are given, each at its peak; as training made them (``training/heard.py``)."""
    waves = torch.from_numpy(np.stack([at_peak(s.hears) for s in stretches if s.hears is not None]))
    tokens = vae.encode(waves.to(device)).transpose(1, 2)
    places = sound_positions(tokens.shape[1], rate=config.sound_rate).expand(len(stretches), -1, -1)
    hidden = torch.zeros(tokens.shape[:2], dtype=torch.bool, device=device)
    return Part(modality="sound", tokens=tokens, hidden=hidden, positions=places.to(device))


def heard(
    vae: SoundVAE, tokens: Tensor, stretches: Sequence[Stretch], samples: int
) -> list[NDArray[np.float32] | None]:
    """Waves of the stretches somebody listens to, cut to ``samples``; None for the others."""
    wanted = [i for i, stretch in enumerate(stretches) if "sound" in stretch.request.outputs]
    found: list[NDArray[np.float32] | None] = [None] * len(stretches)
    if wanted:
        waves = vae.decode(tokens[wanted].transpose(1, 2))[..., :samples].cpu().numpy()
        for i, wave in zip(wanted, waves, strict=True):
            found[i] = wave
    return found
