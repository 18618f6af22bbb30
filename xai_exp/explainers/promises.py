"""The books: what explainers promise of their heatmaps, and by how much each one falls short.

A method that promises something stores its gap with every run, as guards by these names:

- `completeness_gap`: |sum of the heatmap - what it promises to add up to|, as a share of the
  latter: a difference of logits, a logit, or 1 for a probability that is shared out. Where it is
  above its bound, what is promised is calculated again in float64: a difference of two logits
  that agree in seven digits is nothing but rounding in float32, and no heatmap could add up to it.
- `sampling_gap`: the same for a sum that holds in the mean over draws only.
- `conservation_error`: what relevance propagation lost or made on its way, by definition, too: a
  bias that stands in a rule's denominator keeps its share (see `backward.guards`). So the mark is
  for what lost nearly all of it, as deep networks with batch norms do by rules with biases.
- `growth`: the largest value of the heatmap as a multiple of what was sent back, for methods that
  promise no sum: a network that multiplies it without end is not explained.
- `negative_activations`: the largest share of a layer's input that is negative, for a method that
  reads activations as probabilities (`lrp.excitation`).
- `evenness/alone`: the largest difference between the first image's heatmap alone and in a batch,
  as a share of its largest value; `evenness/float64`: between float32 and float64. They cost a few
  passes of one image, so they are measured on the first one only and have ONE entry, not one an
  image: no other image has a value.

A guard above its bound (`BOUNDS`) is a mark in the table, the gallery and the page. The heatmap is
shown all the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.explainers.backward.precision import in_double
from xai_exp.types import Diagnoses, Explain, Explainer, Heatmaps, Images, Labels, Scores

_ROUNDING = 1e-3
_EVENNESS = ContextVar("evenness", default=True)


@dataclass(frozen=True)
class Bound:
    """The most that a guard may be, and the words for one that is more."""

    most: float
    words: str
    first_only: bool = False


BOUNDS: Mapping[str, Bound] = {
    "completeness_gap": Bound(0.01, "sum off by {}"),
    "sampling_gap": Bound(0.25, "sum off by {}"),
    "conservation_error": Bound(0.99, "relevance lost or made: {}"),
    "growth": Bound(1e3, "values {} of what was sent back"),
    "negative_activations": Bound(0.0, "negative activations, which it does not know: {}"),
    "evenness/alone": Bound(1e-3, "alone and in a batch {} apart", first_only=True),
    "evenness/float64": Bound(1e-3, "float32 and float64 {} apart", first_only=True),
}


class Promises(ABC):
    """An explainer whose heatmaps add up to something that can be known without them."""

    @property
    def gap(self) -> str:
        """The guard that holds the gap of the sum."""
        return "completeness_gap"

    @abstractmethod
    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmap of each image."""

    @abstractmethod
    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores | None:
        """What each heatmap should add up to; None if these settings promise nothing."""

    def gaps(
        self, model: nn.Module, images: Images, targets: Labels, heatmaps: Heatmaps
    ) -> Mapping[str, Scores]:
        """The guards of heatmaps that are made already: a few forward passes."""
        wanted = self.promised(model, images, targets)
        if wanted is None:
            return {}
        found = gap(heatmaps, wanted)
        rows = ~(found <= BOUNDS[self.gap].most)
        if rows.any() and rounded(images):
            # Of two logits that are nearly equal float32 leaves no difference that could be missed.
            exact = self.promised(in_double(model), images.double(), targets)
            assert exact is not None
            found = found.where(~rows, gap(heatmaps, exact))
        return {self.gap: found}

    def diagnostics(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> Mapping[str, Scores]:
        """The guards; heatmaps are made for it, which `gaps` saves."""
        if self.promised(model, images, targets) is None:
            return {}
        return self.gaps(model, images, targets, self(model, images, targets))


def rounded(images: Images) -> bool:
    """Whether these are explained in float32 where there is float64, too."""
    return images.dtype == torch.float32 and images.device.type != "mps"


def guards(
    explainer: Explainer, model: nn.Module, images: Images, targets: Labels, heatmaps: Heatmaps
) -> Mapping[str, Scores]:
    """What the explainer says of its own work on heatmaps that it made; most say nothing."""
    if isinstance(explainer, Promises):
        return explainer.gaps(model, images, targets, heatmaps)
    if isinstance(explainer, Diagnoses):
        return explainer.diagnostics(model, images, targets)
    return {}


def gap(heatmaps: Heatmaps, promised: Scores) -> Scores:
    """|sum - promised| / |promised|, of which a thousandth of the absolute sum is the least.

    Where large contributions cancel rounding decides what is left, hence the least; 0 where there
    is neither a heatmap nor a promise.

    >>> gap(torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]]), torch.tensor([4.0, 0.0]))
    tensor([0.2500, 0.0000])
    """
    flat, wanted = heatmaps.detach().flatten(1).double(), promised.double()
    error = (flat.sum(1) - wanted).abs()
    size = torch.maximum(wanted.abs(), _ROUNDING * flat.abs().sum(1))
    return torch.where(error == 0, 0, error / size).to(heatmaps.dtype)


class Integral(Promises):
    """A method that sums gradients at points on a way, and promises what their integral is.

    With `most`, the points are doubled for each image whose sum is off by more than its bound; an
    image that needs more than `most` keeps its gap, which is stored. Without, there are `steps`.
    """

    steps: int
    most: int | None

    @abstractmethod
    def summed(self, model: nn.Module, images: Images, targets: Labels, steps: int) -> Heatmaps:
        """The sum over so many points at every pixel, and over channels."""

    @abstractmethod
    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """What the integral adds up to."""

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The integral at every pixel, summed over channels."""
        found, steps = self.summed(model, images, targets, self.steps), self.steps
        if self.most is None:
            return found
        wanted, close = self.promised(model, images, targets), BOUNDS["completeness_gap"].most
        rows = (gap(found, wanted) > close).nonzero()[:, 0]
        while len(rows) and steps < self.most:
            steps = min(2 * steps, self.most)
            found[rows] = self.summed(model, images[rows], targets[rows], steps)
            rows = rows[gap(found[rows], wanted[rows]) > close]
        return found


def value(model: nn.Module, images: Images, targets: Labels) -> Scores:
    """The target's logit of each image."""
    with ops.evaluating(model):
        return ops.pick(ops.logits(model, images), targets)


def evenness(
    explain: Explain, model: nn.Module, images: Images, targets: Labels
) -> Mapping[str, Tensor]:
    """How far the first image's heatmap moves with its company and with the precision.

    >>> evenness(lambda model, images, targets: images[:, 0], nn.Identity(),
    ...          torch.ones(2, 1, 1, 1), torch.tensor([0, 0]))["evenness/alone"]
    tensor([0.])
    """
    if not len(images) or not _EVENNESS.get():
        return {}
    one, wanted = images[:1], targets[:1]
    alone = explain(model, one, wanted)
    pair = (
        (images[:2], targets[:2]) if len(images) > 1 else (one.repeat(2, 1, 1, 1), wanted.repeat(2))
    )
    found = {"evenness/alone": _apart(alone, explain(model, *pair)[:1])}
    if rounded(images):
        exact = explain(in_double(model), one.double(), wanted)
        found["evenness/float64"] = _apart(alone, exact)
    return found


@contextmanager
def sums_only() -> Iterator[None]:
    """Within it evenness, which costs several explanations more, is not measured."""
    before = _EVENNESS.set(False)
    try:
        yield
    finally:
        _EVENNESS.reset(before)


def _apart(one: Heatmaps, other: Heatmaps) -> Tensor:
    """The largest difference of two heatmaps as a share of the largest value: (1,)."""
    one, other = one.detach().double(), other.detach().double()
    apart, size = (one - other).abs().amax(), torch.maximum(one.abs().amax(), other.abs().amax())
    return torch.where(apart == 0, 0, apart / size).float()[None]


def broken(guards: Mapping[str, Tensor | np.ndarray]) -> list[str]:
    """A line for every promise that some image broke; values that are no numbers broke it, too.

    >>> broken({"completeness_gap": torch.tensor([0.0, 0.234, 0.1])})
    ['sum off by up to 23 % (bound 1 %) on 2 of 3 images']
    """
    # With a gap of the sum the error of conservation says the same, less strictly.
    said = "conservation_error" if "completeness_gap" in guards else ""
    found = [(b, _numbers(guards[n])) for n, b in BOUNDS.items() if n in guards and n != said]
    return [_line(bound, values) for bound, values in found if not (values <= bound.most).all()]


def _numbers(values: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)


def _line(bound: Bound, values: np.ndarray) -> str:
    over = ~(values <= bound.most)
    worst = float(values[over].max()) if np.isfinite(values[over]).all() else np.inf
    size = f"up to {_percent(worst)}" if np.isfinite(worst) else "more than numbers can say"
    size = size.removeprefix("up to ") if bound.first_only else size
    where = "the first image" if bound.first_only else f"{over.sum()} of {len(values)} images"
    return f"{bound.words.format(size)} (bound {_percent(bound.most)}) on {where}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if 0.1 <= share < 100 else f"{100 * share:.2g} %"
