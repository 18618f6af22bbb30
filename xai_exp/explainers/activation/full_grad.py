r"""Full-gradient representation: what the input and every bias give to the logit.

$f_t(x) = x \cdot \partial f_t / \partial x + \sum_l b_l \cdot \partial f_t / \partial b_l$: input x
gradient and the bias gradients of a network of ReLUs (Srinivas and Fleuret 2019, prop. 2). Biases
are those of convolutions and linear layers, those of batch norms ($\beta - \gamma \mu / \sigma$),
constants that are added, and the implicit ones of activations that are not homogeneous ($a(z) -
a'(z) z$; a ReLU has none), so that the sum is the logit exactly. Functions are watched, as in
backward.py, so it does not matter how a network is written.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.compute import ops
from xai_exp.config import InputError, configured
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import depends, tracked
from xai_exp.explainers.backward.functions import (
    arguments,
    bare,
    located,
    refusal,
    refuse_hidden_modules,
)
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.promises import Promises, value
from xai_exp.explainers.pullback import differentiable, forward
from xai_exp.explainers.sizes import enlarged, shared_out, size_of
from xai_exp.types import Heatmaps, Images, Labels, Scores

Place = Callable[[Tensor, tuple[int, int], int], Tensor]
_JOINS = frozenset(["cat", "concat", "concatenate", "stack"])
_HOMOGENEOUS = (functions.STRUCTURE | functions.AVERAGES | functions.SCALES) - _JOINS - {"pad"}
_AFFINE = functions.SUMS | _JOINS | {"pad"}
_BENT_AT_ZERO = frozenset({"relu", "leaky_relu", "prelu", "rrelu"})


@configured
class FullGrad(Promises):
    r"""FullGrad: input x gradient and all bias gradients, each where it arises.

    Bias gradients of a convolution, batch norm or activation are maps; they are summed over
    channels and spread bilinearly over the pixels that their cells lie on, sums kept. Those of
    linear layers have no place and are spread evenly. So the heatmap sums to $f_t(x)$. With
    `postprocess: paper` it is the published saliency map instead (sec. 4): every term is made
    absolute and stretched to 0..1 in its layer, maps are enlarged bilinearly and added up over
    channels and layers, linear layers are left out; it has no sign and no sum.

    Cost: one forward and one backward pass.

    Args:
        postprocess: none, or paper.

    Raises:
        InputError: for a network with a step whose bias is not known, by its name.
    """

    version: ClassVar[int] = 2
    postprocess: Literal["none", "paper"] = "none"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What input and biases give at every pixel."""
        refuse_hidden_modules(model)
        place = _signed if self.postprocess == "none" else _saliency

        def chunk(part: Tensor, wanted: Tensor) -> Tensor:
            biases = _Biases(part, place)
            pixels, chosen = forward(model, part, wanted, lambda: biases)
            slopes = torch.autograd.grad(chosen.sum(), pixels)[0]
            return biases.total + place(part * slopes, size_of(part), 1)

        with differentiable(model):
            try:
                return ops.in_chunks(chunk, images, targets).detach()
            except InputError as error:
                raise located(error, model) from error

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores | None:
        """f(x); the published saliency map has no sum."""
        return value(model, images, targets) if self.postprocess == "none" else None


class _Biases(TorchFunctionMode):
    """Within it, every bias adds its gradient times itself to `total` in the backward pass."""

    def __init__(self, part: Images, place: Place) -> None:
        super().__init__()
        self.total = torch.zeros_like(part[:, 0])
        self.place, self.size = place, size_of(part)

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function; what it adds of its own is seen to on the way back."""
        kwargs = kwargs or {}
        name = bare(getattr(func, "__name__", str(func)))
        if not depends(args, kwargs) or name in _HOMOGENEOUS:
            _refuse_products(name, args, kwargs)
            return func(*args, **kwargs)
        offset = self._offset(func, name, args, kwargs)
        result = func(*args, **kwargs)
        if offset is not None:
            axes = 0 if name == "linear" or result.dim() != 4 else 1
            # It sees the gradient of this result, also if that is overwritten in place later.
            result.register_hook(lambda slope: self._add(_weighed(offset, slope), axes))
        return result

    def _add(self, term: Tensor, axes: int) -> None:
        self.total += self.place(term, self.size, axes)

    def _offset(
        self,
        func: Any,  # noqa: ANN401
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Tensor | None:
        """What the function's result has beside its linear part, in a shape that fits it."""
        if name in functions.LINEAR:
            return _bias(name, arguments(name, args, kwargs))
        if name in functions.BATCH_NORM:
            call = arguments(name, args, kwargs)
            if call.get("training") or call["running_mean"] is None:
                raise refusal(name, "that takes its statistics from the batch")
            given = call["input"]
            zeros = given.new_zeros(1, given.shape[1], *[1] * (given.dim() - 2))
            return func(**call | {"input": zeros})
        if name in functions.ACTIVATIONS:
            return _implicit(func, name, args, kwargs)
        if name in _AFFINE:
            return _constant(func, args, kwargs)
        raise refusal(name)


def _weighed(offset: Tensor, slope: Tensor) -> Tensor:
    """What a bias gives; nothing where nothing asks, be it infinite (padding of a maximum)."""
    return torch.where(slope == 0, 0, slope * offset)


def _bias(name: str, call: dict[str, Any]) -> Tensor | None:
    """The bias of a convolution or linear layer."""
    if tracked(call["weight"]) or tracked(call.get("bias")):
        raise refusal(name, "whose weights depend on the image")
    bias = call.get("bias")
    if bias is None or name == "linear":
        return bias
    return bias.view(-1, *[1] * (call["weight"].dim() - 2))


def _implicit(
    func: Any,  # noqa: ANN401
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor | None:
    """The implicit bias of an activation, a(z) - a'(z) z."""
    if name in _BENT_AT_ZERO or functions.rectifies(name, args, kwargs):
        return None
    given, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
    others = {key: value for key, value in kwargs.items() if key != "input"}
    before = given.detach().clone().requires_grad_()
    after = func(before.clone(), *rest, **others)
    slope = torch.autograd.grad(after.sum(), before)[0]
    return after.detach() - slope * before.detach()


def _constant(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:  # noqa: ANN401
    """What is left of an affine function where all that depends on the image is zero."""
    with torch.no_grad():
        found = func(*map(_zeroed, args), **{key: _zeroed(value) for key, value in kwargs.items()})
    return found if found.any() else None


def _zeroed(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return type(value)(map(_zeroed, value))
    return torch.zeros_like(value) if tracked(value) else value


def _refuse_products(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A product or quotient of two values that depend on the image is not linear in them."""
    if name not in functions.SCALES:
        return
    depending = [tracked(value) for value in (*args, *kwargs.values())]
    if sum(depending) > 1:
        raise refusal(name, "of two values that both depend on the image")
    if any(depending[1:]) and "div" in name:
        raise refusal(name, "by a value that depends on the image")


def _signed(term: Tensor, size: tuple[int, int], axes: int) -> Tensor:
    """A term at the pixels, its sum kept."""
    if not axes:
        share = term.flatten(1).sum(1) / (size[0] * size[1])
        return share[:, None, None].expand(-1, *size)
    return shared_out(term.sum(1), size)


def _saliency(term: Tensor, size: tuple[int, int], axes: int) -> Tensor:
    """A term as the paper shows it: absolute, stretched to 0..1, enlarged."""
    if not axes:
        return term.new_zeros(len(term), *size)
    flat = term.abs().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    stretched = (flat - low) / torch.where(high > low, high - low, 1)
    return enlarged(stretched.view_as(term).sum(1), size)
