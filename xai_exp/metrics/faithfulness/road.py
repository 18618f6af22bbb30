"""ROAD, remove and debias: what the model says as pixels go and the holes are filled smoothly."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from xai_exp.config import Range, configured
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.faithfulness.curves import shares
from xai_exp.metrics.shared import Answer
from xai_exp.removal.imputers import NoisyLinear
from xai_exp.types import Case, Curves, Imputer, Scores

Order = Literal["morf", "lerf", "both"]


@configured
class ROAD:
    """How often the model still says the target while pixels go and are filled from around them.

    Rong et al. 2022 (ICML, "A consistent and efficient evaluation strategy for attribution
    methods"): remove a share of the pixels in the order of relevance, fill them by noisy linear
    imputation (imputer `road`), and see whether the prediction is still the target y,

        morf = 1/L * sum over k = 1..L of [argmax f(x without its most relevant k/L * fraction) = y]

    `lerf` removes the least relevant first, `both` is lerf - morf. The mean over images is the
    paper's accuracy, averaged over its shares; `output` takes probability or logit instead. LOWER
    is better for morf, HIGHER for lerf and both, which is 0 in the mean for a random heatmap. Range
    0..1 for `correct` and `probability` (-1..1 for both), in steps of 1/L for `correct`. The clean
    image is no step.

    Cost: `steps` x `repeats` forward passes an image for each order, and as many linear systems,
    each half to one forward pass of a small network (Quantus: 8 to 29 passes each); curves are
    shared with pixel_flipping of equal settings.

    Pitfalls: 0 or 1 at each of few steps is coarse, so single images tie; many images are needed. A
    prediction that is wrong from the start (`target=label`) counts against every heatmap. The fill
    lets the object flow into a hole inside it. Equal values go in a random order of the seed.
    Quantus keeps the average over images of its first batch only and forgets the others, so it has
    no score an image; it takes 50 steps from 1 to 99 percent and leaves equal values in the order
    that its sort happens to give.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is not finite"

    imputer: Imputer = NoisyLinear()
    order: Order = "morf"
    steps: Annotated[int, Range(1)] = 9
    fraction: Annotated[float, Range(0, 1, exclusive_low=True)] = 0.9
    output: Answer = "correct"
    repeats: Annotated[int, Range(1)] = 1

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better: not if the most relevant go first."""
        return self.order != "morf"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        return self.score(self.curves(case))

    def curves(self, case: Case) -> Mapping[str, Curves]:
        """`x`, the share of pixels removed, and the model's answer in every order needed."""
        counts = removal.spaced_counts(case, self.steps, self.fraction)
        settings = (self.imputer, counts, self.output, self.repeats)
        orders = ("morf", "lerf") if self.order == "both" else (self.order,)
        return {"x": shares(case, counts)} | {
            order: removal.pixel_curve(case, *settings, order=order) for order in orders
        }

    def score(self, curves: Mapping[str, Curves]) -> Scores:
        """The mean answer over the steps after the clean one."""
        means = {name: curve[:, 1:].mean(1) for name, curve in curves.items() if name != "x"}
        return means["lerf"] - means["morf"] if self.order == "both" else means[self.order]
