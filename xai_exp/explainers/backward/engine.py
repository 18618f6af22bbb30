"""The engine of modified backpropagation: an ordinary forward pass whose backward pass is changed.

LRP, deconvolution and guided backpropagation all run a network forward as it is and backward by
rules of their own. Here the rules are put in at the level of torch's functions (`conv2d`,
`linear`, `relu`, `add`, ...), which modules call, too. So a network written with modules and the
same network written with functions, with in-place or reused activations, or with `x + y` for its
residual sum, give the same heatmap; no hook is ever on the model, whatever happens.

A function that no rule covers is refused by its name: letting it through would mix gradients into
relevance without a word. So is whatever hides its functions (scripted or compiled modules, autograd
functions of one's own).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp.compute.values import Mix
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import (
    Graft,
    Refused,
    Ruled,
    again,
    multiplied,
    ruled,
    stabilized,
    steps_before,
    tracked,
)
from xai_exp.explainers.backward.functions import arguments, bare, refusal
from xai_exp.explainers.backward.layer import Layer, Place, convolution
from xai_exp.explainers.backward.marks import joined_with_constants
from xai_exp.explainers.backward.rules import Account, Activated, Rules
from xai_exp.explainers.backward.watching import Watching, watched
from xai_exp.explainers.pullback import pullback
from xai_exp.types import Images, Labels

Handler = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]
_NOTHING = 1e-9


def backpropagate(
    model: nn.Module,
    images: Images,
    targets: Labels,
    rules: Rules,
    *,
    from_logit: bool = False,
    positive: bool = False,
    together: int = 1,
    account: Account | None = None,
) -> Images:
    """What comes back at the pixels by `rules`, signed and by channel.

    Args:
        model: any network of functions that the rules cover.
        images: (batch, channel, height, width).
        targets: the class of each image.
        rules: how the backward pass goes.
        from_logit: start from the logit's value (relevance) rather than from 1 (gradient).
        positive: start from nothing where the logit is not positive.
        together: so many neighbouring images are never torn apart by chunks.
        account: where to write what each layer got and passed on.

    Raises:
        InputError: when a part of the model is not covered or can't be seen.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    within = partial(ModifiedBackward, rules, names, account)
    with watched(model):
        return pullback(
            model,
            images,
            targets,
            from_logit=from_logit,
            positive=positive,
            together=together,
            within=within,
            check=refuse_hidden_functions,
        )


