"""Heatmaps that were made elsewhere, read from a file."""

import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import Content, InputError, configured
from xai_exp.explainers.cost import Cost
from xai_exp.types import Heatmaps, Images, Index, Labels

_HOW = "allowed: explainer.from_file.path=maps.npz, a file of numpy.savez or numpy.save"
_BESIDE = ("files", "targets", "images", "predictions", "masks", "classes", "explainers")
_LEVEL = 1.5 / 255  # by which pictures may differ that were kept as bytes
_SHOWN = 3  # names that a message shows
_log = logging.getLogger(__name__)


@configured
class FromFile:
    """Heatmaps that another program made, to be scored as if they were made here.

    The file is one of numpy.save, (image, height, width) in the order of the explained images, or
    of numpy.savez: `heatmaps` likewise, perhaps with `files` (the name of each one's picture within
    the folder of the data, as CLASS/NAME) and `targets` (the class that each explains); or an array
    (height, width) under each picture's name. What `save` of the Python API wrote is read, too. A
    file without targets is taken to explain the classes that the run asks about. Metrics that need
    heatmaps of other images, targets or networks have no score. Cost: none here.

    Args:
        path: the .npz or .npy file; its content decides, not its place.
        name: which of several sets in the file, `heatmaps/NAME`; null: the only one.
    """

    path: Annotated[str | None, Content()] = None
    name: str | None = None

    requires: ClassVar[str] = "a file"
    makes_none: ClassVar[bool] = True
    cost: ClassVar[Cost] = Cost(forward=0, backward=0)

    def __post_init__(self) -> None:
        """The file is there before work begins."""
        if self.path is not None and not self._place.is_file():
            raise InputError(f"from_file.path: got {self.path}, which is no file; {_HOW}")

    @property
    def _place(self) -> Path:
        return Path(str(self.path)).expanduser()

    def for_images(
        self, images: Images, numbers: Index, files: Sequence[str] | None
    ) -> "BoundFromFile":
        """The heatmaps of these images, by the names of their files or by their order.

        Raises:
            InputError: for a file that does not hold one finite heatmap of each image's size.
        """
        if self.path is None:
            raise InputError(f"from_file.path: got none; {_HOW}")
        if len(numbers.unique()) < len(numbers):
            raise InputError(
                "from_file: got the same image several times, as target=all asks for; allowed: one "
                "target an image"
            )
        stored = read(self._place, self.name)
        rows = stored.rows(len(images), files)
        maps, targets = stored.at(rows, (images.shape[-2], images.shape[-1]))
        stored.refuse_other_images(rows, images)
        if targets is None:
            _log.warning(
                "%s does not say which classes its heatmaps explain: they are taken to explain "
                "those that the run asks about",
                self.path,
            )
        return BoundFromFile(
            images=images,
            heatmaps=maps.to(images),
            explained=None if targets is None else targets.to(images.device),
            path=str(self.path),
        )

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: which of the file's heatmaps these images have is not known.

        Raises:
            InputError: always.
        """
        raise InputError(f"from_file: got images that it was not bound to; {_HOW}")


@dataclass(frozen=True, kw_only=True)
class BoundFromFile:
    """The heatmaps of certain images, found by the image."""

    only_known_images: ClassVar[bool] = True
    makes_none: ClassVar[bool] = True
    images: Images
    heatmaps: Heatmaps
    explained: Labels | None
    path: str

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """The heatmaps of these images.

        Raises:
            InputError: for other images, and for targets that the file does not explain.
        """
        rows = self._rows(images)
        if self.explained is not None and not torch.equal(self.explained[rows], targets):
            other = (self.explained[rows] != targets).nonzero()[:, 0]
            first = int(other[0])
            raise InputError(
                f"{self.path}: got heatmaps of other classes for {len(other)} of {len(images)} "
                f"images (the first: class {int(self.explained[rows][first])} where "
                f"{int(targets[first])} is asked about); allowed: the same, or another target="
            )
        return self.heatmaps[rows]

    def _rows(self, images: Images) -> Index:
        if images.shape == self.images.shape and torch.equal(images, self.images):
            return torch.arange(len(images), device=images.device)
        rows = ops.nearest(images, self.images)
        if not torch.equal(self.images[rows], images):
            raise InputError(f"{self.path}: got images that it has no heatmaps of")
        keys = [one.tobytes() for one in self.images.cpu().numpy()]
        if len(set(keys)) < len(keys):
            raise InputError(
                f"{self.path}: got the same picture twice among the explained ones; allowed: each "
                "once, or value=centred"
            )
        return rows


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a file holds.

    Args:
        path: of the file.
        maps: (image, height, width), or one by one where files of different size have theirs.
        files: the name of each one's picture.
        targets: the class that each explains.
        images: the pictures themselves, in 0..1 or in bytes.
    """

    path: Path
    maps: np.ndarray | Sequence[np.ndarray]
    files: Sequence[str] | None = None
    targets: np.ndarray | None = None
    images: np.ndarray | None = None

    def rows(self, count: int, files: Sequence[str] | None) -> list[int]:
        """Where the heatmaps of the explained images are.

        Raises:
            InputError: for an image without one, or another number of them.
        """
        if self.files is not None:
            if files is None:
                raise InputError(
                    f"{self.path}: got heatmaps by the names of files for data that have none; "
                    "allowed: 'heatmaps' of shape (image, height, width), in the images' order"
                )
            return self._by_name(files)
        if len(self.maps) != count:
            raise InputError(
                f"{self.path}: got {len(self.maps)} heatmaps; allowed: {count}, one for each "
                f"explained image in order, or images={len(self.maps)}"
            )
        return list(range(count))

    def _by_name(self, files: Sequence[str]) -> list[int]:
        places = {name: place for place, name in enumerate(self.files or ())}
        missing = [name for name in files if name not in places]
        if missing:
            has = ", ".join(list(places)[:_SHOWN])
            raise InputError(
                f"{self.path}: got no heatmap of {', '.join(missing[:_SHOWN])} ({len(missing)} of "
                f"{len(files)} are missing; it has {has} ...); allowed: one for each explained "
                "picture, by its name within the folder of the data, as CLASS/NAME"
            )
        return [places[name] for name in files]

    def at(self, rows: Sequence[int], size: tuple[int, int]) -> tuple[Heatmaps, Labels | None]:
        """The heatmaps at these places, all of this size, and the classes that they explain.

        Raises:
            InputError: for another size, or a value that is not finite.
        """
        found = []
        for row in rows:
            one = self.maps[row]
            if one.shape != size:
                raise InputError(
                    f"{self.path}: got {self._named(row)} of shape {one.shape}; allowed: "
                    f"{size}, the pixels of its image"
                )
            narrow = torch.from_numpy(one.astype(np.float64)).float()
            if not narrow.isfinite().all():
                raise InputError(
                    f"{self.path}: got NaN or infinity in {self._named(row)}; allowed: finite "
                    "numbers"
                )
            found.append(narrow)
        targets = self.targets
        chosen = None if targets is None else torch.from_numpy(targets[list(rows)].astype(np.int64))
        return torch.stack(found), chosen

    def refuse_other_images(self, rows: Sequence[int], images: Images) -> None:
        """Where the file keeps the pictures, they have to be the explained ones.

        Raises:
            InputError: if one is another.
        """
        if self.images is None or self.images.shape[1:] != tuple(images.shape[1:]):
            return
        kept = self.images[list(rows)]
        kept = kept / 255 if kept.dtype == np.uint8 else kept
        for row, one, other in zip(rows, kept, images.cpu().numpy(), strict=True):
            if np.abs(one - other).max() > _LEVEL:
                raise InputError(
                    f"{self.path}: got {self._named(row)} with another picture than the explained "
                    "one; allowed: heatmaps of the same pictures in the same order"
                )

    def _named(self, row: int) -> str:
        return f"the heatmap of {self.files[row]}" if self.files is not None else f"heatmap {row}"


