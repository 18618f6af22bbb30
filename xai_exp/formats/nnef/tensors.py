"""The numbers of an NNEF variable: a header of 128 bytes, then the values (NNEF 1.0, chapter 5)."""

import math
import struct
from pathlib import Path

import numpy as np

from xai_exp.config import InputError
from xai_exp.files import whole

_MAGIC, _HEADER, _MOST_AXES = b"\x4e\xef\x01\x00", 128, 8
_FLOATS = {16: np.float16, 32: np.float32, 64: np.float64}


def write(path: Path, values: np.ndarray) -> None:
    """Write 32-bit floats."""
    held = np.ascontiguousarray(values, np.float32)
    lengths = [*held.shape, *[0] * (_MOST_AXES - held.ndim)]
    head = _MAGIC + struct.pack("<II8III", held.nbytes, held.ndim, *lengths, 32, 0)
    with whole(path) as part:
        part.write_bytes(head.ljust(_HEADER, b"\0") + held.tobytes())


def read(path: Path) -> np.ndarray:
    """Floats, as 32-bit ones.

    Raises:
        InputError: for a file that is cut off, too long, or of another kind.
    """
    if not path.is_file():
        raise InputError(f"nnef: got no file {path.name[:80]}; allowed: one for each variable")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER)
        if len(head) < _HEADER or head[:2] != _MAGIC[:2]:
            raise InputError(f"nnef: got {path.name[:80]}, which is no NNEF tensor; allowed: one")
        length, axes, *rest = struct.unpack("<II8III", head[4:52])
        lengths, bits, kind = rest[:axes], rest[8], rest[9]
        if axes > _MOST_AXES or kind != 0 or bits not in _FLOATS:
            raise InputError(
                f"nnef: got {path.name[:80]} of {axes} axes, type {kind} and {bits} bits; allowed: "
                "floats of 16, 32 or 64 bits on up to 8 axes"
            )
        wanted = math.prod(lengths) * bits // 8
        if not wanted == length == size - _HEADER:
            raise InputError(
                f"nnef: got {path.name[:80]} of {size - _HEADER} bytes for the shape "
                f"{'x'.join(map(str, lengths))}; allowed: {wanted}"
            )
        return np.frombuffer(file.read(), _FLOATS[bits]).reshape(lengths).astype(np.float32)