class ModifiedBackward(Watching):
    """Within it, torch's functions go backward by `rules`."""

    def __init__(
        self, rules: Rules, names: Mapping[int, str], account: Account | None = None
    ) -> None:
        super().__init__()
        self.rules, self.names, self.account = rules, names, account
        self.layers = 0
        self.handlers: dict[str, Handler] = {}
        self.free = _free(rules)
        self._handle(functions.BATCH_NORM, self._fixed_norm)
        if rules.activation is not None:
            self._handle(functions.ACTIVATIONS, self._activation)
        self._handle(functions.ABSOLUTE, self._size)
        if rules.linear is None or not rules.shares:
            self._handle(frozenset(["amax", "max"]), self._largest)
        if rules.linear is not None:
            self._handle(functions.LINEAR, self._linear)
            self._handle(functions.BATCH_NORM, self._batch_norm)
            self._handle(functions.SCALES, self._multiplied)
            self._handle(frozenset(["maximum", "fmax"]), self._larger)
            if rules.shares:
                self._share()
        self.handlers |= {name: partial(other, self) for name, other in rules.others.items()}

    def _handle(self, names: frozenset[str], handler: Handler) -> None:
        self.handlers |= dict.fromkeys(names, handler)

    def _share(self) -> None:
        if self.rules.activation is not None:
            self._handle(functions.ELEMENTWISE | functions.ABSOLUTE, self._activation)
        self._handle(functions.SUMS, self._sum)
        self._handle(functions.SCALES, self._scale)
        self._handle(functions.AVERAGES, self._average)
        if self.rules.gates == "signal":
            self._handle(functions.SIZES, self._as_gate)

    def ruled(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """Run one function forward, and see to it that it goes backward by its rule."""
        handler = self.handlers.get(name)
        if self.rules.linear is not None and name in functions.SUMS:
            handler = self._shifted(name, args, kwargs) or handler
        if handler is not None:
            result = handler(func, name, args, kwargs)
        elif name in self.free:
            result = func(*args, **kwargs)
        else:
            raise refusal(name)
        if (
            self.rules.gates == "signal"
            and isinstance(result, Tensor)
            and (name in functions.SOFTMAX or _keeps_bounds(name, args))
        ):
            result._bounded = True  # pyright: ignore[reportAttributeAccessIssue]
        return result

    def _fixed_norm(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        call = arguments(name, args, kwargs)
        if call.get("training") or call["running_mean"] is None or call["running_var"] is None:
            raise refusal(name, "that takes its statistics from the batch")
        return func(*args, **kwargs)

    def _size(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """An absolute value may be part of a rectifier: it is refused unless that is seen."""
        value = args[0] if args else kwargs["input"]
        with torch.no_grad():
            output = func(*args, **kwargs)
        why = "which may be part of an activation"
        return ruled(output, Refused(refusal(name, why)), value)

    def _largest(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """The largest of several values is pooling, unless constants are among them."""
        if joined_with_constants(args[0] if args else kwargs["input"]):
            raise refusal(name, "of values beside constants, which may be an activation")
        return func(*args, **kwargs)

    def _larger(self, _func: Any, _name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """The larger of two values, place by place, is pooling."""
        first, other = args[0], args[1] if len(args) > 1 else kwargs["other"]
        with self:
            return torch.stack(torch.broadcast_tensors(first, other)).amax(0)

    def _multiplied(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        if sum(map(tracked, (*args, *kwargs.values()))) > 1:
            raise refusal(name, "of two values that both depend on the image")
        return func(*args, **kwargs)

    def _activation(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        rule = self.rules.activation
        assert rule is not None
        inputs, before, after = again(func, args, kwargs)
        name = "relu" if functions.rectifies(name, args, kwargs) else name
        gradient = Activated(name, before, after)
        result = ruled(after, lambda relevance: rule(relevance, gradient), inputs)
        result._raised = name in ("exp", "exp2")  # pyright: ignore[reportAttributeAccessIssue]
        if self.rules.gates == "signal" and _bounds(name, args, kwargs):
            result._bounded = True  # pyright: ignore[reportAttributeAccessIssue]
        return result

    def _linear(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        call = arguments(name, args, kwargs)
        inputs, weight, bias = call["input"], call["weight"], call.get("bias")
        if tracked(weight) or tracked(bias):
            raise refusal(name, "whose weights depend on the image")
        with torch.no_grad():
            output = func(*args, **kwargs)
        made_by = getattr(inputs, "_made_by", None)
        if isinstance(weight, Mix) and made_by is not None and made_by[0].kind == "linear":
            return self._layered(made_by[0].mixed(weight.detach(), output), made_by[1])
        layer = Layer(
            name=self.names.get(id(weight), name).removesuffix(".weight"),
            index=self.layers,
            inputs=inputs.detach(),
            weight=weight.detach(),
            bias=None if bias is None else bias.detach(),
            output=output,
            convolution=convolution(name, args, kwargs),
            place=self._place(inputs),
        )
        self.layers += 1
        return self._layered(layer, inputs)

    def _place(self, inputs: Tensor) -> Place:
        """That of a layer of these inputs; the layers before it are no last ones."""
        before = [_place_of(step) for step in steps_before([inputs.grad_fn], _place_of)]
        layers = [place for place in before if place is not None]
        for place in layers:
            place.last = False
        return Place(first=not layers)

    def _layered(self, layer: Layer, inputs: Tensor) -> Tensor:
        """The layer's output, which goes back by the rule for linear layers."""

        def back(relevance: Tensor) -> Tensor:
            assert self.rules.linear is not None
            passed = self.rules.linear(layer, relevance)
            if self.account is not None:
                self.account.enter(layer, relevance, passed)
            return passed

        result = ruled(layer.output, back, inputs)
        # On the step itself: whatever held the steps here would hold all that they keep.
        result.grad_fn._place = layer.place  # pyright: ignore
        result._made_by = layer, inputs  # pyright: ignore[reportAttributeAccessIssue]
        return result

    def _shifted(self, name: str, args: Any, kwargs: Any) -> Handler | None:  # noqa: ANN401
        """A constant that is added to what a layer gives is a part of the layer's bias."""
        first, second = _terms(args, kwargs)
        value, constant = (first, second) if tracked(first) else (second, first)
        minus = bare(name) in functions.DIFFERENCES
        made_by = getattr(value, "_made_by", None)
        if made_by is None or tracked(constant) or kwargs.get("alpha", 1) != 1:
            return None
        if name == "__rsub__" or (minus and value is second):
            return None
        shift = torch.as_tensor(constant).to(value)
        layer, before = made_by
        whole = layer.shifted(-shift if minus else shift)
        if whole is None:
            return None

        def summed(func: Any, _: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
            with torch.no_grad():
                output = func(*args, **kwargs)
            return self._layered(replace(whole, output=output), before)

        return summed

    def _batch_norm(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """As one layer with the one before it; alone it is a scale, which passes all back."""
        call = arguments(name, args, kwargs)
        inputs, mean, var = call["input"], call["running_mean"], call["running_var"]
        if call.get("training") or mean is None or var is None:
            raise refusal(name, "that takes its statistics from the batch")
        with torch.no_grad():
            output = func(*args, **kwargs)
        made_by = getattr(inputs, "_made_by", None)
        if made_by is None:
            return ruled(output, lambda relevance: relevance, inputs)
        scale = (var + call.get("eps", 1e-5)).rsqrt()
        if call.get("weight") is not None:
            scale = scale * call["weight"].detach()
        shift = -mean * scale
        if call.get("bias") is not None:
            shift = shift + call["bias"].detach()
        layer, before = made_by
        return self._layered(layer.folded(scale, shift, output), before)

    def _sum(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """Share relevance between two branches in proportion; a constant takes none."""
        first, second = _terms(args, kwargs)
        if not (tracked(first) and tracked(second)):
            return self._scale(func, name, args, kwargs)
        with torch.no_grad():
            output = func(*args, **kwargs)
            branches = first.detach(), output - first
        if first.shape != second.shape:
            shapes = f"of shapes {tuple(first.shape)} and {tuple(second.shape)}"
            # What a gate is made of gets nothing back, whatever its steps.
            if self.rules.gates != "signal":
                raise refusal(name, shapes)
            return ruled(output, Refused(refusal(name, shapes)), first)
        whole = stabilized(output)

        def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
            share = relevance / whole
            return branches[0] * share, branches[1] * share

        return ruled(output, back, first, second)

    def _scale(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """An output that has one input gives it all of its relevance."""
        depending = [v for v in (*args, *kwargs.values()) if tracked(v)]
        if len(depending) > 1 and name in functions.MULTIPLIED and self.rules.gates:
            return self._gated(func, *depending)
        with torch.no_grad():
            output = func(*args, **kwargs)
        quotient = name in functions.DIVIDED and output.shape == depending[0].shape
        if len(depending) > 1 and quotient and self.rules.gates:
            return self._divided(output, depending[0])
        if len(depending) > 1:
            raise refusal(name, "of two values that both depend on the image")
        if name in functions.DIVIDED and not tracked(args[0]):
            raise refusal(name, "by a value that depends on the image")
        if output.shape != depending[0].shape:
            if not tracked(args[0] if args else None):
                shapes = f"from shape {tuple(depending[0].shape)} to {tuple(output.shape)}"
                raise refusal(name, shapes)
            with self:
                return func(args[0].expand(output.shape), *args[1:], **kwargs)
        return ruled(output, lambda relevance: relevance, depending[0])

    def _gated(self, func: Any, first: Tensor, second: Tensor) -> Tensor:  # noqa: ANN401
        """A product of two values: all to the signal, or half to each; see `gates`."""
        factors = (first, second)
        gate = _gate(first, second) if self.rules.gates == "signal" else None
        if gate is None:
            return multiplied(func, first, second, _NOTHING)
        with torch.no_grad():
            output = func(first, second)
        signal = factors[1 - gate]
        if output.shape != signal.shape:
            return multiplied(func, first, second, _NOTHING)
        return ruled(output, lambda relevance: relevance, signal)

    def _divided(self, output: Tensor, first: Tensor) -> Tensor:
        """All to what is divided, as in layer norm; a gate stays one."""
        if getattr(first, "_raised", False):
            raise refusal("div", "of an exponential, which is a softmax in pieces")
        result = ruled(output, lambda relevance: relevance, first)
        result._bounded = getattr(first, "_bounded", False)  # pyright: ignore
        return result

    def _as_gate(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """The size of values counts as a constant in a product or quotient, and is nothing else."""
        with torch.no_grad():
            output = func(*args, **kwargs)
        value = args[0] if args else kwargs["input"]
        error = refusal(name, "that is not a factor or a divisor")
        result = ruled(output, Refused(error), value)
        result._bounded = True  # pyright: ignore[reportAttributeAccessIssue]
        return result

    def _average(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Share relevance in proportion among what was averaged."""
        inputs, before, after = again(func, args, kwargs)
        whole = stabilized(after.detach())

        def back(relevance: Tensor) -> Tensor:
            shares = torch.autograd.grad(after, before, relevance / whole, retain_graph=True)[0]
            return before.detach() * shares

        return ruled(after, back, inputs)


def _terms(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """What a sum or difference is of."""
    first = args[0] if args else kwargs["input"]
    return first, args[1] if len(args) > 1 else kwargs["other"]


def _free(rules: Rules) -> frozenset[str]:
    """The functions that have their gradient."""
    if rules.free is not None:
        return rules.free
    if rules.linear is None:
        return functions.DIFFERENTIABLE
    if rules.shares:
        return functions.STRUCTURE
    return functions.STRUCTURE | functions.SUMS | functions.AVERAGES


def _bounds(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call's values can't grow, as those of a gate."""
    if name not in ("clamp", "clip"):
        return name in functions.BOUNDED
    call = dict(zip(("input", "min", "max"), args, strict=False)) | kwargs
    return call.get("min") is not None and call.get("max") is not None


def _keeps_bounds(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a call moves, scales or shifts values that can't grow."""
    if name in functions.STRUCTURE:
        return bool(args) and getattr(args[0], "_bounded", False)
    if name not in functions.SCALES | functions.SUMS | functions.AVERAGES:
        return False
    bounded = any(getattr(value, "_bounded", False) for value in args[:2])
    return bounded and sum(map(tracked, args)) == 1


def _gate(first: Tensor, second: Tensor) -> int | None:
    """Which of two factors is the gate: the bounded one, else the one that is spread out."""
    bounded = [bool(getattr(value, "_bounded", False)) for value in (first, second)]
    if bounded[0] != bounded[1]:
        return bounded.index(True)
    if first.numel() != second.numel():
        return int(second.numel() < first.numel())
    return None


def refuse_hidden_functions(chosen: Tensor, *, seen_relus: bool = True) -> None:
    """An autograd function of the model's own, or a rectifier that was not seen, has no rule."""
    for node in steps_before([chosen.grad_fn]):
        own = getattr(node, "_forward_cls", Ruled)
        back = getattr(node, "back", None)
        if isinstance(back, Refused):
            raise back.error
        missed = seen_relus and node.name() == "ReluBackward0"
        if own not in (Ruled, Graft) or missed:
            raise refusal(node.name().removesuffix("Backward"), "which hides what it does")


def _place_of(step: Any) -> Place | None:  # noqa: ANN401
    """The place of the layer that a step of a graph is; None if it is none."""
    return getattr(step, "_place", None)
