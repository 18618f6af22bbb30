"""Zennit's composites as explainers: rules of layer-wise relevance propagation by modules."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.bridges.library import Library, Unpriced, given, needs, own
from xai_exp.compute import ops
from xai_exp.config import InputError, configured
from xai_exp.errors import unknown
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="zennit", package="zennit", extra="zennit", tested="0.5.1")


@configured
class Zennit(Unpriced):
    """What a composite of zennit sends back to the pixels (Anders et al. 2021), channels summed.

    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        composite: a class of zennit.composites, such as EpsilonPlusFlat, EpsilonGammaBox,
            GuidedBackprop; null: none, which leaves the gradient.
        canonizer: a class of zennit.canonizers or zennit.torchvision, such as ResNetCanonizer.
        attributor: a class of zennit.attribution: Gradient, IntegratedGradients, SmoothGrad.
        start: what is sent back: the target's output, or one.
        arguments: of the composite, each NAME=VALUE; low and high are 0 and 1 if it needs them.
    """

    composite: str | None = "EpsilonPlusFlat"
    canonizer: str | None = None
    attributor: str = "Gradient"
    start: Literal["output", "one"] = "output"
    arguments: tuple[str, ...] = ()

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What zennit says of each image.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        attribution = LIBRARY.part("attribution")
        kind = LIBRARY.named(attribution, self.attributor, attribution.Attributor)
        mine = own(model)

        def start(outputs: Tensor) -> Tensor:
            chosen = functional.one_hot(targets, outputs.shape[1]).to(outputs)
            return chosen * outputs if self.start == "output" else chosen

        with torch.enable_grad(), kind(mine, self._composite()) as attributor:
            _, found = attributor(images.clone(), start)
        return ops.channel_sum(found.detach()).to(images)

    def _composite(self) -> Any:  # noqa: ANN401
        core, part = LIBRARY.part("core"), LIBRARY.part("composites")
        beside: dict[str, Any] = given(self.arguments)
        if self.canonizer is not None:
            beside["canonizers"] = [self._canonizer()()]
        if self.composite is None:
            return core.Composite(**beside)
        kind = LIBRARY.named(part, self.composite, core.Composite)
        for name, level in (("low", 0.0), ("high", 1.0)):  # the images' range
            if needs(kind, name):
                beside.setdefault(name, level)
        return kind(**beside)

    def _canonizer(self) -> Any:  # noqa: ANN401
        places = [LIBRARY.part("canonizers"), LIBRARY.part("torchvision")]
        kind = places[0].Canonizer
        there = {
            name: one
            for place in places
            for name, one in vars(place).items()
            if isinstance(one, type) and issubclass(one, kind) and one is not kind
        }
        if self.canonizer not in there:
            raise InputError(unknown("canonizer of zennit", str(self.canonizer), sorted(there)))
        return there[self.canonizer]
