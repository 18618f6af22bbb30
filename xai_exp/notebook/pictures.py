"""Pictures as people have them: tensors, arrays, PIL images or lists of them, single or many.

What a picture is follows from its type and shape alone, never from its values: tensors have
channels first, arrays have them last. Bytes are divided by 255; floats must be in 0..1 already,
since a value outside could mean bytes as floats or pixels that are normalised.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.types import Images

Pictures = Tensor | np.ndarray | Image.Image | Sequence[Tensor | np.ndarray | Image.Image]
Masks = Tensor | np.ndarray

_ROUNDING = 1e-4  # by which rendered pixels may be outside
_KINDS = (
    "a tensor (batch, channel, height, width) or (channel, height, width), an array (batch, "
    "height, width, channel), (height, width, channel) or (height, width), a PIL image, or a "
    "list of single ones"
)


def read(pictures: Pictures) -> Images:
    """Pictures as (batch, channel, height, width) in 0..1, with 1 or 3 channels from PIL images.

    >>> read(np.full((2, 3), 255, np.uint8)).tolist()
    [[[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]]
    >>> read(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 3, 8, 8])

    Raises:
        InputError: for what can't be understood without a guess.
    """
    if isinstance(pictures, Tensor):
        return _from_tensor(pictures)
    if isinstance(pictures, np.ndarray):
        return _from_array(pictures)
    if isinstance(pictures, Image.Image):
        return _from_array(_array(pictures))
    if isinstance(pictures, Sequence) and not isinstance(pictures, str) and len(pictures):
        return _from_list(pictures)
    raise InputError(f"images: got {_described(pictures)}; allowed: {_KINDS}")


def masks(given: Masks, images: Images) -> Tensor:
    """Masks of what is in the images as parts (batch, part, height, width) in 0..1.

    Masks of (batch, height, width) are one part each; boolean and byte masks count, too.

    Raises:
        InputError: when they do not fit the images.
    """
    found = torch.as_tensor(given)
    found = found.float() / (255 if found.dtype == torch.uint8 and found.max() > 1 else 1)
    if found.dim() == 2 and len(images) == 1:
        found = found[None]
    found = found[:, None] if found.dim() == 3 else found
    size = tuple(images.shape[-2:])
    if found.dim() != 4 or len(found) != len(images) or tuple(found.shape[-2:]) != size:
        raise InputError(
            f"masks: got shape {tuple(torch.as_tensor(given).shape)}; allowed: {len(images)} masks "
            f"of {size[0]}x{size[1]} pixels, as (image, height, width) or (image, part, height, "
            "width)"
        )
    _refuse_outside(found, "masks")
    return found.to(images.device)


def _from_tensor(given: Tensor) -> Images:
    if given.dim() not in (3, 4) or not given.numel():
        raise InputError(f"images: got a tensor of shape {tuple(given.shape)}; allowed: {_KINDS}")
    given = given[None] if given.dim() == 3 else given
    if given.shape[1] not in (1, 3) and given.shape[-1] in (1, 3):
        raise InputError(
            f"images: got a tensor of shape {tuple(given.shape)}; allowed: channels first, as "
            "(batch, channel, height, width); images.permute(0, 3, 1, 2) puts them there"
        )
    return _in_range(given.detach())


def _from_array(given: np.ndarray) -> Images:
    given = given[..., None] if given.ndim == 2 else given
    if given.ndim not in (3, 4) or not given.size or given.shape[-1] not in (1, 3):
        raise InputError(
            f"images: got an array of shape {given.shape}; allowed: (height, width), (height, "
            "width, channel) or (batch, height, width, channel) with 1 or 3 channels; "
            "array[..., None] for many grey ones, torch.from_numpy(array) for channels first"
        )
    given = given[None] if given.ndim == 3 else given
    native = np.ascontiguousarray(given.transpose(0, 3, 1, 2))
    if native.dtype.kind not in "uf" or native.dtype not in (np.uint8, np.float32, np.float64):
        raise _wrong_type(native.dtype)
    return _in_range(torch.from_numpy(native.copy()))


def _from_list(given: Sequence[object]) -> Images:
    single = []
    for one in given:
        shape = getattr(one, "ndim", 0)
        if not isinstance(one, Tensor | np.ndarray | Image.Image) or shape > 3:
            raise InputError(f"images: got a list with {_described(one)}; allowed: single pictures")
        single.append(read(one))
    shapes = sorted({tuple(one.shape[1:]) for one in single})
    if len(shapes) > 1:
        raise InputError(
            f"images: got pictures of shapes (channel, height, width) "
            f"{' and '.join(map(str, shapes))}; allowed: one shape in a call"
        )
    return torch.cat(single)


def _array(picture: Image.Image) -> np.ndarray:
    """The pixels of a PIL image, upright, grey or RGB."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.mode in ("RGB", "YCbCr", "CMYK", "HSV", "LAB") or (
        picture.mode == "P" and "transparency" not in picture.info
    ):
        return np.asarray(picture.convert("RGB"))
    if picture.mode in ("LA", "RGBA", "PA", "P"):
        full = np.asarray(picture.convert("RGBA"))
        if full[..., 3].min() == 255:
            return full[..., :3] if picture.mode != "LA" else full[..., 0]
        raise InputError(
            "images: got a PIL image with transparent pixels; allowed: opaque ones; "
            "picture.convert('RGB') drops the transparency, Image.alpha_composite fills it"
        )
    raise InputError(
        f"images: got a PIL image of mode {picture.mode}; allowed: 8 bits a channel (L, RGB); "
        "an array of floats in 0..1 for more bits"
    )


def _in_range(images: Tensor) -> Images:
    if images.dtype == torch.uint8:
        return images.float() / 255
    if images.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise _wrong_type(images.dtype)
    images = images.float()
    _refuse_outside(images, "images")
    return images


def _refuse_outside(values: Tensor, what: str) -> None:
    low, high = float(values.min()), float(values.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        hint = "bytes (uint8), or floats in 0..1, which are bytes / 255"
        normal = "; for normalised pixels give those from before and preprocessing=" + (
            "xe.Preprocessing(mean=..., std=...)"
        )
        raise InputError(
            f"{what}: got values in {low:g}..{high:g}; allowed: {hint}"
            f"{normal if what == 'images' and low < 0 else ''}"
        )


def _wrong_type(dtype: object) -> InputError:
    return InputError(f"images: got numbers of type {dtype}; allowed: bytes (uint8), or floats")


def _described(given: object) -> str:
    return f"a {type(given).__name__}" if not isinstance(given, list) or given else "an empty list"
