"""The same function in fewer steps, for the many passes that are asked of one network.

Max pooling of 2x2 goes before the ReLU that it follows, which then has a quarter of the work: a
maximum of values cut at zero is the maximum cut at zero. On a CPU that pooling is two maxima of
neighbours, since torch's own kernel also notes where each maximum was, for a gradient that nobody
asks for, and takes two to ten times as long.

For metrics, which want logits, batch norm is folded into the convolution before it. That rounds
otherwise, and a ReLU near its kink or a maximum near a tie may then decide otherwise, which changes
logits by nothing but a gradient by a whole weight. So where gradients are wanted batch norm goes
behind the pooling instead. It commutes with a maximum where it rises; where it falls, convolution
and norm change their signs first. All of this leaves every bit of logits and gradients as it was.
"""

import copy
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from xai_exp.types import Images

_ROUNDING = 1e-4


@torch.no_grad()
def streamlined(model: nn.Module, image: Images, *, folded: bool = True) -> nn.Module:
    """The model in evaluation mode, giving the same outputs in less time.

    They are the same up to rounding if batch norms are `folded` into convolutions; without it they
    and their gradients are the same to the bit, unless batch norm itself rounds two neighbours of a
    pooling to one value.

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
    found = in_steps(model, _FOLDED if folded else _EXACT)
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


Neighbours = tuple[nn.Module, ...]
Steps = tuple[tuple[int, Callable[..., Neighbours]], ...]  # how many neighbours each looks at


def in_steps(model: nn.Module, steps: Steps) -> nn.Module:
    """The model with neighbours in an `nn.Sequential` replaced, its poolings of 2x2 `PairMaxima`.

    The model stays as it is and shares with what is given back all that is not replaced. What is
    used twice, has hooks or a `forward` of its own is left alone.
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return _streamlined(model, uses, steps)


def _streamlined(module: nn.Module, uses: Counter[int], steps: Steps) -> nn.Module:
    # Not `named_children`, which leaves out what stands there twice.
    children = {name: child for name, child in module._modules.items() if child is not None}
    changed = {name: _streamlined(child, uses, steps) for name, child in children.items()}
    if getattr(type(module), "forward", None) is nn.Sequential.forward:
        free = {name: uses[id(one)] == 1 and not _hooked(one) for name, one in children.items()}
        changed |= {n: _pooling(one) for n, one in changed.items() if free[n]}
        for width, step in steps:
            for names in zip(*(list(children)[first:] for first in range(width)), strict=False):
                if all(free[name] for name in names):
                    found = step(*(changed[name] for name in names))
                    changed |= zip(names, found, strict=True)
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


def _swapped(first: nn.Module, second: nn.Module) -> Neighbours:
    """ReLU and a pooling of maxima the other way round, others as they are."""
    # In place, the ReLU may be meant to change what others see.
    swap = type(first) is nn.ReLU and not first.inplace and type(second) is PairMaxima
    return (second, first) if swap else (first, second)


def _folded(first: nn.Module, second: nn.Module) -> Neighbours:
    """A convolution and its batch norm as one convolution, others as they are."""
    if not _fixed_norm(first, second):
        return first, second
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.BatchNorm2d)
    return fuse_conv_bn_eval(first, second), nn.Identity()


def _deferred(first: nn.Module, second: nn.Module, third: nn.Module) -> Neighbours:
    """The batch norm of a convolution behind the pooling that follows, others as they are."""
    if not _fixed_norm(first, second) or type(third) is not PairMaxima:
        return first, second, third
    weight = second._parameters["weight"]
    if weight is not None and (weight < 0).any():
        sign = torch.ones_like(weight).masked_fill(weight < 0, -1)
        first = _times(first, {"weight": sign[:, None, None, None], "bias": sign})
        second = _times(second, {"weight": sign, "running_mean": sign})
    return first, third, second


def _times(module: nn.Module, factors: dict[str, Tensor]) -> nn.Module:
    """A copy with some of its values multiplied, which shares the rest."""
    same = copy.copy(module)
    for kind in ("_parameters", "_buffers"):
        held = dict(getattr(module, kind))
        for name in held.keys() & factors:
            if held[name] is not None:
                changed = held[name] * factors[name]
                held[name] = nn.Parameter(changed, False) if kind == "_parameters" else changed
        setattr(same, kind, held)
    return same


_FOLDED = (2, _swapped), (2, _folded)
_EXACT = (2, _swapped), (3, _deferred)


def _fixed_norm(first: nn.Module, second: nn.Module) -> bool:
    """Whether they are a convolution and a batch norm that scales it by numbers it has learnt."""
    kinds = type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d
    return kinds and not (first.training or second.training or second.running_mean is None)


def _hooked(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in vars(module) or any(getattr(module, kind) for kind in kinds)
