r"""Where the ratio of two differences is a multiplier, and where it is rounding.

DeepLIFT's multiplier of an activation is $\Delta y / \Delta x$, and where $\Delta x$ is nearly 0
the slope (Shrikumar et al. 2017, sec. 3.5.1). What is nearly 0 depends on what is compared: a
network whose activations differ by 1e-7 between image and baseline has all of its sum in such
differences. So $\Delta x$ is nearly 0 if it is within rounding of the values themselves, or if it
is small and $\Delta y$ within rounding of y (a sigmoid near 0). A kink at 0, ReLU's, is between
values of opposite signs, whose difference is never within rounding of both.
"""

import torch
from torch import Tensor

_ROUNDING = 1e-6  # of the largest value that is compared
_SMALL = 1e-6


def moved(difference: Tensor, inputs: Tensor, change: Tensor, outputs: Tensor) -> Tensor:
    """Where change / difference is a multiplier.

    Args:
        difference: of the inputs.
        inputs: the size of the larger of the two.
        change: of the outputs.
        outputs: the size of the larger of the two.
    """
    apart = difference.abs()
    told = (apart > _SMALL) | (change.abs() > _ROUNDING * outputs)
    return (apart > _ROUNDING * inputs) & told


def larger(*values: Tensor) -> Tensor:
    """The size of the largest, at every place."""
    first, *others = (value.abs() for value in values)
    for other in others:
        first = torch.maximum(first, other)
    return first
