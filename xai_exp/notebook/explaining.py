"""Explainers bound to what people give, applied to networks and pictures of theirs."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp import scoring
from xai_exp.compute import machine, ops
from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.data.loading import Splits, TensorSplit
from xai_exp.errors import in_a_line
from xai_exp.explainers.reference import Reference
from xai_exp.notebook import networks, pictures
from xai_exp.notebook.composing import chosen
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.notebook.heatmaps import Heatmaps
from xai_exp.scoring import Sample
from xai_exp.types import Dataset, Explainer, Images, Positions, Scenes

Names = str | Sequence[str] | Mapping[str, Any]


class NoImages:
    """A split that refuses to be asked for what nobody gave."""

    labels = torch.zeros(0, dtype=torch.long)

    def __len__(self) -> int:
        raise self._refusal()

    def images(self, index: Positions) -> Images:  # noqa: ARG002
        """Refused."""
        raise self._refusal()

    def scenes(self, index: Positions) -> None:
        """None: nothing is rendered."""

    def parts(self, index: Positions) -> None:
        """None: nothing has masks."""

    def _refusal(self) -> InputError:
        return InputError(
            "it needs reference images: got none; allowed: references=IMAGES, such as those that "
            "the network learnt from"
        )


@dataclass(frozen=True, kw_only=True)
class References(Splits):
    """Reference images in the place of a dataset's training split."""

    given: Images | None
    classes: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)

    def split(self, which: int) -> TensorSplit | NoImages:  # noqa: ARG002
        """The reference images."""
        if self.given is None:
            return NoImages()
        labels = torch.zeros(len(self.given), dtype=torch.long)
        return TensorSplit(pixels=self.given, labels=labels)


def made(wanted: Names, given: Mapping[str, object], seed: int) -> dict[str, Explainer]:
    """The explainers of these names with these fields; a mapping holds ready ones, or fields.

    Raises:
        InputError: for a name, field or value that there is not.
    """
    ready: dict[str, Any] = {}
    if isinstance(wanted, Mapping):
        ready = {name: one for name, one in wanted.items() if callable(one)}
        own = {name: one for name, one in wanted.items() if not callable(one)}
        wanted, given = list(own), {**given, **own}
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if not names and not ready:
        raise InputError("explainers: got none; allowed: one name or a list, see xe.explainers()")
    if not names:
        return ready
    config = chosen("explainer", names, given, f"seed={_seed(seed)}")
    return {**made_of(config).explainers, **ready}


def _seed(seed: object) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise InputError(f"seed: got {seed!r}; allowed: a whole number >= 0 and < 2^31")
    return seed


def sampled(
    network: nn.Module, shown: pictures.Pictures | Scenes, masks: pictures.Masks | None
) -> Sample:
    """The pictures as a sample on the network's device, labels still to be chosen."""
    scenes = shown if isinstance(shown, Scenes) and not isinstance(shown, Tensor) else None
    where = networks.home(network)[0] if isinstance(network, nn.Module) else torch.device("cpu")
    if scenes is not None:
        scenes = scenes.to(where)
        images, parts = scenes.render(), scenes.parts()
    else:
        images, parts = pictures.read(shown).to(where), None  # pyright: ignore[reportArgumentType]
    if masks is not None:
        parts = pictures.masks(masks, images)
    labels = torch.zeros(len(images), dtype=torch.long, device=where)
    return Sample(images=images, labels=labels, scenes=scenes, parts=parts)


def answers(asked: nn.Module, sample: Sample, question: Question) -> nn.Module:
    """The network whose outputs are the asked value."""
    against = question.against if isinstance(question.against, int) else 0
    return sample.answering(asked, question.value, against)


def explained(
    asked: nn.Module,
    explainers: Mapping[str, Explainer],
    sample: Sample,
    predictions: Tensor,
    references: Images | None,
    question: Question,
    note: str = "",
    reference: Reference = "own",
) -> Heatmaps:
    """The heatmaps of all explainers that can explain this network, measured from the reference.

    Raises:
        InputError: when none can.
    """
    machine.tune_allocator()
    data: Dataset = References(given=references)  # pyright: ignore[reportAssignmentType]
    maps, used, skipped, causes = {}, {}, {}, []
    answering = answers(asked, sample, question)
    for name, explainer in explainers.items():
        try:
            ready = scoring.bound(explainer, asked, data, sample, reference)
            scoring.refuse_other_output(ready, question.value)
            with ops.evaluating(answering):
                found = ready(answering, sample.images, sample.labels)
            scoring.refuse_not_finite(found)
        except Exception as error:
            # Whatever a method raises on someone's network is its own failure; the others go on.
            skipped[name] = str(error) if isinstance(error, InputError) else in_a_line(error)
            causes.append(error)
            continue
        maps[name], used[name] = found.detach().cpu(), ready
    if not maps:
        first = next(iter(skipped))
        raise InputError(f"explainer {first}: {skipped[first]}") from causes[0]
    for name, why in skipped.items():
        warnings.warn(f"explainer {name} is skipped: {why}", stacklevel=3)
    for name, found in maps.items():
        if lost := int((~found.isfinite()).flatten(1).any(1).sum()):
            warnings.warn(
                f"explainer {name}: {lost} of {len(found)} heatmaps hold NaN or infinity",
                stacklevel=3,
            )
    return Heatmaps(
        maps=maps,
        explainers=used,
        network=asked,
        question=question,
        sample=sample,
        predictions=predictions,
        skipped=skipped,
        note=note,
    )
