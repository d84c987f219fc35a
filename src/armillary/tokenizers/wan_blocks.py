"""The building blocks of the video tokenizer: convolutions over space and time that never look ahead.

    b c t h w  ->  norm, SiLU, causal convolution, ...  ->  b c t h w

Layout and tensor names are those of the Wan2.2 VAE (specification 6.1). The reference walks a clip in chunks
and carries a cache from chunk to chunk; here a whole clip is one pass. Both are the same sum, because every
convolution is causal and only three places treat the first frame apart:

    encoder   the strided time convolution leaves frame 0 as it is
    decoder   the doubling time convolution leaves frame 0 as it is, and sees zeros before frame 1
    shortcut  frame 0 is repeated in space only

Activations stay in ``channels_last_3d`` memory, in which CPU convolutions in bf16 run fastest.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from armillary.tokenizers.slices import convolved, frames_of

_TINY = 1e-12  # the smallest norm that is divided by, as in the reference


class CausalConv3d(nn.Conv3d):
    """A convolution padded with zeros on the left of time only: output t sees inputs up to t."""

    def __init__(self, width_in: int, width_out: int, kernel: int | tuple[int, int, int] = 3) -> None:
        size = (kernel, kernel, kernel) if isinstance(kernel, int) else kernel
        super().__init__(width_in, width_out, size, padding=(0, size[1] // 2, size[2] // 2))

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c' t h w; a lone frame meets only the kernel's last slice."""
        reach = self.kernel_size[0] - 1
        if x.shape[2] == 1 and reach:
            return convolved(self, x, self.weight[:, :, -1:])
        return convolved(self, functional.pad(x, (0, 0, 0, 0, reach, 0)) if reach else x, self.weight)


class StridedConv3d(nn.Conv3d):
    """A convolution over time alone: every second three frames become one."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c (t-1)/2 h w."""
        return convolved(self, x, self.weight)


class _NormSilu(torch.autograd.Function):
    """RMS norm over channels, scale and SiLU with a hand-written backward pass: half the time of autograd's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        norm = torch.linalg.vector_norm(last, dim=-1, keepdim=True).clamp_min(_TINY)
        inverse = last.shape[-1] ** 0.5 / norm
        plain = last * inverse
        scaled = plain * gamma.flatten()
        ctx.save_for_backward(plain, scaled, inverse, gamma)
        return functional.silu(scaled).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        plain, scaled, inverse, gamma = ctx.saved_tensors
        grad_scaled = torch.ops.aten.silu_backward(grads[0].movedim(1, -1), scaled)
        grad_gamma = (grad_scaled * plain).flatten(0, -2).sum(0).view_as(gamma)
        grad_plain = grad_scaled * gamma.flatten()
        along = torch.linalg.vecdot(grad_plain, plain).unsqueeze(-1) / plain.shape[-1]
        return (inverse * (grad_plain - plain * along)).movedim(-1, 1), grad_gamma


class _Doubled(torch.autograd.Function):
    """b t h w c to b t 2h 2w c by repeating; the backward pass adds four slices, far faster than autograd's sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        b, t, h, w, c = x.shape
        return x[:, :, :, None, :, None].expand(b, t, h, 2, w, 2, c).reshape(b, t, 2 * h, 2 * w, c)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        b, t, h, w, c = grads[0].shape
        parts = grads[0].reshape(b, t, h // 2, 2, w // 2, 2, c)
        upper, lower = parts[:, :, :, 0], parts[:, :, :, 1]
        return (upper[..., 0, :] + upper[..., 1, :]) + (lower[..., 0, :] + lower[..., 1, :])


class _Repeated(torch.autograd.Function):
    """Every number of the last axis ``times`` times in a row; the backward pass is a product with zeros and ones."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, times: int) -> Tensor:
        ctx.times = times
        return x.repeat_interleave(times, dim=-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        width = grads[0].shape[-1] // ctx.times
        back = torch.eye(width, dtype=grads[0].dtype, device=grads[0].device).repeat_interleave(ctx.times, dim=0)
        return grads[0] @ back, None


class ChannelNorm(nn.Module):
    """Divide by the root mean square over channels, then scale: RMS norm."""

    def __init__(self, width: int, spatial_axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, *(1,) * spatial_axes))

    def forward(self, x: Tensor) -> Tensor:
        """b c ... to b c ..., same memory layout."""
        norm = torch.linalg.vector_norm(x.float(), dim=1, keepdim=True).clamp_min(_TINY)
        return (x * (x.shape[1] ** 0.5 / norm)).to(x.dtype) * self.gamma

    def silu(self, x: Tensor) -> Tensor:
        """The norm followed by SiLU; no second derivatives."""
        return _NormSilu.apply(x, self.gamma)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, beside a shortcut. A new block starts as its shortcut alone."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(width_in)
        self.conv1 = CausalConv3d(width_in, width_out)
        self.norm2 = ChannelNorm(width_out)
        self.conv2 = CausalConv3d(width_out, width_out)
        same = width_in == width_out
        nn.init.zeros_(self.conv2.weight)
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)
        self.conv_shortcut: nn.Module = nn.Identity() if same else CausalConv3d(width_in, width_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c' t h w."""
        h = self.conv1(self.norm1.silu(x))
        return self.conv2(self.norm2.silu(h)) + self.conv_shortcut(x)


class FrameAttention(nn.Module):
    """Single-head attention inside each frame. With a zero output projection it is skipped: it adds nothing.

    A new block starts with that projection at zero and frozen, which keeps the tokenizer local: a latent then
    depends only on pixels near it. Loading weights that are not zero switches it on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width, spatial_axes=2)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.proj.weight)
        if self.proj.bias is not None:
            nn.init.zeros_(self.proj.bias)
        self.requires_grad_(False)
        self.active = False
        self.register_load_state_dict_post_hook(FrameAttention._look)

    @staticmethod
    def _look(module: nn.Module, _: object) -> None:
        if isinstance(module, FrameAttention):
            module.active = any(bool(part.detach().any()) for part in module.proj.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c t h w."""
        if not self.active:
            return x
        b, c, t, h, w = x.shape
        frames = x.transpose(1, 2).reshape(b * t, c, h, w)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2).unsqueeze(1)  # bt 1 hw 3c
        read = functional.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
        read = self.proj(read.squeeze(1).transpose(1, 2).reshape(b * t, c, h, w))
        return x + read.view(b, t, c, h, w).transpose(1, 2)


