"""Masks from files: what belongs to the object, by brightness or by declared values."""

import re
from pathlib import Path

import numpy as np

from xai_exp.config import InputError
from xai_exp.data.own.content import readable
from xai_exp.data.own.reader import SUFFIXES, Header, Picture, look, read
from xai_exp.data.own.together import by, turned

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_SHOWN = 12  # values that a message names


def check_values(values: tuple[int | str, ...] | None) -> None:
    """Refuse what is neither a number nor a colour.

    Raises:
        InputError: naming what is allowed.
    """
    for value in values or ():
        if isinstance(value, str) and not _COLOUR.fullmatch(value):
            raise InputError(
                f"ImageFolder.mask_values: got {value!r}; allowed: whole numbers or colours such "
                "as '#ff0000'"
            )


def beside(image: Path, relative: Path, root: Path) -> Path:
    """The mask of an image: of the same name within the folder of masks, whatever its suffix.

    Raises:
        InputError: if there is none.
    """
    stem = root / relative.parent
    for suffix in (relative.suffix, *sorted(SUFFIXES)):
        if (stem / (relative.stem + suffix)).is_file():
            return stem / (relative.stem + suffix)
    raise InputError(
        f"ImageFolder.masks: got no mask for {readable(image)}; allowed: "
        f"{readable(stem / relative.stem)} with the suffix of an image"
    )


def check_size(path: Path, image: Header) -> None:
    """A mask is as large as its image: nothing says how it would have to be stretched.

    Raises:
        InputError: if it is not.
    """
    size = look(path).size
    if size != image.size:
        raise InputError(
            f"{readable(path)}: got {by(size)} pixels; allowed: {by(image.size)} like its "
            f"image{turned(image)}"
        )


def coverage(path: Path, values: tuple[int | str, ...] | None) -> np.ndarray:
    """How much the object fills of each pixel, 0..255 (height, width).

    Without `values` a mask is grey, white where the object is. With them the object is where the
    mask has one of these numbers (of a palette: the index) or colours, and nowhere else.

    Raises:
        InputError: for a mask that has to be guessed at.
    """
    picture = read(path)
    if not picture.opaque:
        raise InputError(
            f"{readable(path)}: got a mask that is transparent in parts; allowed: an opaque one, "
            "white where the object is"
        )
    return _white(path, picture) if values is None else _labelled(picture, values)


def _white(path: Path, picture: Picture) -> np.ndarray:
    shown = picture.values
    if shown.shape[2] not in (1, 3) or (shown != shown[..., :1]).any():
        raise InputError(
            f"{readable(path)}: got a mask in colours ({_listed(picture)}); allowed: a grey one, "
            "white where the object is, or the object's as dataset.mask_values"
        )
    kind = shown.dtype
    top = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    levels = shown[..., 0] if kind == np.uint8 else (shown[..., 0] / top * 255).round()
    brightest = float(levels.max())
    if not 0 <= float(levels.min()) <= brightest <= 255 or 0 < brightest < 128:
        raise InputError(
            f"{readable(path)}: got a mask whose brightest pixel is {float(shown.max()):g}; "
            f"allowed: {top:g} (white) where the object is, 0 elsewhere, or dataset.mask_values "
            f"with the object's ({_listed(picture)})"
        )
    return levels.astype(np.uint8)


def _labelled(picture: Picture, values: tuple[int | str, ...]) -> np.ndarray:
    grey = bool((picture.values == picture.values[..., :1]).all())
    labels = picture.values[..., 0] if picture.indices is None else picture.indices
    found = np.zeros(labels.shape, bool)
    for value in values:
        if isinstance(value, str):
            colour = np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)])
            found |= (picture.values == colour).all(axis=2)
        elif grey or picture.indices is not None:
            found |= labels == value
    return found.astype(np.uint8) * 255


def _listed(picture: Picture) -> str:
    """The values of a mask, as `mask_values` would name them."""
    if picture.indices is not None:
        words = [str(number) for number in np.unique(picture.indices)]
    elif picture.values.shape[2] == 3 and (picture.values != picture.values[..., :1]).any():
        colours = np.unique(picture.values.reshape(-1, 3), axis=0)
        words = ["#" + "".join(f"{int(level):02x}" for level in colour) for colour in colours]
    else:
        words = [f"{number:g}" for number in np.unique(picture.values)]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "values " + ", ".join(words[:_SHOWN]) + more
