"""Captum's methods as explainers: any class of captum.attr that explains a class by its pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from xai_exp.bridges.library import (
    Library,
    Unpriced,
    drawing,
    given,
    layer_of,
    needs,
    own,
    takes,
)
from xai_exp.compute import ops
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.explainers.sizes import enlarged, size_of
from xai_exp.removal.segments import grid
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="captum", package="captum", extra="captum", tested="0.9.0")


@configured
class Captum(Unpriced):
    """What a class of captum.attr says (Kokhlikyan et al. 2020), summed over channels.

    Layers' maps are summed over their channels and enlarged bilinearly; of methods that take all
    channels of a place away at once it is the mean over channels, since each has the whole effect.
    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        method: the class, such as DeepLift, LRP, Occlusion, ShapleyValueSampling, LayerGradCam.
        of: the class that NoiseTunnel averages.
        layer: of methods that explain a layer, by its name; null: the last module that gives a map
            as large as the last convolution's.
        segments: squares of a grid, for methods that take pixels away by a mask of features.
        window: pixels a side, for those that slide one.
        arguments: of the library's `attribute`, each NAME=VALUE.
        seed: of its draws.
    """

    method: str = "IntegratedGradients"
    of: str = "Saliency"
    layer: str | None = None
    segments: Count = 64
    window: Count = 8
    arguments: tuple[str, ...] = ()
    seed: Annotated[int, Range(0, 2**31 - 1)] = 0

    references: ClassVar[int] = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What captum says of each image.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        return attributed(self, model, images, targets, {})


@configured
class CaptumReferences(Captum):
    """What a class of captum.attr says that compares with reference images (DeepLiftShap ...).

    As `Captum`, bound to images of the training split. Cost: the library does not state it.

    Args:
        method: the class: GradientShap, DeepLiftShap.
        of: the class that NoiseTunnel averages.
        layer: of methods that explain a layer.
        segments: squares of a grid, for methods that take pixels away by a mask of features.
        window: pixels a side, for those that slide one.
        arguments: of the library's `attribute`, each NAME=VALUE.
        seed: of its draws.
        references: how many reference images.
    """

    method: str = "GradientShap"
    references: Count = 16  # pyright: ignore[reportIncompatibleVariableOverride]

    def fit(self, model: nn.Module, images: Images) -> "Bound":  # noqa: ARG002
        """This explainer with the first of `images` as its references."""
        return Bound(explainer=self, references=images[: self.references])

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is nothing to compare with.

        Raises:
            InputError: always.
        """
        raise LIBRARY.unbound()


@dataclass(frozen=True, kw_only=True)
class Bound(Unpriced):
    """One of captum's methods with its references."""

    explainer: CaptumReferences
    references: Images

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What captum says of each image."""
        beside = {"baselines": self.references}
        return attributed(self.explainer, model, images, targets, beside)


def attributed(
    asked: Captum, model: nn.Module, images: Images, targets: Labels, beside: Mapping[str, Any]
) -> Heatmaps:
    """Ask captum, in as few calls as its method allows."""
    attr = LIBRARY.part("attr")
    mine = own(model)
    with drawing(asked.seed):
        made = _made(attr, asked, mine, images)
        areas = _arguments(made, asked, images)
        arguments = {**areas, **beside, **given(asked.arguments)}
        if needs(made.attribute, "baselines") and "baselines" not in arguments:
            raise InputError(
                f"captum.method: got {asked.method}, which compares with reference images; "
                "allowed: explainer=bridge/captum_references"
            )
        # The surrogate that these fit is one for the whole batch, so each image gets its own call.
        size = 1 if isinstance(made, attr.LimeBase) else len(images)
        found = [
            made.attribute(some.clone().requires_grad_(), target=chosen, **arguments)
            for some, chosen in zip(images.split(size), targets.split(size), strict=True)
        ]
        whole = torch.cat([_first(one) for one in found]).detach()
        # What is taken away in all channels at once has its whole effect in each of them.
        return _flat(whole / images.shape[1] if areas else whole, images)


def _made(attr: Any, asked: Captum, mine: nn.Module, images: Images) -> Any:  # noqa: ANN401
    kind = LIBRARY.named(attr, asked.method, attr.Attribution)
    if takes(kind, "attribution_method"):
        return kind(LIBRARY.named(attr, asked.of, attr.Attribution)(mine))
    if takes(kind, "neuron_selector") or takes(kind.attribute, "neuron_selector"):
        raise InputError(f"captum.method: got {asked.method}; allowed: one that explains a class")
    return kind(mine, layer_of(mine, asked.layer, images)) if takes(kind, "layer") else kind(mine)


def _arguments(made: Any, asked: Captum, images: Images) -> dict[str, Any]:  # noqa: ANN401
    """What the methods that need more than a target get."""
    found: dict[str, Any] = {}
    if takes(made.attribute, "feature_mask"):
        found["feature_mask"] = grid(images[:1], asked.segments)[:, None]
    if takes(made.attribute, "sliding_window_shapes"):
        found["sliding_window_shapes"] = (images.shape[1], asked.window, asked.window)
        found["strides"] = (images.shape[1], asked.window, asked.window)
    return found


def _first(found: Any) -> Tensor:  # noqa: ANN401
    return found[0] if isinstance(found, tuple) else found


def _flat(found: Tensor, images: Images) -> Heatmaps:
    maps = ops.channel_sum(found).to(images)
    return maps if maps.shape[1:] == images.shape[2:] else enlarged(maps, size_of(images))
