"""Convolutions over space and time that learn in bfloat16 on a CPU without harm.

    b c t h w  ->  conv3d  ->  b c' t' h' w';  its kernel's gradient: one for each slice of the kernel along time

A CPU with tiles (AMX) makes the gradient of a bfloat16 kernel with oneDNN (3.12 in torch 2.13), which works a frame off
in blocks of rows once the frame outgrows its cache: 64x64 pixels of 32 channels do. Over three axes it makes room for
one block, but counts rows from the frame's first, so that each block lies behind the one before it, beyond that room:
over the sums themselves, and gradients are wrong or not finite; over whatever else is in memory, and the process dies.
Over two axes it counts them from the block's first. Gradients made slice by slice, over two axes, are the same to the
bit where the others were right; small frames, which are quicker over three axes, go on as before. What a convolution
gives, and the gradient of what it is given, were always right.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_SURELY_CACHED = 600_000  # bytes; with 2 MiB (L2), the least such a CPU has, blocks began at twice as many


class _LearntBySlices(torch.autograd.Function):
    """``conv3d`` without padding in time, dilation or groups, whose kernel's gradient is made slice by slice."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv3d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        (grad,), (x, weight), (wants_x, _, wants_bias, *_) = grads, ctx.saved_tensors, ctx.needs_input_grad
        back, sizes = torch.ops.aten.convolution_backward, [len(weight)]
        grad_x = grad_bias = None
        if wants_x:
            how = ctx.stride, ctx.padding, (1, 1, 1), False, (0, 0, 0), 1
            grad_x = back(grad, x, weight, sizes, *how, (True, False, False))[0]
        flat, step, slices = frames_of(grad), ctx.stride[0], []
        reach = step * (grad.shape[2] - 1) + 1
        for index, part in enumerate(weight.unbind(2)):
            met = frames_of(x[:, :, index : index + reach : step])
            plane = ctx.stride[1:], ctx.padding[1:], (1, 1), False, (0, 0), 1
            _, own, along = back(flat, met, part, sizes, *plane, (False, True, wants_bias and not index))
            slices.append(own)
            grad_bias = along if index == 0 else grad_bias
        return grad_x, torch.stack(slices, dim=2), grad_bias, None, None


def convolved(
    layer: nn.Conv3d, x: Float[Tensor, "b c t h w"], weight: Float[Tensor, "d c k i j"]
) -> Float[Tensor, "b d u y x"]:
    """What a layer that does not pad in time makes of ``x`` with ``weight``, its kernel or slices of it."""
    parts = [weight] if layer.bias is None else [weight, layer.bias]
    learns = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
    if learns and x.device.type == "cpu" and x.dtype.itemsize < 4 and _frame_bytes(x, weight) > _SURELY_CACHED:
        learnt: Tensor = _LearntBySlices.apply(x, weight, layer.bias, layer.stride, layer.padding)
        return learnt
    return functional.conv3d(x, weight, layer.bias, layer.stride, layer.padding)


def _frame_bytes(x: Tensor, weight: Tensor) -> int:
    """At most how much a frame takes that comes in and goes out, each as it is and as it is laid out anew."""
    columns, channels = x.shape[-1] + weight.shape[-1], (-(-width // 16) * 16 for width in weight.shape[:2])
    return 2 * x.dtype.itemsize * (x.shape[-2] + weight.shape[-2]) * (-(-columns // 32) * 32) * sum(channels)


def frames_of(x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "n c h w"]:
    """The frames of all clips one after another, in ``channels_last`` memory; no copy of what lies so."""
    b, c, t, h, w = x.shape
    return x.permute(0, 2, 3, 4, 1).reshape(b * t, h, w, c).permute(0, 3, 1, 2)
