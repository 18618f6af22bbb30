"""The files of an exported dataset: pictures, masks, parameters, the table, sums."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from xai_exp.data.loading import SceneSplit
from xai_exp.export import croissant, datasheet
from xai_exp.export.told import Counted, Told
from xai_exp.files import digest
from xai_exp.types import Dataset, Split

SPLITS = ("train", "validation", "test")
_AT_ONCE = 256  # images in memory
_SOURCES = ("source",)  # a scene's generator: the configuration says it


def write(data: Dataset, told: Told, folder: Path, limit: int | None = None) -> Counted:
    """Write everything into an empty folder.

    Args:
        data: the dataset.
        told: where it comes from.
        folder: where files go.
        limit: the most images of each split; None: all.
    """
    splits = {name: getattr(data, name) for name in SPLITS}
    names = class_folders(data.classes)
    rows: list[dict[str, Any]] = []
    error, parts, parameters = 0.0, (), ()
    for name, split in splits.items():
        count = min(len(split), limit or len(split))
        mine, off = _pictures(split, name, count, data.classes, names, folder)
        rows += mine
        error = max(error, off)
        scenes = split.scenes(torch.arange(count))
        if scenes is not None:
            parts = tuple(scenes.part_names)
            parameters = _parameters(scenes, folder / "parameters" / f"{name}.npz")
        elif split.parts(torch.arange(1)) is not None:
            parts = ("mask",)
    counted = Counted(
        index=pd.DataFrame(rows),
        classes=tuple(data.classes),
        size=data.size,
        channels=data.channels,
        parts=parts,
        parameters=parameters,
        error=error,
        completed=any(_lacks_parts(split) for split in splits.values()),
    )
    counted.index.to_csv(folder / "index.csv", index=False, lineterminator="\n")
    (folder / "dataset.json").write_text(json.dumps(told.settings, indent=2, default=str) + "\n")
    (folder / "README.md").write_text(datasheet.page(told, counted), "utf-8")
    (folder / "croissant.json").write_text(croissant.metadata(told, counted, folder), "utf-8")
    (folder / "SHA256SUMS").write_text(_sums(folder))
    return counted


def _lacks_parts(split: Split) -> bool:
    """Whether training sees some of these images without random parts."""
    return isinstance(split, SceneSplit) and split.kept is not None


def class_folders(classes: tuple[str, ...]) -> list[str]:
    """Folders whose alphabetical order is that of the labels, as ImageFolder numbers them.

    >>> class_folders(("0", "1")), class_folders(("triangles", "squares"))
    (['0', '1'], ['0_triangles', '1_squares'])
    """
    names = [re.sub(r"[^\w.-]+", "_", one) or "_" for one in classes]
    if sorted(names) == names and len(set(names)) == len(names):
        return names
    width = len(str(len(names) - 1))
    return [f"{place:0{width}d}_{name}" for place, name in enumerate(names)]


def _pictures(
    split: Split, name: str, count: int, classes: tuple[str, ...], folders: list[str], out: Path
) -> tuple[list[dict[str, Any]], float]:
    """Write one split's pictures and masks; their rows, and how far a file is from its pixels."""
    rows, error = [], 0.0
    for start in range(0, count, _AT_ONCE):
        index = torch.arange(start, min(start + _AT_ONCE, count))
        scenes = split.scenes(index)
        images = split.images(index) if scenes is None else scenes.render()
        parts = split.parts(index)
        whole = images.clamp(0, 1).mul(255).round()
        error = max(error, float((whole / 255 - images).abs().max()))
        for place, number in enumerate(index.tolist()):
            label = int(split.labels[number])
            inner = f"{name}/{folders[label]}/{number:06d}.png"
            _save(whole[place], out / "images" / inner)
            row = {"split": name, "number": number, "file": f"images/{inner}", "mask": ""}
            if parts is not None:
                covered = parts[place].mul(255).round()
                _save(covered.reshape(1, -1, covered.shape[-1]), out / "masks" / inner)
                row["mask"] = f"masks/{inner}"
            rows.append({**row, "label": label, "class": classes[label]})
    return rows, error


def _save(pixels: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = pixels.byte().cpu().numpy()
    Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)).save(path)


def _parameters(scenes: object, path: Path) -> tuple[str, ...]:
    """Write every number from which the scenes are drawn; their names."""
    found = dict(_numbers(scenes, ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **found)  # pyright: ignore
    return tuple(found)


def _numbers(node: object, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    for one in fields(node) if is_dataclass(node) else ():
        value = getattr(node, one.name)
        if one.name in _SOURCES or one.name.startswith("_") or value is None:
            continue
        if isinstance(value, Tensor):
            yield f"{prefix}{one.name}", value.cpu().numpy()
        elif is_dataclass(value):
            yield from _numbers(value, f"{prefix}{one.name}.")
        elif isinstance(value, bool | int | float | str | tuple):
            yield f"{prefix}{one.name}", np.asarray(value)


def _sums(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)
