"""The one reader of image files: upright, in their own numbers, nothing dropped without a word."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.io import ImageReadMode, decode_image

from xai_exp.config import InputError
from xai_exp.data.own import tiff
from xai_exp.data.own.content import readable, regular

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
MOST_PIXELS = 89_478_485  # where Pillow begins to warn of decompression bombs
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF")
_GREY = frozenset({"1", "L", "LA", "La"})
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap height and width
_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NOTES = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_PNG_COLOURS = {2: (3, False), 4: (1, True), 6: (3, True)}  # bands, alpha


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of its picture.

    Args:
        size: height and width, upright.
        bands: how many, without alpha.
        dtype: of the numbers: uint8 unless the file is deeper.
        alpha: whether there is an alpha channel, or a colour that is transparent.
        orientation: what the camera noted, 1 (upright) to 8; undone in `size`.
    """

    size: tuple[int, int]
    bands: int
    dtype: np.dtype
    alpha: bool = False
    orientation: int = 1


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it is in its file, upright.

    Args:
        values: (height, width, band), in the file's own numbers, without alpha.
        alpha: (height, width) in 0..1; null: opaque by nature.
        valid: (height, width, band); false where there are no data; null: everywhere.
        indices: (height, width), of a palette, if there is one.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    valid: np.ndarray | None = None
    indices: np.ndarray | None = None

    @property
    def opaque(self) -> bool:
        """Whether nothing of it is transparent."""
        return self.alpha is None or bool((self.alpha >= 1).all())


def look(path: Path) -> Header:
    """The header of a file.

    Raises:
        InputError: in one line, for whatever is not a readable picture of a size that can be held.
    """
    with _explained(path):
        head = _head(path)
        if tiff.is_tiff(head):
            found = tiff.layout(path)
            _check_pixels(path, found.size)
            return _of_layout(found)
        with _opened(path) as image:
            turn = _orientation(path, image)
            width, height = image.size
            size = (width, height) if turn in _TURNED else (height, width)
            common = Header(size=size, bands=1, dtype=np.dtype(np.uint8), orientation=turn)
            if (deep := _deep_png(head)) is not None:
                bands, alpha = deep
                return replace(common, bands=bands, dtype=np.dtype(np.uint16), alpha=alpha)
            alpha = image.mode in _WITH_ALPHA or "transparency" in image.info
            if image.mode == "F" or image.mode.startswith("I"):
                return replace(common, dtype=_native(image).dtype, alpha=alpha)
            return replace(common, bands=1 if image.mode in _GREY else 3, alpha=alpha)


def read(path: Path) -> Picture:
    """The picture in a file.

    Palettes and single bits become colours and greys; colour spaces of print and video become RGB.

    Raises:
        InputError: in one line, for whatever is not a readable picture of a size that can be held.
    """
    with _explained(path):
        head = _head(path)
        if tiff.is_tiff(head):
            return _tiff(path)
        with _opened(path) as image:
            if _deep_png(head) is not None:
                return _upright(_decoded(path), _orientation(path, image))
            return _straight(ImageOps.exif_transpose(image))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong below becomes one line."""
    name = readable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(_huge(name)) from error
    except tiff.UnsupportedError as error:
        raise InputError(f"{name}: got {error}; allowed: a whole TIFF of one picture") from error
    except Exception as error:  # decoders of foreign bytes raise whatever they run into
        if "imagecodecs" in str(error):
            raise InputError(
                f"{name}: got a compression that needs another package; allowed: pip install "
                "imagecodecs, or no compression, deflate or packbits"
            ) from error
        what = "is cut off" if "truncated" in str(error).lower() else "can't be read"
        raise InputError(f"{name}: got a file that {what}; allowed: an image") from error


def _huge(name: str) -> str:
    return (
        f"{name}: got more than {MOST_PIXELS:,} pixels; allowed: fewer; cut it into tiles or scale "
        "it down first"
    )


def _head(path: Path) -> bytes:
    """The first bytes of a regular file that is not empty."""
    regular(path)
    with path.open("rb") as file:
        head = file.read(26)
    if not head:
        raise InputError(f"{readable(path)}: got a file that is empty; allowed: an image")
    return head


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    Image.init()  # without it Pillow knows only some formats by name
    # By name, Pillow would map a raw TIFF into memory and read one that lies on its side askew.
    with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
        _check_pixels(path, image.size)
        # The first is the picture of a telephone's JPEG with a second view (MPO), and of a TIFF
        # with smaller copies, whose pages are looked at elsewhere.
        frames = 1 if image.format in ("MPO", "TIFF") else getattr(image, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{readable(path)}: got {frames} frames; allowed: one picture a file")
        yield image


def _orientation(path: Path, image: Image.Image) -> int:
    """What the camera noted; a PNG that notes nothing is not decoded to find that out."""
    if image.format == "PNG" and not any(note in path.read_bytes() for note in _PNG_NOTES):
        return 1
    return int(image.getexif().get(_ORIENTATION, 1))


def _check_pixels(path: Path, size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise InputError(_huge(readable(path)))


def _straight(image: Image.Image) -> Picture:
    """Pillow's image as numbers."""
    clear = image.info.get("transparency")
    if image.mode == "F" or image.mode.startswith("I"):
        values = _native(image)
        alpha = (values != clear).astype(np.float64) if isinstance(clear, int) else None
        return Picture(values=values[..., None], alpha=alpha)
    if image.mode == "RGBX":
        return Picture(values=np.asarray(image))
    indices = np.asarray(image) if image.mode == "P" else None
    with_alpha = image.mode in _WITH_ALPHA or clear is not None
    plain = "L" if image.mode in _GREY else "RGB"
    wanted = {"L": "LA", "RGB": "RGBA"}[plain] if with_alpha else plain
    values = np.asarray(image if image.mode == wanted else image.convert(wanted))
    values = values[..., None] if values.ndim == 2 else values
    if not with_alpha:
        return Picture(values=values, indices=indices)
    return Picture(values=values[..., :-1], alpha=values[..., -1] / 255, indices=indices)


