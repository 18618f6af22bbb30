r"""PatternNet and PatternAttribution: what in the input a neuron answers to, not how it filters.

The weights w of a neuron must cancel distractors, so the gradient shows filters, not signal. From
data x and the neuron's answers y = w . x (Kindermans et al. 2018, Learning how to explain neural
networks) a pattern is fitted:

    a = (E+[x y] - E+[x] E[y]) / w . (E+[x y] - E+[x] E[y])

E is the mean over all data, E+ over those where the neuron is active (`relu`: y + b > 0, b the
bias), or over all, too (`linear`). w . a = 1, so that a y is the estimate of the signal. A
convolution's data are the patches that it sees. A batch norm is folded into the layer before. Sums
of branches and average pooling have the gradient, as in iNNvestigate; the paper's networks have
none. A neuron that no datum activates, or only with one answer, gets the pattern 0: with `relu` a
class whose logit is positive for no reference image has empty heatmaps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.backward.engine import ModifiedBackward, backpropagate
from xai_exp.explainers.backward.functions import located, refusal
from xai_exp.explainers.backward.layer import Layer
from xai_exp.explainers.backward.precision import in_double, needs_double
from xai_exp.explainers.backward.rules import Rules
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.promises import evenness, value
from xai_exp.explainers.pullback import differentiable, forward
from xai_exp.types import Heatmaps, Images, Labels

Kind = Literal["relu", "linear"]


@configured
class _Pattern:
    """What both methods share; see the module."""

    requires: ClassVar[str] = "positive logits"
    version: ClassVar[int] = 3
    attribution: ClassVar[bool]
    kind: Kind = "relu"
    references: Annotated[int, Range(2)] = 1024
    start: Literal["one", "logit"] = "logit"

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap; the fit is not counted."""
        return Cost(forward=1, backward=1)

    def fit(self, model: nn.Module, images: Images) -> "BoundPattern":
        """This explainer with patterns of `model` fitted on the first of `images`.

        Raises:
            InputError: for no images, or a network with a step that no rule covers.
        """
        if not len(images):
            raise InputError(f"{self._name}: got 0 reference images; allowed: 1 or more")
        chosen = images[: self.references]
        bound = BoundPattern(explainer=self, references=chosen)
        bound.patterns(model)
        return bound

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is nothing to fit patterns on.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self._name}: got no reference images; allowed: fit(model, images) with some first"
        )

    @property
    def _name(self) -> str:
        return "pattern_attribution" if self.attribution else "pattern_net"


@configured
class PatternNet(_Pattern):
    """PatternNet: the signal behind the target's logit, sent back by patterns instead of weights.

    R_in = a^T R_out in convolutions and linear layers, the gradient elsewhere, from the logit y
    (Kindermans et al. 2018, sec. 4): for one linear layer the estimate a y of the signal itself. It
    must be bound to reference images first (`fit`); for a network with other weights patterns are
    fitted anew on the same images.

    Cost: one forward and one backward pass, once the patterns are fitted: three of each, in double
    precision, for each reference image.

    Args:
        kind: relu, or linear.
        references: how many of the images that it is bound to are used, at most.
        start: what is sent back from the target's logit: its own value, or one.
    """

    attribution: ClassVar[bool] = False


