"""Integrated gradients in the mean over reference images: no baseline has to be chosen.

Conventions: as in gradients.py; references are images of the training split, all of which may be
drawn. An image draws the same samples alone and in a batch.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.gradients.averaged import noise
from xai_exp.explainers.promises import Promises, value
from xai_exp.explainers.pullback import gradients_at
from xai_exp.types import Heatmaps, Images, Labels, Scores


@configured
class ExpectedGradients:
    r"""The mean over references x', places a in 0..1 and noise n of gradients times differences.

    $E[(\tilde x - x') \, \partial f_t(x' + a (\tilde x - x')) / \partial x]$ with
    $\tilde x = x + \sigma n$. Without noise it is expected gradients (Erion et al. 2021), the mean
    of integrated gradients over the references. With noise on the image it is GradientSHAP
    (Lundberg and Lee 2017; shap's GradientExplainer, captum's GradientShap), which smooths the
    image's end of each way, too. Both are near Shapley values only where features are independent
    and the network is nearly linear on the ways. It sums to $E[f_t(\tilde x)] - E[f_t(x')]$ within
    the error of sampling. It must be bound to references first (`fit`).

    Cost: `samples` forward and backward passes.

    Args:
        samples: of (reference, place, noise), for each image its own.
        sigma: standard deviation of the noise, in grey levels.
        places: stratified: one sample in each of `samples` equal parts of the way, which has the
            same mean and less error; independent: anywhere, as in the papers.
        seed: of the draws.
    """

    samples: Annotated[int, Range(1, 100_000)] = 64
    sigma: Annotated[float, Range(0, 10)] = 0.0
    places: Literal["stratified", "independent"] = "stratified"
    seed: Annotated[int, Range(0)] = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return Cost(forward=1, backward=1) * self.samples

    def fit(self, model: nn.Module, images: Images) -> "BoundExpectedGradients":  # noqa: ARG002
        """This explainer with `images` as its references.

        Raises:
            InputError: for no images.
        """
        if not len(images):
            raise InputError("expected_gradients: got 0 reference images; allowed: 1 or more")
        return BoundExpectedGradients(explainer=self, references=images)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is nothing to compare with.

        Raises:
            InputError: always.
        """
        raise InputError(
            "expected_gradients: got no reference images; allowed: fit(model, images) with some "
            "first"
        )


@dataclass(frozen=True, kw_only=True)
class BoundExpectedGradients(Promises):
    """Expected gradients with their references."""

    explainer: ExpectedGradients
    references: Images

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        return self.explainer.cost

    @property
    def gap(self) -> str:
        """The sum holds in the mean over draws."""
        return "sampling_gap"

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Expected gradients at every pixel, summed over channels.

        Raises:
            InputError: when the references have another shape.
        """
        shapes = [" x ".join(map(str, one.shape[1:])) for one in (self.references, images)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"expected_gradients: got references of {shapes[0]}; allowed: as the images, "
                f"{shapes[1]}"
            )
        count, keys = self.explainer.samples, ops.image_keys(images, self.explainer.seed)
        ways: dict[range, Tensor] = {}
        total = torch.zeros_like(images)

        def points(group: range) -> Tensor:
            start, place, end = self._drawn(keys, group, images)
            ways[group] = end - start
            return start + place * ways[group]

        for group, found in gradients_at(model, images, targets, count, points):
            total += (ways.pop(group) * found).sum(0)
        return ops.channel_sum(total / count)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores:
        """The mean of f at the (noisy) image less that at the references that were drawn."""
        count, keys = self.explainer.samples, ops.image_keys(images, self.explainer.seed)
        total = images.new_zeros(len(images))
        together = max(1, ops.chunk_size(images) // max(1, len(images)))
        for first in range(0, count, together):
            group = range(first, min(first + together, count))
            start, _, end = self._drawn(keys, group, images)
            wanted = targets.repeat(len(group))
            found = value(model, end.flatten(0, 1), wanted)
            found = found - value(model, start.flatten(0, 1), wanted)
            total += found.view(len(group), -1).sum(0)
        return total / count

    def _drawn(self, keys: Tensor, group: range, images: Images) -> tuple[Tensor, Tensor, Tensor]:
        """The references, places and noisy images of some samples, for each image its own."""
        of_each = [ops.named_keys(keys, f"expected gradients {number}") for number in group]
        drawn = ops.keyed_uniform(torch.cat(of_each), 2).view(len(group), len(images), 2)
        chosen = (drawn[..., 0].double() * len(self.references)).long()
        start = self.references.to(images)[chosen]
        place = drawn[..., 1]
        if self.explainer.places == "stratified":
            first = torch.tensor(list(group), device=place.device, dtype=place.dtype)
            place = (first[:, None] + place) / self.explainer.samples
        end = images.expand_as(start)
        if self.explainer.sigma:
            end = end + self.explainer.sigma * noise(keys, group, images, "gradient shap")
        return start, place[..., None, None, None].to(images), end
