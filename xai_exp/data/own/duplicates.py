"""Pictures that are the same, and such as a person would call the same."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image

from xai_exp.data.own.folder import SPLIT_NAMES, say

_THUMB = 16  # pixels a side
_APART = 4  # of the 64 bits of the hash that may differ
_ALIKE = 0.98  # correlation of thumbnails
_FLAT = 0.5 / 255  # standard deviation below which there is nothing to recognise
_ROWS = 256  # compared with all others at once
_ONES = np.array([number.bit_count() for number in range(256)], np.uint8)


class Looks(NamedTuple):
    """A picture at a glance.

    Attributes:
        bits: eight bytes: whether it gets brighter from left to right, 8x8 times (dHash).
        thumb: 16x16 grey levels, standardised; zeros if it is flat.
    """

    bits: np.ndarray
    thumb: np.ndarray


def digest(pixels: np.ndarray) -> bytes:
    """A hash of an image's pixels, their type and shape."""
    array = np.ascontiguousarray(pixels)
    return hashlib.sha256(f"{array.dtype} {array.shape}\0".encode() + array.tobytes()).digest()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Remembers the images of the splits read so far, and says which are in two of them."""

    known: dict[int, dict[bytes, str]] = field(default_factory=dict)

    def add(self, which: int, digests: Sequence[bytes], names: Sequence[str]) -> None:
        """One more split, its images by digest and name."""
        for other, theirs in self.known.items():
            both = [
                (name, theirs[one])
                for one, name in zip(digests, names, strict=True)
                if one in theirs
            ]
            if both and other != which:
                say(
                    f"image_folder: {len(both)} of {len(names)} {SPLIT_NAMES[which]} images are "
                    f"also {SPLIT_NAMES[other]} images (such as {' = '.join(both[0])}): what is "
                    "measured on them is too good; python -m xai_exp.check lists them all"
                )
        self.known[which] = dict(zip(digests, names, strict=True))


def looks(pixels: np.ndarray) -> Looks:
    """A picture (channel, height, width) at a glance.

    The hash is dHash: of a copy of 9x8 pixels, whether each is darker than its right neighbour.
    """
    grey = pixels.astype(np.float64).mean(0)
    whole = 255 if pixels.dtype == np.uint8 else float(np.ptp(grey)) or 1.0
    image = Image.fromarray((grey / whole).astype(np.float32))
    small = np.asarray(image.resize((9, 8), Image.Resampling.BILINEAR))
    thumb = np.asarray(image.resize((_THUMB, _THUMB), Image.Resampling.BILINEAR)).ravel()
    spread = float(thumb.std())
    standard = (thumb - thumb.mean()) / spread if spread > _FLAT else np.zeros_like(thumb)
    return Looks(np.packbits(small[:, 1:] > small[:, :-1]), standard)


def near(found: list[Looks]) -> Iterator[tuple[int, int]]:
    """Pairs of positions of pictures that differ in size, compression, brightness or noise only.

    Both must hold: at most 4 of 64 bits of their hashes differ, and their thumbnails' Pearson
    correlation is .98 at least. Flat pictures are like no other.
    """
    if not found:
        return
    bits = np.stack([one.bits for one in found])
    thumbs = np.stack([one.thumb for one in found]).astype(np.float32)
    for start in range(0, len(found), _ROWS):
        apart = _ONES[bits[start : start + _ROWS, None] ^ bits[None, start:]].sum(-1)
        for row, column in zip(*np.nonzero(apart <= _APART), strict=True):
            one, other = start + int(row), start + int(column)
            if one < other and thumbs[one] @ thumbs[other] >= _ALIKE * _THUMB**2:
                yield one, other
