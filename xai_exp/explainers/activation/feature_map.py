"""The feature maps that activation maps are read off, found by what a network computes.

They are the last maps of convolutions that still have spatial extent on every way to the logits:
torch's functions are watched (`conv2d`, `relu`, ...), which modules call, too, so reused modules
and functional code make no difference, and so does not the order in which branches run. Norms,
activations, sums, scales and concatenations of a map belong to it, pooling does not: of a residual
network it is the last stage's output (torchvision: `layer4`). Where branches meet behind their last
maps (each pooled, then joined) the maps of all of them are laid side by side, coarser ones enlarged
to the finest grid and their gradients divided by as much as their cells grew in number, so that
what a branch adds up to is kept.

Transformers' tokens are a map, too: of the last layer norm whose patches reach the logits (with a
class token that before the last attention, since behind it other tokens are lost), tokens that are
no patch left out.

A layer can be named instead: a module (`layer4`), or a function by its name and the number of its
call (`relu.3` is the fourth, `relu` the last), maps of one cell included. Maps are enlarged to the
image by bilinear interpolation (pixel centres, `align_corners=False`): on small images the last map
has few cells, 4x4 for a CNN of four poolings on 64x64, and the heatmap is as coarse. Maps are laid
over the whole image, which is wrong where a network crops it or pads one side more.
"""

import difflib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.activation.watching import Called, Deciding, Modules, Watch, as_maps, is_map
from xai_exp.explainers.backward.functions import refuse_hidden_modules
from xai_exp.explainers.pullback import differentiable, forward
from xai_exp.explainers.sizes import enlarged, size_of
from xai_exp.types import Images, Labels

Combine = Callable[[Tensor, Tensor], Tensor]
_SHOWN = 5


def from_maps(
    model: nn.Module,
    images: Images,
    targets: Labels,
    layer: str | None,
    combine: Combine,
    *,
    sloped: bool = True,
) -> Tensor:
    """`combine(maps, slopes)` of feature maps and the target logit's gradient there.

    The backward pass goes no further than the maps. It is made in chunks; model and images are left
    as they were.

    Args:
        model: the network.
        images: (batch, channel, height, width).
        targets: the class of each image.
        layer: a module's or function's name; None: the last maps on every way to the logits.
        combine: of two tensors (batch, map, rows, columns), a row for each of theirs.
        sloped: whether the gradient is of use; else it is the maps once more.

    Raises:
        InputError: when there is no such map.
    """
    refuse_hidden_modules(model)

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        watch = _watch(model, layer, part)
        _, chosen = forward(model, part, wanted, lambda: watch)
        found = watch.maps(chosen)
        many = next((len(one) for one in found if len(one) != len(part)), None)
        if many is not None:
            raise InputError(
                f"activation maps: got {many} maps for {len(part)} images; allowed: networks that "
                "have one for each image (no copies of an image in a batch)"
            )
        if not found or not all(is_map(one, size_of(part)) for one in found):
            raise _refusal(model, layer, watch, part)
        if not sloped:
            maps, _ = _side_by_side(found, found, part)
            return combine(maps, maps)
        slopes = torch.autograd.grad(chosen.sum(), found, allow_unused=True)
        if any(slope is None for slope in slopes):
            raise InputError(
                f"activation maps: got layer {layer!r}, on which the logits do not depend; "
                "allowed: one between images and logits"
            )
        return combine(*_side_by_side(found, slopes, part))

    with differentiable(model):
        return ops.in_chunks(chunk, images, targets).detach()


def layer_of(model: nn.Module, images: Images, layer: str | None) -> str:
    """The layer whose maps are read off for these images, several with `+` between them.

    Raises:
        InputError: when there is no such map.
    """
    if layer is not None:
        return layer
    refuse_hidden_modules(model)
    part = images[:1]
    watch, modules = Deciding(size_of(part)), Modules(model)
    with differentiable(model), modules:
        _, chosen = forward(model, part, torch.zeros_like(part[:, 0, 0, 0]).long(), lambda: watch)
        found = watch.maps(chosen)
    if not found:
        raise _refusal(model, None, watch, part)
    named = [modules.name_of(maps) or watch.name_of(maps) for maps in found]
    return " + ".join(dict.fromkeys(named))


def _watch(model: nn.Module, layer: str | None, part: Images) -> Watch:
    if layer is None:
        return Deciding(size_of(part))
    module = dict(model.named_modules()).get(layer)
    return Called(layer) if module is None else Modules(model, layer)


def _side_by_side(
    found: list[Tensor], slopes: "tuple[Tensor, ...] | list[Tensor]", part: Images
) -> tuple[Tensor, Tensor]:
    """The maps of all branches as those of one layer, and the gradients there."""
    size = size_of(part)
    laid = [(as_maps(a, size), as_maps(b, size)) for a, b in zip(found, slopes, strict=True)]
    finest = max((size_of(maps) for maps, _ in laid), key=lambda grid: grid[0] * grid[1])
    cells = finest[0] * finest[1]
    large = [_at(maps.detach(), finest) for maps, _ in laid]
    steep = [_at(s, finest) * (s.shape[2] * s.shape[3] / cells) for _, s in laid]
    return torch.cat(large, 1), torch.cat(steep, 1)


def _at(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps on a finer grid."""
    if size_of(maps) == size:
        return maps
    return enlarged(maps.flatten(0, 1), size).unflatten(0, maps.shape[:2])


def _refusal(model: nn.Module, layer: str | None, watch: Watch, part: Images) -> InputError:
    """The error that says that there is no map, and which there are."""
    if layer is None:
        got = "whose tokens are no map of the image" if watch.tokens else "without a convolution"
        return InputError(
            f"activation maps: got a network ({type(model).__name__}) {got}; allowed: networks "
            "whose last convolution still sees places, such as cnn or resnet18, transformers with a"
            " token for each square patch, or a layer by name"
        )
    modules, calls = Modules(model), Called("")
    with modules:
        forward(model, part[:1], torch.zeros_like(part[:1, 0, 0, 0]).long(), lambda: calls)
    names = [*modules.with_maps(part), *calls.with_maps(part)]
    if not names:
        return InputError(
            f"activation maps: got layer {layer!r} of a network without feature maps; allowed: "
            "networks with convolutions"
        )
    near = sorted(names, key=lambda one: -difflib.SequenceMatcher(None, layer, one).ratio())
    rest = len(names) - _SHOWN
    return InputError(
        f"unknown layer with feature maps: got {layer!r}; allowed: {', '.join(near[:_SHOWN])}"
        + (f" and {rest} more modules and functions" if rest > 0 else "")
    )
