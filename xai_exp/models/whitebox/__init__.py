"""White boxes: networks with hand-set weights, whose reason is known in closed form.

Nothing in them can be learnt (all parameters are frozen), so training leaves them as they are. An
explanation that is wrong about them is wrong.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.config import InputError, Range, configured
from xai_exp.models.blocks import fitted


@configured
class LinearSum:
    """The mean grey level, weighed by class: f_c(x) = w_c * mean(x), w evenly from -1 to 1.

    The reason: every pixel alike. A part of a scene is worth w_t * contrast * area / pixels.
    """

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind."""
        pixels = channels * size[0] * size[1]
        weight = torch.linspace(-1, 1, classes)[:, None].expand(-1, pixels) / pixels
        return frozen(nn.Sequential(nn.Flatten(), linear(weight)), channels, size, "linear")


@configured
class Counter:
    r"""Counts objects by thresholds and matched filters: f_c(x) = 2 c n - c^2, n the number.

    Pixels are black or white by a steep threshold at grey 1/2, and the number of objects that do
    not touch is their Euler number, which 2x2 filters count: (q_1 - q_3) / 4 with q_m the number of
    windows with m white pixels (Gray 1971, IEEE Trans. Computers C-20(5), "bit quads"). The
    minority colour is that of the objects. It is exact for convex objects without holes, smaller
    than half of the image together, that lie on the other side of grey 1/2: the dataset counting
    with min_contrast 0.9.

    The reason: every object alike, each worth 2 c for the logit of c, and none interacts. The
    gradient is 0 wherever the threshold is saturated.

    Args:
        least: the number that the first class stands for.
        steepness: the threshold's slope.
    """

    least: Annotated[int, Range(0)] = 0
    steepness: Annotated[float, Range(1)] = 5.0

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind."""
        windows = (size[0] + 1) * (size[1] + 1)
        numbers = torch.arange(classes) + float(self.least)
        network = nn.Sequential(
            self._threshold(channels),
            nn.ReLU(),
            _quads(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            _euler_and_majority(windows, size[0] * size[1]),
            nn.ReLU(),
            linear(torch.tensor([[1.0, 0, -_GATE, 0], [0, 1.0, 0, -_GATE]])),
            nn.ReLU(),
            linear(2 * numbers[:, None].expand(-1, 2), -(numbers**2)),
        )
        return frozen(network, channels, size, "counter")

    def _threshold(self, channels: int) -> nn.Conv2d:
        """Four maps a, b, c, d: white is relu(a) - relu(b), black is relu(c) - relu(d)."""
        half = 0.5 / self.steepness
        sign = torch.tensor([1.0, 1, -1, -1])
        start = torch.tensor([0.5 - half, 0.5 + half, -0.5 - half, -0.5 + half])
        weight = self.steepness * sign[:, None].expand(-1, channels) / channels
        return conv(weight[..., None, None], -self.steepness * start)


_GATE = 1000.0  # what silences the count of the majority colour
_MAJORITY = 0.45  # the share of pixels from which a colour counts as the majority


def _quads() -> nn.Conv2d:
    """For both colours the white pixels s of each 2x2 window as s, s - 1 and s - 3."""
    weight = torch.zeros(6, 4, 2, 2)
    weight[:3, 0], weight[:3, 1], weight[3:, 2], weight[3:, 3] = 1, -1, 1, -1
    return conv(weight, torch.tensor([0.0, -1, -3, 0, -1, -3]), padding=1)


def _euler_and_majority(windows: int, pixels: int) -> nn.Linear:
    """The Euler numbers of white and black, and by how much each exceeds the majority's share.

    A window with m white pixels counts m - 2 relu(m - 1) + 2 relu(m - 3), that is 1 for one, -1 for
    three and 0 else; each pixel lies in four windows.
    """
    euler = torch.tensor([1.0, -2, 2]) / 4 * windows
    share = torch.tensor([1.0, 0, 0]) / 4 * windows / pixels
    none = torch.zeros(3)
    rows = [[euler, none], [none, euler], [share, none], [none, share]]
    weight = torch.stack([torch.cat(row) for row in rows])
    return linear(weight, torch.tensor([0.0, 0, -_MAJORITY, -_MAJORITY]))


@configured
class TagReader:
    """Looks only at the tag of a planted shortcut: |mean of its pixels - mean of its border|.

    With that contrast u, the classes of the upper half get 10 (|u| - threshold) and the others the
    opposite. The reason: the tag and nothing else; an object is worth exactly 0.

    Args:
        tag_size: the side of the tag in pixels, as the dataset has it.
        threshold: the contrast from which it is seen.
    """

    tag_size: Annotated[int, Range(1)] = 4
    threshold: Annotated[float, Range(0, 1)] = 0.05

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind.

        Raises:
            InputError: when the tag does not fit the image.
        """
        far = self.tag_size + 1
        if far >= min(size):
            raise InputError(
                f"model whitebox_tag: got tag_size {self.tag_size} for images of "
                f"{size[0]}x{size[1]} pixels; allowed: at most {min(size) - 2}"
            )
        tag, border = torch.zeros(channels, *size), torch.zeros(channels, *size)
        tag[:, 1:far, 1:far] = 1
        border[:, 0, : far + 1] = 1
        border[:, : far + 1, 0] = 1
        contrast = (tag / tag.sum() - border / border.sum()).flatten()
        sign = torch.where(torch.arange(classes) > (classes - 1) / 2, 10.0, -10.0)
        network = nn.Sequential(
            nn.Flatten(),
            linear(torch.stack([contrast, -contrast])),
            nn.ReLU(),
            linear(sign[:, None].expand(-1, 2), -self.threshold * sign),
        )
        return frozen(network, channels, size, "whitebox_tag")