def read(path: Path, name: str | None = None) -> Stored:
    """What is in a file of numpy.

    Raises:
        InputError: for a file that is none, and for arrays that can't be heatmaps.
    """
    held = _arrays(path)
    if isinstance(held, np.ndarray):
        return Stored(path=path, maps=_maps(path, "the array", held))
    beside = {key: held[key] for key in _BESIDE if key in held}
    chosen = _chosen(path, held, name)
    if chosen is None:
        by_file = {key: one for key, one in held.items() if key not in beside}
        for key, one in by_file.items():
            _refuse_type(path, key, one)
        return Stored(path=path, maps=list(by_file.values()), files=list(by_file))
    maps = _maps(path, chosen, held[chosen])
    for key, one in beside.items():
        if key in ("files", "targets", "images") and len(np.atleast_1d(one)) != len(maps):
            raise InputError(
                f"{path}: got {len(np.atleast_1d(one))} {key} for {len(maps)} heatmaps; allowed: "
                "one for each"
            )
    return Stored(
        path=path,
        maps=maps,
        files=_names(path, beside.get("files")),
        targets=_classes(path, beside.get("targets")),
        images=beside.get("images"),
    )


def _arrays(path: Path) -> Any:  # noqa: ANN401
    """An array, or several by name; nothing that runs code."""
    try:
        with path.open("rb") as file:
            held: Any = np.load(file, allow_pickle=False)
            return held if isinstance(held, np.ndarray) else {key: held[key] for key in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: got a file that can't be read as plain arrays ({type(error).__name__}); "
            "allowed: one of numpy.savez or numpy.save, without objects"
        ) from error


