r"""Training a network to ignore what does not decide the label, and measuring how far it does.

Each step sees every image twice, the second time with another state of the factor (a counterfactual
pair). To the cross entropy of both is added

    weight * mean over pairs and classes of (f(x) - f(x'))^2 / variance of the logits.

What is then known of the network is its certificate: the largest change of any logit over 10,000
counterfactual pairs of test images, as a share of the range of the logits of these images. At 1 %
or less it holds: relevance on the factor is then a mistake of the explanation.
"""

import logging
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.data.scenes.counterfactual import Factor, changed
from xai_exp.training import Trainer
from xai_exp.training.shares import variance
from xai_exp.types import Dataset, Index, Labels, Logits, Split

_log = logging.getLogger(__name__)

COUNTERFACTUALS = 10_000
ALLOWED = 0.01
_CHUNK = 250


@configured
class InvariantTrainer(Trainer):
    """A trainer whose networks ignore a factor, and come with a certificate of how far they do.

    Args:
        invariance: what is to be ignored: objects that do not count (ignored), or a planted tag.
        weight: of the penalty on changes.
    """

    invariance: Factor = "ignored"
    weight: Annotated[float, Range(0, exclusive_low=True)] = 1000.0

    def batch(
        self, split: Split, index: Index, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The images, then each in another state of the factor."""
        images, labels = super().batch(split, index, generator)
        others = changed(split, index, self.invariance, generator)
        return torch.cat([images, others]), labels.repeat(2)

    def loss(self, logits: Logits, labels: Labels) -> Tensor:
        """Cross entropy, and the relative change of the logits."""
        one, other = logits.chunk(2)
        change = (one - other).square().mean() / variance(logits.detach()).clamp(min=1e-6)
        return functional.cross_entropy(logits, labels) + self.weight * change

    def certificate(
        self, network: nn.Module, data: Dataset, device: torch.device, seed: int
    ) -> Mapping[str, float] | None:
        """How far the network ignores the factor; see `certified`."""
        found = certified(network, data.test, self.invariance, device, seed)
        if not found["holds"]:
            _log.warning(
                "trainer.invariance: the network is not invariant to %s: a logit changes by up to "
                "%.1f %% of the range; try more trainer.samples or a larger trainer.weight",
                self.invariance,
                100 * found["share"],
            )
        return found


def certified(
    network: nn.Module, split: Split, factor: str, device: torch.device, seed: int
) -> dict[str, float]:
    """The largest change of a logit over 10,000 counterfactual pairs of a split's images.

    Returns:
        counterfactuals: how many pairs; largest: the largest change of any logit; range: the
        largest logit minus the smallest over these images; share: largest / range, 0 is best;
        holds: 1 if the share is at most 1 %.
    """
    generator = torch.Generator().manual_seed(seed)
    largest, highest, lowest = 0.0, -torch.inf, torch.inf
    with ops.evaluating(network):
        for part in (torch.arange(COUNTERFACTUALS) % len(split)).split(_CHUNK):
            index = part.to(device)
            one = ops.logits(network, split.images(index))
            other = ops.logits(network, changed(split, index, factor, generator))
            largest = max(largest, float((one - other).abs().max()))
            highest = max(highest, float(one.max()))
            lowest = min(lowest, float(one.min()))
    share = largest / max(highest - lowest, torch.finfo(torch.float32).tiny)
    return {
        "counterfactuals": float(COUNTERFACTUALS),
        "largest": largest,
        "range": highest - lowest,
        "share": share,
        "holds": float(share <= ALLOWED),
    }
