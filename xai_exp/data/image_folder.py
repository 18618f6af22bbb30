"""One's own images: a folder of class folders, perhaps with a folder of masks beside it."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from xai_exp.config import Folder, InputError, Range, configured
from xai_exp.data.loading import Splits, TensorSplit
from xai_exp.data.own import duplicates, masks, pixels, together
from xai_exp.data.own.content import fingerprint, readable
from xai_exp.data.own.folder import Found, divided, find, say
from xai_exp.data.own.pixels import MOST_BANDS, Alpha, Recipe, Span
from xai_exp.data.own.reader import Header, Picture, look, read


@configured
class ImageFolder(Splits):
    """Images in root/CLASS/NAME, split by seed with equal shares of every class.

    Where the folders are root/train/CLASS/NAME (and val, test), they are the splits; one of val and
    test that is missing is taken from train. Hidden files and folders are no data. Pictures are
    read upright, by their EXIF orientation.

    Args:
        root: a folder of class folders.
        masks: a folder with the same structure; a mask is a grey image, white where the object is,
            of the same size as its image. Null: no ground truth.
        mask_values: for masks of labels or colours: the numbers (a palette's indices) or colours
            ('#ff0000') that are the object.
        resize: height and width that images (and masks) are scaled to; null: they are equal in
            size already.
        color: auto (RGB if any image has colours), grey or rgb.
        range: which numbers of files deeper than 8 bits become 0 and 1: auto (the bits, or the
            smallest and largest number, of all images together), [low, high], or dtype (all that
            the file's type can hold).
        alpha: what becomes of transparency: over_black, over_white (what lies under it), mask (it
            is the object's mask), drop (colours as they are). Null: it is refused.
        bands: the bands to use, counted from 1, such as [3, 2, 1]; null: all of one or three.
        validation_share, test_share: the share of images held out.
        seed: of the split.
    """

    root: Annotated[str, Folder()]
    masks: Annotated[str | None, Folder()] = None
    mask_values: tuple[int | str, ...] | None = None
    resize: tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]] | None = None
    color: str = "auto"
    range: Literal["auto", "dtype"] | tuple[float, float] = "auto"
    alpha: Alpha | None = None
    bands: tuple[Annotated[int, Range(1)], ...] | None = None
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.2
    seed: Annotated[int, Range(0)] = 0

    undeciding = frozenset({"root", "masks", "mask_values"})
    version: ClassVar[int] = 2  # deeper files are read by the bits in use, no longer by their type

    def __post_init__(self) -> None:
        if self.color not in ("auto", "grey", "rgb"):
            raise InputError(
                f"ImageFolder.color: got {self.color!r}; allowed: one of auto, grey, rgb"
            )
        for name, folder in (("root", self._root), ("masks", self._mask_root)):
            if folder is not None and not folder.is_dir():
                raise InputError(
                    f"ImageFolder.{name}: got {readable(folder)}; allowed: a folder that exists"
                )
        masks.check_values(self.mask_values)
        self._check_pixels()

    def _check_pixels(self) -> None:
        if isinstance(self.range, tuple) and not self.range[0] < self.range[1]:
            raise InputError(
                f"ImageFolder.range: got {list(self.range)}; allowed: [low, high], low below high"
            )
        if self.bands is not None and not 1 <= len(self.bands) <= MOST_BANDS:
            raise InputError(
                f"ImageFolder.bands: got {len(self.bands)} bands; allowed: 1 to {MOST_BANDS}"
            )
        if self.bands is not None and (self.alpha is not None or self.color != "auto"):
            raise InputError(
                "ImageFolder.bands: got bands with alpha or color; allowed: bands alone, where an "
                "alpha channel is the last one"
            )
        if self.alpha == "mask" and self.masks is not None:
            raise InputError(
                "ImageFolder.alpha: got mask with a folder of masks; allowed: one of the two"
            )

    @property
    def _root(self) -> Path:
        return Path(self.root).expanduser()

    @property
    def _mask_root(self) -> Path | None:
        return None if self.masks is None else Path(self.masks).expanduser()

    @cached_property
    def found(self) -> Found:
        """What is in the folder.

        Raises:
            InputError: for folders that can't be told apart, or with too few classes or images.
        """
        return find(self._root, self._mask_root)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders, in alphabetical order."""
        return self.found.classes

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the images' names and content, so that other images train anew."""
        return fingerprint((path.relative_to(self._root), path) for path in self.found.paths)

    @cached_property
    def truth_fingerprint(self) -> str:
        """The same of the masks, so that other masks score anew."""
        if self._mask_root is None:
            return ""
        named = [(path.relative_to(self._root), self.mask_of(path)) for path in self.found.paths]
        return fingerprint(named)

    @cached_property
    def headers(self) -> tuple[Header, ...]:
        """What each file says of its picture.

        Raises:
            InputError: for the first file that can't be read.
        """
        return tuple(look(path) for path in self.found.paths)

    @cached_property
    def channels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """1 for grey, 3 for RGB, or the number of bands."""
        if self.bands is not None:
            return len(self.bands)
        if self.color != "auto":
            return 1 if self.color == "grey" else 3
        return 3 if together.coloured(self.headers) else 1

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width: `resize`, or those of the first image."""
        return self.resize or self.headers[0].size

    @cached_property
    def recipe(self) -> Recipe:
        """What is done to every image.

        Raises:
            InputError: for files of 8 and of more bits together, whose common range is unknown.
        """
        return Recipe(
            channels=self.channels,
            bands=self.bands,
            alpha=self.alpha,
            span=self._span(),
            resize=self.resize,
        )

    def _span(self) -> Span | Literal["dtype"] | None:
        deep = any(header.dtype != np.uint8 for header in self.headers)
        if isinstance(self.range, tuple):
            return self.range
        if not deep:
            return None
        if self.range == "dtype":
            return "dtype"
        together.check_depths(self._rows)
        places = range(len(self.found.paths))
        ends = [pixels.extremes(self.chosen(place)) for place in places]
        return together.detected([one for one in ends if one], self._rows)

    def chosen(self, place: int) -> Picture:
        """The picture in a file, of the bands that were asked for.

        Raises:
            InputError: for a file that can't be read, or bands that nothing is declared for.
        """
        path = self.found.paths[place]
        return pixels.select(readable(path), read(path), self.bands, self.alpha)

    @property
    def _rows(self) -> list[tuple[str, Header]]:
        return list(zip(map(readable, self.found.paths), self.headers, strict=True))

    def name(self, place: int) -> str:
        """The file of an image, within the folder, as text."""
        return readable(self.found.paths[place].relative_to(self._root))

    @cached_property
    def positions(self) -> tuple[Tensor, ...]:
        """Where the images of train, validation and test are among all."""
        return divided(self.found, self.validation_share, self.test_share, self.seed)

    def split(self, which: int) -> TensorSplit:
        """The images of one split.

        Raises:
            InputError: for a file that can't be read or has another size, or that would have to be
                changed in a way that nothing is declared for.
        """
        mine = [int(place) for place in self.positions[which]]
        if self.resize is None:
            together.check_sizes(self._rows)
        made, covered = [], []
        for place in mine:  # one at a time: files may be far larger than what is kept of them
            path = self.found.paths[place]
            picture = read(path)
            made.append(self.recipe(readable(path), picture))
            covered += self._mask(place, picture)
        names = tuple(self.name(place) for place in mine)
        self._watch.add(which, [duplicates.digest(one.numpy()) for one in made], names)
        if covered and not any(one.any() for one in covered):
            say("image_folder: no mask of a split shows an object, so that no image has a truth")
        return TensorSplit(
            pixels=torch.stack(made),
            labels=torch.tensor([self.found.labels[place] for place in mine]),
            masks=torch.stack(covered) if covered else None,
            names=names,
        )

    @cached_property
    def _watch(self) -> duplicates.Watch:
        return duplicates.Watch()

    def _mask(self, place: int, picture: Picture) -> list[Tensor]:
        """An image's mask, if there are masks."""
        if self.alpha == "mask" and picture.alpha is not None:
            covered = (255 * picture.alpha).round().astype(np.uint8)
        elif self.masks is not None:
            covered = self.coverage(place, self.headers[place])
        else:
            return []
        return [pixels.scaled_mask(covered, self.resize)]

    def coverage(self, place: int, header: Header) -> np.ndarray:
        """How much the object fills of each pixel of an image, 0..255, before any scaling.

        `header` is the image's.

        Raises:
            InputError: for a mask that can't be read, is missing, or is not as large as its image.
        """
        path = self.mask_of(self.found.paths[place])
        masks.check_size(path, header)
        return masks.coverage(path, self.mask_values)

    def mask_of(self, path: Path) -> Path:
        """The mask of an image.

        Raises:
            InputError: if there is none.
        """
        return masks.beside(path, path.relative_to(self._root), Path(str(self._mask_root)))
