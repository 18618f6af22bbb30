"""Batch norm folded into the convolution before it: the same function in fewer steps."""

import copy
import itertools
from collections import Counter

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, each convolution with its batch norm made one convolution.

    Only neighbours in a plain `nn.Sequential` are folded, where it is certain that the second gets
    what the first gives; modules that are used twice or have hooks stay. Nothing of the model is
    changed, and all that is not folded is shared with it. Equal up to rounding.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    >>> _ = nn.init.uniform_(model[1].running_mean)
    >>> image = torch.rand(1, 1, 5, 5)
    >>> torch.allclose(folded(model)(image), model(image), atol=1e-6)
    True
    """
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return _folded(model, uses)


def _folded(module: nn.Module, uses: Counter[int]) -> nn.Module:
    if not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
        return module
    # Not `named_children`, which leaves out what stands there twice.
    children = {name: child for name, child in module._modules.items() if child is not None}
    changed = {name: _folded(child, uses) for name, child in children.items()}
    if type(module) is nn.Sequential:
        for first, second in itertools.pairwise(children):
            joined = _joined(children[first], children[second], uses)
            if joined is not None:
                changed[first], changed[second] = joined, nn.Identity()
    if all(changed[name] is child for name, child in children.items()):
        return module
    same = copy.copy(module)
    same._modules = {**module._modules, **changed}
    return same


def _joined(conv: nn.Module, norm: nn.Module, uses: Counter[int]) -> nn.Conv2d | None:
    """Both as one convolution, or None where that is not sure to be the same."""
    if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
        return None
    # What inherits from these classes may do more than they.
    plain = type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d
    settled = not norm.training and norm.running_mean is not None
    alone = all(uses[id(part)] == 1 and not _hooked(part) for part in (conv, norm))
    return fuse_conv_bn_eval(conv, norm) if plain and settled and alone else None


def _hooked(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)
