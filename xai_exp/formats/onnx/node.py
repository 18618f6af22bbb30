"""One operator of a graph, as the functions that calculate it get it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_exp.config import InputError

MOST = 2**28  # numbers in one value: a gibibyte of floats


class UnconvertedError(InputError):
    """An operator for which there is no torch function that does the same."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operator, where it takes its inputs from and where its outputs go.

    Args:
        op: its name, such as Conv.
        version: of its definition, the opset in which that came.
        name: of the node, for messages.
        inputs: names of values; empty: left out.
        outputs: likewise.
        attributes: by name; tensors are torch's.
    """

    op: str
    version: int
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def get(self, name: str, otherwise: Any = None) -> Any:  # noqa: ANN401
        """An attribute."""
        return self.attributes.get(name, otherwise)

    def input(self, place: int) -> str:
        """The name of an input; empty where it is left out."""
        return "".join(self.inputs[place : place + 1])

    def cannot(self, why: str) -> UnconvertedError:
        """The error for this node."""
        return UnconvertedError(
            f"onnx: got {self.op} (version {self.version}, node {self.name[:80]!r}): {why}; "
            "allowed: operators with a torch function that does the same"
        )


def room(*lengths: int) -> None:
    """Refuse a value that is too large before there is memory for it.

    Raises:
        InputError: above 2^28 numbers.
    """
    if any(length < 0 for length in lengths) or math.prod(lengths) > MOST:
        raise InputError(
            f"onnx: got a value of shape {'x'.join(map(str, lengths))}; allowed: up to 2^28 numbers"
        )


def whole(value: Tensor | None) -> list[int]:
    """A value of whole numbers as a list."""
    return [] if value is None else [int(one) for one in value.reshape(-1).tolist()]


def number(value: Tensor | None, otherwise: float) -> float:
    """A value of one number; `otherwise` if it was left out."""
    return otherwise if value is None else float(value.reshape(-1)[0].item())


def places(axes: Sequence[int], dims: int) -> list[int]:
    """Axes counted from the front."""
    return [axis % dims if dims else 0 for axis in axes]


def together(*values: Tensor) -> None:
    """Refuse to broadcast to a value that is too large."""
    room(*torch.broadcast_shapes(*(value.shape for value in values)))
