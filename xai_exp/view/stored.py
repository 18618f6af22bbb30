"""What tracking holds of explanations, as a person looks at it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from xai_exp.config import InputError
from xai_exp.tracking import Kept, Tracker, collect

_SHORTEST = 4  # characters of a run's id
_NAMED = 8  # studies that a line names
_USED = "study."  # how the tags of studies begin that use a run again
_PARTS = ("worth/objects", "shown/objects")


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What one explainer said of one network.

    Attributes:
        heatmaps: (image, height, width).
        scores: by metric, an image each; NaN is missing.
        shown: (image, part + 1) relevance on every part, the rest last, if that is known.
        curves: by metric, x and y, means over images, the most relevant first.
    """

    heatmaps: np.ndarray
    scores: Mapping[str, np.ndarray]
    shown: np.ndarray | None
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network and all that explained it.

    Attributes:
        name: its own, and its seed.
        accuracy: on the test split, in 0..1.
        told: an image each: label, prediction and target.
        worth: (image, part) exact values, if they are known.
        explained: by explainer.
    """

    name: str
    accuracy: float
    told: Sequence[str]
    worth: np.ndarray | None
    explained: dict[str, Explained] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Networks that explain the same images.

    Attributes:
        name: the dataset, and what else settings differ in.
        images: (image, channel, height, width) bytes.
        files: the names of the images' files; empty if they were drawn.
        parts: (image, height, width) the number of the part that covers a pixel, from 1, or 0.
        networks: by name.
    """

    name: str
    images: np.ndarray
    files: Sequence[str]
    parts: np.ndarray | None
    networks: dict[str, Network] = field(default_factory=dict)


def chosen(tracker: Tracker, what: str) -> list[Kept]:
    """Finished explanations: all, those of a study, or those whose run's id begins so.

    Raises:
        InputError: when there are none.
    """
    every = tracker.kept()
    if not every:
        raise InputError("view: got a store without explanations; allowed: one with some")
    if not what:
        return every
    found = [one for one in every if what in _studies(one)]
    if not found and len(what) >= _SHORTEST:
        found = [one for one in every if one.run.startswith(what)]
    if not found:
        studies = sorted({name for one in every for name in _studies(one)})
        more = f" and {len(studies) - _NAMED} more" if len(studies) > _NAMED else ""
        known = ", ".join(studies[:_NAMED]) + more if studies else "none is there"
        raise InputError(
            f"view: got {what}; allowed: a study ({known}), the beginning of a run's id, or nothing"
        )
    return found


def _studies(one: Kept) -> set[str]:
    """The study that a run was made for, and those that have used it again."""
    used = {tag.removeprefix(_USED) for tag in one.tags if tag.startswith(_USED)}
    return used | ({one.tags["study"]} if one.tags.get("study") else set())


def settings(kept: Sequence[Kept]) -> list[Setting]:
    """Explanations put together by setting and network; runs without pictures are left out.

    Raises:
        InputError: when none has pictures.
    """
    named = collect.told_apart(kept)
    found: dict[str, Setting] = {}
    for one, name in zip(named, collect.settings([each.params for each in named]), strict=True):
        arrays = one.arrays()
        if arrays.get("images", np.empty(0)).ndim != 4:
            continue
        place = _place(found, name, arrays, one)
        label = collect.network(one)
        network = place.networks.setdefault(label, _network(label, one, arrays))
        network.explained.setdefault(one.tags["explainer"], _explained(one, arrays))
    if not found:
        raise InputError("view: got runs without pictures; allowed: some that kept their images")
    return list(found.values())


def _place(
    found: dict[str, Setting], name: str, arrays: Mapping[str, np.ndarray], one: Kept
) -> Setting:
    """The setting of this name with the same images; with other images it is another one."""
    number, key = 1, name
    while key in found and not np.array_equal(found[key].images, arrays["images"]):
        number += 1
        key = f"{name} ({number})"
    if key not in found:
        rows = _rows(one).to_dict("records")
        found[key] = Setting(
            name=key,
            images=arrays["images"],
            files=[row["file"] for row in rows if isinstance(row.get("file"), str)],
            parts=_numbered(arrays.get("parts")),
        )
    return found[key]


def _numbered(parts: np.ndarray | None) -> np.ndarray | None:
    """For each pixel the part that covers most of it, from 1; 0 where none covers half."""
    if parts is None or parts.ndim != 4 or parts.shape[1] > np.iinfo(np.uint8).max:
        return None
    return np.where(parts.max(1) > 127, parts.argmax(1) + 1, 0).astype(np.uint8)


def _rows(one: Kept) -> pd.DataFrame:
    """A row an image."""
    return one.scores.drop_duplicates("image").sort_values("image")


def _network(label: str, one: Kept, arrays: Mapping[str, np.ndarray]) -> Network:
    told = [
        f"label {row['label']}{_class(row)}, said {row['prediction']}, explained {row['target']}"
        for row in _rows(one).to_dict("records")
    ]
    worth = arrays.get(_PARTS[0])
    return Network(name=label, accuracy=one.accuracy, told=told, worth=worth)


def _class(row: Mapping[Hashable, object]) -> str:
    return f" ({row['class']})" if isinstance(row.get("class"), str) else ""


def _explained(one: Kept, arrays: Mapping[str, np.ndarray]) -> Explained:
    count = len(arrays["images"])
    scores = {
        str(metric): rows.sort_values("image")["score"].to_numpy(float)
        for metric, rows in one.scores.groupby("metric", sort=False)
        if len(rows) == count
    }
    curves = {
        name: (arrays[f"curve/{name}/x"], arrays[f"curve/{name}/morf"])
        for name in collect.curved(arrays)
    }
    return Explained(
        heatmaps=arrays["heatmaps"], scores=scores, shown=arrays.get(_PARTS[1]), curves=curves
    )
