"""From a picture's own numbers to what a network sees: bytes, or floats in 0..1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.data.own.folder import say
from xai_exp.data.own.reader import Picture

Alpha = Literal["over_black", "over_white", "mask", "drop"]
Span = tuple[float, float]
MOST_BANDS = 16


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is done to every picture of a dataset alike.

    Args:
        channels: of the result.
        bands: which of the file's bands, counted from 1, an alpha last; null: all, no alpha.
        alpha: what becomes of what is transparent; null: it is refused.
        span: the numbers that become 0 and 1, those outside are clipped; null: bytes stay bytes;
            "dtype": each file's whole type.
        resize: height and width to scale to; null: as they are.
    """

    channels: int
    bands: tuple[int, ...] | None = None
    alpha: Alpha | None = None
    span: Span | Literal["dtype"] | None = None
    resize: tuple[int, int] | None = None

    def __call__(self, name: str, picture: Picture) -> Tensor:
        """The pixels (channel, height, width): uint8, or float32 in 0..1.

        Raises:
            InputError: for bands or transparency that nothing is declared for; `name` is the file.
        """
        chosen = select(name, picture, self.bands, self.alpha)
        if chosen.valid is not None:
            say(_MISSING)
        if self.span is None:
            return _tensor(self._bytes(chosen))
        span = whole_type(name, chosen) if self.span == "dtype" else self.span
        return _tensor(self._floats(chosen, span))

    def _bytes(self, picture: Picture) -> np.ndarray:
        values = _filled(_composed(picture, self.alpha, 255), picture.valid)
        scaled = _resized(values, self.resize)
        if self.channels == scaled.shape[2]:
            return scaled
        if self.channels == 1:
            return np.asarray(Image.fromarray(scaled).convert("L"))[..., None]
        return scaled.repeat(3, axis=2)

    def _floats(self, picture: Picture, span: Span) -> np.ndarray:
        low, high = span
        values = picture.values.astype(np.float64)
        scaled = ((values - low) / (high - low)).clip(0, 1)
        scaled = _filled(np.nan_to_num(scaled), picture.valid)
        placed = Picture(values=scaled, alpha=picture.alpha)
        scaled = _resized(_composed(placed, self.alpha, 1).astype(np.float32), self.resize)
        scaled = scaled.clip(0, 1)
        if self.channels == scaled.shape[2]:
            return scaled
        if self.channels == 1:
            return (scaled @ np.array([0.299, 0.587, 0.114], np.float32))[..., None].clip(0, 1)
        return scaled.repeat(3, axis=2)


_MISSING = (
    "image_folder: some pictures have pixels without data (no number, or the one that the file "
    "declares for it): these are read as black (python -m xai_exp check: how many)"
)


def select(
    name: str, picture: Picture, bands: tuple[int, ...] | None, alpha: Alpha | None
) -> Picture:
    """The bands that were asked for; a transparency that is kept is one that was declared.

    Raises:
        InputError: for bands that there are not, or that nothing is declared for.
    """
    count = picture.values.shape[2]
    if bands is not None:
        every = _with_alpha_last(picture)
        if max(bands) > every.shape[2]:
            raise InputError(
                f"{name}: got {every.shape[2]} bands; allowed: at least {max(bands)}, as "
                f"dataset.bands={list(bands)} asks for"
            )
        places = [band - 1 for band in bands]
        inside = [place for place in places if place < count]
        valid = None if picture.valid is None else picture.valid[..., inside]
        return Picture(values=every[..., places], valid=valid)
    if count not in (1, 3):
        raise InputError(
            f"{name}: got {count} bands; allowed: 1 or 3, or those to use as dataset.bands=[1,2,3] "
            f"(up to {MOST_BANDS})"
        )
    if alpha is None and not picture.opaque:
        assert picture.alpha is not None
        clear = 100 * float((picture.alpha < 1).mean())
        raise InputError(
            f"{name}: got a transparent picture ({clear:.3g} % of its pixels); allowed: opaque "
            "ones, or dataset.alpha=over_black | over_white | mask | drop"
        )
    if alpha == "mask" and picture.alpha is None:
        raise InputError(
            f"{name}: got no alpha; allowed: an alpha channel in every picture with "
            "dataset.alpha=mask"
        )
    return picture


def _with_alpha_last(picture: Picture) -> np.ndarray:
    """All bands as they are in the file."""
    if picture.alpha is None:
        return picture.values
    kind = picture.values.dtype
    top = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    alpha = picture.alpha * top
    whole = alpha if kind.kind == "f" else alpha.round()
    return np.concatenate([picture.values, whole[..., None].astype(kind)], axis=2)


def _composed(picture: Picture, alpha: Alpha | None, white: int) -> np.ndarray:
    """The colours over what is declared to lie under them, of the same type."""
    values = picture.values
    if picture.opaque or alpha not in ("over_black", "over_white"):
        return values
    assert picture.alpha is not None
    weight = picture.alpha[..., None]
    mixed = values * weight + (white if alpha == "over_white" else 0) * (1 - weight)
    return (mixed.round() if white == 255 else mixed).astype(values.dtype)


def _filled(values: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """A pixel without data in any band is black in all of them."""
    if valid is None:
        return values
    return np.where(valid.all(axis=2, keepdims=True), values, 0).astype(values.dtype)


def _resized(values: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is None or values.shape[:2] == size:
        return values
    height, width = size
    bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(values, 2, 0)]
    scaled = [band.resize((width, height), Image.Resampling.BILINEAR) for band in bands]
    return np.stack([np.asarray(band) for band in scaled], axis=2)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, 2, 0)).copy())


def scaled_mask(coverage: np.ndarray, size: tuple[int, int] | None) -> Tensor:
    """How much the object fills of each pixel (0..255), as (1, height, width) bytes."""
    return _tensor(_resized(coverage[..., None], size))


def extremes(picture: Picture) -> Span | None:
    """The smallest and the largest number where there are data; None if there are none."""
    there = np.isfinite(picture.values) if picture.valid is None else picture.valid
    values = picture.values[there]
    return (float(values.min()), float(values.max())) if values.size else None


def detected(found: Iterable[Span], kinds: Iterable[np.dtype]) -> tuple[Span, str]:
    """The span that all pictures together speak for, and in words why.

    Whole numbers from zero up are read by the bits that the largest of all needs, 8 at least, so
    that the same picture in a wider type stays the same; fractions within 0..1 as they are; all
    else from the smallest to the largest number.
    """
    pairs = list(found)
    low, high = min((a for a, _ in pairs), default=0.0), max((b for _, b in pairs), default=0.0)
    whole = all(kind.kind in "ui" for kind in kinds)
    if whole and low >= 0:
        bits = max(8, int(high).bit_length())
        return (0.0, float(2**bits - 1)), f"read as {bits} bits"
    if not whole and low >= 0 and high <= 1:
        return (0.0, 1.0), "read as they are"
    return (low, high if high > low else low + 1), "read from the smallest to the largest"


def whole_type(name: str, picture: Picture) -> Span:
    """The span of the file's own type: 0 to its largest number, 0 to 1 for fractions.

    Raises:
        InputError: for numbers outside of it.
    """
    kind = picture.values.dtype
    high = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    found = extremes(picture)
    if found is not None and (found[0] < 0 or found[1] > high):
        raise InputError(
            f"{name}: got numbers from {found[0]:g} to {found[1]:g} with dataset.range=dtype; "
            f"allowed: 0 to {high:g}, or dataset.range=[low,high]"
        )
    return 0.0, high
