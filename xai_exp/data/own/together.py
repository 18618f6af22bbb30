"""What must hold for all pictures of a folder together, and what is found from all of them."""

from collections.abc import Sequence

import numpy as np

from xai_exp.config import InputError
from xai_exp.data.own import pixels
from xai_exp.data.own.folder import say
from xai_exp.data.own.pixels import Span
from xai_exp.data.own.reader import Header

Rows = Sequence[tuple[str, Header]]  # each with the name of its file
_LITTLE = 0.25  # of the range that numbers should fill at least


def check_sizes(rows: Rows) -> None:
    """All are as large as the first.

    Raises:
        InputError: for the first that is not.
    """
    first = rows[0][1].size
    for name, header in rows:
        if header.size != first:
            raise InputError(
                f"{name}: got {by(header.size)} pixels{turned(header)}; allowed: {by(first)} like "
                "the first image, or set dataset.resize=[height,width]"
            )


def check_depths(rows: Rows) -> None:
    """All have 8 bits, or all more.

    Raises:
        InputError: for both together, whose common range nobody knows.
    """
    shallow = [name for name, header in rows if header.dtype == np.uint8]
    deeper = [(name, header.dtype) for name, header in rows if header.dtype != np.uint8]
    if shallow and deeper:
        name, kind = deeper[0]
        raise InputError(
            f"ImageFolder.range: got images of 8 bits ({shallow[0]}) and deeper ones ({name}, "
            f"{kind}); allowed: one kind, or dataset.range=dtype or [low,high] for all"
        )


def coloured(headers: Sequence[Header]) -> bool:
    """Whether any picture has colours; it is said if others have none."""
    count = sum(header.bands != 1 for header in headers)
    if 0 < count < len(headers):
        say(
            f"image_folder: {count} of {len(headers)} images have colours, the others are grey: "
            "all are read as RGB (dataset.color=grey for the contrary)"
        )
    return count > 0


def detected(ends: Sequence[Span], rows: Rows) -> Span:
    """The span of all pictures' numbers, and word of it."""
    kinds = {header.dtype for _, header in rows}
    (low, high), why = pixels.detected(ends, kinds)
    smallest = min((a for a, _ in ends), default=low)
    largest = max((b for _, b in ends), default=high)
    little = (largest - smallest) < _LITTLE * (high - low)
    say(
        f"image_folder: numbers from {smallest:.9g} to {largest:.9g} in "
        f"{', '.join(sorted(map(str, kinds)))} are {why}: {low:.9g} is black, {high:.9g} is white "
        f"({'they fill little of it: ' * little}dataset.range=[low,high] for others)"
    )
    return low, high


def by(size: tuple[int, int]) -> str:
    """Height and width in words."""
    return f"{size[0]}x{size[1]}"


def turned(header: Header) -> str:
    """Why a size is not the one that other programs show."""
    return f" (turned by its EXIF orientation {header.orientation})" * (header.orientation != 1)
