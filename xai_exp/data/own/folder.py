"""A folder of pictures: what is in it, which class and which split each file belongs to."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.loading import TEST, TRAIN, VALIDATION, stratified
from xai_exp.data.own.content import readable
from xai_exp.data.own.reader import SUFFIXES

_FEW = 5  # kinds of files that a line names
_log = logging.getLogger(__name__)

SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
SPLIT_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
_LEFT_BY_SYSTEMS = frozenset({"__MACOSX", "@eaDir"})  # thumbnails and attributes, not data


@cache
def say(line: str) -> None:
    """Tell the user something about the data, once in a process."""
    _log.warning(line)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The pictures of a folder.

    Args:
        classes: the names of the classes, in alphabetical order, as text.
        paths: of all pictures, by class and then by name.
        labels: the class of each, a position in `classes`.
        splits: the split of each where folders say so, else empty.
        loose: pictures that lie beside the class folders, in no class.
        others: files in the class folders that are not read.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    splits: tuple[int, ...]
    loose: int
    others: tuple[Path, ...] = ()


def find(root: Path, masks: Path | None) -> Found:
    """All pictures under root/CLASS, or under root/SPLIT/CLASS where the folders are splits.

    Raises:
        InputError: for folders that can't be told apart, or fewer than two classes.
    """
    beside = masks.resolve() if masks else None  # it may lie beside the class folders
    folders = _folders(root, beside)
    kinds = {SPLITS[each.name.lower()] for each in folders if each.name.lower() in SPLITS}
    if len(kinds) < 2:
        return _gathered(root, [(None, each) for each in folders], _pictures(root))
    _check_splits(root, folders, kinds)
    named = [
        (SPLITS[split.name.lower()], each) for split in folders for each in _folders(split, beside)
    ]
    loose = [path for split in folders for path in _pictures(split)]
    return _gathered(root, named, [*loose, *_pictures(root)])


def _check_splits(root: Path, folders: list[Path], kinds: set[int]) -> None:
    others = [readable(each.name) for each in folders if each.name.lower() not in SPLITS]
    if others:
        raise InputError(
            f"ImageFolder.root: got {', '.join(others)} beside folders of splits in "
            f"{readable(root)}; allowed: only train, val and test with the classes in each, or "
            "only classes"
        )
    if TRAIN not in kinds:
        raise InputError(
            f"ImageFolder.root: got folders of splits without train in {readable(root)}; allowed: "
            "train and val or test, or only classes"
        )


def _gathered(
    root: Path, folders: Sequence[tuple[int | None, Path]], loose: Sequence[Path]
) -> Found:
    names = sorted({readable(each.name) for _, each in folders})
    if len(names) < 2:
        raise InputError(
            f"ImageFolder.root: got {len(names)} class folders in {readable(root)}; allowed: two "
            "or more folders, one a class"
        )
    rows: list[tuple[int, tuple[str, ...], Path, int | None]] = []
    others: list[Path] = []
    for split, folder in folders:
        label, files = names.index(readable(folder.name)), _within(folder)
        rows += [(label, path.parts, path, split) for path in files if _is_picture(path)]
        others += [path for path in files if not _is_picture(path) and path.is_file()]
    rows.sort(key=lambda row: row[:2])
    _refuse_splits_inside([folder for split, folder in folders if split is None])
    found = Found(
        classes=tuple(names),
        paths=tuple(row[2] for row in rows),
        labels=tuple(row[0] for row in rows),
        splits=tuple(row[3] for row in rows if row[3] is not None),
        loose=len(loose),
        others=tuple(others),
    )
    _check_counts(root, found)
    return found


def _check_counts(root: Path, found: Found) -> None:
    """Every class needs an image for each split that is taken from it."""
    source = found.splits or (TRAIN,) * len(found.labels)
    counts = Counter(label for label, at in zip(found.labels, source, strict=True) if at == TRAIN)
    missing = {TRAIN, VALIDATION, TEST} - (set(found.splits) - {TRAIN})
    for label, name in enumerate(found.classes):
        if counts[label] < len(missing):
            where = f"{readable(root)}/{'train/' if found.splits else ''}{name}"
            left = "" if not found.others else f" (left out: {_endings(found.others)})"
            raise InputError(
                f"{where}: got {counts[label]} images{left}; allowed: at least {len(missing)}, one "
                f"for each split, named {', '.join(sorted(SUFFIXES))}"
            )
    if found.others:
        say(
            f"image_folder: {len(found.others)} files in the class folders are left out "
            f"({_endings(found.others)}): read are {', '.join(sorted(SUFFIXES))}"
        )


def _endings(paths: Sequence[Path]) -> str:
    """How many files end how, the most frequent first."""
    counted = Counter(path.suffix.lower() or "no ending" for path in paths)
    return ", ".join(f"{n} {readable(ending)}" for ending, n in counted.most_common(_FEW))


def divided(found: Found, validation: float, test: float, seed: int) -> tuple[Tensor, ...]:
    """Positions of train, validation and test: as the folders say, else by seed and shares.

    A split without a folder is taken from train. Each is in an order drawn from the seed, so that
    the first images are of all classes.
    """
    labels = torch.tensor(found.labels)
    if not found.splits:
        return stratified(labels, validation, test, seed)
    generator = torch.Generator().manual_seed(seed)
    given = torch.tensor(found.splits)
    places = [(given == which).nonzero().flatten() for which in (TRAIN, VALIDATION, TEST)]
    pieces = [mine[torch.randperm(len(mine), generator=generator)] for mine in places]
    for which, share in ((VALIDATION, validation), (TEST, test)):
        if not len(pieces[which]):
            kept, held, rest = stratified(labels[pieces[TRAIN]], share, 1e-9, seed)
            pieces[which] = pieces[TRAIN][held]
            pieces[TRAIN] = pieces[TRAIN][torch.cat([kept, rest])]
    return tuple(pieces)


def _refuse_splits_inside(folders: list[Path]) -> None:
    """CLASS/train and CLASS/test would be mixed and split anew."""
    for folder in folders:
        inside = [each.name for each in _folders(folder, None) if each.name.lower() in SPLITS]
        if len({SPLITS[name.lower()] for name in inside}) > 1:
            raise InputError(
                f"{readable(folder)}: got folders of splits ({', '.join(sorted(inside))}) within "
                "a class; allowed: the other way around, train/CLASS and test/CLASS"
            )


def shown(path: Path) -> bool:
    """Whether a file or folder is meant to be seen."""
    return not path.name.startswith(".") and path.name not in _LEFT_BY_SYSTEMS


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted((path for path in folder.iterdir() if shown(path)), key=lambda p: p.name)
    except OSError as error:
        raise InputError(
            f"{readable(folder)}: got a folder that can't be read ({error.strerror}); allowed: "
            "one that may be"
        ) from error


def _folders(root: Path, but: Path | None) -> list[Path]:
    return [each for each in _listed(root) if each.is_dir() and each.resolve() != but]


def _pictures(folder: Path) -> list[Path]:
    """What should be pictures; whether they can be read is found when they are."""
    return [path for path in _listed(folder) if _is_picture(path) and not path.is_dir()]


def _is_picture(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def _within(folder: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """All files of a class, in folders within its folder as well."""
    place = folder.resolve()
    if place in above:
        raise InputError(
            f"{readable(folder)}: got a link that leads back to a folder above it; allowed: none"
        )
    paths = [path for path in _listed(folder) if not path.is_dir()]
    for inner in _folders(folder, None):
        paths += _within(inner, above | {place})
    return paths
