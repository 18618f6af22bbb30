"""From finished explanations to a report: one page, tidy tables, a run of type `report`."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from xai_exp import collect, verdict
from xai_exp.config import InputError
from xai_exp.report.page import Maps, Study, render
from xai_exp.report.tables import means
from xai_exp.store import model_key
from xai_exp.tracking import Kept, Record, Tracker
from xai_exp.verdict import Claim, Verdict

_PACKAGES = ("xai_exp", "torch", "lightning", "mlflow", "scipy")


def publish(
    kept: Sequence[Kept],
    tracker: Tracker,
    *,
    title: str,
    name: str,
    claims: Sequence[Claim] = (),
    commands: Sequence[str] = (),
    folder: Path = Path("reports"),
    least_accuracy: float = 0.0,
    truths: Sequence[str] = (),
) -> tuple[Path, list[Verdict]]:
    """Write FOLDER/NAME.html with NAME.parquet and NAME.csv beside it, and record them.

    Nothing is recorded twice: a finished report on the same explanations with the same claims and
    the same page is found again.

    Args:
        kept: the explanations.
        tracker: where the report is recorded.
        title: the question.
        name: of the files and the run.
        claims: what to judge.
        commands: that make the explanations.
        folder: where the files go.
        least_accuracy: models below it are left out, in 0..1.
        truths: metrics that compare with exact truth and need no audit.

    Returns:
        The page and the verdicts.

    Raises:
        InputError: when there is nothing to report, or a claim names what was not scored.
    """
    good = [one for one in kept if not one.accuracy < least_accuracy]
    if not good:
        raise InputError(
            f"report: got {len(kept)} explanations, none of a model with accuracy of at least "
            f"{least_accuracy:g}; allowed: at least one (run an experiment first)"
        )
    scores = collect.tidy(good)
    audited = verdict.audit(scores, truths)
    verdicts = verdict.judge(claims, scores, audited)
    page = render(
        Study(
            title=title,
            scores=scores,
            verdicts=verdicts,
            audited=audited,
            commands=commands,
            versions=versions(),
            curves=_curves(good),
            maps=_maps(good, scores),
        )
    )
    tables = {"scores": scores, "means": means(scores), "claims": _claims(verdicts)}
    tables = {key: table for key, table in tables.items() if len(table)}
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        path = folder / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        scores.to_parquet(folder / f"{name}.parquet", index=False)
        scores.to_csv(folder / f"{name}.csv", index=False)
    record = Record(
        key=model_key({"report": sorted(one.run for one in good), "page": page}),
        name=title,
        tags={"study": name},
        params={
            "explanations": len(good),
            "left_out_for_accuracy": len(kept) - len(good),
            **{f"claim_{place}": one.answer for place, one in enumerate(verdicts, 1)},
        },
    )
    if tracker.reported(record.key) is None:
        tracker.record_report(record, pages={"report": page}, tables=tables)
    return path, verdicts


def versions() -> dict[str, str]:
    """Of what a report was made with, and on what machine."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return found | {"on": f"{os.cpu_count()} cores ({platform.machine()}), {device}"}


def _claims(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    tables = [one.rows.assign(claim=one.claim.text, answer=one.answer) for one in verdicts]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _curves(kept: Sequence[Kept]) -> dict[str, tuple[np.ndarray, Mapping[str, np.ndarray]]]:
    """Mean curves, the most relevant first, by setting and metric, over the models."""
    drawn: dict[str, dict[str, list[np.ndarray]]] = {}
    places: dict[str, np.ndarray] = {}
    for one, setting in zip(kept, collect.settings([one.params for one in kept]), strict=True):
        arrays = one.arrays()
        for key, values in arrays.items():
            kind, _, rest = key.partition("/")
            metric, _, name = rest.partition("/")
            if kind != "curve" or name != "morf":
                continue
            title = f"{setting}: {metric.replace('_', ' ')}"
            places[title] = arrays[f"curve/{metric}/x"]
            drawn.setdefault(title, {}).setdefault(one.tags["explainer"], []).append(values)
    return {
        title: (places[title], {name: np.mean(rows, 0) for name, rows in lines.items()})
        for title, lines in drawn.items()
    }


def _maps(kept: Sequence[Kept], scores: pd.DataFrame) -> list[Maps]:
    """What the image browser shows: the images of each setting and heatmaps by model."""
    groups: dict[str, dict[str, dict[str, Kept]]] = {}
    for one, setting in zip(kept, collect.settings([one.params for one in kept]), strict=True):
        model = f"{one.tags.get('model', '')} seed {one.tags.get('seed', '')}"
        groups.setdefault(setting, {}).setdefault(model, {})[one.tags["explainer"]] = one
    found = []
    for setting, models in groups.items():
        first = next(iter(next(iter(models.values())).values()))
        arrays = first.arrays()
        if "images" not in arrays or arrays["images"].ndim != 4:
            continue
        rows = pd.DataFrame(scores[scores["run"] == first.run])
        rows = rows.drop_duplicates(subset="image").sort_values("image")
        captions = [
            f"{row['image']}: label {row['label']}, target {row['target']}"
            for row in rows.to_dict("records")
        ]
        found.append(
            Maps(
                setting=setting,
                images=arrays["images"].mean(1).astype(np.uint8),
                masks=arrays.get("masks"),
                captions=captions or [str(i) for i in range(len(arrays["images"]))],
                models={
                    model: {name: one.arrays()["heatmaps"] for name, one in methods.items()}
                    for model, methods in list(models.items())[:3]
                },
            )
        )
    return found
