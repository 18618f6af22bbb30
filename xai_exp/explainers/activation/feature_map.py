"""The feature map that activation maps are read off, found by what a network computes.

It is the last map of the last convolution that still has spatial extent: torch's functions are
watched (`conv2d`, `relu`, ...), which modules call, too, so reused modules and functional code make
no difference. Norms, activations, sums, scales and concatenations after that convolution belong to
it, pooling does not: of a residual network it is the last stage's output (torchvision: `layer4`).
A module's own output can be named instead. Maps are enlarged to the image by bilinear interpolation
(pixel centres, `align_corners=False`): on small images the last map has few cells, 4x4 for a CNN of
four poolings on 64x64, and the heatmap is as coarse. Maps are laid over the whole image, which is
wrong where a network crops it or pads one side more.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import tracked
from xai_exp.explainers.backward.functions import bare, refuse_hidden_modules
from xai_exp.explainers.pullback import differentiable, forward
from xai_exp.types import FeatureMaps, Images, Labels

Combine = Callable[[Tensor, Tensor], Tensor]
_NORMS = frozenset(["group_norm", "instance_norm", "layer_norm", "rms_norm", "local_response_norm"])
_JOINS = frozenset(["cat", "concat", "concatenate", "where", "stochastic_depth"])
_SAME = functions.ACTIVATIONS | functions.BATCH_NORM | functions.SUMS | functions.SCALES
_SAME |= _NORMS | _JOINS
_PRODUCTS = functions.PRODUCTS | {"einsum", "baddbmm"}
_MIXERS = functions.PRODUCT_ATTENTION | functions.MULTI_HEAD


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
        layer: a module's name; None: the last map of a convolution.
        combine: of two tensors (batch, map, rows, columns), a row for each of theirs.
        sloped: whether the gradient is of use; else it is the maps once more.

    Raises:
        InputError: when there is no such map.
    """

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        watch = _Named(model, layer) if layer is not None else _Last(model)
        _, chosen = forward(model, part, wanted, lambda: watch)
        maps = watch.found
        if maps is None or len(maps) != len(part):
            raise watch.refusal(part)
        if not sloped:
            return combine(maps.detach(), maps.detach())
        slopes = torch.autograd.grad(chosen.sum(), maps, allow_unused=True)[0]
        if slopes is None:
            raise InputError(
                f"activation maps: got layer {layer!r}, on which the logits do not depend; "
                "allowed: one between images and logits"
            )
        return combine(maps.detach(), slopes)

    with differentiable(model):
        return ops.in_chunks(chunk, images, targets).detach()


def _spatial(value: object) -> bool:
    """Whether a value is a stack of maps of more than one cell that depends on the image."""
    return tracked(value) and value.dim() == 4 and value.shape[2] * value.shape[3] > 1  # pyright: ignore


class _Last(TorchFunctionMode):
    """Finds the last map of the last convolution while the model runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        refuse_hidden_modules(model)
        self.model = model
        self.found: FeatureMaps | None = None
        self.tokens = False

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function, and remember its result if it is a map."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = bare(getattr(func, "__name__", str(func)))
        if name in functions.CONVOLUTIONS:
            if _spatial(result):
                self.found, self.tokens = result, False
        elif self.found is not None:
            self._after(name, args, result)
        return result

    def _after(self, name: str, args: tuple[Any, ...], result: object) -> None:
        """A function after a convolution: its result is the map, or shows that there is none."""
        assert self.found is not None
        if name in _SAME and _spatial(result):
            maps: Tensor = result  # pyright: ignore[reportAssignmentType]
            if maps.shape[2:] == self.found.shape[2:]:
                self.found = maps
        elif _mixes(name, args, result):
            self.found, self.tokens = None, True

    def refusal(self, _part: Images) -> InputError:
        """The error that says that there is no map."""
        got = "whose convolution only makes tokens" if self.tokens else "without a convolution"
        return InputError(
            f"activation maps: got a network ({type(self.model).__name__}) {got}; allowed: networks"
            " whose last convolution still sees places, such as cnn or resnet18, or a layer by name"
        )


def _mixes(name: str, args: tuple[Any, ...], result: object) -> bool:
    """Whether a function works on tokens: attention, or a linear layer for each of them."""
    if name == "linear":
        return tracked(result) and result.dim() == 3  # pyright: ignore[reportAttributeAccessIssue]
    return name in _MIXERS or (name in _PRODUCTS and sum(map(tracked, args)) > 1)


class _Named:
    """Finds the output of a module while the model runs; its hook is gone afterwards."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model, self.layer = model, layer
        self.found: FeatureMaps | None = None
        self.handles: list[Any] = []

    def __enter__(self) -> "_Named":
        module = dict(self.model.named_modules()).get(self.layer)
        if module is not None:
            self.handles.append(module.register_forward_hook(self._seen))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self.handles:
            self.handles.pop().remove()

    def _seen(self, _module: nn.Module, _given: object, output: object) -> object:
        if not _spatial(output):
            return output
        self.found = output  # pyright: ignore[reportAttributeAccessIssue]
        return output.clone()  # pyright: ignore  # so that work in place after it leaves it alone

    def refusal(self, part: Images) -> InputError:
        """The error that lists the layers that can be named."""
        allowed = _layers_with_maps(self.model, part[:1])
        near = [name for name in allowed if name.count(".") == 0] or allowed
        rest = len(allowed) - len(near)
        inside = f"; and {rest} inside these, such as {allowed[-1]}" if rest else ""
        if not allowed:
            return InputError(
                f"activation maps: got layer {self.layer!r} of a network without feature maps; "
                "allowed: networks with convolutions"
            )
        return InputError(unknown("layer with feature maps", self.layer, near) + inside)


def _layers_with_maps(model: nn.Module, part: Images) -> list[str]:
    """The names of the modules whose outputs are feature maps, those inside others last."""
    watches = [_Named(model, name) for name, _ in model.named_modules() if name]
    try:
        for watch in watches:
            watch.__enter__()
        forward(model, part, torch.zeros(len(part), dtype=torch.long, device=part.device))
    finally:
        for watch in watches:
            watch.__exit__(None, None, None)
    names = [watch.layer for watch in watches if watch.found is not None]
    return sorted(names, key=lambda name: name.count("."))
