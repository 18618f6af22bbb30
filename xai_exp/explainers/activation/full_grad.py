r"""Full-gradient representation: what the input and every bias give to the logit.

$f_t(x) = x \cdot \partial f_t / \partial x + \sum_l b_l \cdot \partial f_t / \partial b_l$: input x
gradient and the bias gradients of a network of ReLUs (Srinivas and Fleuret 2019, prop. 2). Biases
are those of convolutions and linear layers, those of batch norms ($\beta - \gamma \mu / \sigma$),
constants that are added, and the implicit ones of functions that are not homogeneous: activations,
products, norms, softmax ($f(z) - J z$ with the Jacobian J; a ReLU has none). So the sum is the
logit exactly. Functions are watched, as in `backward`, so it does not matter how a network is
written.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import configured
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import tracked
from xai_exp.explainers.backward.engine import refuse_hidden_functions
from xai_exp.explainers.backward.functions import arguments, refusal
from xai_exp.explainers.backward.steps import attention, multi_head
from xai_exp.explainers.backward.watching import Watching, watched
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.promises import Promises, value
from xai_exp.explainers.pullback import forward
from xai_exp.explainers.sizes import enlarged, shared_out, size_of
from xai_exp.types import Heatmaps, Images, Labels, Scores

Place = Callable[[Tensor, tuple[int, int], int], Tensor]
_JOINS = frozenset(["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"])
_AFFINE = (
    functions.SUMS | _JOINS | {"pad", "__setitem__", "masked_fill", "where", "maximum", "fmax"}
)
_HOMOGENEOUS = (
    (functions.LINEAR_MAPS | functions.ABSOLUTE) - _AFFINE - functions.LINEAR - {"batch_norm"}
)
_BENT = (
    functions.ELEMENTWISE
    | functions.PRODUCTS
    | functions.EINSUM
    | functions.SOFTMAX
    | functions.NORMS
    | functions.STATISTICS
)
_BENT_AT_ZERO = frozenset({"relu", "leaky_relu", "prelu", "rrelu"})


@configured
class FullGrad(Promises):
    r"""FullGrad: input x gradient and all bias gradients, each where it arises.

    Bias gradients of a convolution, batch norm or activation are maps; they are summed over
    channels and spread bilinearly over the pixels that their cells lie on, sums kept. Those of
    linear layers, and of whatever has not the size of a map, have no place and are spread evenly.
    So the heatmap sums to $f_t(x)$. With `postprocess: paper` it is the published saliency map
    instead (sec. 4): every term is made
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
        place = _signed if self.postprocess == "none" else _saliency

        def chunk(part: Tensor, wanted: Tensor) -> Tensor:
            biases = _Biases(part, place)
            pixels, chosen = forward(model, part, wanted, lambda: biases)
            refuse_hidden_functions(chosen, seen_relus=False)
            try:
                slopes = torch.autograd.grad(chosen.sum(), pixels)[0]
            except _NotByImageError:
                return torch.cat(list(map(chunk, part.split(1), wanted.split(1))))
            return biases.total + place(part * slopes, size_of(part), 1)

        with watched(model):
            return ops.in_chunks(chunk, images, targets).detach()

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores | None:
        """f(x); the published saliency map has no sum."""
        return value(model, images, targets) if self.postprocess == "none" else None


class _NotByImageError(Exception):
    """A bias gradient whose rows are not those of the batch."""


class _Biases(Watching):
    """Within it, every bias adds its gradient times itself to `total` in the backward pass."""

    def __init__(self, part: Images, place: Place) -> None:
        super().__init__()
        self.total = torch.zeros_like(part[:, 0])
        self.place, self.size = place, size_of(part)
        self.sizes = {self.size}

    def ruled(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """Run one function; what it adds of its own is seen to on the way back."""
        if name in functions.PRODUCT_ATTENTION:
            with self:
                return attention(name, args, kwargs)()
        if name in functions.MULTI_HEAD:
            with self:
                return multi_head(name, args, kwargs)
        if name in _HOMOGENEOUS and not _is_product(name, args, kwargs):
            result = func(*args, **kwargs)
            if "pool" in name or name == "interpolate":
                first = result if isinstance(result, Tensor) else result[0]
                self.sizes.add((first.shape[-2], first.shape[-1]))
            return result
        offset = self._offset(func, name, args, kwargs)
        result = func(*args, **kwargs)
        if name in functions.CONVOLUTIONS:
            self.sizes.add((result.shape[-2], result.shape[-1]))
        if offset is not None:
            axes = int(result.dim() == 4 and size_of(result) in self.sizes)
            # It sees the gradient of this result, also if that is overwritten in place later.
            result.register_hook(lambda slope: self._add(_times(slope, offset), axes))
        return result

    def _add(self, term: Tensor, axes: int) -> None:
        if len(term) != len(self.total):
            # Rows are no images (windows, tokens): one image at a time can't be mixed with others.
            if len(self.total) > 1:
                raise _NotByImageError
            term, axes = term.reshape(1, -1), 0
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
        if name in _BENT or name in _HOMOGENEOUS:
            return _remainder(func, name, args, kwargs)
        raise refusal(name)


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


def _remainder(
    func: Any,  # noqa: ANN401
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Tensor:
    """The implicit bias of any smooth function, f(z) - J z, of all that depends on the image."""
    places = [place for place, value in enumerate(args) if tracked(value)]
    keys = [key for key, value in kwargs.items() if tracked(value)]
    given = [*(args[place] for place in places), *(kwargs[key] for key in keys)]
    roots = [value.detach() for value in given]
    if not roots:
        raise refusal(name, "of a list of values")

    def call(*given: Tensor) -> Tensor:
        positional = list(args)
        for place, one in zip(places, given, strict=False):
            positional[place] = one
        named = dict(zip(keys, given[len(places) :], strict=True))
        return func(*positional, **kwargs | named)

    # J z as the gradient of what v gets back, J^T v, of v: any function that can be differentiated
    # twice will do.
    with torch.enable_grad():
        leaves = [root.requires_grad_() for root in roots]
        after = call(*leaves)
        sent = torch.zeros_like(after).requires_grad_()
        back = torch.autograd.grad(after, leaves, sent, create_graph=True)
        # A masked score, minus infinity, has no slope.
        finite = [torch.where(root.isinf(), 0, root.detach()) for root in roots]
        terms = [(one * root).sum() for one, root in zip(back, finite, strict=True)]
        moved = torch.autograd.grad(torch.stack(terms).sum(), sent)[0]
    return after.detach() - moved


def _times(slope: Tensor, offset: Tensor) -> Tensor:
    """Their product; where nothing comes back an infinite bias (padded maxima) is none."""
    return torch.where(slope == 0, 0, slope * offset) if offset.isinf().any() else slope * offset


def _is_product(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call is a product or quotient of values that depend on the image."""
    if name not in functions.SCALES:
        return False
    depending = [tracked(value) for value in (*args, *kwargs.values())]
    return sum(depending) > 1 or (any(depending[1:]) and name in functions.DIVIDED)


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
