"""Heatmaps and their scores: one explainer on one model over the evaluation sample."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xai_exp.compute import machine, ops
from xai_exp.compute.chunks import PIECE
from xai_exp.compute.sample import Chosen, Sample, first, logits
from xai_exp.compute.sample import sample as sample
from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.data.loading import files_of
from xai_exp.errors import in_a_line
from xai_exp.explainers.known import Elsewhere, Known
from xai_exp.explainers.promises import guards
from xai_exp.explainers.reference import Reference, referred
from xai_exp.metrics.truth.cues import about_cues
from xai_exp.metrics.truth.parts import about_truths, worth_and_shown
from xai_exp.types import (
    AsksForOutput,
    Case,
    CurveMetric,
    Dataset,
    Explainer,
    IsFitted,
    Labels,
    MakesNone,
    Metric,
    NeedsParts,
    NoOtherHeatmapsError,
    OfCertainImages,
    Precision,
    TakesScenes,
    UsesReferences,
    Value,
    WeightedMetric,
)

_REFERENCES = 256
_AT_ONCE = PIECE
_REASON = 300  # characters of an error that are kept


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one explainer gave: a heatmap an image, a row a score, curves where a metric has them.

    `scores` has the columns image, label, prediction, target, metric, higher_is_better, score,
    weight (what the image counts in the metric's mean), and reason, which says why a score is
    missing and is empty otherwise. `diagnostics` is what the
    explainer says of its own work, a value an image (most say nothing), and what has to be known
    beside an exact truth (`xai_exp.metrics.truth.parts.about_truths`). `parts` has, by division,
    the exact values of parts and the relevance on each, if a metric asked for the truth.
    """

    heatmaps: Tensor
    predictions: Tensor
    targets: Tensor
    scores: pd.DataFrame
    curves: Mapping[str, Mapping[str, Tensor]]
    seconds_per_image: float
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    parts: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


def bound(
    explainer: Explainer,
    network: nn.Module,
    data: Dataset,
    chosen: Chosen,
    reference: Reference = "own",
) -> Explainer:
    """The explainer with what it needs beyond images: reference images, scenes or ground truth.

    Raises:
        InputError: when it needs ground truth that the data do not have.
    """
    explainer = referred(explainer, reference)
    if isinstance(explainer, OfCertainImages):
        files = files_of(data.test, chosen.at)
        return explainer.for_images(chosen.images, chosen.at, files)
    if isinstance(explainer, NeedsParts):
        if chosen.parts is None:
            raise InputError("it needs masks of what is in the image, which the data do not have")
        return explainer.with_parts(chosen.images, chosen.parts)
    if isinstance(explainer, TakesScenes) and chosen.scenes is not None:
        return explainer.with_scenes(chosen.images, chosen.scenes)
    if isinstance(explainer, IsFitted):
        wanted = max(
            _REFERENCES, explainer.references if isinstance(explainer, UsesReferences) else 0
        )
        index = torch.arange(min(wanted, len(data.train)), device=chosen.labels.device)
        return explainer.fit(network, data.train.images(index))
    return explainer


def score(
    explainer: Explainer,
    metrics: Mapping[str, Metric],
    network: nn.Module,
    chosen: Chosen,
    *,
    asked: Question,
    seed: int,
    precision: Precision = "float32",
) -> Scored:
    """Explain the sample and score every heatmap with every metric whose needs are met.

    Images whose target is compared with the same other class are explained together, at most 256
    at once (a whole chunk on a GPU): nothing is drawn of a batch, so no score knows how many.

    Raises:
        InputError: when the explainer can't answer the question on this network.
    """
    refuse_other_output(explainer, asked.value)
    with ops.evaluating(network):
        said = logits(network, chosen)
        predictions, targets = said.argmax(1), asked.targets(said, chosen.labels)
        others = asked.others(said, targets)
        alike = [(others == other).nonzero()[:, 0] for other in others.unique()]
        # Fewer would leave a GPU idle.
        most = max(_AT_ONCE, ops.chunk_size(first(chosen, 1).images))
        groups = [some for rows in alike for some in rows.split(most)]

        def scored(rows: Tensor, mine: Sample) -> Scored:
            case = Case(
                model=mine.answering(network, asked.value, int(others[rows[0]])),
                images=mine.images,
                targets=targets[rows],
                heatmaps=torch.zeros_like(mine.images[:, 0]),
                explain=explainer,
                scenes=mine.scenes,
                parts=mine.parts,
                across=mine.across,
                precision=precision,
                value=asked.value,
                generator=torch.Generator(mine.images.device).manual_seed(seed),
            )
            return _scored(explainer, case, metrics, mine, predictions[rows])

        if len(groups) == 1 and isinstance(chosen, Sample):
            return scored(groups[0], chosen)
        done: list[Scored] = []
        maps = torch.empty(0)
        for rows in groups:
            one = scored(rows, chosen.some(rows))
            if not done:
                maps = one.heatmaps.new_empty((len(targets), *one.heatmaps.shape[1:]))
            maps[rows] = one.heatmaps  # all of them are there once
            done.append(replace(one, heatmaps=maps[:0]))
            machine.give_back()
    return _joined(groups, done, maps)


