"""ResNet-18 (He et al. 2016), its activations and sums as modules."""

from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.compute.layers import Add
from xai_exp.config import Range, configured
from xai_exp.models.blocks import fitted

_SMALL = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        self.add = Add()
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """ReLU of the sum of body and shortcut."""
        return self.relu(self.add(self.body(images), self.shortcut(images)))


@configured
class ResNet18:
    """Four stages of two basic blocks.

    Images of up to 64 pixels get a 3x3 convolution as their stem (as the paper does for CIFAR-10),
    larger ones the 7x7 convolution with pooling.

    Args:
        width: maps of the first stage; 64 in the paper.
    """

    width: Annotated[int, Range(1, 256)] = 64

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind."""
        width = self.width
        small = max(size) <= _SMALL
        stem: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, 1, 1, bias=False)
            if small
            else nn.Conv2d(channels, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        if not small:
            stem.append(nn.MaxPool2d(3, 2, 1))
        stages: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width * 2**stage
            stages.append(BasicBlock(before, after, 1 if stage == 0 else 2))
            stages.append(BasicBlock(after, after, 1))
            before = after
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
        network = nn.Sequential(*stem, *stages, *head)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        torch.nn.init.zeros_(network[-1].bias)  # pyright: ignore
        return fitted(network, channels, size, "resnet18")
