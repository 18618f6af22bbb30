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
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_exp.config import InputError
from xai_exp.explainers.backward import functions
from xai_exp.explainers.backward.calls import (
    Graft,
    Ruled,
    again,
    depends,
    out_of_place,
    ruled,
    stabilized,
    tracked,
)
from xai_exp.explainers.backward.functions import (
    arguments,
    bare,
    located,
    refusal,
    refuse_hidden_modules,
)
from xai_exp.explainers.backward.layer import Layer, convolution
from xai_exp.explainers.backward.rules import Account, Activated, Rules
from xai_exp.explainers.pullback import pullback
from xai_exp.types import Images, Labels

Handler = Callable[[Any, str, tuple[Any, ...], dict[str, Any]], Any]


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
    refuse_hidden_modules(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    within = partial(ModifiedBackward, rules, names, account)
    try:
        return pullback(
            model,
            images,
            targets,
            from_logit=from_logit,
            positive=positive,
            together=together,
            within=within,
            check=_refuse_hidden_functions,
        )
    except InputError as error:
        raise located(error, model) from error


class ModifiedBackward(TorchFunctionMode):
    """Within it, torch's functions go backward by `rules`."""

    def __init__(self, rules: Rules, names: Mapping[int, str], account: Account | None) -> None:
        super().__init__()
        self.rules, self.names, self.account = rules, names, account
        self.layers = 0
        self.handlers: dict[str, Handler] = {}
        if rules.activation is not None:
            self._handle(functions.ACTIVATIONS, self._activation)
        if rules.linear is not None:
            self._handle(functions.LINEAR, self._linear)
            self._handle(functions.BATCH_NORM, self._batch_norm)
        if rules.linear is not None and rules.shares:
            self._handle(functions.SUMS, self._sum)
            self._handle(functions.SCALES, self._scale)
            self._handle(functions.AVERAGES, self._average)
        self.handlers |= {name: partial(other, self) for name, other in rules.others.items()}

    def _handle(self, names: frozenset[str], handler: Handler) -> None:
        self.handlers |= dict.fromkeys(names, handler)

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one function forward, and see to it that it goes backward by its rule."""
        kwargs = kwargs or {}
        if not depends(args, kwargs):
            return func(*args, **kwargs)
        given = getattr(func, "__name__", str(func))
        handler = self.handlers.get(bare(given))
        if handler is None:
            self._refuse_unruled(given)
            return func(*args, **kwargs)
        func, args, kwargs, in_place = out_of_place(func, given, args, kwargs)
        result = handler(func, bare(given), args, kwargs)
        if not in_place:
            return result
        old = args[0] if args else kwargs["input"]
        if old._is_view():
            raise refusal(given, "in place on a view of another value")
        vars(old).pop("_made_by", None)
        return Graft.apply(old, result)

    def _refuse_unruled(self, name: str) -> None:
        known = functions.STRUCTURE
        if not self.rules.shares:
            known = known | functions.SUMS | functions.SCALES | functions.AVERAGES
        if self.rules.linear is not None and bare(name) not in known:
            raise refusal(name)
        if bare(name) in functions.HIDDEN_ACTIVATIONS:
            raise InputError(
                f"this explainer can't tell whether {name}() is an activation; allowed: "
                "activations by their names, such as relu; or use a gradient method"
            )

    def _activation(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        rule = self.rules.activation
        assert rule is not None
        inputs, before, after = again(func, args, kwargs)
        name = "relu" if functions.rectifies(name, args, kwargs) else name
        gradient = Activated(name, before, after)
        return ruled(after, lambda relevance: rule(relevance, gradient), inputs)

    def _linear(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        call = arguments(name, args, kwargs)
        inputs, weight, bias = call["input"], call["weight"], call.get("bias")
        if tracked(weight) or tracked(bias):
            raise refusal(name, "whose weights depend on the image")
        with torch.no_grad():
            output = func(*args, **kwargs)
        layer = Layer(
            name=self.names.get(id(weight), name).removesuffix(".weight"),
            index=self.layers,
            inputs=inputs.detach(),
            weight=weight.detach(),
            bias=None if bias is None else bias.detach(),
            output=output,
            convolution=convolution(name, args, kwargs),
        )
        self.layers += 1
        return self._layered(layer, inputs)

    def _layered(self, layer: Layer, inputs: Tensor) -> Tensor:
        """The layer's output, which goes back by the rule for linear layers."""

        def back(relevance: Tensor) -> Tensor:
            assert self.rules.linear is not None
            passed = self.rules.linear(layer, relevance)
            if self.account is not None:
                self.account.enter(layer, relevance, passed)
            return passed

        result = ruled(layer.output, back, inputs)
        result._made_by = layer, inputs  # pyright: ignore[reportAttributeAccessIssue]
        return result

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
        first, second = args[0], args[1] if len(args) > 1 else kwargs["other"]
        if not (tracked(first) and tracked(second)):
            return self._scale(func, name, args, kwargs)
        if first.shape != second.shape:
            shapes = f"of shapes {tuple(first.shape)} and {tuple(second.shape)}"
            raise refusal(name, shapes)
        with torch.no_grad():
            output = func(*args, **kwargs)
            branches = first.detach(), output - first
        whole = stabilized(output)

        def back(relevance: Tensor) -> tuple[Tensor, Tensor]:
            share = relevance / whole
            return branches[0] * share, branches[1] * share

        return ruled(output, back, first, second)

    def _scale(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401
        """An output that has one input gives it all of its relevance."""
        depending = [v for v in (*args, *kwargs.values()) if tracked(v)]
        with torch.no_grad():
            output = func(*args, **kwargs)
        if len(depending) > 1:
            raise refusal(name, "of two values that both depend on the image")
        if output.shape != depending[0].shape:
            raise refusal(name, f"from shape {tuple(depending[0].shape)} to {tuple(output.shape)}")
        return ruled(output, lambda relevance: relevance, depending[0])

    def _average(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:  # noqa: ANN401, ARG002
        """Share relevance in proportion among what was averaged."""
        inputs, before, after = again(func, args, kwargs)
        whole = stabilized(after.detach())

        def back(relevance: Tensor) -> Tensor:
            shares = torch.autograd.grad(after, before, relevance / whole, retain_graph=True)[0]
            return before.detach() * shares

        return ruled(after, back, inputs)


def _refuse_hidden_functions(chosen: Tensor) -> None:
    """An autograd function of the model's own, or a rectifier that was not seen, has no rule."""
    waiting, seen = [chosen.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        own = getattr(node, "_forward_cls", Ruled)
        if own not in (Ruled, Graft) or node.name() == "ReluBackward0":
            raise refusal(node.name().removesuffix("Backward"), "which hides what it does")
        waiting += [parent for parent, _ in node.next_functions]
