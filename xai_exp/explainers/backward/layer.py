"""One call of a linear function (convolution, matrix product), as a rule of LRP sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from xai_exp.explainers.backward.functions import arguments, refusal


@dataclass(frozen=True)
class Convolution:
    """How a convolution moves over its input; every list holds a number for each dimension."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = (0,)

    @property
    def settings(self) -> tuple[Any, ...]:
        """All of it in the order in which torch's convolutions take it."""
        moves = (self.stride, self.padding, self.dilation)
        return (*moves, self.transposed, list(self.output_padding), self.groups)


@dataclass
class Place:
    """Where a layer stands: by what comes before and behind it, not by when it is called.

    Args:
        first: no other layer lies between it and the image.
        last: none lies between it and the answer; known when relevance goes back.
    """

    first: bool = True
    last: bool = True


@dataclass(frozen=True)
class Layer:
    """One call of a linear function: output = inputs * weight + bias.

    Args:
        name: of the layer in the model, or of the function if its weight is none of the model's.
        index: its place among the linear calls of the forward pass, from 0.
        inputs: what went in.
        weight, bias: with a batch norm that follows folded in.
        output: what came out, the batch norm included.
        convolution: how it moves; None for a matrix product.
        place: whether it is a first or a last one.
    """

    name: str
    index: int
    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    output: Tensor
    convolution: Convolution | None = None
    place: Place = field(default_factory=Place)

    @property
    def kind(self) -> Literal["convolution", "linear"]:
        """What a composite tells apart."""
        return "linear" if self.convolution is None else "convolution"

    @cached_property
    def signed(self) -> bool:
        """Whether any input is negative, as none is behind a ReLU."""
        return bool(self.inputs.numel()) and bool(self.inputs.amin() < 0)

    def apply(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same function with other inputs and parameters."""
        if self.convolution is None:
            return functional.linear(inputs, weight, bias)
        return torch.convolution(inputs, weight, bias, *self.convolution.settings)

    def transpose(self, relevance: Tensor, weight: Tensor) -> Tensor:
        """The transposed linear map, from the space of outputs to the space of inputs."""
        if self.convolution is None:
            return relevance @ weight
        weight, wanted = _in_format_of(relevance, weight), [True, False, False]
        return torch.ops.aten.convolution_backward(
            relevance, self.inputs, weight, None, *self.convolution.settings, wanted
        )[0]

    def patches(self, inputs: Tensor, outputs: Tensor, weight: Tensor) -> Tensor:
        """The sum over places of inputs times outputs: a gradient of the weight, shaped like it."""
        if self.convolution is None:
            return outputs.flatten(0, -2).mT @ inputs.flatten(0, -2)
        return torch.ops.aten.convolution_backward(
            outputs, inputs, weight, None, *self.convolution.settings, [False, True, False]
        )[1]

    def folded(self, scale: Tensor, shift: Tensor, output: Tensor) -> "Layer":
        """This layer and the affine map that follows as one: output = scale * this + shift."""
        weight = self.weight * self._by_output(scale)
        bias = shift if self.bias is None else self.bias * scale + shift
        return replace(self, weight=weight, bias=bias, output=output)

    def mixed(self, mix: Tensor, output: Tensor) -> "Layer":
        """This matrix product and another one behind it as one."""
        first, wide = self.weight, mix.double()
        bias = None if self.bias is None else (wide @ self.bias.double()).to(first)
        return replace(self, weight=(wide @ first.double()).to(first), bias=bias, output=output)

    def shifted(self, shift: Tensor) -> "Layer | None":
        """This layer and a constant that is added to its output as one; its output stays as it was.

        None unless the constant is one number, or one for each output channel.
        """
        dims = self.output.dim()
        axis = dims - 1 if self.convolution is None else 1
        shape = [1] * (dims - shift.dim()) + list(shift.shape)
        if len(shape) > dims or any(
            length != 1 for place, length in enumerate(shape) if place != axis
        ):
            return None
        added = shift.detach().flatten().expand(self.output.shape[axis])
        return replace(self, bias=added if self.bias is None else self.bias + added)

    def _by_output(self, scale: Tensor) -> Tensor:
        """A factor for each output channel, shaped like the weight."""
        rest = [1] * (self.weight.dim() - 2)
        c = self.convolution
        if c is None or not c.transposed:
            return scale.view(-1, 1, *rest)
        grouped = scale.view(c.groups, 1, -1).expand(-1, self.weight.shape[0] // c.groups, -1)
        return grouped.reshape(*self.weight.shape[:2], *rest)


def _in_format_of(values: Tensor, weight: Tensor) -> Tensor:
    """The weight of one input channel with the strides of channels_last, if `values` are so.

    Arithmetic drops these strides, since they mean nothing for an axis of length 1; but the
    convolution reads the format off them, and is three times slower if it has to convert.
    """
    last = torch.channels_last
    if weight.dim() != 4 or weight.shape[1] != 1 or not weight.is_contiguous():
        return weight
    if not values.is_contiguous(memory_format=last) or values.is_contiguous():
        return weight
    return weight.as_strided(weight.shape, (weight.stride(0), 1, *weight.stride()[2:]))


def convolution(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Convolution | None:
    """How the convolution called `name` moves; None for a matrix product.

    Raises:
        InputError: for padding that is not the same on both sides.
    """
    if name == "linear":
        return None
    call = arguments(name, args, kwargs)
    rank = call["weight"].dim() - 2

    def listed(value: int | Sequence[int]) -> list[int]:
        found = [value] if isinstance(value, int) else list(value)
        return found * rank if len(found) == 1 else found

    dilation = listed(call.get("dilation", 1))
    return Convolution(
        stride=listed(call.get("stride", 1)),
        padding=_padding(name, call, dilation) or listed(call.get("padding", 0)),
        dilation=dilation,
        groups=call.get("groups", 1),
        transposed=name.startswith("conv_transpose"),
        output_padding=tuple(listed(call.get("output_padding", 0))),
    )


def _padding(name: str, call: dict[str, Any], dilation: list[int]) -> list[int] | None:
    """The numbers for the words "valid" and "same"."""
    if call.get("padding") == "valid":
        return [0] * len(dilation)
    if call.get("padding") != "same":
        return None
    reach = [d * (k - 1) for d, k in zip(dilation, call["weight"].shape[2:], strict=True)]
    if any(length % 2 for length in reach):
        raise refusal(name, "with uneven 'same' padding")
    return [length // 2 for length in reach]