def _native(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("="))


def _deep_png(head: bytes) -> tuple[int, bool] | None:
    """Bands and alpha of a PNG with 16 bits a channel whose lower half Pillow would drop."""
    deep = len(head) > 25 and head[:8] == _PNG and head[24] == 16
    return _PNG_COLOURS.get(head[25]) if deep else None


def _decoded(path: Path) -> Picture:
    packed = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    values = decode_image(packed, ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    if values.shape[2] == 3:
        return Picture(values=values)
    return Picture(values=values[..., :-1], alpha=values[..., -1] / 65535)


def _of_layout(found: tiff.Layout) -> Header:
    height, width = found.size
    bands = found.bands - (found.alpha is not None)
    return Header(
        size=(width, height) if found.orientation in _TURNED else (height, width),
        bands=3 if found.converted else bands,
        dtype=np.dtype(np.uint8) if found.bits <= 8 and found.dtype.kind in "ub" else found.dtype,
        alpha=found.alpha is not None,
        orientation=found.orientation,
    )


def _tiff(path: Path) -> Picture:
    found = tiff.layout(path)
    if found.plain:
        return _masked(_by_pillow(path), found, None)
    _check_pixels(path, found.size)
    try:
        values, valid = tiff.numbers(path)
    except ValueError as error:
        small = found.bands == 1 or (found.bits == 8 and found.bands <= 4)
        if "imagecodecs" not in str(error) or not small:
            raise
        return _masked(_by_pillow(path), found, None)
    values = values.astype(found.dtype)
    if found.inverted and found.dtype.kind == "u":
        values = ((1 << found.bits) - 1 - values).astype(values.dtype)
    if found.bits < 8:
        values = (values * (255 // ((1 << found.bits) - 1))).astype(np.uint8)
    picture = _without_alpha(values, found.alpha)
    return _upright(_masked(picture, found, valid), found.orientation)


def _by_pillow(path: Path) -> Picture:
    with _opened(path) as image:
        return _straight(ImageOps.exif_transpose(image))


def _without_alpha(values: np.ndarray, kind: str | None) -> Picture:
    if kind is None:
        return Picture(values=values)
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    colours, alpha = values[..., :-1], values[..., -1] / top
    if kind == "premultiplied":
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.where(alpha[..., None] > 0, colours / alpha[..., None], 0)
        whole = spread if values.dtype.kind == "f" else spread.round()
        colours = whole.clip(0, top).astype(values.dtype)
    return Picture(values=colours, alpha=alpha)


def _masked(picture: Picture, found: tiff.Layout, valid: np.ndarray | None) -> Picture:
    """The picture that knows where there are no data."""
    values = picture.values
    there = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if found.nodata is not None and np.isfinite(found.nodata):
        stored = values if picture.indices is None else picture.indices[..., None]
        kind = values.dtype if values.dtype.kind == "f" else np.float64
        there &= stored != np.asarray(found.nodata).astype(kind)
    if valid is not None:
        there &= valid[..., None]
    return picture if there.all() else replace(picture, valid=there)


def _upright(picture: Picture, orientation: int) -> Picture:
    """The picture with its orientation (as in EXIF) undone."""

    def turned(array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        array = np.swapaxes(array, 0, 1) if orientation in _TURNED else array
        array = array[::-1] if orientation in (3, 4, 7, 8) else array
        array = array[:, ::-1] if orientation in (2, 3, 6, 7) else array
        return np.ascontiguousarray(array)

    values = turned(picture.values)
    assert values is not None
    return Picture(values=values, alpha=turned(picture.alpha), valid=turned(picture.valid))
