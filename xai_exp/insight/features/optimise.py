"""The optimisation: images that an objective likes, under any small transformation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from xai_exp.compute import ops
from xai_exp.compute.norms import RightGradients
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.insight import Subject
from xai_exp.insight.features.lens import lens
from xai_exp.insight.features.objectives import LOGITS, Fitted
from xai_exp.insight.features.parameterisations import Parameterisation
from xai_exp.insight.features.penalties import Penalty
from xai_exp.types import Images, Scores

_EXAMPLES = 32  # real images that a parameterisation may look at


@configured
class Robustness:
    """Random shifts, sizes and turns, each image its own, a new one every step.

    Args:
        jitter: the largest shift, as a share of the image's side.
        scale: the largest change of size, as a share.
        degrees: the largest turn.
    """

    jitter: Annotated[float, Range(0, 0.5)] = 0.06
    scale: Annotated[float, Range(0, 0.5)] = 0.1
    degrees: Annotated[float, Range(0, 180)] = 5.0

    def __call__(self, images: Images, source: torch.Generator) -> Images:
        """The images as they are seen this time; what comes into view is mirrored."""
        draws = (2 * torch.rand(4, len(images), generator=source) - 1).to(images.device)
        angle = draws[0] * math.radians(self.degrees)
        size = 1 + self.scale * draws[1]
        shift = 2 * self.jitter * draws[2:]
        cosine, sine = size * angle.cos(), size * angle.sin()
        first = torch.stack([cosine, -sine, shift[0]], 1)
        theta = torch.stack([first, torch.stack([sine, cosine, shift[1]], 1)], 1)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How images are optimised.

    Attributes:
        parameterisation: what is free.
        robust: what they are seen through; None: as they are.
        penalties: what is taken off.
        steps: of Adam.
        rate: its learning rate.
    """

    parameterisation: Parameterisation
    robust: Robustness | None
    penalties: Mapping[str, Penalty]
    steps: Count
    rate: float


@dataclass(frozen=True, kw_only=True)
class Made:
    """Optimised images, and how well they do: before and after, seen as they are."""

    images: Images
    start: Scores
    score: Scores


def optimised(subject: Subject, objectives: Sequence[tuple[float, Fitted]], plan: Plan) -> Made:
    """Images that the sum of the weighed objectives likes, less the weighed penalties.

    As many as the first objective names; the same for the same seed.

    Raises:
        InputError: when a score is no longer finite, or objectives are of different numbers.
    """
    count = len(objectives[0][1].names)
    for _, one in objectives:
        if len(one.names) not in (1, count):
            raise InputError(
                f"visualisation: got objectives for {count} and {len(one.names)} images; allowed: "
                "equal numbers"
            )
    source = torch.Generator().manual_seed(subject.seed)
    example = subject.images(_EXAMPLES)
    channels, (height, width) = subject.data.channels, subject.data.size
    canvas = plan.parameterisation.begin((count, channels, height, width), example, source)
    adam = torch.optim.Adam(list(canvas.free), lr=plan.rate)
    names = {name for _, one in objectives for name in one.layers} - {LOGITS}
    network = subject.network
    with RightGradients(), ops.evaluating(network), lens(network, sorted(names)) as seen:

        def scored(view: Images, images: Images) -> Tensor:
            seen[LOGITS] = network(view)
            return torch.stack([weight * one(seen, images) for weight, one in objectives]).sum(0)

        with torch.no_grad():
            start = scored(canvas.images(), canvas.images())
        for _ in trange(plan.steps, desc="optimise", leave=False, disable=None):
            images = canvas.images()
            view = images if plan.robust is None else plan.robust(images, source)
            score = scored(view, images)
            for penalty in plan.penalties.values():
                score = score - penalty.weight * penalty(images)
            if not bool(score.isfinite().all()):
                raise InputError(
                    f"visualisation: got scores that are not finite at the rate {plan.rate:g}; "
                    "allowed: a smaller one"
                )
            adam.zero_grad()
            if score.requires_grad:
                (-score.sum()).backward(inputs=list(canvas.free))
                adam.step()
        with torch.no_grad():
            images = canvas.images()
            return Made(images=images.clamp(0, 1), start=start, score=scored(images, images))