def found(
    arrays: Mapping[str, np.ndarray],
    scores: pd.DataFrame,
    network: nn.Module,
    chosen: Chosen,
    asked: Question,
) -> Scored:
    """What a finished run has kept of the sample, without curves and parts.

    Args:
        arrays: the heatmaps and guard/NAME, as `records.arrays` names them.
        scores: a row a score.
        network: which was explained.
        chosen: the sample that was explained.
        asked: what of the network was explained.
    """
    with ops.evaluating(network):
        said = logits(network, chosen)
    guard = "guard/"
    return Scored(
        heatmaps=torch.from_numpy(arrays["heatmaps"]).to(chosen.labels.device),
        predictions=said.argmax(1),
        targets=asked.targets(said, chosen.labels),
        scores=scores,
        curves={},
        seconds_per_image=float("nan"),
        diagnostics={
            name.removeprefix(guard): torch.from_numpy(values)
            for name, values in arrays.items()
            if name.startswith(guard)
        },
    )


def refuse_other_output(explainer: Explainer, value: Value) -> None:
    """A method that makes probabilities of outputs by itself can't be asked for another value.

    Raises:
        InputError: if it would be.
    """
    other = isinstance(explainer, AsksForOutput) and explainer.output != "logit"
    if other and value in ("log_odds", "probability"):
        raise InputError(f"output: got another than logit with value={value}; allowed: logit")


def refuse_not_finite(heatmaps: Tensor) -> None:
    """Where no heatmap is finite the method can't explain this network; a few have no scores.

    Raises:
        InputError: if there are heatmaps and each has a value that is not finite.
    """
    finite = heatmaps.isfinite().flatten(1).all(1)
    if len(finite) and not finite.any():
        raise InputError(
            f"this method's values grow without end on this network: got NaN or infinity in each "
            f"of {len(finite)} heatmaps; allowed: a network or a rule for which they are finite"
        )


def _scored(
    explainer: Explainer,
    case: Case,
    metrics: Mapping[str, Metric],
    chosen: Sample,
    predictions: Labels,
) -> Scored:
    """The case's heatmaps, which are still to be made, and their scores."""
    start = time.perf_counter()
    heatmaps = explainer(case.model, case.images, case.targets).detach()
    seconds = time.perf_counter() - start
    refuse_not_finite(heatmaps)
    case = replace(case, heatmaps=heatmaps)
    if isinstance(explainer, MakesNone):
        case = replace(case, explain=_those_alone(case))
    usable = {n: m for n, m in metrics.items() if m.needs <= chosen.truths}
    curves, values, failed = {}, {}, {}
    for name, metric in usable.items():
        try:
            if isinstance(metric, CurveMetric):
                curves[name] = metric.curves(case)
                values[name] = metric.score(curves[name])
            else:
                values[name] = metric(case)
        except NoOtherHeatmapsError as error:
            curves.pop(name, None)
            values[name] = torch.full_like(case.heatmaps[:, 0, 0], torch.nan)
            failed[name] = str(error)
        except InputError:
            raise
        except Exception as error:  # one metric's failure is a missing score, with its reason
            curves.pop(name, None)
            values[name] = torch.full_like(case.heatmaps[:, 0, 0], torch.nan)
            failed[name] = f"failed: {in_a_line(error)}"[:_REASON]
    tables = [
        _rows(n, values[n], metrics[n], case, chosen, predictions, failed.get(n, ""))
        for n in values
    ]
    return Scored(
        heatmaps=heatmaps,
        predictions=predictions,
        targets=case.targets,
        scores=pd.concat(tables, ignore_index=True) if tables else _EMPTY.copy(),
        curves=curves,
        seconds_per_image=seconds / len(heatmaps),
        diagnostics={
            **guards(explainer, case.model, case.images, case.targets, heatmaps),
            **about_truths(case),
            **about_cues(case),
        },
        parts=worth_and_shown(case),
    )


