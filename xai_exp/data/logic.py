"""Labels that no single object makes: AND (one of each kind) and XOR (an odd number of a pair).

What an object is worth depends on the others, so that the truth has interactions: of equal sign in
AND, of both signs in XOR.
"""

import math
from typing import Annotated

from torch import Tensor

from xai_exp.config import Range, configured
from xai_exp.data.kinds import Kinds, Mixtures, crossed, evenly, present
from xai_exp.types import Labels


@configured
class OneOfEach(Kinds):
    """Whether disc and square are both there; a triangle, there or not, does not matter.

    Each is there by itself, with a probability that makes the classes equally frequent (the
    triangle in half of the images). By color: red and green, with blue for the triangle.
    """

    def __post_init__(self) -> None:
        super().__post_init__()

    @property
    def classes(self) -> tuple[str, ...]:
        """Whether both are there."""
        return ("not both", "both")

    def mixtures(self) -> Mixtures:
        """One of each kind, or none."""
        needed = present(math.sqrt(0.5))
        return crossed(needed, needed, present(0.5))

    def labelled(self, numbers: Tensor) -> Labels:
        """Disc and square."""
        return (numbers[:, :2] > 0).all(1).long()


@configured
class ParityPairs(Kinds):
    """Whether the number of discs and squares together is odd; triangles do not matter.

    With at most one of each it is the exclusive or: there is a disc or a square, but not both. By
    color: red and green, with blue for the triangle.

    Args:
        max_each: the most discs, and the most squares.
        max_ignored: the most triangles.
    """

    max_each: Annotated[int, Range(1, 5)] = 1
    max_ignored: Annotated[int, Range(1, 5)] = 1

    def __post_init__(self) -> None:
        super().__post_init__()

    @property
    def classes(self) -> tuple[str, ...]:
        """Even, odd."""
        return ("even", "odd")

    def mixtures(self) -> Mixtures:
        """Every number of each kind equally often."""
        pair = evenly(self.max_each, 1)
        return crossed(pair, pair, evenly(self.max_ignored, 1))

    def labelled(self, numbers: Tensor) -> Labels:
        """The parity of the first two kinds."""
        return numbers[:, :2].sum(1) % 2
