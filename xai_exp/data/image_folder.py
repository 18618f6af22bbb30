"""One's own images: a folder of class folders, perhaps with a folder of masks beside it."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data.loading import Splits, TensorSplit, stratified

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


@configured
class ImageFolder(Splits):
    """Images in root/CLASS/NAME, split by seed with equal shares of every class.

    Args:
        root: a folder of class folders.
        masks: a folder with the same structure; a mask is a grey image, white where the object is,
            of the same size as its image. Null: no ground truth.
        resize: height and width that images (and masks) are scaled to; null: they are equal in
            size already.
        color: auto (RGB if the first image has colours), grey or rgb.
        validation_share, test_share: the share of images held out.
        seed: of the split.
    """

    root: str
    masks: str | None = None
    resize: tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]] | None = None
    color: str = "auto"
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.1
    test_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.2
    seed: Annotated[int, Range(0)] = 0

    undeciding = frozenset({"root", "masks"})

    def __post_init__(self) -> None:
        if self.color not in ("auto", "grey", "rgb"):
            raise InputError(
                f"ImageFolder.color: got {self.color!r}; allowed: one of auto, grey, rgb"
            )
        for name, folder in (("root", self.root), ("masks", self.masks)):
            if folder is not None and not Path(folder).is_dir():
                raise InputError(f"ImageFolder.{name}: got {folder}; allowed: a folder that exists")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders, in alphabetical order."""
        masks = self.masks and Path(self.masks).resolve()  # it may lie beside the class folders
        names = sorted(
            path.name
            for path in Path(self.root).iterdir()
            if path.is_dir() and _shown(path) and path.resolve() != masks
        )
        if len(names) < 2:
            raise InputError(
                f"ImageFolder.root: got {len(names)} class folders in {self.root}; allowed: two "
                "or more folders, one a class"
            )
        return tuple(names)

    @cached_property
    def _paths(self) -> tuple[Path, ...]:
        paths: list[Path] = []
        for name in self.classes:
            folder = Path(self.root) / name
            found = folder.rglob("*")
            mine = sorted(p for p in found if p.suffix.lower() in SUFFIXES and _shown(p))
            if len(mine) < 3:
                raise InputError(
                    f"{folder}: got {len(mine)} images; allowed: at least 3, one for each split"
                )
            paths.extend(mine)
        return tuple(paths)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the images' names, sizes and times, so that other images train anew."""
        return _fingerprint(Path(self.root), self._paths)

    @cached_property
    def truth_fingerprint(self) -> str:
        """The same of the masks, so that other masks score anew."""
        if self.masks is None:
            return ""
        return _fingerprint(Path(self.masks), tuple(self._mask_of(path) for path in self._paths))

    @cached_property
    def _labels(self) -> Tensor:
        root = Path(self.root)
        names = [path.relative_to(root).parts[0] for path in self._paths]
        return torch.tensor([self.classes.index(name) for name in names])

    @cached_property
    def channels(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """1 for grey, 3 for RGB."""
        if self.color == "auto":
            return 1 if _opened(self._paths[0]).mode in ("L", "LA", "1") else 3
        return 1 if self.color == "grey" else 3

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width: `resize`, or those of the first image."""
        if self.resize is not None:
            return self.resize
        width, height = _opened(self._paths[0]).size
        return (height, width)

    def split(self, which: int) -> TensorSplit:
        """The images of one split.

        Raises:
            InputError: for a file that can't be read or has another size.
        """
        mine = stratified(self._labels, self.validation_share, self.test_share, self.seed)[which]
        paths = [self._paths[int(i)] for i in mine]
        mode = "L" if self.channels == 1 else "RGB"
        images = torch.stack([self._pixels(path, mode) for path in paths])
        return TensorSplit(pixels=images, labels=self._labels[mine], masks=self._masks(paths))

    def _masks(self, paths: list[Path]) -> Tensor | None:
        if self.masks is None:
            return None
        return torch.stack([self._mask(self._mask_of(path)) for path in paths])

    def _mask(self, path: Path) -> Tensor:
        brightest = int(np.asarray(_opened(path).convert("L")).max())
        if 0 < brightest < 128:
            raise InputError(
                f"{path}: got a mask whose brightest pixel is {brightest}; allowed: 255 (white) "
                "where the object is, 0 elsewhere"
            )
        return self._pixels(path, "L")

    def _mask_of(self, path: Path) -> Path:
        relative = path.relative_to(self.root)
        stem = Path(str(self.masks)) / relative.parent
        for suffix in (relative.suffix, *sorted(SUFFIXES)):
            if (stem / (relative.stem + suffix)).is_file():
                return stem / (relative.stem + suffix)
        raise InputError(
            f"ImageFolder.masks: got no mask for {path}; allowed: {stem / relative.stem} with the "
            "suffix of an image"
        )

    def _pixels(self, path: Path, mode: str) -> Tensor:
        image = _opened(path)
        height, width = self.size
        if self.resize is not None:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        elif image.size != (width, height):
            raise InputError(
                f"{path}: got {image.size[1]}x{image.size[0]} pixels; allowed: {height}x{width} "
                "like the first image, or set dataset.resize=[height,width]"
            )
        pixels = torch.from_numpy(np.array(image.convert(mode)))
        return pixels[None] if mode == "L" else pixels.permute(2, 0, 1)


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _fingerprint(root: Path, paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f"{path.relative_to(root)}\0{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _opened(path: Path) -> Image.Image:
    """The image, with 8 bits a channel."""
    try:
        with Image.open(path) as file:
            image = file.copy()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"{path}: got a file that can't be read; allowed: an image") from error
    if image.mode == "F":
        raise InputError(f"{path}: got floating point pixels; allowed: 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits to 255 in place of scaling them.
        scaled = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    return image
