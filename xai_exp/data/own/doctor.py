"""What is wrong with a dataset, found before it is used: every file is read, every fault listed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from xai_exp.config import InputError
from xai_exp.data.image_folder import ImageFolder
from xai_exp.data.own import duplicates, pixels, together
from xai_exp.data.own.content import readable
from xai_exp.data.own.duplicates import Looks
from xai_exp.data.own.folder import SPLIT_NAMES
from xai_exp.data.own.reader import Header, Picture, look, read
from xai_exp.types import Dataset, Split

_FEW = 20  # images of a class with which hardly anything can be learned or said
_UNEVEN = 3  # times as many images in the largest class as in the smallest
_PAIRS = 10  # of like pictures that are named
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found.

    Args:
        told: what the data are and what will be done to them.
        warned: what a run accepts and a person should know.
        refused: what a run refuses.
    """

    told: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What is kept of one picture."""

    place: int
    header: Header
    ends: pixels.Span | None
    missing: float
    clear: bool
    digest: bytes
    looks: Looks


def examine(data: object) -> Report:
    """Read all of a dataset.

    Raises:
        InputError: for a folder in which no classes of pictures can be told apart.
    """
    if isinstance(data, ImageFolder):
        return _folder(data)
    if not isinstance(data, Dataset):
        raise InputError(f"dataset: got {type(data).__name__}; allowed: a dataset")
    return _splits(data)


def _splits(data: Dataset) -> Report:
    """Of data that are no folder of pictures: classes, sizes, and images that are the same."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    height, width = data.size
    report = Report(told=[f"images: {height}x{width} pixels, {data.channels} channels"])
    counts = Counter[int]()
    for split in splits.values():
        counts.update(split.labels.tolist())
    _classes(report, data.classes, counts, [len(split) for split in splits.values()])
    rows = [(name, place, one) for name, s in splits.items() for place, one in _digests(s)]
    same: dict[bytes, list[str]] = {}
    for name, place, one in rows:
        same.setdefault(one, []).append(f"{name} {place}")
    across = [names for names in same.values() if len({n.split()[0] for n in names}) > 1]
    _pairs(report, "identical across splits", [" = ".join(names) for names in across])
    return report


def _digests(split: Split) -> Iterable[tuple[int, bytes]]:
    for index in torch.arange(len(split)).split(_BATCH):
        for place, image in zip(index, split.images(index), strict=True):
            yield int(place), duplicates.digest(image.numpy())


def _folder(data: ImageFolder) -> Report:
    report, found = Report(), data.found
    order = np.empty(len(found.paths), int)
    for which, places in enumerate(data.positions):
        order[places.numpy()] = which
    _classes(report, found.classes, Counter(found.labels), np.bincount(order, minlength=3).tolist())
    if found.loose:
        report.warned.append(f"{found.loose} pictures lie beside the class folders: not used")
    seen: list[_Seen] = []
    for place in range(len(found.paths)):
        _tried(report, lambda place=place: seen.append(_one(data, place)))
    _told_of_files(report, data, seen)
    _together(report, data, seen)
    _alike(report, data, seen, order)
    if data.masks is not None:
        _masks(report, data, {one.place: one.header for one in seen})
    if not report.refused:  # whatever is refused only with all files in view
        _tried(report, lambda: (data.train, data.validation, data.test))
    if not report.refused:
        report.told.append(f"pixels: {_plan(data)}")
    return report


def _together(report: Report, data: ImageFolder, seen: Sequence[_Seen]) -> None:
    rows = [(readable(data.found.paths[one.place]), one.header) for one in seen]
    if rows and data.resize is None:
        _tried(report, lambda: together.check_sizes(rows))
    if data.range == "auto":
        _tried(report, lambda: together.check_depths(rows))


def _tried(report: Report, work: Callable[[], object]) -> None:
    try:
        work()
    except InputError as error:
        report.refused.append(" ".join(str(error).split()))


def _one(data: ImageFolder, place: int) -> _Seen:
    path = data.found.paths[place]
    header, picture = look(path), read(path)
    chosen = pixels.select(readable(path), picture, data.bands, data.alpha)
    planes = np.moveaxis(_filled(picture), 2, 0)
    return _Seen(
        place=place,
        header=header,
        ends=pixels.extremes(chosen),
        missing=0.0 if chosen.valid is None else 1 - float(chosen.valid.all(axis=2).mean()),
        clear=not picture.opaque,
        digest=duplicates.digest(planes),
        looks=duplicates.looks(planes),
    )


def _filled(picture: Picture) -> np.ndarray:
    if picture.valid is None:
        return picture.values
    return np.where(picture.valid, picture.values, 0).astype(picture.values.dtype)


