"""What several architectures are made of.

Every activation is a module of its own, used once and never in place: methods that change the
backward pass (LRP, guided backpropagation) find activations as modules, and a functional or reused
one would make them silently wrong.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from xai_exp.config import InputError

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "softplus"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}


def fitted(network: nn.Module, channels: int, size: tuple[int, int], name: str) -> nn.Module:
    """The network in channels_last, once it is sure that images of this size pass through it.

    Trained or loaded, it stays in that layout, the faster one on CPUs and GPUs with tensor cores.

    Raises:
        InputError: when they do not (a pooling layer without pixels left, for one).
    """
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise InputError(
            f"model {name}: got images of {size[0]}x{size[1]} pixels; allowed: larger images, or "
            f"fewer layers that shrink them ({' '.join(str(error).split())[:120]})"
        ) from error
    return network.train(was_training).to(memory_format=torch.channels_last)  # pyright: ignore
