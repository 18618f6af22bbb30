"""Real handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, offline.

The UCI optical recognition set (Alpaydin and Kaynak 1998).
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from xai_exp.config import Range, configured
from xai_exp.data.loading import Splits, TensorSplit, stratified


@configured
class Digits(Splits):
    """The ten digits, grey, 8x8; split by seed with equal shares of every class."""

    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.2
    seed: Annotated[int, Range(0)] = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return tuple(str(digit) for digit in range(10))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (8, 8)

    def split(self, which: int) -> TensorSplit:
        """The images of one split, scaled from 0..16 to 0..1."""
        pixels, truth = _read()
        mine = stratified(truth, self.validation_share, self.test_share, self.seed)[which]
        images = pixels.float().view(-1, 1, 8, 8) / 16
        return TensorSplit(pixels=images[mine], labels=truth[mine])


@cache
def _read() -> tuple[Tensor, Tensor]:
    """Pixels and classes, from the table itself: to import what reads it takes a second."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = torch.from_numpy(np.loadtxt(path, delimiter=","))
    return table[:, :-1], table[:, -1].long()
