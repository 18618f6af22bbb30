"""Which networks need double precision on the way back, so that heatmaps can be made again.

Relevance that does not follow the activations (flat, w^2, biases left out or counted twice) is
divided at a sum of two branches by an output that may be almost nothing beside either branch, and a
rounding error of the forward pass decides what becomes of it: float32 heatmaps of residual networks
differed by some per cent between an image alone and in a batch. The sum itself cannot mend that,
since what comes in is rounded already, so the whole of both passes is made in float64; errors are
then those of the ninth digit. Rules whose denominators cancel grow with every layer of a deep
network, and those that leave the bias out of a denominator in any: on the default CNN the sixth
digit was lost with the others and the third with these.
"""

import copy
from typing import Any, Literal

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from xai_exp.compute import ops
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import tracked
from xai_exp.explainers.backward.functions import bare, called
from xai_exp.types import Images

Fragile = Literal["never", "deep", "always"]
_DEEP = 8  # linear calls; the default CNN has six


def in_double(model: nn.Module) -> nn.Module:
    """A copy of the model in double precision."""
    with torch.inference_mode(False), torch.no_grad():
        return copy.deepcopy(model).double()


def needs_double(model: nn.Module, images: Images, fragile: Fragile) -> bool:
    """Whether rounding in float32 may decide: always, or where branches are added up or it is deep.

    Args:
        model: the network.
        images: what it sees; float64 is the caller's choice and stays, half precision never does.
        fragile: on which networks the rules are.
    """
    if images.device.type == "mps" or not len(images):
        return False
    if images.dtype in (torch.float16, torch.bfloat16):
        return True  # of sums with so few digits no share is left
    if images.dtype != torch.float32:
        return False
    if fragile != "deep":
        return fragile == "always"
    seen = _Structure()
    with torch.inference_mode(False), torch.enable_grad(), ops.evaluating(model), seen:
        model(images[:1].detach().clone().requires_grad_() * 1)
    return seen.branches or seen.linear > _DEEP


class _Structure(TorchFunctionMode):
    """Counts linear calls and notices sums of two values that both depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.branches, self.linear = False, 0

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function as it is."""
        name = bare(called(func))
        self.linear += name in functions.LINEAR
        self.branches |= name in functions.SUMS and sum(map(tracked, args)) > 1
        return func(*args, **(kwargs or {}))