def _classes(
    report: Report, names: Sequence[str], counts: Counter[int], splits: Sequence[int]
) -> None:
    total = sum(counts.values())
    shown = ", ".join(f"{name} {counts[label]}" for label, name in enumerate(names))
    report.told.append(f"classes: {shown} ({total} images)")
    parts = ", ".join(f"{n} {SPLIT_NAMES[which]}" for which, n in enumerate(splits))
    report.told.append(f"splits: {parts}")
    few = [name for label, name in enumerate(names) if counts[label] < _FEW]
    if few:
        report.warned.append(f"tiny classes, of fewer than {_FEW} images: {', '.join(few)}")
    largest, smallest = max(counts.values()), min(counts[k] for k in range(len(names)))
    if largest >= _UNEVEN * max(1, smallest):
        report.warned.append(
            f"unbalanced classes, of {smallest} to {largest} images: always guessing the largest "
            f"is right for {100 * largest / total:.0f} %"
        )


def _told_of_files(report: Report, data: ImageFolder, seen: Sequence[_Seen]) -> None:
    if not seen:
        return
    sizes = Counter("{}x{}".format(*one.header.size) for one in seen)
    report.told.append(f"sizes: {_counted(sizes)}")
    kinds = Counter(
        f"{one.header.bands} of {one.header.dtype}{' and alpha' * one.header.alpha}" for one in seen
    )
    report.told.append(f"bands: {_counted(kinds)}")
    ends = [one.ends for one in seen if one.ends is not None]
    if ends:
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        report.told.append(f"numbers: from {low:.9g} to {high:.9g}")
    turned = Counter(str(one.header.orientation) for one in seen if one.header.orientation != 1)
    if turned:
        report.told.append(f"turned by EXIF orientation, which is undone: {_counted(turned)}")
    missing = sum(one.missing for one in seen) / len(seen)
    if missing:
        report.warned.append(f"pixels without data, which are black: {100 * missing:.3g} %")
    clear = sum(one.clear for one in seen)
    if clear:
        report.warned.append(f"transparent in parts: {clear} images (dataset.alpha={data.alpha})")


def _counted(found: Counter[str]) -> str:
    most = [f"{name} ({count})" for name, count in found.most_common(8)]
    return ", ".join(most) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _alike(report: Report, data: ImageFolder, seen: Sequence[_Seen], order: np.ndarray) -> None:
    """Pictures that are the same or nearly so: across splits, or of two classes."""
    labels = data.found.labels
    first: dict[bytes, _Seen] = {}
    apart: dict[str, list[str]] = {"identical across splits": [], "identical in two classes": []}
    for one in seen:
        other = first.setdefault(one.digest, one)
        if other is one:
            continue
        if order[one.place] != order[other.place]:
            apart["identical across splits"].append(_pair(data, order, other, one))
        if labels[one.place] != labels[other.place]:
            apart["identical in two classes"].append(_pair(data, order, other, one))
    singles = list(first.values())
    apart["nearly identical across splits"] = [
        _pair(data, order, singles[a], singles[b])
        for a, b in duplicates.near([one.looks for one in singles])
        if order[singles[a].place] != order[singles[b].place]
    ]
    for what, pairs in apart.items():
        _pairs(report, what, pairs)


def _pair(data: ImageFolder, order: np.ndarray, one: _Seen, other: _Seen) -> str:
    names = [
        f"{data.name(each.place)} ({SPLIT_NAMES[int(order[each.place])]})" for each in (one, other)
    ]
    return " = ".join(names)


def _pairs(report: Report, what: str, pairs: Sequence[str]) -> None:
    if pairs:
        more = f"; and {len(pairs) - _PAIRS} more" if len(pairs) > _PAIRS else ""
        report.warned.append(f"{what}: {len(pairs)}: {'; '.join(pairs[:_PAIRS])}{more}")


def _masks(report: Report, data: ImageFolder, headers: dict[int, Header]) -> None:
    shares: list[float] = []
    for place in headers:
        _tried(
            report,
            lambda place=place: shares.append(
                float(data.coverage(place, headers[place]).mean()) / 255
            ),
        )
    if shares:
        report.told.append(
            f"masks: {len(shares)}, the object fills {100 * min(shares):.3g} % to "
            f"{100 * max(shares):.3g} % of an image, {100 * sum(shares) / len(shares):.3g} % in "
            "the mean"
        )
    empty = sum(share == 0 for share in shares)
    if empty:
        report.warned.append(f"masks that show no object: {empty}")


def _plan(data: ImageFolder) -> str:
    """What will be done to every image, in words."""
    recipe, size = data.recipe, "x".join(map(str, data.size))
    colours = {1: "grey", 3: "RGB"}.get(recipe.channels, f"{recipe.channels} bands")
    bands = f"bands {list(recipe.bands)}" if recipe.bands else colours
    if recipe.span is None:
        levels = "bytes as they are, 0 is black and 255 white"
    elif recipe.span == "dtype":
        levels = "0 is black and the largest number of each file's type white"
    else:
        levels = f"{recipe.span[0]:.9g} is black and {recipe.span[1]:.9g} white, clipped beyond"
    scaled = sum(header.size != data.size for header in data.headers)
    stretched = sum(_shape(header.size) != _shape(data.size) for header in data.headers)
    sizes = f"{scaled} of {len(data.headers)} are scaled to {size}" if scaled else f"{size} kept"
    if stretched:
        sizes += f", {stretched} of them to another shape"
    return f"{bands}; {levels}; {sizes}"


def _shape(size: tuple[int, int]) -> float:
    return round(size[0] / size[1], 3)
