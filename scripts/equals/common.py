"""What the rows of docs/equals.md are made of: a network, six images, two ways to explain them."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import explainer_measures as measures
import torch
from torch import Tensor, nn

from xai_exp.models.vit import ViT
from xai_exp.removal.imputers import Constant
from xai_exp.types import Explainer

TINY = 1e-12
BLACK = Constant(value=0.0)
GRID: dict[str, Any] = {"imputer": BLACK, "cut": "grid", "shared": False}


@dataclass(frozen=True)
class Setting:
    """A network, its images and their targets."""

    network: nn.Module
    images: Tensor
    targets: Tensor


Theirs = Callable[[Setting], Tensor]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One statement: what is called how, and what is known of the difference.

    Args:
        ours: the name here, with its fields.
        explainer: what that is; bound to four references if it needs any.
        library: whose method it is compared with, as it is imported.
        theirs: the name there.
        compute: their heatmaps.
        note: what the difference comes from.
        change: what is different about the network.
        stretched: whether theirs are stretched, so that ours are laid over them by a line first.
    """

    ours: str
    explainer: Explainer
    library: str
    theirs: str
    compute: Theirs
    note: str = ""
    change: str = ""
    stretched: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be measured here."""
        return importlib.util.find_spec(self.library) is not None

    @property
    def key(self) -> str:
        """The statement."""
        return " | ".join([self.ours, self.theirs, self.change, self.note])

    def apart(self) -> float:
        """The largest difference as a share of the largest value."""
        one = setting(self.change)
        explain: Any = self.explainer
        explain = explain.fit(one.network, references()) if hasattr(explain, "fit") else explain
        ours = explain(one.network, one.images, one.targets).double()
        theirs = self.compute(setting(self.change)).double()
        ours = laid_over(ours, theirs) if self.stretched else ours
        return float((ours - theirs).abs().max() / theirs.abs().max())


def laid_over(ours: Tensor, theirs: Tensor) -> Tensor:
    """Each heatmap times a number plus a number, which bring it nearest to its other one."""
    x, y = ours.flatten(1), theirs.flatten(1)
    centred = x - x.mean(1, keepdim=True)
    slope = (centred * y).sum(1, keepdim=True) / (centred**2).sum(1, keepdim=True).clamp_min(TINY)
    return (y.mean(1, keepdim=True) + slope * centred).view_as(ours)


def references() -> Tensor:
    """Four images that are none of the six."""
    found = torch.tensor(measures.library("innvestigate2").arrays["fit_x"][:4])
    return ((found + 1) / 2).double()


def cells(side: int) -> Tensor:
    """The segment of each of 16 x 16 pixels: squares of so many pixels a side."""
    across = torch.arange(16) // side
    return across[:, None] * (16 // side) + across


def by_segment(values: Tensor, side: int) -> Tensor:
    """The value of each segment at its pixels: (batch, 16, 16)."""
    return values[:, cells(side)]


def seen(image: Tensor, kept: Tensor, side: int) -> Tensor:
    """Copies of one image of which only some segments are kept, the rest black."""
    return image * kept[:, cells(side)][:, None].to(image)


class Doubled(nn.Module):
    """A network whose first maps are added to a convolution of them: a residual sum."""

    def __init__(self, first: nn.Module, again: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.first, self.again, self.rest = first, again, rest

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x)
        return self.rest(self.again(x) + x)


def setting(change: str = "") -> Setting:
    """The network of the golden heatmaps with a change, and six images; made anew each time."""
    golden = measures.library("innvestigate2")
    network: Any = measures.deepcopy(golden.network).double().eval().requires_grad_(False)
    images = ((golden.images + 1) / 2).double()
    for place, module in enumerate(network):
        if change == "average pooling" and isinstance(module, nn.MaxPool2d):
            network[place] = nn.AvgPool2d(2)
        if change == "tanh" and isinstance(module, nn.ReLU):
            network[place] = nn.Tanh()
    if change == "a residual sum":
        torch.manual_seed(0)
        again = nn.Conv2d(6, 6, 3, padding=1).double().requires_grad_(False)
        network = Doubled(network[:2], again, network[2:])
    if change == "a transformer":
        torch.manual_seed(0)
        made = ViT(patch=4, depth=2, width=16, heads=2)
        network = made.build(images.shape[1], (16, 16), 5).double().requires_grad_(False)
    return Setting(network.eval(), images, golden.targets)
