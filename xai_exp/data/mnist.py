"""MNIST: 70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998).

Read from local IDX files, packed with gzip or not, wherever `root` is; downloaded by torchvision
if there are none.
"""

import gzip
import hashlib
import struct
import urllib.error
import zlib
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from xai_exp.config import InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import Splits, TensorSplit, stratified

_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UNSIGNED_BYTES = 0x08


@configured
class MNIST(Splits):
    """The ten digits, grey, 28x28; validation is split off the training images by seed."""

    root: str = "data/mnist"
    download: bool = True
    validation_share: Annotated[float, Range(0, 0.5, exclusive_low=True)] = 0.05
    seed: Annotated[int, Range(0)] = 0

    undeciding = frozenset({"root", "download"})

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits of what the four files hold, packed or not, under whichever name.

        Raises:
            InputError: as `split` does.
        """
        self._ensure_files()
        digest = hashlib.sha256()
        for name in (name for names in _FILES.values() for name in names):
            values = self._read(name)
            digest.update(f"{name} {tuple(values.shape)}\0".encode())
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def truth_fingerprint(self) -> str:
        """Empty: there are no masks."""
        return ""

    @property
    def _root(self) -> Path:
        return Path(self.root).expanduser()

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits."""
        return tuple(str(digit) for digit in range(10))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (28, 28)

    def split(self, which: int) -> TensorSplit:
        """The images of one split.

        Raises:
            InputError: when the files are missing and can't be downloaded, or are broken.
        """
        self._ensure_files()
        kind = "test" if which == loading.TEST else "train"
        images, labels = (self._read(name) for name in _FILES[kind])
        if not len(labels) or images.shape != (len(labels), *self.size):
            raise InputError(
                f"mnist in {self.root}: got images of shape {tuple(images.shape)} and "
                f"{len(labels)} labels; allowed: a label for each image of 28x28 pixels"
            )
        if int(labels.max()) >= len(self.classes):
            raise InputError(
                f"mnist in {self.root}: got a label {int(labels.max())}; allowed: 0 to 9"
            )
        split = TensorSplit(pixels=images[:, None], labels=labels.long())
        if which == loading.TEST:
            return split
        # The third share is never used: MNIST brings its own test images.
        train, held, _ = stratified(split.labels, self.validation_share, 1e-9, self.seed)
        mine = train if which == loading.TRAIN else held
        return TensorSplit(pixels=split.pixels[mine], labels=split.labels[mine])

    def _ensure_files(self) -> None:
        missing = [n for names in _FILES.values() for n in names if self._find(n) is None]
        if not missing:
            return
        if not self.download:
            raise InputError(
                f"mnist: got no file {missing[0]}[.gz] under {self.root}; allowed: a folder with "
                "the four IDX files as dataset.root, or dataset.download=true"
            )
        try:
            for train in (True, False):
                datasets.MNIST(self._root, train=train, download=True)
        except (RuntimeError, OSError, urllib.error.URLError) as error:
            raise InputError(
                f"mnist: got no file {missing[0]}[.gz] under {self.root} and the download failed; "
                "allowed: a folder with the four IDX files as dataset.root"
            ) from error

    def _find(self, name: str) -> Path | None:
        dotted = name.replace("-idx", ".idx")
        names = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        folders = (self._root, self._root / "MNIST" / "raw")
        paths = (folder / each for folder in folders for each in names)
        return next((path for path in paths if path.is_file()), None)

    def _read(self, name: str) -> Tensor:
        path = self._find(name)
        if path is None:
            raise InputError(f"mnist: got no file {name}[.gz] under {self.root}; allowed: all four")
        return read_idx(path)


def read_idx(path: Path) -> Tensor:
    """An IDX file of bytes as a tensor: magic 0 0 type rank, the sizes, then the values.

    Raises:
        InputError: when the file is not such a file or is cut off.
    """
    try:
        packed = path.read_bytes()
        raw = gzip.decompress(packed) if path.suffix == ".gz" else packed
        zeros, kind, rank = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
        values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    except (OSError, EOFError, struct.error, zlib.error, ValueError) as error:
        raise InputError(f"{path}: got a broken file ({error}); allowed: an IDX file") from error
    if zeros or kind != _UNSIGNED_BYTES or values.size != np.prod(shape):
        raise InputError(
            f"{path}: got {values.size} values for shape {shape} of type {kind}; allowed: an IDX "
            "file of unsigned bytes, whole"
        )
    return torch.from_numpy(values.reshape(shape).copy())
