"""Explaining images again after they have changed a little, once for all metrics that ask."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.metrics import shared
from xai_exp.types import (
    Case,
    Heatmaps,
    Images,
    Labels,
    NoOtherHeatmapsError,
    OnlyKnownImages,
    Samples,
    Scores,
    StepLogits,
)

Neighbours = Float[Tensor, "batch sample height width"]


class Around(NamedTuple):
    """What was seen around each image.

    Shapes: heatmaps (batch, sample, height, width), distances |x' - x| in the Euclidean norm
    (batch, sample).
    """

    heatmaps: Neighbours
    distances: Samples


def noisy(case: Case, rows: Tensor, radius: float) -> Images:
    """Images with uniform noise in [-radius, radius] at every value; row = image + sample * batch.

    The noise of a sample depends on the image, the seed and the sample's number alone.
    """
    count = len(case)
    samples = range(int(rows.max()) // count + 1)
    names = [shared.keys(case, f"around {sample}") for sample in samples]
    images = case.images[rows % count]
    drawn = ops.keyed_uniform(torch.cat(names)[rows], images[0].numel())
    return images + radius * (2 * drawn - 1).view(images.shape).to(images)


def around(case: Case, samples: int, radius: float) -> Around:
    """`samples` neighbours of every image explained, once for all metrics that ask for them."""

    def neighbours(rows: Tensor) -> Images:
        return noisy(case, rows, radius)

    return shared.once(case, ("around", samples, radius), lambda: seen(case, samples, neighbours))


def answers(case: Case, samples: int, radius: float) -> StepLogits:
    """What the network says of the same neighbours: (batch, sample, class), asked once."""

    def chunk(part: Tensor) -> Tensor:
        return ops.logits(shared.network(case), noisy(case, part, radius)).to(case.heatmaps)

    return shared.once(case, ("answers", samples, radius), lambda: _by_image(case, samples, chunk))


def seen(case: Case, samples: int, neighbours: Callable[[Tensor], Images]) -> Around:
    """Explain `neighbours(rows)`, rows running over all images, then over samples, in chunks."""
    count = len(case)

    def chunk(part: Tensor) -> Tensor:
        images, own = neighbours(part), part % count
        heat = explained(case, images, case.targets[own]).to(case.heatmaps)
        apart = (images - case.images[own]).flatten(1).norm(dim=1)
        return torch.cat([heat.flatten(1), apart[:, None]], 1)

    found = _by_image(case, samples, chunk)
    return Around(
        heatmaps=found[..., :-1].unflatten(2, case.heatmaps.shape[1:]), distances=found[..., -1]
    )


def _by_image(case: Case, samples: int, chunk: Callable[[Tensor], Tensor]) -> Tensor:
    """What `chunk` finds of rows, all images and then the next sample, as (batch, sample, ...)."""
    rows = torch.arange(len(case) * samples, device=case.images.device)
    with ops.evaluating(case.model):
        found = ops.in_chunks(chunk, rows, size=ops.chunk_size(case.images))
    return found.unflatten(0, (samples, len(case))).transpose(0, 1)


def explained(
    case: Case, images: Images, targets: Labels, model: nn.Module | None = None
) -> Heatmaps:
    """The heatmaps of other images, or of another model, in chunks.

    Raises:
        NoOtherHeatmapsError: when the explainer refuses them: a score less, not an explainer less.
    """

    def chunk(part: Tensor, wanted: Tensor) -> Tensor:
        return case.explain(case.model if model is None else model, part, wanted).detach()

    try:
        return ops.in_chunks(chunk, images, targets)
    except NoOtherHeatmapsError:
        raise
    except InputError as error:
        raise NoOtherHeatmapsError(
            f"it needs other heatmaps, which are refused: {error}"
        ) from error


def knows_any_image(case: Case) -> bool:
    """Whether the explainer explains any image, not only those that it was bound to."""
    explainer = case.explain
    return not (isinstance(explainer, OnlyKnownImages) and explainer.only_known_images)


def largest(values: Samples, counted: Tensor) -> Scores:
    """The largest counted value of every row; NaN where nothing is counted."""
    top = torch.where(counted, values, -torch.inf).amax(1)
    return torch.where(counted.any(1), top, torch.nan)


def mean(values: Samples, counted: Tensor) -> Scores:
    """The mean of every row's counted values; NaN where nothing is counted."""
    return torch.where(counted, values, 0).sum(1) / counted.sum(1)


def shifted(images: Tensor, right: int, down: int, fill: str = "edge") -> Tensor:
    """Images or heatmaps moved by whole pixels; what comes in repeats the edge, or comes round."""
    if fill == "circular":
        return images.roll((down, right), (-2, -1))
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    return images[..., rows, :][..., columns]
