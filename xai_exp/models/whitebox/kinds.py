"""White boxes for objects of several colours: what each is worth is known in closed form.

They count the objects of each colour as `Counter` does, by thresholds and 2x2 matched filters, and
are exact on data whose kinds are told apart by color (dataset.by=color), disjoint and without
texture.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.config import InputError, Range, configured
from xai_exp.models.whitebox import conv, frozen, linear

# Which pixels belong to which colours: (weights of red, green and blue, threshold). Warm is red or
# yellow, so that yellow is counted as warm but not red.
_DETECTORS = {
    "red": ((1.0, -1.0, 0.0), 0.4),
    "green": ((-1.0, 1.0, 0.0), 0.37),
    "blue": ((-1.0, 0.0, 1.0), 0.4),
    "warm": ((1.0, 0.0, -1.0), 0.4),
}
_COUNTS = {  # of the detectors' counts, for red, green, blue and yellow
    "red": (1.0, 0.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0, 0.0),
    "blue": (0.0, 0.0, 1.0, 0.0),
    "yellow": (-1.0, 0.0, 0.0, 1.0),
}
Steepness = Annotated[float, Range(1)]


@configured
class WeightedCounter:
    r"""Adds up what objects are worth by colour: f_c(x) = 2 c t - c^2, t = sum of worths, cut.

    With n_k the number of objects of colour k (the Euler number of the pixels that a threshold
    takes for k; see `Counter`), t = sum_k w_k n_k, cut to the labels that there are. Where nothing
    is cut on the way, an object of colour k is worth exactly 2 c w_k for the logit of c: nothing at
    w_k = 0, and less than nothing at w_k < 0; no two interact.

    Args:
        worths: of red, green, blue and yellow.
        lowest: the sum that the first class stands for.
        steepness: the thresholds' slope.
    """

    worths: tuple[int, ...] = (2, 1, 0, -1)
    lowest: int = -2
    steepness: Steepness = 50.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.worths) <= len(_COUNTS):
            raise InputError(
                f"WeightedCounter.worths: got {len(self.worths)}; allowed: 1 to 4 colours"
            )

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind.

        Raises:
            InputError: when they are grey.
        """
        lowest, highest = float(self.lowest), float(self.lowest + classes - 1)
        totals = torch.tensor([self.worths], dtype=torch.float32)
        numbers = torch.arange(classes) + lowest
        network = nn.Sequential(
            *_counts("whitebox_weighted", channels, size, self.steepness, totals.expand(2, -1)),
            nn.ReLU(),
            linear(
                2 * numbers[:, None] * torch.tensor([1.0, -1.0]), 2 * lowest * numbers - numbers**2
            ),
        )
        network[-3].bias.data = -torch.tensor([lowest, highest])
        return frozen(network, channels, size, "whitebox_weighted")


@configured
class Parity:
    r"""Whether the number of red and green objects is odd: f_odd = -f_even = 2 z(n) - 1.

    n counts both colours and z is the zigzag that is 0 at even and 1 at odd n,
    z(n) = n - 2 relu(n - 1) + 2 relu(n - 2) - ...; blue and yellow objects are worth exactly 0. Of
    two counted objects each has the Shapley value 0 and their interaction is -4 for f_odd; a single
    one is worth 2. Classes beyond two get a logit of -1.

    Args:
        most: the most counted objects that an image has.
        steepness: the thresholds' slope.
    """

    most: Annotated[int, Range(1, 20)] = 2
    steepness: Steepness = 50.0

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind.

        Raises:
            InputError: when they are grey.
        """
        both = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(self.most, -1)
        slopes = torch.tensor([1.0] + [2.0 * (-1) ** turn for turn in range(1, self.most)])
        signs = torch.zeros(classes)
        signs[0], signs[1] = -1, 1
        network = nn.Sequential(
            *_counts("whitebox_xor", channels, size, self.steepness, both),
            nn.ReLU(),
            linear(2 * signs[:, None] * slopes, -signs - (signs == 0).float()),
        )
        network[-3].bias.data = -torch.arange(float(self.most))
        return frozen(network, channels, size, "whitebox_xor")


def _counts(
    name: str, channels: int, size: tuple[int, int], steepness: float, sums: Tensor
) -> list[nn.Module]:
    """Layers from images to sums (row, colour) over the numbers of objects of each colour."""
    if channels != 3:
        raise InputError(f"model {name}: got images of {channels} channel; allowed: rgb images")
    windows = (size[0] + 1) * (size[1] + 1)
    weights = torch.tensor([weight for weight, _ in _DETECTORS.values()])
    starts = torch.tensor([start for _, start in _DETECTORS.values()])
    half = 0.5 / steepness
    threshold = conv(
        steepness * weights.repeat(2, 1)[..., None, None],
        -steepness * torch.cat([starts - half, starts + half]),
    )
    kinds = len(_DETECTORS)
    quads = torch.zeros(3 * kinds, 2 * kinds, 2, 2)
    for kind in range(kinds):
        quads[3 * kind : 3 * kind + 3, kind] = 1
        quads[3 * kind : 3 * kind + 3, kinds + kind] = -1
    euler = torch.kron(torch.eye(kinds), torch.tensor([[1.0, -2.0, 2.0]])) * windows / 4
    colours = torch.tensor(list(_COUNTS.values()))[: sums.shape[1]]
    last = linear(sums @ colours @ euler, torch.zeros(len(sums)))
    return [
        threshold,
        nn.ReLU(),
        conv(quads, torch.tensor([0.0, -1, -3]).repeat(kinds), padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        last,
    ]
