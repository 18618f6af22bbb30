"""The engine of modified backpropagation: an ordinary forward pass whose backward pass is changed.

LRP, deconvolution and guided backpropagation all run a network forward as it is and backward by
rules of their own. Here the rules are put in at the level of torch's functions (`conv2d`,
`linear`, `relu`, `add`, ...), which modules call too. So a network written with modules and the
same network written with functions, with in-place or reused activations, or with `x + y` for its
residual sum, give the same heatmap; no hook is left on the model, whatever happens.

A function that no rule covers is refused with its name: letting it through would mix gradients
into relevance without a word.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xai_exp import ops
from xai_exp.config import InputError
from xai_exp.types import Images, Labels

Handler = Callable[..., Any]

ACTIVATIONS = frozenset(
    (
        "relu relu_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu gelu silu mish tanh tanh_ "
        "sigmoid sigmoid_ softplus hardtanh hardtanh_ relu6 hardswish hardsigmoid prelu rrelu "
        "clamp clamp_ clamp_min clamp_min_"
    ).split()
)
STRUCTURE = frozenset(
    (
        "flatten reshape view view_as permute transpose movedim squeeze unsqueeze contiguous "
        "expand cat concat chunk split unbind __getitem__ clone dropout dropout1d dropout2d "
        "dropout_ alpha_dropout feature_dropout max_pool1d max_pool2d max_pool3d "
        "adaptive_max_pool2d _max_pool1d _max_pool2d _max_pool3d adaptive_max_pool1d "
        "max_pool2d_with_indices __get__ __set__ size dim stride numel shape type float double to "
        "is_floating_point ndimension __len__ storage_offset is_contiguous retain_grad "
        "requires_grad_ detach __hash__ register_hook stochastic_depth _assert __bool__ __eq__ "
        "__int__ sum_to_size identity"
    ).split()
)


@dataclass
class Layer:
    """One call of a linear function (convolution, matrix product), as a rule needs it.

    Args:
        kind: "conv" or "linear".
        name: that of its weight in the model, or of the function.
        index: its place among the linear calls, from 0.
        inputs: what went in.
        weight, bias: with a batch norm that follows folded in.
        output: what came out, the batch norm included.
    """

    kind: str
    name: str
    index: int
    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    output: Tensor
    options: tuple[Any, ...] = ()

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same function with other inputs and parameters."""
        if self.kind == "linear":
            return functional.linear(inputs, weight, bias)
        stride, padding, dilation, groups, transposed, extra = self.options
        return torch.convolution(
            inputs, weight, bias, stride, padding, dilation, transposed, extra, groups
        )

    def transpose(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """The transposed linear map, from output space to input space."""
        if self.kind == "linear":
            return relevance @ weight
        stride, padding, dilation, groups, transposed, extra = self.options
        return torch.ops.aten.convolution_backward(
            relevance,
            self.inputs,
            weight,
            None,
            stride,
            padding,
            dilation,
            transposed,
            extra,
            groups,
            [True, False, False],
        )[0]

    def fold(self, scale: Tensor, shift: Tensor, output: Tensor) -> None:
        """Take in the affine map that follows: output = scale * this + shift."""
        axis = 1 if self.kind == "conv" and self.options[4] else 0
        shape = [1] * self.weight.dim()
        shape[axis] = -1
        self.weight = self.weight * scale.view(shape)
        self.bias = shift if self.bias is None else self.bias * scale + shift
        self.output = output


class _Ruled(torch.autograd.Function):
    """A value computed elsewhere, whose backward pass is a given function."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, back: Handler, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        ctx.back, ctx.count = back, len(inputs)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *relevance: Tensor) -> Any:  # noqa: ANN401
        given = ctx.back(relevance[0])
        return (None, None, *(given if ctx.count > 1 else (given,)))


def ruled(value: Tensor, back: Handler, *inputs: Tensor) -> Tensor:
    """`value`, from which the backward pass goes to `inputs` through `back`."""
    return _Ruled.apply(value.detach(), back, *inputs)  # pyright: ignore[reportReturnType]


def tracked(value: Any) -> bool:  # noqa: ANN401
    """Whether a value depends on the image."""
    return isinstance(value, Tensor) and value.requires_grad


@dataclass
class Rules:
    """How the backward pass differs from the gradient; by default it does not.

    Args:
        activation: (function's output, its input, relevance, gradient) -> relevance of the input.
        linear: (layer, relevance) -> relevance of its input.
        proportional: whether sums and averages share relevance in proportion to what went in.
        strict: whether a function that no rule covers is refused.
    """

    activation: Callable[[Tensor, Tensor, Tensor, Handler], Tensor] | None = None
    linear: Callable[[Layer, Tensor], Tensor] | None = None
    proportional: bool = False
    strict: bool = False
    stabilizer: float = 1e-9


@dataclass
class Account:
    """What every linear layer got and passed on, summed over each image: conservation's books."""

    rows: list[tuple[str, Tensor, Tensor]] = field(default_factory=list)


class ModifiedBackward(TorchFunctionMode):
    """Within it, torch's functions go backward by `rules`."""

    def __init__(self, rules: Rules, names: Mapping[int, str], account: Account | None) -> None:
        super().__init__()
        self.rules, self.names, self.account = rules, names, account
        self.layers = 0

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function forward, and see to it that it goes backward by its rule."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        flat = [*args, *kwargs.values()]
        members = [m for v in flat for m in (v if isinstance(v, list | tuple) else (v,))]
        if not any(tracked(member) for member in members):
            return func(*args, **kwargs)
        for family, handler in self._handlers():
            if name in family:
                return handler(func, name, args, kwargs)
        if self.rules.strict and name not in STRUCTURE:
            raise InputError(
                f"this explainer has no rule for {name}(); allowed: networks of convolutions, "
                "linear layers, activations, pooling, batch norm and sums; use a gradient or "
                "perturbation method, or write that step with these"
            )
        return func(*args, **kwargs)

    def _handlers(self) -> list[tuple[frozenset[str], Handler]]:
        chosen: list[tuple[frozenset[str], Handler]] = []
        if self.rules.activation is not None:
            chosen.append((ACTIVATIONS, self._activation))
        if self.rules.linear is not None:
            chosen += [(_CONVOLUTIONS, self._linear), (_BATCH_NORM, self._batch_norm)]
        if self.rules.proportional:
            chosen += [(_SUMS, self._sum), (_AVERAGES, self._average)]
        return chosen

    def _activation(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        rule = self.rules.activation
        inputs = args[0] if args else kwargs["input"]
        if name.endswith("_"):
            func = getattr(functional, name[:-1], None) or getattr(torch, name[:-1])
        kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
        if name in ("relu", "relu6", "elu", "leaky_relu", "silu", "hardtanh", "selu", "celu"):
            args = args[:-1] if len(args) > 1 and isinstance(args[-1], bool) else args
        before = inputs.detach().requires_grad_()
        with torch.enable_grad():
            after = func(*((before, *args[1:]) if args else ()), **_swap(kwargs, before, args))

        def gradient(relevance: Tensor) -> Tensor:
            return torch.autograd.grad(after, before, relevance, retain_graph=True)[0]

        def back(relevance: Tensor) -> Tensor:
            assert rule is not None
            return rule(after.detach(), before.detach(), relevance, gradient)

        return ruled(after, back, inputs)

    def _linear(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        output = func(*args, **kwargs)
        call = dict(zip(_PARAMETERS[name], args, strict=False)) | kwargs
        inputs, weight = call["input"], call["weight"]
        if tracked(weight) or not tracked(inputs):
            raise InputError(
                f"this explainer has no rule for {name}() of two values that both depend on the "
                "image; allowed: layers with fixed weights; use a gradient or perturbation method"
            )
        layer = Layer(
            kind="linear" if name == "linear" else "conv",
            name=self.names.get(id(weight), name).removesuffix(".weight"),
            index=self.layers,
            inputs=inputs.detach(),
            weight=weight.detach(),
            bias=call["bias"].detach() if call.get("bias") is not None else None,
            output=output.detach(),
            options=() if name == "linear" else _options(name, call),
        )
        self.layers += 1

        def back(relevance: Tensor) -> Tensor:
            assert self.rules.linear is not None
            passed = self.rules.linear(layer, relevance)
            if self.account is not None:
                got = (layer.name, relevance.flatten(1).sum(1), passed.flatten(1).sum(1))
                self.account.rows.append(got)
            return passed

        result = ruled(output, back, inputs)
        result._layer = layer  # pyright: ignore[reportAttributeAccessIssue]
        return result

    def _batch_norm(self, func: Any, _: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """Fold it into the layer before it; alone it is a linear layer of its own."""
        call = dict(zip(_PARAMETERS["batch_norm"], args, strict=False)) | kwargs
        inputs, mean, var = call["input"], call["running_mean"], call["running_var"]
        output = func(*args, **kwargs)
        scale = (var + call.get("eps", 1e-5)).rsqrt()
        if call.get("weight") is not None:
            scale = scale * call["weight"]
        shift = -mean * scale + (call["bias"] if call.get("bias") is not None else 0)
        layer = getattr(inputs, "_layer", None)
        if layer is not None:
            layer.fold(scale.detach(), shift.detach(), output.detach())
            return ruled(output, lambda relevance: relevance, inputs)
        shape = [1, -1] + [1] * (inputs.dim() - 2)
        part, eps = inputs.detach() * scale.view(shape).detach(), self.rules.stabilizer
        whole = output.detach()
        return ruled(output, lambda r: part * r / stabilized(whole, eps), inputs)

    def _sum(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """Share relevance between the summands in proportion; a constant takes none."""
        if name == "__iadd__" or name == "add_":
            func = torch.add
        first, second = args[0], args[1] if len(args) > 1 else kwargs["other"]
        output = func(*args, **kwargs)
        if "alpha" in kwargs or not (tracked(first) and tracked(second)):
            raise InputError(
                f"this explainer has no rule for {name}() with a constant; allowed: sums of two "
                "branches of the network; use a gradient or perturbation method"
            )
        whole = stabilized(output.detach(), self.rules.stabilizer)
        parts = first.detach(), second.detach()
        if parts[0].shape != parts[1].shape:
            raise InputError(
                f"this explainer has no rule for {name}() of shapes {tuple(first.shape)} and "
                f"{tuple(second.shape)}; allowed: sums of two branches of one shape"
            )
        return ruled(output, lambda r: tuple(part * r / whole for part in parts), first, second)

    def _average(self, func: Any, _: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """Share relevance among what was averaged in proportion."""
        inputs = args[0] if args else kwargs["input"]
        before = inputs.detach().requires_grad_()
        with torch.enable_grad():
            after = func(*((before, *args[1:]) if args else ()), **_swap(kwargs, before, args))
        whole = stabilized(after.detach(), self.rules.stabilizer)

        def back(relevance: Tensor) -> Tensor:
            shares = torch.autograd.grad(after, before, relevance / whole, retain_graph=True)[0]
            return before.detach() * shares

        return ruled(after, back, inputs)


_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear"})
_BATCH_NORM = frozenset({"batch_norm"})
_SUMS = frozenset({"add", "__add__", "__radd__", "__iadd__", "add_"})
_AVERAGES = frozenset(
    {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "mean"}
)
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    "conv1d": _CONV,
    "conv2d": _CONV,
    "conv3d": _CONV,
    "conv_transpose2d": (*_CONV[:5], "output_padding", "groups", "dilation"),
    "batch_norm": (
        *("input", "running_mean", "running_var", "weight", "bias"),
        *("training", "momentum", "eps"),
    ),
}


def _options(name: str, call: dict[str, Any]) -> tuple[Any, ...]:
    """Stride, padding, dilation, groups, transposed and output padding, as lists."""
    rank = call["weight"].dim() - 2

    def listed(value: Any) -> list[int]:  # noqa: ANN401
        return [value] * rank if isinstance(value, int) else list(value)

    padding, dilation = call.get("padding", 0), listed(call.get("dilation", 1))
    if padding == "valid":
        padding = 0
    if padding == "same":
        reach = [d * (k - 1) for d, k in zip(dilation, call["weight"].shape[2:], strict=True)]
        if any(length % 2 for length in reach):
            raise InputError(
                "this explainer has no rule for uneven 'same' padding; allowed: odd kernels"
            )
        padding = [length // 2 for length in reach]
    transposed = name.startswith("conv_transpose")
    return (
        listed(call.get("stride", 1)),
        listed(padding),
        dilation,
        call.get("groups", 1),
        transposed,
        listed(call.get("output_padding", 0)),
    )


def _swap(kwargs: dict[str, Any], value: Tensor, args: tuple[Any, ...]) -> dict[str, Any]:
    return kwargs if args else {**kwargs, "input": value}


def stabilized(values: Tensor, epsilon: float) -> Tensor:
    """`values` moved away from zero by `epsilon`, zero itself upward: a safe denominator."""
    return values + torch.where(values < 0, -epsilon, epsilon)


def backpropagate(
    model: nn.Module,
    images: Images,
    targets: Labels,
    rules: Rules,
    *,
    from_logit: bool = False,
    account: Account | None = None,
) -> Images:
    """What comes back at the pixels, signed and by channel.

    Args:
        model: any network of functions that the rules cover.
        images: (batch, channel, height, width).
        targets: the class of each image.
        rules: how the backward pass goes.
        from_logit: start from the logit's value (relevance) rather than from 1 (gradient).
        account: where to write what each layer got and passed on.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        pixels = part.detach().clone().requires_grad_()
        with torch.enable_grad():
            with ModifiedBackward(rules, names, account):
                logits = model(pixels)
            chosen = ops.pick(logits, wanted)
        start = chosen.detach() if from_logit else torch.ones_like(chosen)
        return torch.autograd.grad(chosen, pixels, start)[0]

    with ops.evaluating(model):
        return ops.in_chunks(chunk, images, targets)
