r"""Which image counts as nothing: a method asked about $g(d) = f(b + d)$ at $d = x - b$.

Methods that multiply by the pixels, or send relevance to them, measure an image from black without
saying so. With a reference b they measure it from b: the network is shifted, exactly, by folding b
into the bias of its first layer and padding that layer's input with -b; then the method explains
the shifted network at the image minus b. A gradient is what it was, a relevance is another. b is of
one level for each channel, so that it can stand in a bias:

- black 0 and grey 1/2 everywhere;
- mean: each image's and channel's own mean;
- border: each image's own, the median of the pixels on its border;
- background: what the scene shows without any part, known for rendered data.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.cost import Cost, Costing
from xai_exp.explainers.promises import Promises, guards
from xai_exp.types import (
    Explainer,
    Heatmaps,
    Images,
    IsFitted,
    Labels,
    Levels,
    NeedsParts,
    Scenes,
    Scores,
    TakesScenes,
)

Reference = Literal["own", "black", "grey", "mean", "border", "background"]
_CLOSE = 1e-4  # of the largest output: how well a shifted network must agree
_CONSTANT = 1e-6


@runtime_checkable
class Boxed(Protocol):
    """An explainer that knows the range of the pixels, null where it is unbounded."""

    low: float | None
    high: float | None


@runtime_checkable
class Fronting(Protocol):
    """What stands in front of a network and is linear but for a constant, as a change of units."""

    def moved(self, level: Levels) -> tuple[nn.Module, Levels]:
        """The linear part L, and what becomes of a level: N(b + d) = L(d) + N(b)."""
        ...


def referred(explainer: Explainer, reference: Reference) -> Explainer:
    """The explainer that measures images from the reference.

    A method that puts something of its own in place of pixels, or compares with reference images,
    keeps what it has, and so do controls made of the truth.
    """
    own = isinstance(explainer, IsFitted | NeedsParts | TakesScenes)
    return explainer if reference == "own" or own else Referred(explainer, reference)


@dataclass(frozen=True)
class Referred(Promises):
    """A method at a reference.

    Cost: the method's, image by image where their references differ.

    Args:
        explainer: the method.
        reference: from where it measures.
        background: of each image it is bound to, (image, channel, 1, 1), and those images.
    """

    explainer: Explainer
    reference: Reference
    background: tuple[Images, Levels] | None = None

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return self.explainer.cost if isinstance(self.explainer, Costing) else Cost(0, 0)

    def with_scenes(self, images: Images, scenes: Scenes) -> "Referred":
        """With the backgrounds of these images, if it measures from these."""
        if self.reference != "background":
            return self
        return replace(self, background=(images, _backgrounds(images, scenes)))

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmap of each image, measured from its reference.

        Raises:
            InputError: when the network's first layer can't take the reference, or the background
                of a scene is asked for and not known.
        """
        found = torch.empty_like(images[:, 0])
        for rows, method, shift, differences in self._groups(model, images):
            found[rows] = method(shift, differences, targets[rows]).to(found)
        return found

    def gaps(
        self, model: nn.Module, images: Images, targets: Labels, heatmaps: Heatmaps
    ) -> Mapping[str, Scores]:
        """What the method says of its own work at each reference, in the images' order."""
        told: dict[str, Tensor] = {}
        for rows, method, shift, differences in self._groups(model, images):
            found = guards(method, shift, differences, targets[rows], heatmaps[rows])
            for name, values in found.items():
                whole = told.setdefault(name, values.new_full((len(images),), torch.nan))
                whole[rows[: len(values)]] = values.to(whole)
        return {name: values[~values.isnan()] for name, values in told.items()}

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> None:
        """Nothing of its own: the method promises."""

    def _groups(
        self, model: nn.Module, images: Images
    ) -> Iterator[tuple[Tensor, Explainer, nn.Module, Images]]:
        """Images of one reference together: which, the method, the network, the differences."""
        flat = self._levels(images).flatten(1)
        different = flat.unique(dim=0)
        shifting = Shifting(model, different[:, :, None, None], images[:1])
        for level in different:
            rows = (flat == level).all(1).nonzero()[:, 0]
            given = level.view(1, -1, 1, 1)
            yield rows, _boxed(self.explainer, level), shifting(given), images[rows] - given

    def _levels(self, images: Images) -> Levels:
        one = images[:, :, :1, :1]
        if self.reference == "mean":
            return images.mean((2, 3), keepdim=True)
        if self.reference == "border":
            return ops.border_level(images)
        if self.reference == "background":
            if self.background is None:
                raise InputError(
                    "reference: got background for images that are not rendered; allowed: black, "
                    "grey, mean, border or own"
                )
            known, levels = self.background
            return levels[ops.nearest(images, known)].to(images)
        return torch.full_like(one, 0.5 if self.reference == "grey" else 0.0)