class MidBlock(nn.Module):
    """Residual block, attention inside frames, residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameAttention(width)])
        self.resnets = nn.ModuleList([ResidualBlock(width, width), ResidualBlock(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c t h w."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


def _by_frame(module: nn.Module, x: Tensor) -> Tensor:
    b, t = x.shape[0], x.shape[2]
    y = module(frames_of(x))
    return y.permute(0, 2, 3, 1).reshape(b, t, *y.shape[2:], y.shape[1]).permute(0, 4, 1, 2, 3)


class Downsample(nn.Module):
    """Half the height and width, and with ``time`` half the frames after the first."""

    def __init__(self, width: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(width, width, 3, stride=2))
        self.time_conv = StridedConv3d(width) if time else None

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c t' h/2 w/2; t' = 1 + (t-1)/2 with ``time``."""
        x = _by_frame(self.resample, x)
        if self.time_conv is None or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], dim=2)


class Upsample(nn.Module):
    """Double the height and width, and with ``time`` the frames after the first."""

    def __init__(self, width: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(width, width, 3, padding=1))
        self.time_conv = CausalConv3d(width, 2 * width, (3, 1, 1)) if time else None

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c t' 2h 2w; t' = 1 + 2(t-1) with ``time``."""
        if self.time_conv is not None and x.shape[2] > 1:
            b, c, t, h, w = x.shape
            later = self.time_conv(x[:, :, 1:]).view(b, 2, c, t - 1, h, w)
            later = later.permute(0, 3, 1, 4, 5, 2).reshape(b, 2 * (t - 1), h, w, c).permute(0, 4, 1, 2, 3)
            x = torch.cat([x[:, :, :1], later], dim=2)
        wide: Tensor = _Doubled.apply(x.permute(0, 2, 3, 4, 1))
        return _by_frame(self.resample, wide.permute(0, 4, 1, 2, 3))


def average_down(x: Tensor, width: int, time: int, space: int) -> Tensor:
    """The parameter-free shortcut down: each output channel is a mean over a block of space, time and channels.

    b c t h w to b width t/time h/space w/space; zeros stand before the first frame where t does not divide.
    """
    x = functional.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    b, c, t, h, w = x.shape
    x = x.view(b, c, t // time, time, h // space, space, w // space, space)
    x = x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, t // time, h // space, w // space, width, -1)
    return x.mean(dim=-1).permute(0, 4, 1, 2, 3)


def repeat_up(x: Tensor, width: int, time: int, space: int) -> Tensor:
    """The parameter-free shortcut up: channels are repeated and dealt out over space and time.

    b c t h w to b width (time*t - time + 1) space*h space*w: the first frame is not repeated in time.
    """
    b, c, t, h, w = x.shape
    last: Tensor = _Repeated.apply(x.permute(0, 2, 3, 4, 1), width * time * space * space // c)
    last = last.view(b, t, h, w, width, time, space, space).permute(0, 1, 5, 2, 6, 3, 7, 4)
    last = last.reshape(b, t * time, h * space, w * space, width)
    return last[:, time - 1 :].permute(0, 4, 1, 2, 3)


class DownBlock(nn.Module):
    """Residual blocks and a downsampler, beside the averaging shortcut."""

    def __init__(self, width_in: int, width_out: int, blocks: int, *, time: bool, down: bool) -> None:
        super().__init__()
        widths = [width_in] + [width_out] * blocks
        self.resnets = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(widths))
        self.downsampler = Downsample(width_out, time=time) if down else None
        self.factors = (width_out, 2 if time else 1, 2 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c' t' h' w'."""
        short = average_down(x, *self.factors)
        for block in self.resnets:
            x = block(x)
        return short + (x if self.downsampler is None else self.downsampler(x))