@configured
class Blind:
    """A small convolutional network that ignores one half of the image completely.

    The half is cut off before the first layer, so no pixel of it can change any output: relevance
    there is a mistake by construction. The weights are drawn from the seed, none is trained.

    Args:
        ignored: the half that is never seen.
        seed: of the weights.
    """

    ignored: Literal["left", "right", "top", "bottom"] = "left"
    seed: Annotated[int, Range(0)] = 0

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind."""
        height, width = size
        cut = {
            "left": (-(width // 2), 0, 0, 0),
            "right": (0, -(width // 2), 0, 0),
            "top": (0, 0, -(height // 2), 0),
            "bottom": (0, 0, 0, -(height // 2)),
        }[self.ignored]
        rows, columns = (height + cut[2] + cut[3]) // 2, (width + cut[0] + cut[1]) // 2
        network = nn.Sequential(
            nn.ZeroPad2d(cut),
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * rows * columns, classes),
        )
        source = torch.Generator().manual_seed(self.seed)
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                spread = (2 / layer.weight[0].numel()) ** 0.5
                nn.init.normal_(layer.weight, std=spread, generator=source)
                nn.init.normal_(layer.bias, std=0.1, generator=source)  # pyright: ignore
        return frozen(network, channels, size, "whitebox_blind")


@configured
class CentreSurround:
    r"""Subtracts a suppressor: f_c(x) = g s_c u with u = (p_L - a_L) - (p_T - a_T), in two layers.

    p is the mean over the pixels of a tetromino's place (T the first, L the last class, as the
    dataset suppressor puts them) and a that over the pixels around it, up to a unit away, which
    hold background alone and so tell nothing of the class by themselves: they are used with a
    negative weight, to take the background off the tetromino (a suppressor; Haufe et al. 2014).
    s_c runs evenly from -1 to 1 over the classes. The first layer computes relu(u) and relu(-u),
    the second their difference: the reason is g s_c times the weight of each pixel times its value.

    Args:
        gain: g.
    """

    gain: Annotated[float, Range(0, exclusive_low=True)] = 40.0

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network for images of this kind.

        Raises:
            InputError: when a tetromino has no place in them.
        """
        if min(size) < UNITS:
            raise InputError(
                f"model whitebox_suppressor: got images of {size[0]}x{size[1]} pixels; allowed: "
                f"{UNITS}x{UNITS} or larger"
            )
        reason = (self.contrast(size, 1) - self.contrast(size, 0)) / channels
        flat = reason.expand(channels, *size).flatten()
        signs = torch.linspace(-1, 1, classes)[:, None] * torch.tensor([1.0, -1.0])
        network = nn.Sequential(
            nn.Flatten(),
            linear(torch.stack([flat, -flat])),
            nn.ReLU(),
            linear(self.gain * signs),
        )
        return frozen(network, channels, size, "whitebox_suppressor")

    def contrast(self, size: tuple[int, int], which: int) -> Tensor:
        """The weights (height, width) of one tetromino's pixels, and of those around it."""
        mine = pattern(size, which)
        near = functional.max_pool2d(mine[None, None], 3, stride=1, padding=1)
        for _ in range(min(size) // UNITS - 1):
            near = functional.max_pool2d(near, 3, stride=1, padding=1)
        around = near[0, 0] - mine
        return mine / mine.sum() - around / around.sum()


UNITS = 8  # units of an image's side; a tetromino's squares have a side of one
_PLACES = ((1, 1), (4, 5))
_SQUARES = (((0, 0), (1, 0), (1, 1), (2, 0)), ((0, 0), (1, 0), (2, 0), (2, 1)))


def pattern(size: tuple[int, int], which: int) -> Tensor:
    """The pixels (height, width) of the T (0) or the L (1) in its own place, one inside."""
    plane, unit = torch.zeros(size), min(size) // UNITS
    for row, column in _SQUARES[which]:
        top, left = (unit * (at + by) for at, by in zip(_PLACES[which], (row, column), strict=True))
        plane[top : top + unit, left : left + unit] = 1
    return plane


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A linear layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight.contiguous()
    if bias is not None:
        layer.bias.data = bias
    return layer


def conv(weight: Tensor, bias: Tensor, padding: int = 0) -> nn.Conv2d:
    """A convolution with these weights."""
    out, inside, *kernel = weight.shape
    layer = nn.Conv2d(inside, out, tuple(kernel), padding=padding)  # pyright: ignore
    layer.weight.data, layer.bias.data = weight.contiguous(), bias  # pyright: ignore
    return layer


def frozen(network: nn.Module, channels: int, size: tuple[int, int], name: str) -> nn.Module:
    """The network with nothing left to learn."""
    return fitted(network, channels, size, name).requires_grad_(False)
