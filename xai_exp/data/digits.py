"""Real handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, offline.

The UCI optical recognition set (Alpaydin and Kaynak 1998).
"""

from typing import Annotated

import torch
from sklearn.datasets import load_digits

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
        pixels, labels = load_digits(return_X_y=True)
        truth = torch.from_numpy(labels).long()
        mine = stratified(truth, self.validation_share, self.test_share, self.seed)[which]
        images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
        return TensorSplit(pixels=images[mine], labels=truth[mine])
