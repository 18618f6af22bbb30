"""A small vision transformer (Dosovitskiy et al. 2021), pre-norm, for images of a few patches.

Attention is written as products and a softmax, each a function that explainers can see.
"""

from math import isqrt
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute.layers import Add
from xai_exp.config import InputError, Range, configured
from xai_exp.models.blocks import ACTIVATIONS, Activation, fitted


@configured
class ViT:
    """Patches as tokens with learnt positions, blocks of attention and perceptron, then logits.

    Args:
        patch: side of a patch in pixels, which must divide the image; null: the largest power of
            two that divides it and is no more than the root of its shorter side (8 for 64x64).
        depth: number of blocks.
        width: features of a token.
        heads: of attention; must divide the width.
        expansion: hidden units of a block's perceptron for each feature.
        activation: of the perceptrons.
        pooling: what the logits are read from: mean (of all tokens) or class (a token of its own).
        dropout: after attention and perceptron.
    """

    patch: Annotated[int, Range(1, 256)] | None = None
    depth: Annotated[int, Range(1, 24)] = 3
    width: Annotated[int, Range(1, 1024)] = 64
    heads: Annotated[int, Range(1, 64)] = 4
    expansion: Annotated[int, Range(1, 16)] = 2
    activation: Activation = "gelu"
    pooling: Literal["mean", "class"] = "mean"
    dropout: Annotated[float, Range(0, 1, exclusive_high=True)] = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise InputError(
                f"ViT.heads: got {self.heads} for width {self.width}; allowed: a divisor of it"
            )

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind."""
        patch = self.patch or _patch(size)
        height, width = size
        if height % patch or width % patch:
            raise InputError(
                f"model vit: got patch {patch} for images of {height}x{width} pixels; allowed: a "
                "number that divides both"
            )
        grid = (height // patch, width // patch)
        network = VisionTransformer(self, channels, patch, grid, classes)
        return fitted(network, channels, size, "vit")


def _patch(size: tuple[int, int]) -> int:
    """The largest power of two that divides both sides and is no more than the shorter's root.

    >>> [_patch((side, side)) for side in (8, 12, 28, 32, 64)]
    [2, 2, 4, 4, 8]
    """
    powers = [2**exponent for exponent in range(9)]
    return max(p for p in powers if p <= isqrt(min(size)) and not size[0] % p and not size[1] % p)


class VisionTransformer(nn.Module):
    """The network of a `ViT`."""

    def __init__(
        self, made: ViT, channels: int, patch: int, grid: tuple[int, int], classes: int
    ) -> None:
        super().__init__()
        extra = int(made.pooling == "class")
        self.patches = nn.Conv2d(channels, made.width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, extra, made.width))
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1] + extra, made.width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*(_Block(made) for _ in range(made.depth)))
        self.norm = nn.LayerNorm(made.width)
        self.head = nn.Linear(made.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channel, height, width)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        if self.token.shape[1]:
            tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = self.norm(self.blocks(tokens + self.positions))
        return self.head(tokens[:, 0] if self.token.shape[1] else tokens.mean(1))


class _Block(nn.Module):
    """Tokens look at each other, then each at itself (pre-norm: Xiong et al. 2020)."""

    def __init__(self, made: ViT) -> None:
        super().__init__()
        hidden = made.width * made.expansion
        self.attend = nn.Sequential(
            nn.LayerNorm(made.width),
            Attention(made.width, made.heads),
            nn.Dropout(made.dropout),
        )
        self.think = nn.Sequential(
            nn.LayerNorm(made.width),
            nn.Linear(made.width, hidden),
            ACTIVATIONS[made.activation](),
            nn.Linear(hidden, made.width),
            nn.Dropout(made.dropout),
        )
        self.add_attended, self.add_thought = Add(), Add()

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, token, width) to tokens."""
        tokens = self.add_attended(tokens, self.attend(tokens))
        return self.add_thought(tokens, self.think(tokens))


class Attention(nn.Module):
    """Multi-head self-attention: softmax(Q K^T / sqrt(d)) V (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, token, width) to tokens."""
        batch, count, width = tokens.shape
        size = width // self.heads
        split = self.queries_keys_values(tokens).view(batch, count, 3, self.heads, size)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = queries @ keys.transpose(-2, -1) * size**-0.5
        attended = scores.softmax(-1) @ values
        return self.out(attended.transpose(1, 2).reshape(batch, count, width))
