"""TIFF and GeoTIFF: any number of bands of any depth, and pixels that are marked as missing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

_GDAL_NODATA, _ORIENTATION, _EXTRA_SAMPLES = 42113, 274, 338
_REDUCED, _MASK = 1, 4  # kinds of pages: a smaller copy, a mask of what is valid
_CONVERTED = frozenset({"PALETTE", "YCBCR", "SEPARATED", "CIELAB"})  # colours that Pillow knows
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PAGES = 64

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is said in our own line


class UnsupportedError(ValueError):
    """A TIFF that is whole but not understood."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a TIFF says of itself.

    Args:
        size: height and width as stored, before the orientation.
        bands: how many, an alpha included.
        dtype: of the numbers.
        bits: of a number that are used.
        alpha: null, or whether the last band is alpha with colours ("straight") or with colours
            multiplied by it already ("premultiplied").
        nodata: the number that stands for no data.
        orientation: as in EXIF, 1 to 8.
        plain: whether it is a picture as cameras and screens have it, which Pillow reads whole.
        converted: whether its colours are in a palette or a space that becomes RGB.
        inverted: whether zero is white.
    """

    size: tuple[int, int]
    bands: int
    dtype: np.dtype
    bits: int
    alpha: str | None
    nodata: float | None
    orientation: int
    plain: bool
    converted: bool
    inverted: bool


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins so is a TIFF."""
    return head[:4] in _MAGIC


def layout(path: Path) -> Layout:
    """What the file says of itself; no pixel is read.

    Raises:
        UnsupportedError: for pages that differ, volumes, or numbers that are no pixels.
    """
    with _pages(path) as (pages, masks):
        first = pages[0]
        if first.dtype is None or first.dtype.kind not in "buif":
            raise UnsupportedError(f"numbers of type {first.dtype}")
        bands = sum(page.samplesperpixel for page in pages)
        photometric = getattr(first.photometric, "name", "")
        nodata = _tag(first, _GDAL_NODATA)
        known, alone = photometric in _CONVERTED, len(pages) == 1 and not masks
        small = first.bitspersample <= 8 and first.dtype.kind in "ub"
        if known and not (alone and small):
            raise UnsupportedError(f"colours as {photometric} of more than 8 bits or many pages")
        return Layout(
            size=(first.imagelength, first.imagewidth),
            bands=bands,
            dtype=first.dtype.newbyteorder("="),
            bits=first.bitspersample,
            alpha=_alpha(first) if len(pages) == 1 else None,
            nodata=None if nodata is None else float(str(nodata).strip("\0 ")),
            orientation=int(_tag(first, _ORIENTATION) or 1),
            plain=alone and small and (bands in (1, 3) or known),
            converted=known,
            inverted=photometric == "MINISWHITE",
        )


def numbers(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers (height, width, band) as stored and, if there is a page for it, what is valid.

    Raises:
        UnsupportedError: for a compression that can't be undone, and for a file that is cut off.
    """
    with _pages(path) as (pages, masks):
        ends = [
            offset + count
            for page in (*pages, *masks)
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        # tifffile would fill with zeros what is not there.
        if not ends or max(ends) > path.stat().st_size:
            raise UnsupportedError("a file that is cut off")
        valid = masks[0].asarray().reshape(masks[0].shape[:2]) != 0 if masks else None
        return np.concatenate([_bands_last(page) for page in pages], axis=2), valid


@contextmanager
def _pages(path: Path) -> Iterator[tuple[list[tifffile.TiffPage], list[tifffile.TiffPage]]]:
    """The pages at full size, which are of one shape, and the masks of what is valid."""
    with tifffile.TiffFile(path) as file:
        if len(file.pages) > _MOST_PAGES:
            raise UnsupportedError(f"{len(file.pages)} pages")
        every = [page.aspage() for page in file.pages]
        pages = [page for page in every if not page.subfiletype & (_REDUCED | _MASK)]
        masks = [p for p in every if p.subfiletype & _MASK and not p.subfiletype & _REDUCED]
        kinds = {(p.imagelength, p.imagewidth, p.imagedepth, str(p.dtype)) for p in pages}
        if len(kinds) != 1 or pages[0] is not every[0] or pages[0].imagedepth != 1:
            raise UnsupportedError("pages of several sizes, or a volume")
        yield pages, masks


def _bands_last(page: tifffile.TiffPage) -> np.ndarray:
    values = page.asarray()
    shape = (page.imagelength, page.imagewidth)
    if page.samplesperpixel == 1:
        return values.reshape(*shape, 1)
    separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    return np.moveaxis(values, 0, -1) if separate else values.reshape(*shape, -1)


def _alpha(page: tifffile.TiffPage) -> str | None:
    extra = _tag(page, _EXTRA_SAMPLES)
    kinds = (extra,) if isinstance(extra, int) else tuple(extra or ())
    return {1: "premultiplied", 2: "straight"}.get(int(kinds[-1])) if kinds else None


def _tag(page: tifffile.TiffPage, code: int) -> Any:  # noqa: ANN401
    tag = page.tags.get(code)
    return None if tag is None else tag.value
