"""LeNet-5 (LeCun et al. 1998), with an activation of choice in place of the scaled tanh."""

from torch import nn

from xai_exp.config import InputError, configured
from xai_exp.models.blocks import ACTIVATIONS, Activation, fitted


@configured
class LeNet5:
    """Two 5x5 convolutions with pooling, then 120 and 84 hidden units.

    The third convolution of the paper is the linear layer of 120 units, which is the same thing on
    its 32x32 images and lets other sizes through.
    """

    activation: Activation = "relu"

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """An untrained network for images of this kind; 28x28 is padded to 32x32 as in the paper.

        Raises:
            InputError: for images under 12x12 pixels.
        """
        act = ACTIVATIONS[self.activation]
        height, width = (_after(length) for length in size)
        if min(height, width) < 1:
            raise InputError(
                f"model lenet5: got images of {size[0]}x{size[1]} pixels; allowed: 12x12 or larger"
            )
        network = nn.Sequential(
            *(nn.Conv2d(channels, 6, 5, padding=2), act(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 16, 5), act(), nn.AvgPool2d(2)),
            nn.Flatten(),
            *(nn.Linear(16 * height * width, 120), act()),
            *(nn.Linear(120, 84), act()),
            nn.Linear(84, classes),
        )
        return fitted(network, channels, size, "lenet5")


def _after(length: int) -> int:
    return (length // 2 - 4) // 2