def _chosen(path: Path, held: Mapping[str, np.ndarray], name: str | None) -> str | None:
    """The key of the set of heatmaps; None where each picture has a key of its own."""
    sets = [key for key in held if key.startswith("heatmaps/") and held[key].ndim > 2]
    sets += ["heatmaps"] if "heatmaps" in held else []
    several = [key for key in held if key not in (*_BESIDE, *sets) and held[key].ndim > 2]
    if name is not None:
        wanted = [key for key in (f"heatmaps/{name}", name) if key in held]
        if not wanted:
            raise InputError(f"{path}: got no {name!r} in it; allowed: {_listed(sets or several)}")
        return wanted[0]
    found = sets or several
    if len(found) > 1:
        raise InputError(
            f"{path}: got {len(found)} sets of heatmaps ({_listed(found)}); allowed: one of them, "
            "explainer.from_file.name=NAME"
        )
    if not found and not any(key not in _BESIDE for key in held):
        raise InputError(f"{path}: got no heatmaps in it; allowed: an array named 'heatmaps'")
    return found[0] if found else None


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(key.removeprefix("heatmaps/") for key in keys) or "an array named 'heatmaps'"


def _maps(path: Path, what: str, array: np.ndarray) -> np.ndarray:
    _refuse_type(path, what, array)
    if array.ndim != 3:
        channels = "; sum over the channels first" if array.ndim == 4 else ""
        raise InputError(
            f"{path}: got {what} of shape {array.shape}; allowed: (image, height, width){channels}"
        )
    return array


def _refuse_type(path: Path, what: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: got {what} of type {array.dtype}; allowed: numbers")


def _names(path: Path, files: np.ndarray | None) -> list[str] | None:
    if files is None:
        return None
    names = [str(one) for one in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: got {twice} twice among its files; allowed: each once")
    return names


def _classes(path: Path, targets: np.ndarray | None) -> np.ndarray | None:
    if targets is not None and (targets.ndim != 1 or targets.dtype.kind not in "iu"):
        raise InputError(
            f"{path}: got targets of shape {targets.shape} and type {targets.dtype}; allowed: the "
            "number of a class for each heatmap"
        )
    return targets
