"""A multilayer perceptron: the network without any idea of an image."""

from typing import Annotated

from torch import nn

from xai_exp.config import Range, configured
from xai_exp.models.blocks import ACTIVATIONS, Activation, fitted


@configured
class MLP:
    """`depth` hidden layers of `width` units over the flattened image."""

    depth: Annotated[int, Range(0, 20)] = 2
    width: Annotated[int, Range(1, 65536)] = 512
    activation: Activation = "relu"
    dropout: Annotated[float, Range(0, 1, exclusive_high=True)] = 0.0

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind."""
        layers: list[nn.Module] = [nn.Flatten()]
        features = channels * size[0] * size[1]
        for _ in range(self.depth):
            layers += [nn.Linear(features, self.width), ACTIVATIONS[self.activation]()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            features = self.width
        return fitted(nn.Sequential(*layers, nn.Linear(features, classes)), channels, size, "mlp")
