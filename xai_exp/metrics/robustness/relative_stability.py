"""Relative stability: how much a heatmap changes beside what it should explain.

Robust is not right: the edge filter and a mask that never looks at the network do well in it.
"""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import answers, around, largest, noisy
from xai_exp.types import Case, Images, Samples, Scores


@configured
class RelativeStability:
    r"""How much more the heatmap changes, in per cent of itself, than what it should explain.

    Agarwal et al. 2022 ("Rethinking stability for attribution-based explanations"):
    the maximum over `samples` neighbours with the same prediction of

        ||(h(x) - h(x')) / h(x)||_2 / max(d, eps)

    where d is, by `against`: input: ||(x - x') / x||_2; representation: ||(L(x) - L(x')) / L(x)||_2
    with L what the network's last layer gets; output: ||f(x) - f(x')||_2 of the logits. All
    quotients are taken element by element, 0 being replaced by eps below the line. Range
    0..infinity, LOWER is better.

    Cost: `samples` explanations and forward passes an image, shared with max_sensitivity;
    representation one more forward pass for each and for the image.

    Pitfalls: pixels of almost no relevance rule the score, since they are divided by: orders of
    magnitude separate explainers, so compare ranks or logarithms. Black pixels do the same to the
    input's denominator, so on black backgrounds the input form measures eps. Where one of the
    neighbours has another prediction, Quantus gives the whole image no score (a maximum with NaN);
    here the others count.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "the heatmap is all zero, every neighbour has another prediction, or no layer has weights"
    )

    version: ClassVar[int] = 2
    against: Literal["input", "representation", "output"] = "input"
    samples: Annotated[int, Range(1)] = 10
    radius: Annotated[float, Range(0, exclusive_low=True)] = 0.02
    eps: Annotated[float, Range(0, exclusive_low=True)] = 1e-6

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        near = around(case, self.samples, self.radius)
        above = _relative(case.heatmaps[:, None], near.heatmaps, self.eps)
        said, before = answers(case, self.samples, self.radius), shared.clean_logits(case)
        apart = (said - before[:, None]).norm(dim=2)
        below = apart if self.against == "output" else self._change(case)
        if below is None:
            return shared.undefined(case)
        kept = said.argmax(2) == before.argmax(1)[:, None]
        ratios = above / below.clamp(min=self.eps)
        shown = case.heatmaps.flatten(1).any(1)  # a blank map is divided by eps alone
        return shared.where_defined(case, largest(ratios, kept & ratios.isfinite()), shown)

    @torch.no_grad()
    def _change(self, case: Case) -> Samples | None:
        """How far every neighbour's input or representation is; None where there is none."""
        view = _input if self.against == "input" else last_input
        count = len(case)

        def chunk(rows: Tensor) -> Tensor:
            after = view(case.model, noisy(case, rows, self.radius))
            return _relative(before[rows % count, None], after[:, None], self.eps)[:, 0]

        rows = torch.arange(count * self.samples, device=case.images.device)
        with ops.evaluating(case.model):
            before = ops.in_chunks(lambda images: view(case.model, images), case.images)
            if not before.numel():
                return None
            change = ops.in_chunks(chunk, rows, size=ops.chunk_size(case.images))
        return change.view(self.samples, count).T.to(case.heatmaps)


def _relative(before: Tensor, after: Tensor, eps: float) -> Tensor:
    """||(before - after) / before|| over all but the first two axes."""
    base = torch.where(before == 0, eps, before)
    return ((before - after) / base).flatten(2).norm(dim=2)


def _input(model: nn.Module, images: Images) -> Tensor:  # noqa: ARG001
    return images.flatten(1)


def last_input(model: nn.Module, images: Images) -> Tensor:
    """What the last layer with weights that ran was given, flattened; empty if there is none."""
    found: list[Tensor] = [images.new_zeros(len(images), 0)]

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG001
        found[0] = inputs[0].detach().flatten(1)

    layers = [m for m in model.modules() if isinstance(getattr(m, "weight", None), nn.Parameter)]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0]
