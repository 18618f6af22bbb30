"""How a backward pass differs from the gradient: rules by kind of function, and their books."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_exp.explainers.backward.layer import Layer

Gates = Literal["signal", "half"]
Activate = Callable[[Tensor, "Activated"], Tensor]
Other = Callable[[TorchFunctionMode, Any, str, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True)
class Activated:
    """One call of an activation; called, it is the activation's own derivative times relevance.

    Args:
        name: of the function; relu however it is written.
        before: its input, the root of a graph of its own.
        after: its output.
    """

    name: str
    before: Tensor
    after: Tensor

    def __call__(self, relevance: Tensor) -> Tensor:
        """What the gradient makes of what comes back."""
        return torch.autograd.grad(self.after, self.before, relevance, retain_graph=True)[0]


@dataclass(frozen=True)
class Rules:
    """How the backward pass differs from the gradient; by default it does not.

    Args:
        activation: (relevance of the output, gradient) -> relevance of the input, where
            `gradient(r)` is what the activation's own derivative makes of r.
        linear: (layer, relevance of the output) -> relevance of the input. With it a function
            without a rule is refused.
        shares: whether with `linear` sums and averages share relevance in proportion, and scales
            pass it through; else they have their gradient.
        others: rules for further functions, by the function's name; each gets the mode, too.
        free: the functions that have their gradient; None: without `linear` all that are known
            (`functions.DIFFERENTIABLE`), with it those that only move and select values. What is
            neither ruled nor free is refused by its name.
        gates: what a product of two values that depend on the image gives to each with `linear`:
            signal (all to the one that is no gate), half (to each); None: it is refused.
    """

    activation: Activate | None = None
    linear: Callable[[Layer, Tensor], Tensor] | None = None
    shares: bool = True
    others: Mapping[str, Other] = field(default_factory=dict)
    free: frozenset[str] | None = None
    gates: Gates | None = None


@dataclass
class Account:
    """What every linear layer got and passed on, summed over each image: conservation's books."""

    rows: dict[int, list[tuple[str, Tensor, Tensor]]] = field(default_factory=dict)

    def enter(self, layer: Layer, got: Tensor, passed: Tensor) -> None:
        """Write down one chunk's relevance of one layer."""
        row = (layer.name, got.flatten(1).sum(1), passed.flatten(1).sum(1))
        self.rows.setdefault(layer.index, []).append(row)

    def closed(self) -> list[tuple[str, Tensor, Tensor]]:
        """(layer, relevance got, relevance passed on), from the output backward, all chunks."""
        columns = {index: list(zip(*rows, strict=True)) for index, rows in self.rows.items()}
        images = len(torch.cat(columns[min(columns)][1])) if columns else 0
        return [
            (names[0], _by_image(torch.cat(got), images), _by_image(torch.cat(passed), images))
            for _, (names, got, passed) in sorted(columns.items(), reverse=True)
        ]


def _by_image(values: Tensor, images: int) -> Tensor:
    """Sums over rows that are parts of one image, such as windows, which stand together."""
    whole = images and len(values) != images and len(values) % images == 0
    return values.view(images, -1).sum(1) if whole else values


def passed_through(relevance: Tensor, _gradient: Activated) -> Tensor:
    """LRP's rule for activations: an output that has one input gives it all of its relevance."""
    return relevance
