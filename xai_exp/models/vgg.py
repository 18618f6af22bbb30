"""A small network in the manner of VGG (Simonyan and Zisserman 2015): 3x3 convolutions in pairs."""

from typing import Annotated

from torch import nn

from xai_exp.config import InputError, Range, configured
from xai_exp.models.blocks import ACTIVATIONS, Activation, fitted


@configured
class VGG:
    """`stages` pairs of 3x3 convolutions, each pair followed by max pooling; no norm.

    Args:
        stages: number of pairs; each halves the image.
        width: maps of the first pair; each further pair doubles them.
        hidden: units of the hidden layer.
        activation: after every convolution and the hidden layer.
    """

    stages: Annotated[int, Range(1, 5)] = 3
    width: Annotated[int, Range(1, 512)] = 16
    hidden: Annotated[int, Range(1, 65536)] = 128
    activation: Activation = "relu"

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind."""
        layers: list[nn.Module] = []
        maps = channels
        for stage in range(self.stages):
            for _ in range(2):
                after = self.width * 2**stage
                layers += [nn.Conv2d(maps, after, 3, padding=1), ACTIVATIONS[self.activation]()]
                maps = after
            layers.append(nn.MaxPool2d(2))
        height, width = (length >> self.stages for length in size)
        if min(height, width) < 1:
            raise InputError(
                f"model vgg: got {self.stages} stages for images of {size[0]}x{size[1]} pixels; "
                "allowed: fewer, since each stage halves the image"
            )
        layers += [nn.Flatten(), nn.Linear(maps * height * width, self.hidden)]
        layers += [ACTIVATIONS[self.activation](), nn.Linear(self.hidden, classes)]
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        return fitted(nn.Sequential(*layers), channels, size, "vgg")
