"""From finished explanations to a report: one page, tidy tables, a run of type `report`."""

import os
import platform
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from xai_exp.config import InputError
from xai_exp.explainers.promises import broken
from xai_exp.files import whole, write_csv, write_whole
from xai_exp.report import tables
from xai_exp.report.pages import cite, index
from xai_exp.report.pages.page import Maps, Section, Study, render
from xai_exp.tracking import Kept, Record, Tracker, collect
from xai_exp.tracking.told import provenance
from xai_exp.training.store import model_key
from xai_exp.verdicts import verdict
from xai_exp.verdicts.audit import audit
from xai_exp.verdicts.claims import Claim
from xai_exp.verdicts.verdict import Verdict

_PACKAGES = ("xai_exp", "torch", "lightning", "mlflow", "scipy")
_BESIDE = ("on_manifold/", "interaction/")  # what is known beside an exact truth
_CUE = "cue/"
_MODELS = 3  # of each setting in the image browser, which is part of the page


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a report answers, and how.

    Attributes:
        title: the question in words.
        name: of the files and the run.
        claims: what to judge.
        commands: that make the explanations.
        folder: where the files go.
        least_accuracy: models below it are left out, in 0..1.
        truths: metrics that need no audit, such as those that compare with exact truth.
        pairs: metrics to draw one against the other.
        extras: further sections of the page.
        answer: in one sentence, where that is more than how many claims hold.
        skipped: explainers that a network did not get: explainer, where, why.
    """

    title: str
    name: str
    claims: Sequence[Claim] = ()
    commands: Sequence[str] = ()
    folder: Path = Path("reports")
    least_accuracy: float = 0.0
    truths: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()
    extras: Sequence[Section] = ()
    answer: str = ""
    skipped: Sequence[tuple[str, str, str]] = ()


def publish(kept: Sequence[Kept], tracker: Tracker, asked: Question) -> tuple[Path, list[Verdict]]:
    """Write FOLDER/NAME.html with NAME.parquet and NAME.csv beside it, and record them.

    Nothing is recorded twice: a finished report on the same explanations with the same claims and
    the same page is found again.

    Args:
        kept: the explanations.
        tracker: where the report is recorded.
        asked: the question.

    Returns:
        The page and the verdicts.

    Raises:
        InputError: when there is nothing to report.
    """
    good = [one for one in kept if not one.accuracy < asked.least_accuracy]
    if not good:
        raise InputError(
            f"report: got {len(kept)} explanations, none of a model with accuracy of at least "
            f"{asked.least_accuracy:g}; allowed: at least one (run an experiment first)"
        )
    good = collect.told_apart(good)
    scores = collect.tidy(good)
    audited = audit(scores, asked.truths)
    verdicts = verdict.answers(asked.claims, scores, audited)
    known = set(scores["metric"])
    curves, maps, marks, truths = _drawn(good, scores)
    study = Study(
        title=asked.title,
        scores=scores,
        verdicts=verdicts,
        audited=audited,
        commands=asked.commands,
        versions=versions(),
        curves=curves,
        maps=maps,
        pairs=[pair for pair in asked.pairs if known.issuperset(pair)],
        extras=[*asked.extras, *_beside_truths(truths), *_worth_of_cues(truths)],
        answer=asked.answer,
        poor=_poor(kept, asked.least_accuracy),
        least_accuracy=asked.least_accuracy,
        skipped=asked.skipped,
        broken=marks,
    )
    page = render(study)
    kinds = {"scores": scores, "means": study.means, "claims": _claims(verdicts)}
    kept_tables = {key: table for key, table in kinds.items() if len(table)}
    name = unclobbering(asked.folder, asked.name, scores)
    key = model_key({"report": sorted(one.run for one in good), "page": page})
    page = cite.filled(page, _made(name, asked.title))
    path = write(asked.folder, name, page, scores)
    record = Record(
        key=key,
        name=asked.title,
        tags={"study": asked.name},
        params={
            "explanations": len(good),
            "left_out_for_accuracy": len(kept) - len(good),
            **{f"claim_{place}": one.answer for place, one in enumerate(verdicts, 1)},
        },
    )
    if tracker.reported(record.key) is None:
        tracker.record_report(record, pages={"report": page}, tables=kept_tables)
    return path, verdicts


def _made(name: str, title: str) -> cite.Made:
    version = metadata.version("xai-exp")
    return cite.Made(name, title, version, provenance.commit(), datetime.now(UTC).date())


def unclobbering(folder: Path, name: str, scores: pd.DataFrame) -> str:
    """The name under which these scores hide no larger study: NAME, or NAME-smaller.

    A study is smaller than the one whose page stands there if it has fewer networks or fewer images
    of a network.
    """
    before = folder / f"{name}.parquet"
    if not before.exists():
        return name
    there = pd.read_parquet(before, columns=["setting", "model", "image"])
    pairs = zip(extent(scores), extent(there), strict=True)
    return f"{name}-smaller" if any(mine < its for mine, its in pairs) else name


def extent(scores: pd.DataFrame) -> tuple[int, int]:
    """How many networks there are, each in each of its settings, and how many images."""
    networks = scores[["setting", "model"]].drop_duplicates()
    return len(networks), len(scores["image"].unique())


def write(folder: Path, name: str, page: str, scores: pd.DataFrame | None = None) -> Path:
    """Write FOLDER/NAME.html, the scores beside it, and the index; one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.html"
    with index.lock(folder):
        if scores is not None:
            with whole(folder / f"{name}.parquet") as part:
                scores.to_parquet(part, index=False)
            with whole(folder / f"{name}.csv") as part:
                write_csv(scores, part)
        write_whole(path, page)
    index.write(folder)
    return path


