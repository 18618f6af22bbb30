"""What several metrics of one case share, computed once: keys, clean outputs, rankings, masks.

Everything here is a pure function of the case and its generator's seed, so a score does not depend
on which metrics ran before, nor on which other images are in the batch.
"""

from collections.abc import Callable, Hashable
from typing import Literal, TypeVar

import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.compute.values import probabilities
from xai_exp.config import InputError
from xai_exp.removal.imputers import Filling, Replacement
from xai_exp.types import (
    Case,
    Copies,
    Counts,
    Curves,
    Flags,
    Heatmaps,
    Keys,
    Labels,
    Logits,
    Masks,
    Order,
    Parts,
    Places,
    Removal,
    Scores,
    StepLogits,
    StepMasks,
    Together,
)

T = TypeVar("T")
Output = Literal["logit", "probability"]
Answer = Literal["logit", "probability", "correct"]


def once(case: Case, key: Hashable, compute: Callable[[], T]) -> T:
    """`compute()`, or what it gave when this case was asked for `key` before."""
    if key not in case.memo:
        case.memo[key] = compute()
    return case.memo[key]


def keys(case: Case, name: str) -> Keys:
    """Each image's key for the purpose `name`, from its pixels and the generator's seed."""
    seed = case.generator.initial_seed()
    own = once(case, "keys", lambda: ops.image_keys(case.images, seed))
    return ops.named_keys(own, name)


def finite(case: Case) -> Flags:
    """Which heatmaps have no NaN and no infinity; the others have no score."""
    # Zero times anything that is not finite is NaN: a tenth of the time of asking each value.
    return once(case, "finite", lambda: (case.heatmaps * 0).sum((1, 2)) == 0)


def where_defined(case: Case, scores: Scores, defined: Flags | None = None) -> Scores:
    """The scores, NaN where `defined` is false or the heatmap is not finite."""
    good = finite(case) if defined is None else finite(case) & defined
    return torch.where(good, scores, torch.nan)


def undefined(case: Case) -> Scores:
    """No score for any image."""
    return torch.full_like(case.heatmaps[:, 0, 0], torch.nan)


def clean_logits(case: Case) -> Logits:
    """The model's logits on the untouched images."""

    def compute() -> Logits:
        with ops.evaluating(case.model):
            return ops.logits(network(case), case.images)

    return once(case, "logits", compute)


def network(case: Case) -> nn.Module:
    """The model in fewer steps: outputs that are compared must come from it alike."""

    def compute() -> nn.Module:
        with ops.evaluating(case.model):
            return streamlined(case.model, case.images[:1])

    return once(case, "network", compute)


def _chunk(case: Case) -> int:
    """How many images one call gets: of values half as long twice as many fit into the cache."""
    return ops.chunk_size(case.images) * (2 if case.precision == "bfloat16" else 1)


@torch.no_grad()
def perturbed_logits(case: Case, copies: Copies) -> Logits:
    """The model's logits on perturbed images, in the case's precision, given back as they were."""
    half, model = case.precision == "bfloat16", network(case)
    with torch.autocast(copies.device.type, torch.bfloat16, enabled=half):
        return ops.logits(model, copies, _chunk(case)).to(copies.dtype)


def target_output(case: Case, logits: Logits, targets: Labels, output: Answer) -> Scores:
    """Each target's value or probability, or 1 where it is the prediction and 0 where not.

    `output: logit` is the value that the case explains, such as the centred logit.
    """
    if output == "correct":
        return (logits.argmax(1) == targets).to(logits.dtype)
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return ops.pick(logits if output == "logit" else probabilities(logits, case.value), targets)


def clean_output(case: Case, output: Answer) -> Scores:
    """Each target's output on the untouched images."""
    return target_output(case, clean_logits(case), case.targets, output)


def ranking(case: Case) -> Order:
    """Every heatmap's pixels from most to least relevant, ties in a random order."""
    return once(
        case,
        "ranking",
        lambda: ops.keyed_descending(case.heatmaps.flatten(1), keys(case, "ranking")),
    )


def places(case: Case) -> Places:
    """Every pixel's place in its heatmap's ranking: 0 is the most relevant."""

    def compute() -> Places:
        return ops.ranks(ranking(case)).int().view(case.heatmaps.shape)

    return once(case, "places", compute)


def coverage(case: Case) -> Heatmaps:
    """How much of each pixel the case's parts fill together, in 0..1."""
    return once(case, "coverage", lambda: parts(case).sum(1).clamp(max=1))


def mask(case: Case) -> Masks:
    """The pixels of which the case's parts fill more than half."""
    return once(case, "mask", lambda: ops.union(parts(case)))


def parts(case: Case) -> Parts:
    """The case's part masks.

    Raises:
        InputError: when it has none.
    """
    if case.parts is None:
        raise InputError("localisation: got a case without parts; allowed: data with masks")
    return case.parts


def outputs_under_masks(
    case: Case,
    removal: Removal,
    masks: Callable[[slice, slice], StepMasks],
    steps: int,
    output: Answer,
) -> Curves:
    """Each target's output without the pixels under the masks of each step.

    `masks(rows, steps)` gives those of some images and steps, True where a pixel is gone. The
    result is (batch, step).
    """

    def copies(rows: slice, columns: slice) -> Copies:
        return removal(rows, masks(rows, columns))

    return _outputs(case, copies, steps, output, _together(removal))


def _together(removal: Removal) -> int:
    return removal.together if isinstance(removal, Together) else 1


def outputs_under_removal(
    case: Case, removal: Removal, places: Places, counts: Counts, output: Answer
) -> Curves:
    """Each target's output when the pixels whose place is below a step's count are gone.

    Shapes: `places` (batch, height, width), `counts` (step,), result (batch, step). A mask is one
    comparison, and a removal that has `nested` needs none.
    """
    places, counts = places.int(), counts.int().to(places.device)
    if isinstance(removal, Replacement | Filling):
        nested = removal.nested(places)

        def copies(rows: slice, steps: slice) -> Copies:
            return nested(rows, counts[steps])

        return _outputs(case, copies, len(counts), output, _together(removal))

    def masks(rows: slice, steps: slice) -> StepMasks:
        return places[rows, None] < counts[steps, None, None]

    return outputs_under_masks(case, removal, masks, len(counts), output)


@torch.no_grad()
def _outputs(
    case: Case,
    copies: Callable[[slice, slice], Copies],
    steps: int,
    output: Answer,
    together: int = 1,
) -> Curves:
    """Each target's output on the copies that `copies(rows, steps)` makes of some images and steps.

    A perturbed batch holds many images x many steps: all steps of few images, which stay in the
    cache. A removal that solves all of its masks together says by `together` how many chunks of the
    model it wants at once, and gets few steps of all images, since its work grows with the step.
    """

    def block(rows: slice, columns: slice) -> StepLogits:
        made = copies(rows, columns)
        return perturbed_logits(case, made).unflatten(0, (-1, columns.stop - columns.start))

    size = _chunk(case) * together
    with ops.evaluating(case.model):
        if together > 1:
            turned = ops.in_grid(lambda a, b: block(b, a).transpose(0, 1), steps, len(case), size)
            found = turned.transpose(0, 1)
        else:
            found = ops.in_grid(block, len(case), steps, size)
    given = case.targets.repeat_interleave(steps)
    return target_output(case, found.flatten(0, 1), given, output).view(-1, steps)
