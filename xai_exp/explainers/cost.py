"""What a method costs, in passes of the batch through the network."""

from typing import NamedTuple, Protocol, runtime_checkable

from xai_exp.config import InputError
from xai_exp.types import Explainer, IsFitted, NeedsParts

SIDE = 64  # of the images that a cost is stated for, where it depends on that


class Cost(NamedTuple):
    """Passes through the network for one heatmap.

    A backward pass here is one from the logits to the pixels, without gradients of weights: about
    as much work as a forward pass.

    >>> Cost(forward=1, backward=1) * 32
    Cost(forward=32, backward=32)
    """

    forward: float
    backward: float

    def __mul__(self, times: object) -> "Cost":
        """As much, several times."""
        if not isinstance(times, int | float):
            return NotImplemented
        return Cost(self.forward * times, self.backward * times)


@runtime_checkable
class Costing(Protocol):
    """Something that states its cost."""

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        ...


class OfAnother:
    """An explainer made of another one, at its cost.

    Raises:
        InputError: for one that must be bound first, which would have to be bound in here.
    """

    explainer: Explainer

    def __post_init__(self) -> None:
        if isinstance(self.explainer, IsFitted | NeedsParts):
            raise InputError(
                f"{type(self).__name__}.explainer: got {type(self.explainer).__name__}, which must "
                "be bound to images first; allowed: an explainer of (model, images, targets), such "
                "as Gradient"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        assert isinstance(self.explainer, Costing)
        return self.explainer.cost
