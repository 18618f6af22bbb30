"""The same function in fewer steps, for the many passes that metrics ask of one network.

Batch norm is folded into the convolution before it. Max pooling of 2x2 goes before the ReLU that it
follows, which then has a quarter of the work: a maximum of values cut at zero is the maximum cut at
zero. On a CPU that pooling is two maxima of neighbours, since torch's own kernel also notes where
each maximum was, for a gradient that nobody asks for, and takes two to ten times as long.
"""

import copy
import itertools
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from xai_exp.types import Images

_ROUNDING = 1e-4
_HALVING = (2, 2, 0, 1)


@torch.no_grad()
def streamlined(model: nn.Module, image: Images) -> nn.Module:
    """The model in evaluation mode, giving the same outputs up to rounding in less time.

    Only neighbours in an `nn.Sequential` are changed, since the second gets what the first gives;
    modules that are used twice or have hooks stay. A model that takes its layers in another way is
    found out by its outputs on `image` (1, channel, height, width) and given back as it is. Nothing
    of the model is changed, and all that stays is shared with it.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
    >>> _ = nn.init.uniform_(model.eval()[1].running_mean)
    >>> streamlined(model, torch.rand(1, 1, 5, 5))
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): PairMaxima(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
      (3): ReLU()
    )
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    found = _streamlined(model, uses)
    if found is model or not len(image):
        return model
    # Not by a call, for which hooks on the model would see one image more.
    ours, theirs = found.forward(image), model.forward(image)
    near = _ROUNDING * float(theirs.abs().max())
    return found if torch.allclose(ours, theirs, rtol=0, atol=near, equal_nan=True) else model


class PairMaxima(nn.MaxPool2d):
    """Max pooling of 2x2, the larger of two rows and then of two columns: the same values."""

    def forward(self, input: Tensor) -> Tensor:
        """The pooled images; where a gradient is wanted torch's own, as ties would share it."""
        if input.device.type != "cpu" or (torch.is_grad_enabled() and input.requires_grad):
            return functional.max_pool2d(input, 2)
        height, width = (length // 2 * 2 for length in input.shape[-2:])
        rows = torch.maximum(input[..., 0:height:2, :], input[..., 1:height:2, :])
        return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def _streamlined(module: nn.Module, uses: Counter[int]) -> nn.Module:
    # Not `named_children`, which leaves out what stands there twice.
    children = {name: child for name, child in module._modules.items() if child is not None}
    changed = {name: _streamlined(child, uses) for name, child in children.items()}
    if getattr(type(module), "forward", None) is nn.Sequential.forward:
        free = {name: uses[id(one)] == 1 and not _hooked(one) for name, one in children.items()}
        changed |= {n: _pooling(one) for n, one in changed.items() if free[n]}
        for first, second in itertools.pairwise(children):
            if free[first] and free[second]:
                pair = changed[first], changed[second]
                changed[first], changed[second] = _swapped(*_joined(*pair))
    if all(changed[name] is child for name, child in children.items()):
        return module
    same = copy.copy(module)
    same._modules = {**module._modules, **changed}
    return same


def _pooling(module: nn.Module) -> nn.Module:
    """Max pooling of 2x2 as two maxima, any other module as it is."""
    # What inherits from torch's classes may do more than they: here and below only they count.
    if type(module) is not nn.MaxPool2d or module.ceil_mode or module.return_indices:
        return module
    shape = module.kernel_size, module.stride, module.padding, module.dilation
    plain = all(
        side in (value, (value, value)) for side, value in zip(shape, (2, 2, 0, 1), strict=True)
    )
    return PairMaxima(2) if plain else module


def _joined(first: nn.Module, second: nn.Module) -> tuple[nn.Module, nn.Module]:
    """A convolution and its batch norm as one convolution, others as they are."""
    if type(first) is not nn.Conv2d or type(second) is not nn.BatchNorm2d:
        return first, second
    if first.training or second.training or second.running_mean is None:
        return first, second
    return fuse_conv_bn_eval(first, second), nn.Identity()


def _swapped(first: nn.Module, second: nn.Module) -> tuple[nn.Module, nn.Module]:
    """ReLU and a pooling of maxima the other way round, others as they are."""
    # In place, the ReLU may be meant to change what others see.
    swap = type(first) is nn.ReLU and not first.inplace and type(second) is PairMaxima
    return (second, first) if swap else (first, second)


def _hooked(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)
