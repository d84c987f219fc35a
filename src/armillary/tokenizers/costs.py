"""What the tokenizers would take if they ran: counted with meta tensors, which have shapes and no numbers.

counted(run)                                  ->  bytes that were alive at most, floating-point operations
video_encoding, control_encoding, ...         ->  the same of a clip, a control, a film, a sound of that size
video_parameters, sound_parameters            ->  how many numbers their weights have
"""

import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from armillary.tokenizers.sound import SoundVAE, SoundVAEConfig
from armillary.tokenizers.streaming import AT_ONCE, decode_film, encode_in_pieces
from armillary.tokenizers.video import SPACE, TIME, VideoVAE, VideoVAEConfig


class _Meter(TorchDispatchMode):
    """Watches the bytes of the tensors that are alive, and keeps the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.users:
                    self.now += size
                    self.most = max(self.most, self.now)
                self.users[key] = self.users.get(key, 0) + 1
                weakref.finalize(tensor, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key]
            self.now -= size


def counted(run: Callable[[], object]) -> tuple[int, float]:
    """Bytes at most, and operations, of code that runs on meta tensors."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Meter() as meter:
        run()
    return meter.most, float(counter.get_total_flops())


def _video(config: VideoVAEConfig, dtype: torch.dtype) -> VideoVAE:
    with torch.device("meta"):
        return VideoVAE(config).to(dtype)


@lru_cache(maxsize=8)
def video_parameters(config: VideoVAEConfig) -> int:
    """Of the video tokenizer, both ways."""
    return sum(parameter.numel() for parameter in _video(config, torch.float32).parameters())


@lru_cache(maxsize=32)
def video_encoding(config: VideoVAEConfig, dtype: torch.dtype, frames: int, size: tuple[int, int]) -> tuple[int, float]:
    """Bytes at most and operations of encoding a clip."""
    vae = _video(config, dtype)
    return counted(lambda: vae.encode(torch.empty(1, 3, frames, *size, device="meta", dtype=dtype)))


@lru_cache(maxsize=32)
def control_encoding(
    config: VideoVAEConfig, dtype: torch.dtype, frames: int, size: tuple[int, int]
) -> tuple[int, float]:
    """The same of encoding one control, which goes through in pieces."""
    vae = _video(config, dtype)
    return counted(lambda: encode_in_pieces(vae, torch.empty(1, 3, frames, *size, device="meta", dtype=dtype)))


@lru_cache(maxsize=32)
def video_decoding(config: VideoVAEConfig, dtype: torch.dtype, frames: int, size: tuple[int, int]) -> tuple[int, float]:
    """The same of decoding latent frames. All pieces of a long film cost what its second one does."""
    if frames > 2 * AT_ONCE:
        (_, one), (most, two) = (video_decoding(config, dtype, count * AT_ONCE, size) for count in (1, 2))
        film = 4 * 3 * TIME * (frames - 2 * AT_ONCE) * size[0] * size[1]
        return most + film, two + (two - one) * (frames - 2 * AT_ONCE) / AT_ONCE
    vae = _video(config, dtype)
    cells = (size[0] // SPACE, size[1] // SPACE)
    return counted(lambda: decode_film(vae, torch.empty(1, config.z_dim, frames, *cells, device="meta", dtype=dtype)))


def _sound(config: SoundVAEConfig, dtype: torch.dtype) -> SoundVAE:
    with torch.device("meta"):
        return SoundVAE(config).to(dtype)


@lru_cache(maxsize=8)
def sound_parameters(config: SoundVAEConfig) -> int:
    """Of the sound tokenizer, as far as it is loaded."""
    return sum(parameter.numel() for parameter in _sound(config, torch.float32).parameters())


@lru_cache(maxsize=32)
def sound_decoding(config: SoundVAEConfig, dtype: torch.dtype, latents: int) -> tuple[int, float]:
    """Bytes at most and operations of making latents heard."""
    vae = _sound(config, dtype)
    return counted(lambda: vae.decode(torch.empty(1, config.vocoder_input_dim, latents, device="meta", dtype=dtype)))


@lru_cache(maxsize=32)
def sound_encoding(config: SoundVAEConfig, dtype: torch.dtype, latents: int) -> tuple[int, float]:
    """Bytes at most and operations of hearing what so many latents hold."""
    vae = _sound(config, dtype)
    return counted(lambda: vae.encode(torch.empty(1, 2, latents * config.hop, device="meta", dtype=dtype)))