def write_table(folder: Path, study: str, name: str, table: pd.DataFrame) -> None:
    """Write FOLDER/STUDY.NAME.csv, a table that a page has, as numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / f"{study}.{name}.csv") as part:
        table.to_csv(part, index=False)


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


def _poor(kept: Sequence[Kept], least: float) -> pd.DataFrame:
    """The networks that are not accurate enough, a row each."""
    tags = [{**one.tags, "accuracy": one.accuracy} for one in kept if one.accuracy < least]
    names = ["dataset", "model", "seed", "accuracy", "model_key"]
    return pd.DataFrame(tags, columns=names).drop_duplicates("model_key")


def _claims(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    rows = [one.rows.assign(claim=one.claim.text, answer=one.answer) for one in verdicts]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _drawn(
    kept: Sequence[Kept], scores: pd.DataFrame
) -> tuple[
    Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]],
    list[Maps],
    list[tuple[str, str, str]],
    dict[tuple[str, str], list[np.ndarray]],
]:
    """What the page draws and says of heatmaps and curves; each run's arrays are fetched once.

    Returns:
        Mean curves, the most relevant first, by setting and metric, over the models; and what the
        image browser shows: the images of each setting and the heatmaps of its first models; and
        the promises that explainers broke: explainer, where, by how much; and what is known beside
        exact truths, by setting and name.
    """
    truths: dict[tuple[str, str], list[np.ndarray]] = {}
    drawn: dict[str, dict[str, list[np.ndarray]]] = {}
    places: dict[str, np.ndarray] = {}
    shown: dict[str, _Shown] = {}
    marks: list[tuple[str, str, str]] = []
    for one, setting in zip(kept, collect.settings([one.params for one in kept]), strict=True):
        arrays, name = one.arrays(), one.tags["explainer"]
        for metric in collect.curved(arrays):
            title = f"{setting}: {metric.replace('_', ' ')}"
            places[title] = arrays[f"curve/{metric}/x"]
            drawn.setdefault(title, {}).setdefault(name, []).append(arrays[f"curve/{metric}/morf"])
        group = shown.setdefault(setting, _Shown(first=one.run, arrays=arrays))
        model, guards = collect.network(one), _guards(arrays)
        for told, values in guards.items():
            if told.startswith((*_BESIDE, _CUE)):
                truths.setdefault((setting, told), []).append(values)
        marks += [(name, f"{setting}, {model}", line) for line in broken(guards)]
        if model in group.models or len(group.models) < _MODELS:
            group.models.setdefault(model, {})[name] = arrays["heatmaps"]
    curves = {
        title: (places[title], {name: np.mean(rows, 0) for name, rows in lines.items()})
        for title, lines in drawn.items()
    }
    maps = [_maps(s, group, scores) for s, group in shown.items() if group.has_images]
    return curves, maps, marks, truths


def _beside_truths(truths: Mapping[tuple[str, str], Sequence[np.ndarray]]) -> list[Section]:
    """How much of each exact truth is asked on the manifold, and how much lies in pairs."""
    rows = dict.fromkeys(
        (setting, told.partition("/")[2]) for setting, told in truths if told.startswith(_BESIDE)
    )
    if not rows:
        return []
    body = [
        [
            tables.cell(setting),
            tables.cell(division, kind="text"),
            *(_share(truths.get((setting, kind + division), ())) for kind in _BESIDE),
        ]
        for setting, division in rows
    ]
    heads = ["setting", "parts", "on the manifold", "in pairs"]
    words = (
        "On the manifold: the share of Shapley weight on images that the data's generator can draw "
        "(1 is best). In pairs: what the parts do together two by two, as a share of that and of "
        "what each is worth. Means over networks and images."
    )
    made = tables.table(heads, body, name="exact truth")
    return [Section("Exact truth", f"<p>{words}</p>{made}")]


def _worth_of_cues(truths: Mapping[tuple[str, str], Sequence[np.ndarray]]) -> list[Section]:
    """What each cue is worth to the networks in the factor game."""
    found = [(*key, values) for key, values in truths.items() if key[1].startswith(_CUE)]
    if not found:
        return []
    body = [
        [tables.cell(setting), tables.cell(told.removeprefix(_CUE), kind="text"), _share(values)]
        for setting, told, values in found
    ]
    words = (
        "The factor game: exact Shapley values of cues, each of which has the other class's value "
        "where it is taken away; signed shares, means over networks and images. A heatmap has one "
        "number a pixel. Cues that share pixels, such as the number, size, orientation and colour "
        "of the same roofs, and cues that lie on all of them, such as tint and season, cannot be "
        "told apart by any heatmap; only roads and vegetation have pixels of their own."
    )
    made = tables.table(["setting", "cue", "share of worth"], body, name="cues")
    return [Section("Cues that no heatmap can show", f"<p>{words}</p>{made}")]


def _share(values: Sequence[np.ndarray]) -> str:
    known = np.concatenate([one[~np.isnan(one)] for one in values]) if values else np.empty(0)
    return (
        tables.cell(f"{known.mean():.3f}", known.mean()) if len(known) else tables.cell("unknown")
    )


def _guards(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What an explainer said of its own work, by name."""
    return {
        name.removeprefix("guard/"): arrays[name] for name in arrays if name.startswith("guard/")
    }


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """The first run of a setting, which has the images, and heatmaps by model and explainer."""

    first: str
    arrays: Mapping[str, np.ndarray]
    models: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def has_images(self) -> bool:
        return "images" in self.arrays and self.arrays["images"].ndim == 4


def _maps(setting: str, group: _Shown, scores: pd.DataFrame) -> Maps:
    rows = pd.DataFrame(scores[scores["run"] == group.first])
    rows = rows.drop_duplicates(subset="image").sort_values("image")
    captions = [_caption(row) for row in rows.to_dict("records")]
    images = group.arrays["images"]
    return Maps(
        setting=setting,
        images=_seen(images),
        masks=group.arrays.get("masks"),
        captions=captions or [str(i) for i in range(len(images))],
        models=group.models,
        channels=images.shape[1],
    )


def _seen(images: np.ndarray) -> np.ndarray:
    """Images (image, channel, height, width) as a person sees them: grey, or three colours last."""
    if images.shape[1] < 3:
        return images.mean(1).astype(np.uint8)
    return np.moveaxis(images[:, :3], 1, -1)


def _caption(row: Mapping[Hashable, object]) -> str:
    """An image by its number, and by its file and the name of its class where they are known."""
    file = f" {row['file']}" if isinstance(row.get("file"), str) else ""
    named = f" ({row['class']})" if isinstance(row.get("class"), str) else ""
    return f"{row['image']}{file}: label {row['label']}{named}, target {row['target']}"