@configured
class PatternAttribution(_Pattern):
    """PatternAttribution: what the signal at every pixel adds to the target's logit.

    R_in = (w a)^T R_out in convolutions and linear layers, the gradient elsewhere, from the logit
    (Kindermans et al. 2018, sec. 4): deep Taylor decomposition whose root point is what remains
    when the signal is taken out. It must be bound to reference images first (`fit`); for a network
    with other weights patterns are fitted anew on the same images.

    Cost: one forward and one backward pass, once the patterns are fitted: three of each, in double
    precision, for each reference image.

    Args:
        kind: relu, or linear.
        references: how many of the images that it is bound to are used, at most.
        start: what is sent back from the target's logit: its own value, or one.
    """

    attribution: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BoundPattern:
    """A pattern method with its reference images, and the patterns of the networks seen last."""

    explainer: Any
    references: Images
    known: dict[object, list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return self.explainer.cost

    def patterns(self, model: nn.Module) -> list[Tensor]:
        """The pattern of every linear layer in the order of the forward pass, like its weight."""
        key = _fingerprint(model)
        if key not in self.known:
            while len(self.known) > 1:
                self.known.pop(next(reversed(self.known)))
            self.known[key] = fitted(model, self.references, self.explainer.kind)
        return self.known[key]

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What patterns send back to every pixel, summed over channels."""
        patterns = self.patterns(model)

        def linear(layer: Layer, relevance: Tensor) -> Tensor:
            pattern = patterns[layer.index].to(relevance)
            if self.explainer.attribution:
                pattern = pattern * layer.weight
            return layer.transpose(relevance, pattern)

        rules, given = Rules(linear=linear, activation=_gradient, shares=False), images
        if needs_double(model, images, "deep"):
            model, given = in_double(model), images.double()
        from_logit = self.explainer.start == "logit"
        found = backpropagate(model, given, targets, rules, from_logit=from_logit)
        return ops.channel_sum(found).to(images.dtype)

    def diagnostics(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> Mapping[str, Tensor]:
        """How far values grow beyond what was sent back, and how even the first heatmap is."""
        largest = self(model, images, targets).flatten(1).abs().amax(1)
        start = value(model, images, targets).abs() if self.explainer.start == "logit" else 1
        growth = torch.where(largest == 0, 0, largest / start)
        return {"growth": growth, **evenness(self, model, images, targets)}


def fitted(model: nn.Module, images: Images, kind: Kind) -> list[Tensor]:
    """The patterns of every linear layer, from sums over chunks of the images."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sums: dict[int, _Sums] = {}

    def chunk(part: Tensor) -> Tensor:
        seen: dict[int, _Sums] = {}

        def record(layer: Layer, _relevance: Tensor) -> Tensor:
            seen[layer.index] = _Sums.of(layer, kind)
            return torch.zeros_like(layer.inputs)

        rules = Rules(linear=record, activation=_gradient)
        wanted = torch.zeros(len(part), dtype=torch.long, device=part.device)
        within: Callable[[], Any] = partial(ModifiedBackward, rules, names, None)
        pixels, chosen = forward(model, part, wanted, within)
        torch.autograd.grad(chosen.sum(), pixels)
        for index, one in seen.items():
            sums[index] = sums[index] + one if index in sums else one
        return part.new_zeros(len(part))

    with differentiable(model):
        try:
            ops.in_chunks(chunk, images)
        except InputError as error:
            raise located(error, model) from error
    return [one.pattern() for _, one in sorted(sums.items())]


@dataclass(frozen=True)
class _Sums:
    """Sums over the data of one layer in double precision, x and x y shaped like its weight."""

    weight: Tensor
    number: int
    count: Tensor
    y: Tensor
    x: Tensor
    xy: Tensor

    @classmethod
    def of(cls, layer: Layer, kind: Kind) -> "_Sums":
        """Those of one chunk."""
        if layer.convolution is not None and layer.convolution.transposed:
            raise refusal("conv_transpose")
        outputs, weight = layer.output.double(), layer.weight.double()
        inputs = layer.inputs.double()
        y = layer.apply(inputs, weight)
        used = (outputs > 0).double() if kind == "relu" else torch.ones_like(y)
        axis = 1 if layer.convolution is not None else -1
        return cls(
            weight=weight,
            number=y.numel() // len(weight),
            count=_by_output(used, axis),
            y=_by_output(y, axis),
            x=layer.patches(inputs, used, weight),
            xy=layer.patches(inputs, used * y, weight),
        )

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(
            self.weight,
            self.number + other.number,
            self.count + other.count,
            self.y + other.y,
            self.x + other.x,
            self.xy + other.xy,
        )

    def pattern(self) -> Tensor:
        """The direction in which x and y vary together, scaled so that w . a = 1."""
        shape = [-1, *[1] * (self.weight.dim() - 1)]
        count = self.count.clamp(min=1).view(shape)
        means = self.x / count * (self.y.view(shape) / self.number)
        covariance = self.xy / count - means
        whole = (self.weight * covariance).flatten(1).sum(1)
        # Rounding leaves a rest of the means' size where the answers do not vary.
        rest = (self.weight.abs() * means.abs()).flatten(1).sum(1)
        varies = whole.abs() > 1e-12 * rest
        return torch.where(varies.view(shape), covariance / whole.view(shape), 0)


def _by_output(values: Tensor, axis: int) -> Tensor:
    """Sums over all axes but the one of outputs."""
    return values.movedim(axis, 0).flatten(1).sum(1)


def _gradient(relevance: Tensor, gradient: Callable[[Tensor], Tensor]) -> Tensor:
    return gradient(relevance)


def _fingerprint(model: nn.Module) -> object:
    """What tells networks of other weights apart."""
    values = [value.detach() for value in (*model.parameters(), *model.buffers())]
    return tuple(
        (tuple(v.shape), float(v.double().sum()), float(v.double().square().sum()))
        for v in values
        if v.numel()
    )
