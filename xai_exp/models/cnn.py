"""A plain convolutional network, every choice of which is a field: the subject of the sweeps."""

from typing import Annotated, Literal

from torch import nn

from xai_exp.config import Added, InputError, Range, configured
from xai_exp.models.blocks import ACTIVATIONS, Activation, fitted

_ENOUGH = 4


@configured
class CNN:
    """Blocks of convolution, norm, activation and pooling, then one hidden layer, then logits.

    Args:
        depth: number of blocks, each of which halves the image (see halvings); null: until its
            shorter side is 4 pixels or less, so that every object is seen whole before the head.
        halvings: how many of the blocks, the first ones, halve the image; null: each does.
        width: maps of the first block; each further block doubles them, up to `max_width`.
        max_width: the most maps that a block has.
        kernel: the convolutions' size (odd), padded so that it keeps the image's.
        norm: none or batch (Ioffe and Szegedy 2015).
        pooling: max, avg, or stride (the convolution itself steps by two).
        activation: of blocks and hidden layer.
        dropout: before the logits.
        head: flatten (keeps where things are) or gap (global average pooling).
        hidden: units of the hidden layer; 0 leaves it out.
    """

    depth: Annotated[int, Range(1, 10)] | None = None
    halvings: Annotated[Annotated[int, Range(0, 10)] | None, Added(None)] = None
    width: Annotated[int, Range(1, 1024)] = 8
    max_width: Annotated[int, Range(1, 4096)] = 64
    kernel: Annotated[int, Range(1, 15)] = 3
    norm: Literal["none", "batch"] = "batch"
    pooling: Literal["max", "avg", "stride"] = "max"
    activation: Activation = "relu"
    dropout: Annotated[float, Range(0, 1, exclusive_high=True)] = 0.0
    head: Literal["flatten", "gap"] = "flatten"
    hidden: Annotated[int, Range(0, 65536)] = 128

    def __post_init__(self) -> None:
        if self.halvings is not None and self.depth is None:
            raise InputError(
                f"CNN.halvings: got {self.halvings} without a depth; allowed: model.depth as well"
            )
        if self.kernel % 2 == 0:
            raise InputError(f"CNN.kernel: got {self.kernel}; allowed: an odd number")

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind."""
        layers: list[nn.Module] = []
        maps, (height, width), block = channels, size, 0
        while min(height, width) > _ENOUGH if self.depth is None else block < self.depth:
            halves = self.halvings is None or block < self.halvings
            if halves and min(height, width) < 2:
                raise InputError(
                    f"model cnn: got depth {self.depth} for images of {size[0]}x{size[1]} pixels; "
                    f"allowed: at most {block}, since each block halves the image"
                )
            wider = min(self.max_width, self.width * 2**block)
            layers += self._block(maps, wider, halves=halves)
            maps, block = wider, block + 1
            if halves:
                height, width = self._halved(height), self._halved(width)
        if self.head == "gap":
            layers += [nn.AdaptiveAvgPool2d(1)]
            height = width = 1
        layers += [nn.Flatten(), *self._head(maps * height * width, classes)]
        return fitted(nn.Sequential(*layers), channels, size, "cnn")

    def _halved(self, length: int) -> int:
        return (length + 1) // 2 if self.pooling == "stride" else length // 2

    def _block(self, before: int, after: int, *, halves: bool) -> list[nn.Module]:
        stride = 2 if halves and self.pooling == "stride" else 1
        batch = self.norm == "batch"
        layers: list[nn.Module] = [
            nn.Conv2d(before, after, self.kernel, stride, self.kernel // 2, bias=not batch)
        ]
        if batch:
            layers.append(nn.BatchNorm2d(after))
        layers.append(ACTIVATIONS[self.activation]())
        pools = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
        if halves and self.pooling in pools:
            layers.append(pools[self.pooling](2))
        return layers

    def _head(self, features: int, classes: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        if self.hidden:
            layers = [nn.Linear(features, self.hidden), ACTIVATIONS[self.activation]()]
            features = self.hidden
        if self.dropout:
            layers.append(nn.Dropout(self.dropout))
        return [*layers, nn.Linear(features, classes)]