def _those_alone(case: Case) -> Explainer:
    """The heatmaps of the case, and no others."""
    return Known(
        explainer=Elsewhere(),
        model=case.model,
        images=case.images,
        targets=case.targets,
        heatmaps=case.heatmaps,
    )


def _joined(groups: Sequence[Tensor], done: Sequence[Scored], heatmaps: Tensor) -> Scored:
    """What groups of images gave, in the images' order."""
    places = torch.cat(list(groups)).argsort()

    def joined(values: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(values))[places]

    def guard(values: Sequence[Tensor]) -> Tensor:
        # Some are had of the first image of a group alone, which then has no place among images.
        whole = all(len(one) == len(group) for one, group in zip(values, groups, strict=True))
        return joined(values) if whole else torch.cat(list(values))

    first = done[0]
    order = places.cpu().numpy()
    # What failed in one group has none there.
    drawn = [metric for metric in first.curves if all(metric in one.curves for one in done)]
    divisions = [cut for cut in first.parts if all(cut in one.parts for one in done)]

    def table(metric: str) -> pd.DataFrame:
        rows = [one.scores[one.scores["metric"] == metric] for one in done]
        return pd.concat(rows, ignore_index=True).iloc[order]

    tables = [table(metric) for metric in first.scores["metric"].unique()]
    return Scored(
        heatmaps=heatmaps,
        predictions=joined([one.predictions for one in done]),
        targets=joined([one.targets for one in done]),
        scores=pd.concat(tables, ignore_index=True) if tables else first.scores,
        curves={
            metric: {
                name: joined([one.curves[metric][name] for one in done])
                for name in first.curves[metric]
            }
            for metric in drawn
        },
        seconds_per_image=sum(
            one.seconds_per_image * len(rows) for one, rows in zip(done, groups, strict=True)
        )
        / len(places),
        diagnostics={
            name: guard([one.diagnostics[name] for one in done]) for name in first.diagnostics
        },
        parts={
            division: (
                joined([one.parts[division][0] for one in done]),
                joined([one.parts[division][1] for one in done]),
            )
            for division in divisions
        },
    )


_COLUMNS = "image label prediction target metric higher_is_better score weight reason"
_EMPTY = pd.DataFrame(columns=_COLUMNS.split())


def _rows(
    name: str,
    scores: Tensor,
    metric: Metric,
    case: Case,
    chosen: Sample,
    predictions: Tensor,
    failed: str,
) -> pd.DataFrame:
    """One metric's scores as rows, each missing one with its reason."""
    values = scores.double().cpu().numpy()
    flat = case.heatmaps.flatten(1)
    undefined = failed or metric.undefined
    reasons = np.where(np.isnan(values), undefined, "")
    empty = (flat == 0).all(1).cpu().numpy()
    broken = (~flat.isfinite()).any(1).cpu().numpy()
    # Said beside the metric's own reason, which may be another: no mask is no fault of the heatmap.
    zero = f"{undefined} (this heatmap is all zero)"
    reasons = np.where(np.isnan(values) & empty, zero, reasons)
    reasons = np.where(np.isnan(values) & broken, "the heatmap is not finite", reasons)
    return pd.DataFrame(
        {
            "image": chosen.at.cpu().numpy(),
            "label": chosen.labels.cpu().numpy(),
            "prediction": predictions.cpu().numpy(),
            "target": case.targets.cpu().numpy(),
            "metric": name,
            "higher_is_better": metric.higher_is_better,
            "score": values,
            "weight": _weights(metric, case, failed),
            "reason": reasons,
        }
    )


def _weights(metric: Metric, case: Case, failed: str) -> np.ndarray:
    """What each image counts in the metric's mean."""
    if failed or not isinstance(metric, WeightedMetric):
        return np.ones(len(case))
    return metric.weights(case).double().cpu().numpy()
