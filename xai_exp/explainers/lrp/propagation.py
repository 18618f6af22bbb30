"""What every method has that sends a target's logit back by rules."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.explainers.backward import guards
from xai_exp.explainers.backward.engine import backpropagate
from xai_exp.explainers.backward.precision import Fragile, in_double, needs_double
from xai_exp.explainers.backward.rules import Account, Rules
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.promises import evenness, gap, value
from xai_exp.types import Heatmaps, Images, Labels


class Propagation(ABC):
    """Relevance of each pixel for the target's logit, by the rules that a subclass gives.

    `positive` says that the logit is cut at zero before it is sent back.
    """

    positive: ClassVar[bool] = False

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Passes for one heatmap."""

    @property
    def conserving(self) -> bool:
        """Whether no rule lets anything but pixels keep relevance, so that the sum is the start."""
        return False

    @property
    def fragile(self) -> Fragile:
        """On which networks rounding may decide; see `precision`."""
        return "never"

    @abstractmethod
    def rules(self) -> Rules:
        """How relevance goes back through each kind of layer."""

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """Relevance of every pixel, summed over channels."""
        return ops.channel_sum(self._relevance(model, images, targets, None))

    def account(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> list[tuple[str, Tensor, Tensor]]:
        """What each linear layer got and passed on, image by image, from the output backward."""
        account = Account()
        self._relevance(model, images, targets, account)
        return account.closed()

    def diagnostics(
        self, model: nn.Module, images: Images, targets: Labels
    ) -> Mapping[str, Tensor]:
        """Conservation by layer, distance to input x gradient (`guards`), gap, evenness."""
        account = Account()
        relevance = self._relevance(model, images, targets, account)
        found = dict(guards.of_relevance(model, images, targets, relevance, account))
        if self.conserving:
            start = value(model, images, targets)
            start = start.clamp(min=0) if self.positive else start
            found["completeness_gap"] = gap(ops.channel_sum(relevance), start)
        return {**found, **evenness(self, model, images, targets)}

    def _relevance(
        self, model: nn.Module, images: Images, targets: Labels, account: Account | None
    ) -> Images:
        given = images
        if needs_double(model, images, self.fragile):
            model, given = in_double(model), images.double()
        rules, cut = self.rules(), self.positive
        found = backpropagate(
            model, given, targets, rules, from_logit=True, positive=cut, account=account
        )
        return found.to(images.dtype)
