"""Counting in which objects differ in worth: some count nothing, some more than once, some less.

The label is a sum over objects, so that an ideal network's Shapley values are the objects' worths:
true zeros (`TypedCounting`) and true signs (`WeightedCounting`).
"""

from typing import Annotated

import torch
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data.kinds import COLORS, SHAPES, Kinds, Mixtures, crossed, evenly
from xai_exp.types import Labels


@configured
class TypedCounting(Kinds):
    """Discs count, squares and triangles do not (by color: red counts, green and blue do not).

    The label is the number of discs, 0 to max_counted, every number equally often and independent
    of the others, of which there are 0 to max_ignored: they are worth exactly 0.

    Args:
        max_counted: the most objects that count.
        max_ignored: the most objects that do not.
    """

    max_counted: Annotated[int, Range(1, 20)] = 5
    max_ignored: Annotated[int, Range(1, 20)] = 3

    def __post_init__(self) -> None:
        super().__post_init__()

    @property
    def classes(self) -> tuple[str, ...]:
        """The numbers that there can be."""
        return tuple(str(number) for number in range(self.max_counted + 1))

    @property
    def ignored_kinds(self) -> tuple[int, ...]:
        """Squares and triangles."""
        return (1, 2)

    def mixtures(self) -> Mixtures:
        """Counted and ignored objects, independent of one another."""
        return crossed(evenly(self.max_counted, 1), evenly(self.max_ignored, 2))

    def labelled(self, numbers: Tensor) -> Labels:
        """The number of the first kind."""
        return numbers[:, 0]


@configured
class WeightedCounting(Kinds):
    """Each kind has a worth, and the label is their sum, cut to lowest..highest.

    Where no sum is cut an object of worth w moves the label by w: objects of negative worth have
    truly negative values. There are 0 to max_objects objects, each of any kind.

    Args:
        worths: of red, green, blue and yellow (by shape: of disc, square and triangle).
        max_objects: the most objects.
        lowest, highest: the least and the largest label; sums beyond them are cut to them.
    """

    worths: tuple[int, ...] = (2, 1, 0, -1)
    max_objects: Annotated[int, Range(1, 20)] = 5
    lowest: Annotated[int, Range(-60, 0)] = -2
    highest: Annotated[int, Range(1, 60)] = 6

    def __post_init__(self) -> None:
        names = SHAPES if self.by == "shape" else COLORS
        if not 2 <= len(self.worths) <= len(names):
            raise InputError(
                f"WeightedCounting.worths: got {len(self.worths)} by {self.by}; allowed: 2 to "
                f"{len(names)}, for {', '.join(names)}"
            )
        super().__post_init__()

    @property
    def classes(self) -> tuple[str, ...]:
        """The sums that there can be."""
        return tuple(str(total) for total in range(self.lowest, self.highest + 1))

    @property
    def ignored_kinds(self) -> tuple[int, ...]:
        """Those that are worth 0."""
        return tuple(kind for kind, worth in enumerate(self.worths) if worth == 0)

    def mixtures(self) -> Mixtures:
        """Any kinds, every number of objects equally often."""
        return evenly(self.max_objects, len(self.worths))

    def labelled(self, numbers: Tensor) -> Labels:
        """The sum of worths, counted from the least label."""
        total = (numbers * torch.tensor(self.worths)).sum(1)
        return total.clamp(self.lowest, self.highest) - self.lowest
