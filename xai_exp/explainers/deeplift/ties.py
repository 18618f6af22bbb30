r"""Who wins a maximum when several values are equal but for rounding.

A uniform baseline gives every place of a feature map the same value, up to the last bits, which
differ between processors, batch sizes and float32 and float64. DeepLIFT's rule for a maximum sends
what the image has lost to the baseline's winner, so by these bits it would choose among all places
of a window, and the heatmap would follow (by two thirds of its largest value on a network that
counts discs). So the winner is the largest of $v - \tau p$, where p counts the places in the order
of reading and $\tau$ is 1e-6 of the largest value of the image: what differs by more than rounding
wins as ever, of what does not the first. Where neither the maximum nor its winner move by more than
rounding, the winner has the multiplier of the maximum, as an activation there has its slope.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ROUNDING = 1e-6  # of the largest value of an image
_POOLED = "MaxPool2DWithIndicesBackward0"  # keeps the places of its maxima
_STILL = 4.0  # times rounding: a maximum that moves less than this much did not move


class Winner(NamedTuple):
    """From what each maximum has to the place that it is from."""

    found: Tensor
    root: Tensor

    def __call__(self, given: Tensor) -> Tensor:
        """`given` where the maxima are from, nothing elsewhere."""
        return torch.autograd.grad(
            self.found, self.root, given, retain_graph=True, create_graph=given.requires_grad
        )[0]

    def at(self, values: Tensor) -> Tensor:
        """The values at the places that maxima are from: the transpose of what sends to them."""
        node = self.found.grad_fn
        if type(node).__name__ == _POOLED and values.ndim == 4:
            return _gathered(values, getattr(node, "_saved_result1"))  # noqa: B009, no type knows it
        with torch.enable_grad():
            given = torch.zeros_like(self.found).requires_grad_()
            return torch.autograd.grad((self(given) * values).sum(), given)[0]


class Maximum(NamedTuple):
    """A function that takes the largest of some values; it may say where they were, too."""

    call: Callable[[Tensor], Any]

    def rule(
        self, image: Tensor, top: Tensor, base: Tensor, bottom: Tensor
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """From the multipliers of maxima to those of the values they are taken of.

        A maximum may have one multiplier for what makes it larger and one for what makes it
        smaller, and so have the values.

        Args:
            image: the values that the maximum is taken of.
            top: their maxima.
            base: the values of the baseline.
            bottom: their maxima.
        """
        sizes, spread = (largest(image), largest(base)), places(image)
        winner, loser = (
            self._winners(values, _ROUNDING * size * spread)
            for values, size in zip((image, base), sizes, strict=True)
        )
        larger, difference = torch.maximum(top, bottom), image - base
        difference.masked_fill_(difference == 0, 1)
        if not bool(difference.sum().isfinite()):  # images that were padded by minus infinity
            difference.nan_to_num_(1.0)
        still = _still(top, bottom, *sizes) & _still(winner.at(base), bottom, *sizes)

        def back(adds: Tensor, takes: Tensor) -> tuple[Tensor, Tensor]:
            gained = (adds * (larger - bottom)).masked_fill_(still, 0)
            lost = (takes * (top - larger)).masked_fill_(still, 0)
            slope = winner(gained).add_(loser(lost)).div_(difference)
            kept = slope + winner(adds.where(still, 0))
            return kept, kept if takes is adds else slope + winner(takes.where(still, 0))

        return back

    def _winners(self, values: Tensor, later: Tensor) -> Winner:
        with torch.enable_grad():
            root = torch.sub(values, later, out=later).requires_grad_()
            found = values_of(self.call(root))
        return Winner(found, root)


def _still(top: Tensor, bottom: Tensor, *sizes: Tensor) -> Tensor:
    """Where a maximum does not move by more than rounding."""
    scale = torch.maximum(*sizes).flatten()
    if len(scale) != len(top):  # the maximum is along the first axis
        scale = scale.amax()[None]
    scale = scale.view(-1, *[1] * (top.ndim - 1))
    return (top - bottom).abs() <= _STILL * _ROUNDING * scale


def values_of(found: Any) -> Tensor:  # noqa: ANN401
    """The maxima of what such a function gives, without where they were."""
    return found if isinstance(found, Tensor) else found[0]


def _gathered(values: Tensor, places: Tensor) -> Tensor:
    """(batch, channel, rows, columns) at these places of each map, in the order of memory."""
    if not values.is_contiguous(memory_format=torch.channels_last):
        return values.flatten(2).gather(2, places.flatten(2)).view_as(places)
    lines = values.permute(0, 2, 3, 1).flatten(1, 2)
    last = places.permute(0, 2, 3, 1)
    return lines.gather(1, last.flatten(1, 2)).view(last.shape).permute(0, 3, 1, 2)


def largest(values: Tensor) -> Tensor:
    """The largest size of a finite value in each image, (batch, 1, ...)."""
    axes = tuple(range(1, values.ndim)) or 0
    found = torch.maximum(values.amax(axes, keepdim=True), -values.amin(axes, keepdim=True))
    if bool(found.isinf().any()):
        return largest(values.where(values.isfinite(), 0))
    return found


def places(values: Tensor) -> Tensor:
    """Numbers that rise in the order of reading, of which no two in a small window are equal.

    >>> places(torch.zeros(1, 1, 2, 3))[0, 0]
    tensor([[0.0000, 1.0000, 2.0000],
            [1.4142, 2.4142, 3.4142]])
    """
    found = values.new_zeros(1)
    for axis in range(values.ndim):
        after = values.ndim - 1 - axis
        steps = torch.arange(values.shape[axis], dtype=values.dtype, device=values.device)
        found = found + (after + 1) ** 0.5 * steps.view(-1, *[1] * after)
    return found
