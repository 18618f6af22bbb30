r"""Class activation maps: where the last feature maps of a CNN speak for the target.

Conventions: $A^k$ are the maps of one layer (see feature_map.py for which), $g^k = \partial f_t /
\partial A^k$ the gradient of the target's logit there; sums over k go over maps. Heatmaps are as
coarse as the maps and enlarged by bilinear interpolation. All but guided_grad_cam say where, not
which pixels. The published forms keep what speaks for the target (`relu`), so the heatmap of an
image in which no map does is empty; with `relu: false` it is signed, as those of other families.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.config import Range, configured
from xai_exp.explainers.activation.feature_map import from_maps
from xai_exp.explainers.backward.calls import stabilized
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.gradients.baselines import Level, uniform
from xai_exp.explainers.modified import GuidedBackprop
from xai_exp.explainers.perturbation.removal import outputs
from xai_exp.explainers.sizes import enlarged, size_of
from xai_exp.types import Copies, Heatmaps, Images, Labels

_ONCE = Cost(forward=1, backward=1)


@configured
class _Weighed(ABC):
    """The sum of maps times the weights that a subclass gives them."""

    version: ClassVar[int] = 4
    layer: str | None = None
    relu: bool = True

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The weighed maps at every pixel."""

        def combine(maps: Tensor, slopes: Tensor) -> Tensor:
            total = (self._weights(maps, slopes) * maps).sum(1)
            return total.clamp(min=0) if self.relu else total

        return enlarged(from_maps(model, images, targets, self.layer, combine), size_of(images))

    @abstractmethod
    def _weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        """What each cell of each map counts, by the maps and the logit's gradient there."""


@configured
class GradCAM(_Weighed):
    r"""Grad-CAM: maps weighed by their mean gradient (Selvaraju et al. 2017, eq. 1 and 2).

    $\mathrm{ReLU}\big(\sum_k \overline{g^k} A^k\big)$, the bar being the mean over the map. It is
    made for heads that pool over the whole map; behind a head that reads every cell by itself (our
    cnn flattens) the mean mixes what different places say: there layer_cam is the better one.

    Cost: one forward pass and one backward pass at most, which ends at the maps.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
        relu: keep only what speaks for the target.
    """

    requires: ClassVar[str] = "maps for the target"

    def _weights(self, maps: Tensor, slopes: Tensor) -> Tensor:  # noqa: ARG002
        return slopes.mean((2, 3), keepdim=True)


@configured
class GradCAMPlusPlus(_Weighed):
    r"""Grad-CAM++: only cells whose gradient is positive weigh a map (Chattopadhay et al. 2018).

    $\mathrm{ReLU}\big(\sum_k w_k A^k\big)$ with $w_k = \sum_{ij} \alpha^k_{ij}
    \mathrm{ReLU}(g^k_{ij})$ and $\alpha^k_{ij} = 1 / (2 + g^k_{ij} \sum_{ab} A^k_{ab})$, which is
    eq. 19 for the class score $\exp f_t$; that score's value, a positive factor of the whole
    heatmap, is left out, since it overflows. Weights are never negative behind a ReLU, so the
    heatmap hardly says what speaks against the target.

    Cost: one forward pass and one backward pass at most, which ends at the maps.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
        relu: keep only what speaks for the target.
    """

    def _weights(self, maps: Tensor, slopes: Tensor) -> Tensor:
        whole = stabilized(2 + slopes * maps.sum((2, 3), keepdim=True))
        return (slopes.clamp(min=0) / whole).sum((2, 3), keepdim=True)


@configured
class LayerCAM(_Weighed):
    r"""LayerCAM: each cell of a map weighed by its own positive gradient (Jiang et al. 2021).

    $\mathrm{ReLU}\big(\sum_k \mathrm{ReLU}(g^k_{ij}) A^k_{ij}\big)$ (eq. 5 and 6): right behind any
    head and useful in earlier, finer layers, too. With `positive` and `relu` false it is HiResCAM
    (Draelos and Carin 2020), which sums to the logit's homogeneous part at the maps.

    Cost: one forward pass and one backward pass at most, which ends at the maps.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
        relu: keep only what speaks for the target.
        positive: only positive gradients count.
    """

    positive: bool = True

    def _weights(self, maps: Tensor, slopes: Tensor) -> Tensor:  # noqa: ARG002
        return slopes.clamp(min=0) if self.positive else slopes