def _backgrounds(images: Images, scenes: Scenes) -> Levels:
    empty = scenes.render(torch.zeros_like(scenes.present))
    low, high = empty.amin((2, 3), keepdim=True), empty.amax((2, 3), keepdim=True)
    if bool(((high - low) > _CONSTANT).any()):
        raise InputError(
            "reference: got a background that is no single level; allowed: black, grey, mean, "
            "border or own"
        )
    return ((low + high) / 2).to(images).expand(-1, images.shape[1], 1, 1)


def _boxed(explainer: Explainer, level: Tensor) -> Explainer:
    """The method with the range of the pixels moved along."""
    if not isinstance(explainer, Boxed) or not is_dataclass(explainer):
        return explainer
    low, high = explainer.low, explainer.high
    if low is None or high is None:
        return explainer
    low, high = low - float(level.max()), high - float(level.min())  # that of all colours
    given: Any = {one.name: getattr(explainer, one.name) for one in fields(explainer)}
    return type(explainer)(**{**given, "low": low, "high": high})


class Shifting:
    """The network of the difference to one level after another, in evaluation mode.

    Weights are shared and the structure is copied once, so that a network that was made before is
    changed by the next.

    Args:
        model: from images to outputs.
        levels: all b, (level, channel, 1, 1).
        image: one image (1, channel, height, width), on which the two are compared.

    Raises:
        InputError: when the first layer is no convolution or matrix product of the pixels, or of
            what something linear in front makes of them.
    """

    def __init__(self, model: nn.Module, levels: Tensor, image: Images) -> None:
        self._model, self._made = model, model
        self._front: tuple[str, Fronting] | None = None
        self._first: tuple[str, nn.Conv2d | nn.Linear] | None = None
        farthest = levels[levels.abs().amax((1, 2, 3)).argmax()][None]
        if farthest.any() and not self._fits(farthest, image):
            raise InputError(
                "reference: got a network whose first layer is no convolution or matrix product "
                "of the pixels; allowed: reference=own"
            )

    def _fits(self, level: Levels, image: Images) -> bool:
        """Find the layer of the pixels, and see that the shifted network is the same function."""
        for name, layer in self._model.named_modules():
            if isinstance(layer, Fronting) and self._front is None:
                self._front = name, layer
            if isinstance(layer, nn.Conv2d | nn.Linear):
                self._first = name, layer
                break
        with torch.no_grad(), ops.evaluating(self._model):
            self._made = ops.shared_copy(self._model)
            made = self._shifted(level)
            return made is not None and _near(made(image - level), self._model(image))

    def _shifted(self, level: Levels) -> nn.Module | None:
        if self._front is not None:
            front, level = self._front[1].moved(level)
            self._made.set_submodule(self._front[0], front)
        name, layer = self._first or ("", None)
        moved = None if layer is None else _moved(layer, level)
        if moved is None or not name:
            return moved
        self._made.set_submodule(name, moved)
        return self._made

    def __call__(self, level: Levels) -> nn.Module:
        """The network of the difference to this level; the network itself for a level of zero."""
        made = self._shifted(level) if level.any() else self._model
        assert made is not None
        return made


def _near(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().amax() <= _CLOSE * wanted.abs().amax())


def _moved(layer: nn.Conv2d | nn.Linear, level: Levels) -> nn.Module | None:
    weight, bias = layer.weight.detach(), layer.bias
    shift = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)
    shift = shift if bias is None else shift + bias.detach()
    if isinstance(layer, nn.Linear):
        plane, rest = divmod(layer.in_features, level.shape[1])
        if rest:
            return None
        pixels = level.flatten().repeat_interleave(plane)
        return _matrix(layer, shift + weight @ pixels.to(weight))
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    if layer.in_channels != level.shape[1]:
        return None
    values = level.flatten().view(layer.groups, -1).to(weight)
    groups = weight.view(layer.groups, -1, *weight.shape[1:]).sum((3, 4))
    return _Padded(layer, shift + (groups * values[:, None]).sum(2).flatten(), level)


def _matrix(layer: nn.Linear, bias: Tensor) -> nn.Linear:
    made = nn.Linear(layer.in_features, layer.out_features, device="meta")
    made.weight, made.bias = layer.weight, nn.Parameter(bias, requires_grad=False)
    return made


class _Padded(nn.Module):
    """A convolution of the difference: its border is the pixels' black, which is now -b."""

    def __init__(self, layer: nn.Conv2d, bias: Tensor, level: Levels) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, nn.Parameter(bias, requires_grad=False)
        self.moves = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
        height, width = (int(one) for one in layer.padding)
        self.around = (width, width, height, height)
        self.levels = [float(one) for one in level.flatten()]

    def forward(self, difference: Tensor) -> Tensor:
        if any(self.around) and len(set(self.levels)) == 1:
            difference = functional.pad(difference, self.around, value=-self.levels[0])
        elif any(self.around):
            planes = [
                functional.pad(difference[:, i : i + 1], self.around, value=-level)
                for i, level in enumerate(self.levels)
            ]
            difference = torch.cat(planes, 1)
        return functional.conv2d(difference, self.weight, self.bias, **self.moves)
