"""Heatmaps and their scores: one explainer on one model over the evaluation sample."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.metrics.truth.parts import worth_and_shown
from xai_exp.types import (
    Case,
    CurveMetric,
    Dataset,
    Diagnoses,
    Explainer,
    IsFitted,
    Metric,
    NeedsParts,
    Parts,
    Precision,
    Scenes,
    TakesScenes,
    UsesReferences,
)

_REFERENCES = 256


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The test images that are explained, the same for every model, and their truth.

    `across` is what metrics keep of them for the next explainer.
    """

    images: Tensor
    labels: Tensor
    scenes: Scenes | None
    parts: Parts | None
    across: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def truths(self) -> frozenset[str]:
        """What of the truth is known: what a metric can need."""
        known = {"scenes": self.scenes, "parts": self.parts}
        return frozenset(name for name, value in known.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one explainer gave: a heatmap an image, a row a score, curves where a metric has them.

    `scores` has the columns image, label, prediction, target, metric, higher_is_better, score,
    reason, which says why a score is missing and is empty otherwise. `diagnostics` is what the
    explainer says of its own work, a value an image; most say nothing. `parts` has, by division,
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


def sample(data: Dataset, count: int, device: torch.device) -> Sample:
    """The first `count` images of the test split (all of them if there are fewer)."""
    index = torch.arange(min(count, len(data.test)), device=device)
    scenes = data.test.scenes(index)
    return Sample(
        images=data.test.images(index),
        labels=data.test.labels[index.to(data.test.labels.device)].to(device),
        scenes=scenes.to(device) if scenes is not None else None,
        parts=data.test.parts(index),
    )


def bound(explainer: Explainer, network: nn.Module, data: Dataset, chosen: Sample) -> Explainer:
    """The explainer with what it needs beyond images: reference images, scenes or ground truth.

    Raises:
        InputError: when it needs ground truth that the data do not have.
    """
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
        index = torch.arange(min(wanted, len(data.train)), device=chosen.images.device)
        return explainer.fit(network, data.train.images(index))
    return explainer


def score(
    explainer: Explainer,
    metrics: Mapping[str, Metric],
    network: nn.Module,
    chosen: Sample,
    *,
    target: str,
    seed: int,
    precision: Precision = "float32",
) -> Scored:
    """Explain the sample and score every heatmap with every metric whose needs are met."""
    with ops.evaluating(network):
        predictions = ops.logits(network, chosen.images).argmax(1)
        targets = chosen.labels if target == "label" else predictions
        start = time.perf_counter()
        heatmaps = explainer(network, chosen.images, targets).detach()
        seconds = time.perf_counter() - start
        diagnostics = (
            explainer.diagnostics(network, chosen.images, targets)
            if isinstance(explainer, Diagnoses)
            else {}
        )
        case = Case(
            model=network,
            images=chosen.images,
            targets=targets,
            heatmaps=heatmaps,
            explain=explainer,
            scenes=chosen.scenes,
            parts=chosen.parts,
            across=chosen.across,
            precision=precision,
            generator=torch.Generator(chosen.images.device).manual_seed(seed),
        )
        usable = {n: m for n, m in metrics.items() if m.needs <= chosen.truths}
        curves = {n: m.curves(case) for n, m in usable.items() if isinstance(m, CurveMetric)}
        values = {
            n: m.score(curves[n]) if isinstance(m, CurveMetric) else m(case)
            for n, m in usable.items()
        }
        parts = worth_and_shown(case)
    tables = [_rows(n, values[n], metrics[n], case, chosen, predictions) for n in values]
    return Scored(
        heatmaps=heatmaps,
        predictions=predictions,
        targets=targets,
        scores=pd.concat(tables, ignore_index=True) if tables else _EMPTY.copy(),
        curves=curves,
        seconds_per_image=seconds / len(heatmaps),
        diagnostics=diagnostics,
        parts=parts,
    )


_COLUMNS = "image label prediction target metric higher_is_better score reason"
_EMPTY = pd.DataFrame(columns=_COLUMNS.split())


def _rows(
    name: str, scores: Tensor, metric: Metric, case: Case, chosen: Sample, predictions: Tensor
) -> pd.DataFrame:
    """One metric's scores as rows, each missing one with its reason."""
    values = scores.double().cpu().numpy()
    flat = case.heatmaps.flatten(1)
    reasons = np.where(np.isnan(values), metric.undefined, "")
    empty = (flat == 0).all(1).cpu().numpy()
    broken = (~flat.isfinite()).any(1).cpu().numpy()
    # Said beside the metric's own reason, which may be another: no mask is no fault of the heatmap.
    zero = f"{metric.undefined} (this heatmap is all zero)"
    reasons = np.where(np.isnan(values) & empty, zero, reasons)
    reasons = np.where(np.isnan(values) & broken, "the heatmap is not finite", reasons)
    return pd.DataFrame(
        {
            "image": np.arange(len(values)),
            "label": chosen.labels.cpu().numpy(),
            "prediction": predictions.cpu().numpy(),
            "target": case.targets.cpu().numpy(),
            "metric": name,
            "higher_is_better": metric.higher_is_better,
            "score": values,
            "reason": reasons,
        }
    )