class UpBlock(nn.Module):
    """Residual blocks and an upsampler, beside the repeating shortcut; the last one only residual blocks."""

    def __init__(self, width_in: int, width_out: int, blocks: int, *, time: bool, up: bool) -> None:
        super().__init__()
        widths = [width_in] + [width_out] * (blocks + 1)
        self.resnets = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(widths))
        self.upsampler = Upsample(width_out, time=time) if up else None
        self.factors = (width_out, 2 if time else 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """b c t h w to b c' t' h' w'."""
        y = x
        for block in self.resnets:
            y = block(y)
        return y if self.upsampler is None else self.upsampler(y) + repeat_up(x, *self.factors)


class Encoder(nn.Module):
    """Patches of a clip in, mean and log-variance of its latents out."""

    def __init__(self, widths: tuple[int, ...], z_out: int, blocks: int, time_down: tuple[bool, ...]) -> None:
        super().__init__()
        dims = (widths[0], *widths)
        self.conv_in = CausalConv3d(12, widths[0])
        downs = (*time_down, False)
        self.down_blocks = nn.ModuleList(
            DownBlock(a, b, blocks, time=time, down=index < len(time_down))
            for index, ((a, b), time) in enumerate(zip(pairwise(dims), downs, strict=True))
        )
        self.mid_block = MidBlock(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], z_out)

    def forward(self, x: Tensor) -> Tensor:
        """b 12 t h/2 w/2 to b z_out T h/16 w/16."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(self.norm_out.silu(self.mid_block(x)))


class Decoder(nn.Module):
    """Latents in, patches of the clip out."""

    def __init__(self, widths: tuple[int, ...], z_in: int, blocks: int, time_up: tuple[bool, ...]) -> None:
        super().__init__()
        dims = (widths[-1], *reversed(widths))
        self.conv_in = CausalConv3d(z_in, dims[0])
        self.mid_block = MidBlock(dims[0])
        ups = (*time_up, False)
        self.up_blocks = nn.ModuleList(
            UpBlock(a, b, blocks, time=time, up=index < len(time_up))
            for index, ((a, b), time) in enumerate(zip(pairwise(dims), ups, strict=True))
        )
        self.norm_out = ChannelNorm(widths[0])
        self.conv_out = CausalConv3d(widths[0], 12)

    def forward(self, z: Tensor) -> Tensor:
        """b z_in T h/16 w/16 to b 12 t h/2 w/2."""
        z = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            z = block(z)
        return self.conv_out(self.norm_out.silu(z))
