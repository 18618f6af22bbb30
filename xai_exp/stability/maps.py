"""The heatmaps of a study's models as tracking kept them: what a stability report is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xai_exp.config import InputError
from xai_exp.statistics import Array, evened
from xai_exp.tracking import Kept

_CHOICES = ("model.", "trainer.")


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Heatmaps of the same images by all models that are good enough.

    Attributes:
        models: A row a model: architecture (in words), seed, accuracy, and its choices.
        choices: The names of those that vary.
        heatmaps: (models, images, height, width) for each explainer.
        images: (images, channels, height, width) in bytes.
        parts: (images, parts, height, width) coverage of each part in 0..1; None without truth.
        worth: (models, images, parts) exact values of the finest division whose truth was computed
            for all models; None without.
        shown: for each explainer (models, images, parts + 1) relevance on these parts and the rest.
        scores: A row a model, explainer and metric with the mean over images.
        runs: What all this was read from.
        left_out: How many models were not good enough.
    """

    models: pd.DataFrame
    choices: tuple[str, ...]
    heatmaps: Mapping[str, Array]
    images: Array
    parts: Array | None
    worth: Array | None
    shown: Mapping[str, Array]
    scores: pd.DataFrame
    runs: Sequence[str]
    left_out: int


def gathered(kept: Sequence[Kept], least_accuracy: float) -> Maps:
    """Read the heatmaps of every model at least so accurate that every explainer explained.

    They come the newest first; of a model that was explained again the newest count.

    Raises:
        InputError: when fewer than two models are left, or their images differ.
    """
    good = [one for one in reversed(kept) if one.accuracy >= least_accuracy]
    models = {one.tags["model_key"]: one for one in good}
    by = {(one.tags["model_key"], one.tags["explainer"]): one for one in good}
    names = sorted({name for _, name in by})
    whole = [key for key in models if all((key, name) in by for name in names)]
    all_models = len({one.tags["model_key"] for one in kept})
    if len(whole) < 2:
        best = max((one.accuracy for one in kept), default=float("nan"))
        raise InputError(
            f"stability: got {len(whole)} of {all_models} models with accuracy of at least "
            f"{least_accuracy:g} and all heatmaps (the best has {best:.3f}); allowed: two or more"
        )
    table, choices = _described([models[key] for key in whole])
    place = table.sort_values(["architecture", "seed"]).index.to_numpy()
    whole, table = [whole[i] for i in place], table.loc[place].reset_index(drop=True)
    first = by[whole[0], names[0]].arrays()
    arrays = {(k, n): _slim(by[k, n].arrays()) for k in whole for n in names}
    if any(not np.array_equal(one["images"], first["images"]) for one in arrays.values()):
        raise InputError(
            "stability: got models that explain different images; allowed: the same dataset and "
            "the same number of images in all runs of the study"
        )
    division = _finest(list(arrays.values()))
    return Maps(
        models=table,
        choices=choices,
        heatmaps={
            name: np.stack([arrays[key, name]["heatmaps"] for key in whole]) for name in names
        },
        images=first["images"],
        parts=_parts(first),
        worth=np.stack([arrays[key, names[0]][f"worth/{division}"] for key in whole])
        if division
        else None,
        shown={
            name: np.stack([arrays[key, name][f"shown/{division}"] for key in whole])
            for name in names
            if division
        },
        scores=_scores([by[pair] for pair in arrays]),
        runs=[by[pair].run for pair in arrays],
        left_out=all_models - len(whole),
    )


def _slim(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """What is compared; the parts are the same in all runs of the same images."""
    return {key: one for key, one in arrays.items() if key != "parts"}


def _parts(arrays: Mapping[str, Array]) -> Array | None:
    """Every part's coverage in 0..1; all of them as one where a run kept no more than that."""
    kept = arrays.get("parts", arrays["masks"][:, None] if "masks" in arrays else None)
    return None if kept is None else kept / 255.0


def _finest(arrays: Sequence[Mapping[str, Array]]) -> str | None:
    """The division into most parts of those that every run has."""
    divisions = [
        {key.removeprefix("worth/"): one[key].shape[1] for key in one if key.startswith("worth/")}
        for one in arrays
    ]
    common = set.intersection(*(set(one) for one in divisions))
    return max(sorted(common), key=lambda name: divisions[0][name], default=None)


def _described(models: Sequence[Kept]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Each model's architecture in words, its choices, seed and accuracy."""
    params: Any = pd.DataFrame([dict(one.params) for one in models])
    varied = [
        str(name)
        for name in params
        if str(name).startswith(_CHOICES) and params[name].nunique(dropna=False) > 1
    ]
    short = {name: name.removeprefix("model.") for name in varied}
    table = params[varied].rename(columns=short).fillna("")
    words = [" ".join(f"{k}={v}" for k, v in row.items()) for row in table.to_dict("records")]
    table = table.assign(
        architecture=words,
        seed=[int(one.tags.get("seed", 0)) for one in models],
        accuracy=[float(one.accuracy) for one in models],
    )
    return table, tuple(short.values())


def _scores(kept: Sequence[Kept]) -> pd.DataFrame:
    rows = []
    for one in kept:
        up: Any = one.scores.groupby("metric")["higher_is_better"].first()
        even = one.scores.assign(score=evened(one.scores, by=["metric"]))
        means: Any = even.groupby("metric")["score"].mean()
        for metric, mean in means.items():
            value = mean if up[metric] else -mean
            rows.append(
                {
                    "model": one.tags["model_key"],
                    "explainer": one.tags["explainer"],
                    "metric": metric,
                    "score": value,
                }
            )
    return pd.DataFrame(rows, columns=["model", "explainer", "metric", "score"])
