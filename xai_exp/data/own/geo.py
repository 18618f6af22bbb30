"""Where on the earth a picture lies: read from a GeoTIFF, given to arrays of the same pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from xai_exp.data.own import tiff
from xai_exp.files import whole

# Scale, tie points, transformation, directory of keys, their numbers and their texts.
_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
_NODATA, _ORIENTATION = 42113, 274


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """The tags of a GeoTIFF that say where its pixels lie, as (code, type, count, value).

    Args:
        tags: as they are in the file.
        size: height and width of the picture that they are for.
    """

    tags: tuple[tuple[int, int, int, Any], ...]
    size: tuple[int, int]


def georeference(path: Path) -> Georeference | None:
    """Where the picture lies; None if it does not say so, or is stored on its side."""
    with path.open("rb") as file:
        if not tiff.is_tiff(file.read(4)):
            return None
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        turn = page.tags.get(_ORIENTATION)
        found = [page.tags[code] for code in _TAGS if code in page.tags]
        if not found or (turn is not None and int(turn.value) != 1):
            return None
        return Georeference(
            tags=tuple((one.code, int(one.dtype), one.count, one.value) for one in found),
            size=(page.imagelength, page.imagewidth),
        )


def save(path: Path, values: np.ndarray, where: Georeference) -> None:
    """A GeoTIFF of one band of float32; what is NaN counts as no data.

    The picture's own number for no data is not taken over: a value may be equal to it by chance.
    """
    assert values.shape == where.size
    tags = [(code, kind, _counted(kind, n), value, True) for code, kind, n, value in where.tags]
    if np.isnan(values).any():
        tags.append((_NODATA, 2, 0, "nan", True))
    with whole(path) as part, part.open("wb") as file:
        tifffile.imwrite(
            file, values.astype(np.float32), photometric="minisblack", metadata=None, extratags=tags
        )


def _counted(kind: int, count: int) -> int:
    return 0 if kind == 2 else count  # of a text tifffile counts itself
