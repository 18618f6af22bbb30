"""Scores of heatmaps that are there, as a tidy table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from xai_exp import scoring
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.explainers.known import Known
from xai_exp.notebook import pictures
from xai_exp.notebook.composing import chosen, names
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.notebook.explaining import answers
from xai_exp.notebook.heatmaps import Heatmaps
from xai_exp.scoring import Sample
from xai_exp.types import Metric

COLUMNS = ["image", "explainer", "metric", "score", "reason"]
_OWN = [name for name in COLUMNS if name != "explainer"]


def made(
    wanted: str | Sequence[str], given: Mapping[str, object], imputer: str, seed: int
) -> dict[str, Metric]:
    """The metrics of these names with these fields and this way to take pixels away.

    Raises:
        InputError: for a name, field or value that there is not.
    """
    several = [wanted] if isinstance(wanted, str) else list(wanted)
    if not several:
        raise InputError("metrics: got none; allowed: one name or a list, see xe.metrics()")
    if imputer not in names("imputer"):
        raise InputError(unknown("imputer", str(imputer), names("imputer")))
    config = chosen("metric", several, given, f"imputer={imputer}", f"seed={seed}")
    return dict(made_of(config).metrics)


def table(
    heatmaps: Heatmaps, metrics: Mapping[str, Metric], masks: pictures.Masks | None, seed: int
) -> pd.DataFrame:
    """A row an image, explainer and metric; a score that is missing has its reason."""
    sample = heatmaps.sample
    if masks is not None:
        sample = replace(sample, parts=pictures.masks(masks, sample.images), across={})
    rows = [
        _of(heatmaps, name, sample, metrics, seed).assign(explainer=name) for name in heatmaps.maps
    ]
    return pd.concat(rows, ignore_index=True).reindex(columns=COLUMNS)


def _of(
    heatmaps: Heatmaps, name: str, sample: Sample, metrics: Mapping[str, Metric], seed: int
) -> pd.DataFrame:
    """One explainer's rows, in the order of the metrics."""
    explainer = Known(
        explainer=heatmaps.explainers[name],
        model=answers(heatmaps.network, sample, heatmaps.question),
        images=sample.images,
        targets=sample.labels,
        heatmaps=heatmaps.maps[name].to(sample.images.device),
    )
    lacking = {n: _lacks(m, sample) for n, m in metrics.items()}
    usable = {n: m for n, m in metrics.items() if not lacking[n]}
    found: dict[str, pd.DataFrame] = {}

    def score(some: Mapping[str, Metric]) -> None:
        scored = scoring.score(
            explainer, some, heatmaps.network, sample, asked=heatmaps.question, seed=seed
        ).scores
        found.update({n: scored.loc[scored["metric"] == n, _OWN] for n in some})

    try:
        score(usable)
    except InputError:  # one of them says no: the others are scored all the same
        for n, metric in usable.items():
            try:
                score({n: metric})
            except InputError as error:
                lacking[n] = str(error)
    missing = {n: _missing(n, why, len(sample.images)) for n, why in lacking.items() if why}
    return pd.concat([(found | missing)[n] for n in metrics], ignore_index=True)


def _lacks(metric: Metric, sample: Sample) -> str:
    """What the metric needs and does not get, in words; empty if nothing."""
    words = {
        "parts": "masks of what is in the images (masks=...)",
        "scenes": "rendered scenes (xe.explain(network, data.test.scenes([0, 1]), ...))",
    }
    lacking = sorted(metric.needs - sample.truths)
    return f"it needs {' and '.join(words.get(one, one) for one in lacking)}" if lacking else ""


def _missing(metric: str, why: str, images: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"image": np.arange(images), "metric": metric, "score": np.nan, "reason": why}
    )
