"""Long films through the video tokenizer piece by piece: the same numbers, in the memory of one piece.

    StreamEncoder(vae).push(frames)     1 + 4k frames first, 4k after        -> their latent frames
    StreamDecoder(vae).push(latents)    any number of latent frames          -> their frames

Every convolution is causal, so a piece needs no more of the past than the last two frames that each convolution
saw. These are kept here, beside the modules and not in them: many streams may run over one tokenizer, and a stream
that is dropped leaves nothing behind. The blocks themselves stand in ``wan_blocks.py``.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import RequestError
from armillary.tokenizers.video import SPACE, TIME, VideoVAE, _from_patches, _to_patches
from armillary.tokenizers.wan_blocks import (
    CausalConv3d,
    Downsample,
    MidBlock,
    ResidualBlock,
    Upsample,
    _by_frame,
    average_down,
    repeat_up,
)

AT_ONCE = 8  # latent frames: longer films are decoded in pieces of so many


class StreamEncoder:
    """Encodes a film as it comes. ``push`` gives normalised latents, float32 b z n y x, of the frames pushed."""

    def __init__(self, vae: VideoVAE) -> None:
        self.vae, self._walk = vae, _Walk()

    @torch.no_grad()
    def push(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b z n y x"]:
        """The latents of the next frames, in [-1, 1]: 1 + 4k of them at first, then 4k, else ``RequestError``."""
        count, first = video.shape[2], self._walk.first
        if count % TIME != int(first) or count == 0 or video.shape[3] % SPACE or video.shape[4] % SPACE:
            raise RequestError(
                f"{count} frames of {video.shape[3]}x{video.shape[4]} cannot be pushed {'first' if first else 'next'}: "
                f"give {'1 + 4k' if first else '4k'} frames, both sides multiples of {SPACE}."
            )
        walk, net = self._walk, cast(Any, self.vae.encoder)
        x = walk.conv(net.conv_in, _to_patches(video.to(self.vae.dtype)))
        for block in net.down_blocks:
            short = average_down(x, *block.factors)
            for inner in block.resnets:
                x = walk.residual(inner, x)
            x = short + (x if block.downsampler is None else walk.down(block.downsampler, x))
        x = walk.conv(net.conv_out, net.norm_out.silu(walk.middle(net.mid_block, x)))
        walk.first = False
        mean, inverse = self.vae.statistics()
        return ((self.vae.quant_conv(x).chunk(2, dim=1)[0] - mean) * inverse).float()


class StreamDecoder:
    """Decodes latents as they come. ``push`` gives the frames, float32 b 3 t h w in [-1, 1], of the latents pushed."""

    def __init__(self, vae: VideoVAE) -> None:
        self.vae, self._walk = vae, _Walk()

    @torch.no_grad()
    def push(self, latents: Float[Tensor, "b z n y x"]) -> Float[Tensor, "b 3 t h w"]:
        """The frames of the next latent frames: the first one ever holds one frame, every other four."""
        walk, net = self._walk, cast(Any, self.vae.decoder)
        z = self.vae.post_quant_conv(self.vae.unnormalised(latents))
        x = walk.middle(net.mid_block, walk.conv(net.conv_in, z))
        for block in net.up_blocks:
            y = x
            for inner in block.resnets:
                y = walk.residual(inner, y)
            x = y if block.upsampler is None else walk.up(block.upsampler, y) + walk.repeated(x, block.factors)
        x = walk.conv(net.conv_out, net.norm_out.silu(x))
        walk.first = False
        return _from_patches(x).float().clamp(-1.0, 1.0)

    def branch(self) -> "StreamDecoder":
        """Another stream that goes on from here; what one of the two is pushed, the other does not see."""
        other = StreamDecoder(self.vae)
        other._walk.past, other._walk.first = dict(self._walk.past), self._walk.first
        return other


def encode_in_pieces(
    vae: VideoVAE, video: Float[Tensor, "b 3 t h w"], *, frames: int = 16
) -> Float[Tensor, "b z n y x"]:
    """What ``vae.encode`` gives, ``frames`` (a multiple of 4) at a time. Errors as for ``StreamEncoder.push``."""
    if frames < TIME or frames % TIME:
        raise RequestError(f"frames={frames} a piece: a latent frame holds {TIME}, so give a multiple of it.")
    stream = StreamEncoder(vae)
    pieces = [video[:, :, :1], *video[:, :, 1:].split(frames, dim=2)]
    return torch.cat([stream.push(piece) for piece in pieces if piece.shape[2]], dim=2)


def decode_in_pieces(
    vae: VideoVAE, latents: Float[Tensor, "b z n y x"], *, frames: int = AT_ONCE
) -> Iterator[Float[Tensor, "b 3 t h w"]]:
    """What ``vae.decode`` gives, as pieces of ``frames`` latent frames; put them together along time."""
    stream = StreamDecoder(vae)
    for piece in latents.split(frames, dim=2):
        yield stream.push(piece)


def decode_film(vae: VideoVAE, latents: Float[Tensor, "b z n y x"]) -> Float[Tensor, "b 3 t h w"]:
    """What ``vae.decode`` gives; a long film piece by piece, so that its memory is that of one piece and the film."""
    if latents.shape[2] <= AT_ONCE:
        return vae.decode(latents)
    return torch.cat(list(decode_in_pieces(vae, latents)), dim=2)


class _Walk:
    """What one stream has seen: for each convolution over time the last frames that it will see again."""

    def __init__(self) -> None:
        self.past: dict[nn.Module, Tensor] = {}
        self.first = True

    def conv(self, layer: CausalConv3d, x: Tensor) -> Tensor:
        """A causal convolution that goes on where the piece before ended; zeros stand before the first."""
        reach = layer.kernel_size[0] - 1
        if not reach or not x.shape[2]:
            return layer(x) if x.shape[2] else x
        before = self.past.get(layer)
        seen = functional.pad(x, (0, 0, 0, 0, reach, 0)) if before is None else torch.cat((before, x), dim=2)
        self.past[layer] = seen[:, :, -reach:].clone()
        return functional.conv3d(seen, layer.weight, layer.bias, padding=layer.padding)

    def residual(self, block: ResidualBlock, x: Tensor) -> Tensor:
        """A residual block."""
        h = self.conv(block.conv1, block.norm1.silu(x))
        return self.conv(block.conv2, block.norm2.silu(h)) + block.conv_shortcut(x)

    def middle(self, block: MidBlock, x: Tensor) -> Tensor:
        """The middle: what looks around within a frame needs no past."""
        first, second = cast(Any, block.resnets)
        return self.residual(second, block.attentions[0](self.residual(first, x)))

    def down(self, block: Downsample, x: Tensor) -> Tensor:
        """Half of everything; the first frame of all stays as it is in time."""
        x = _by_frame(block.resample, x)
        if block.time_conv is None:
            return x
        before = self.past.get(block.time_conv)
        seen = x if before is None else torch.cat((before, x), dim=2)
        self.past[block.time_conv] = x[:, :, -1:].clone()
        head = [x[:, :, :1]] if before is None else []
        return torch.cat([*head, block.time_conv(seen)] if seen.shape[2] > 1 else head, dim=2)

    def up(self, block: Upsample, x: Tensor) -> Tensor:
        """Twice everything; the first frame of all stays as it is in time."""
        if block.time_conv is not None:
            head, rest = (x[:, :, :1], x[:, :, 1:]) if self.first else (x[:, :, :0], x)
            if rest.shape[2]:
                b, c, t, h, w = rest.shape
                rest = self.conv(block.time_conv, rest).view(b, 2, c, t, h, w)
                rest = rest.permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * t, h, w)
            x = torch.cat((head, rest), dim=2)
        wide = x.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
        return _by_frame(block.resample, wide)

    def repeated(self, x: Tensor, factors: tuple[int, int, int]) -> Tensor:
        """The shortcut up; only the first frame of all is not repeated in time."""
        if self.first:
            return repeat_up(x, *factors)
        return repeat_up(torch.cat((x[:, :, :1], x), dim=2), *factors)[:, :, 1:]