@configured
class EigenCAM:
    r"""Eigen-CAM: the maps' first principal component (Muhammad and Yeasin 2020), of no class.

    $A v_1$, A being the cells x maps matrix and $v_1$ its first right singular vector; its sign,
    which is arbitrary, is the one that makes the sum positive. It is what is strongest in the
    layer, whatever the target: a control for the other activation maps.

    Cost: one forward pass.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
    """

    version: ClassVar[int] = 4
    layer: str | None = None

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=0)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The first component at every pixel."""
        found = from_maps(model, images, targets, self.layer, _first_component, sloped=False)
        return enlarged(found, size_of(images))


@configured
class ScoreCAM:
    r"""Score-CAM: maps weighed by the logit of the image seen through them (Wang et al. 2020).

    $\mathrm{ReLU}\big(\sum_k \alpha_k A^k\big)$, the weights being the softmax over k of
    $f_t(x' + H^k (x - x'))$, $H^k$ the map enlarged and stretched to 0..1 and x' the baseline (the
    paper's alg. 1; its difference from $f_t(x')$ is the same for all maps, so the softmax loses
    it). No gradient is used. A map that is the same everywhere weighs nothing. Of a layer with more
    maps than `maps` those that vary most within the image are taken (as Faster Score-CAM does).
    Masked images are off the data's manifold; how far, `baseline` decides.

    Cost: `maps` forward passes and one more; no more than the layer has maps.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
        maps: how many maps are tried at most.
        baseline: what hides behind a mask: a grey level (the paper's is 0), or border for each
            image's own, the median of the pixels on its border.
        relu: keep only what is positive.
    """

    version: ClassVar[int] = 4
    layer: str | None = None
    maps: Annotated[int, Range(1)] = 64
    baseline: Level | Literal["border"] = 0.0
    relu: bool = True

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of a layer with as many maps."""
        return Cost(forward=1 + self.maps, backward=0)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The weighed maps at every pixel."""
        found = self._chosen(from_maps(model, images, targets, self.layer, _maps, sloped=False))
        start, size = uniform(images, self.baseline), size_of(images)
        if not len(images):
            return torch.zeros_like(images[:, 0])

        def copies(rows: slice, columns: slice) -> Copies:
            some = found[rows, columns]
            masks = _stretched(enlarged(some.flatten(0, 1), size)).view(*some.shape[:2], 1, *size)
            return (start[rows, None] + masks * (images - start)[rows, None]).flatten(0, 1)

        scores = outputs(model, images, targets, copies, found.shape[1])
        flat = found.flatten(2)
        even = flat.amax(2) == flat.amin(2)
        weights = scores.masked_fill(even, -torch.inf).softmax(1).nan_to_num()
        coarse = torch.einsum("bk,bkhw->bhw", weights, found)
        return enlarged(coarse.clamp(min=0) if self.relu else coarse, size)

    def _chosen(self, maps: Tensor) -> Tensor:
        """The maps that vary most, in the order of the layer."""
        if maps.shape[1] <= self.maps:
            return maps
        spread = maps.flatten(2).var(2, correction=0)
        places = spread.topk(self.maps, 1).indices.sort(1).values
        return maps.gather(1, places[..., None, None].expand(-1, -1, *maps.shape[2:]))


@configured
class GuidedGradCAM:
    """Guided Grad-CAM: guided backpropagation where Grad-CAM is positive (Selvaraju et al. 2017).

    The product of both heatmaps: fine, and for one class. What is said of guided backpropagation
    holds for its fine structure: it hardly depends on the network's later layers.

    Cost: two forward and two backward passes.

    Args:
        layer: a module or a function (relu.3); null: the last maps on every way to the logits.
    """

    requires: ClassVar[str] = "maps for the target"
    version: ClassVar[int] = 4
    layer: str | None = None

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return _ONCE * 2

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The product at every pixel, summed over channels."""
        where = GradCAM(layer=self.layer)(model, images, targets)
        return where * GuidedBackprop()(model, images, targets)


def _maps(maps: Tensor, _slopes: Tensor) -> Tensor:
    return maps


def _first_component(maps: Tensor, _slopes: Tensor) -> Tensor:
    cells = maps.flatten(2).mT
    # The products' eigenvectors are the singular vectors in less time; they square the
    # sizes, for which float32 would be too short.
    wide = cells if cells.device.type == "mps" else cells.double()
    if cells.shape[1] <= cells.shape[2]:
        values, vectors = torch.linalg.eigh(wide @ wide.mT)
        first = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    else:
        first = (wide @ torch.linalg.eigh(wide.mT @ wide).eigenvectors[:, :, -1:])[:, :, 0]
    first = torch.where(first.sum(1, keepdim=True) < 0, -first, first)
    return first.to(cells).unflatten(1, maps.shape[2:])


def _stretched(maps: Heatmaps) -> Heatmaps:
    """Each map from 0 at its least to 1 at its largest value; one of equal values is 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)
