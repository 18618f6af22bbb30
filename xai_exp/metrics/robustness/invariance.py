"""Input invariance: a shift that the network undoes should not show in the heatmap."""

import copy
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import explained, knows_any_image
from xai_exp.types import Case, Heatmaps, Images, Scores


@configured
class InputInvariance:
    r"""How much the heatmap changes when image and network are shifted so that nothing happens.

    Kindermans et al. 2019 ("The (un)reliability of saliency methods"): a constant c is
    added to every pixel and taken out again by the bias of the first layer, b - W c, so that
    f'(x + c) = f(x) for every image and the weights are the same. The score is

        ||h(x + c; f') - h(x; f)||_2 / ||h(x; f)||_2

    Range 0..infinity, LOWER is better: 0 is an invariant explainer (gradient), input x gradient and
    integrated gradients from black are not.

    The first layer must be linear or a convolution; where it pads with zeros the copy pads with c,
    for a bias can't undo the border. The copy is checked against the network on the images; where
    the outputs differ (the image has another way in) the score is undefined.

    Cost: one explanation and one forward pass an image, one more of a single image, which finds
    the first layer, and the clean one, which metrics share.

    Pitfalls: a method that multiplies by the image can't pass, and need not be wrong where black
    means nothing. Rules that know the range of pixels (LRP's box rule with 0 and 1) get images out
    of it. Quantus takes all or nothing within 1e-4, so that heatmaps of small numbers always pass.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "the heatmap is all zero, the first layer can't undo a shift, or the explainer knows only "
        "its images"
    )

    shift: Annotated[float, Range(-10, 10)] = -1.0

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        norms = _norms(case.heatmaps)
        network = compensated(case.model, case.images[:1], self.shift)
        if network is None or not knows_any_image(case):
            return shared.undefined(case)
        images, clean = case.images + self.shift, shared.clean_logits(case)
        with ops.evaluating(network):
            same = (ops.logits(network, images) - clean).abs().amax(1)
            heatmaps = explained(case, images, case.targets, network)
        scores = (_norms(heatmaps.to(case.heatmaps) - case.heatmaps) / norms).to(case.heatmaps)
        equal = same <= _EQUAL * clean.abs().amax(1).clamp(min=1)
        return shared.where_defined(case, scores, equal & (norms > 0))


_EQUAL = 1e-3  # shifted and compensated images differ by what rounding leaves of the shift


def _norms(heatmaps: Heatmaps) -> Scores:
    """Each heatmap's norm, in float64, where squares of tiny numbers do not vanish."""
    return heatmaps.flatten(1).double().norm(dim=1)


def compensated(model: nn.Module, example: Images, shift: float) -> nn.Module | None:
    """A copy that does with images + shift what the network does with images; None if it can't."""
    copied = copy.deepcopy(model)
    name = _first_layer(copied, example)
    if name is None:
        return None
    layer = copied.get_submodule(name)
    with torch.no_grad():
        weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
        taken = shift * weight.flatten(1).sum(1)
        bias = torch.zeros_like(taken) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter(bias - taken, requires_grad=False)  # pyright: ignore
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros":
        layer = _padding_with(layer, shift)
    if not name:
        return layer
    parent, _, child = name.rpartition(".")
    setattr(copied.get_submodule(parent), child, layer)
    return copied


def _padding_with(layer: nn.Conv2d, value: float) -> nn.Module:
    """The convolution with `value` at the border, if it has one, in place of zeros."""
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    if not any((left, right, top, bottom)):
        return layer
    layer.padding = (0, 0)
    return nn.Sequential(nn.ConstantPad2d((left, right, top, bottom), value), layer)


def _first_layer(model: nn.Module, example: Images) -> str | None:
    """The name of the first layer with weights to run, if it is linear or a convolution."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG001
        ran.append(module)

    modules = {m: n for n, m in model.named_modules()}
    named = {
        m: n for m, n in modules.items() if isinstance(getattr(m, "weight", None), nn.Parameter)
    }
    handles = [module.register_forward_pre_hook(note) for module in named]
    try:
        with ops.evaluating(model):
            ops.logits(model, example)
    finally:
        for handle in handles:
            handle.remove()
    linear = bool(ran) and isinstance(ran[0], nn.Linear | nn.Conv2d)
    return named[ran[0]] if linear else None
