"""A GPU that is not there: numbers lie in this machine's memory and say that they are on ``cuda:0``.

    with elsewhere(monkeypatch):        model.to("cuda:0"), torch.arange(4, device="cuda:0"), x.cpu() ...

What CUDA refuses is refused here: numbers of two devices in one product, NumPy, random numbers of a CPU generator. So
code that forgets to move something fails on a machine without a GPU, and what does not fail can be compared with the
same on the CPU, to the bit. That a kernel is right or quick on a real GPU it cannot tell.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

AWAY = torch.device("cuda", 0)
INDEXES = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}  # an index may lie on the CPU
BRINGS = {torch.Tensor.copy_, torch.Tensor.set_, torch._has_compatible_shallow_copy_type}  # between devices
MAKES = {torch.tensor, torch.as_tensor}  # never ask an argument's class
ASKS = {torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__float__, torch.Tensor.__bool__, torch.Tensor.__int__}


class Away(torch.Tensor):
    """Numbers that say they are on the GPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func == torch.Tensor.device.__get__:
            return AWAY
        if func in (torch.Tensor.is_cpu.__get__, torch.Tensor.is_cuda.__get__):
            return func == torch.Tensor.is_cuda.__get__
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it to the CPU first")
        if func is torch.Tensor.__deepcopy__:
            copied = args[0].detach().clone()
            learns = isinstance(args[0], torch.nn.Parameter)
            return torch.nn.Parameter(copied, args[0].requires_grad) if learns else copied
        args, kwargs, to = _destination(func, args, kwargs, AWAY)
        if func not in BRINGS:
            _check_together(func, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        if func in ASKS:
            return found
        return tree_map(lambda x: _placed(x, to), found)


class _Factories(TorchFunctionMode):
    """Numbers that are made on the GPU, or brought there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func not in MAKES and any(isinstance(x, Away) for x in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None and _is_away(kwargs.get("device")):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        args, kwargs, to = _destination(func, args, kwargs, None)
        found = func(*args, **kwargs)
        return found if to is None else tree_map(lambda x: _placed(x, to), found)


def _is_away(device):
    return device is not None and not isinstance(device, int) and torch.device(device).type == "cuda"


def _destination(func, args, kwargs, usual):
    """The arguments without any device of theirs, and where the result is to be."""
    to = usual
    if _is_away(kwargs.get("device")):
        to = AWAY
        del kwargs["device"]
    elif kwargs.get("device") is not None and usual is not None:
        to = None
        del kwargs["device"]
    if func is torch.Tensor.cpu:
        to = None
    if func is torch.Tensor.to:
        kinds = [x for x in args[1:] if isinstance(x, torch.dtype | torch.Tensor)]
        places = [x for x in args[1:] if isinstance(x, str | torch.device)]
        kind = kwargs.pop("dtype", None) or (kinds[0] if kinds else args[0].dtype)
        if isinstance(kind, torch.Tensor):
            to, kind = (AWAY if isinstance(kind, Away) else None), kind.dtype
        if places:
            to = AWAY if _is_away(places[0]) else None
        args = (args[0], kind)
    return args, kwargs, to


def _check_together(func, args, kwargs):
    among = (args[0], *args[2:]) if func in INDEXES else args
    others = [x for x in tree_leaves((among, kwargs)) if isinstance(x, torch.Tensor)]
    strangers = [x for x in others if not isinstance(x, Away) and x.ndim]
    if strangers and any(isinstance(x, Away) for x in others):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {func}")
    generator = kwargs.get("generator")
    if generator is not None:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def _placed(x, to):
    if not isinstance(x, torch.Tensor):
        return x
    if to is None:
        return x.as_subclass(torch.Tensor) if isinstance(x, Away) else x
    return x if isinstance(x, Away) else x.as_subclass(Away)


@contextmanager
def elsewhere(monkeypatch):
    """Within it there is a GPU."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with monkeypatch.context() as patch, _Factories():
            patch.setattr(torch.cuda, "is_available", lambda: True)
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
