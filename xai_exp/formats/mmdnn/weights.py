"""MMdnn's weights: a pickled dictionary of dictionaries of arrays in an .npy file.

Reading a pickle may run anything. Here it may make arrays of numbers and nothing else: each name in
it is looked up in a list of three, and an array is made of bytes that are there.
"""

import io
import math
import pickle
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xai_exp.config import InputError
from xai_exp.files import inside, whole

Weights = Mapping[str, Mapping[str, np.ndarray]]
_LARGEST = 2**31 - 1  # bytes
_LONGEST_HEADER = 10_000
_MOST_STEPS = 1_000_000  # of a pickle; an array takes some twenty
_TYPE = re.compile(r"[fiu][1248]|O8?")


class _Type:
    """A type of numbers, by its letters."""

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or not _TYPE.fullmatch(text):
            raise ValueError("a type that is none of numbers")
        self.text, self.order = text, "="

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        self.order = state[1] if state[1] in ("<", ">", "=", "|") else "="

    def numbers(self) -> np.dtype:
        return np.dtype(self.text).newbyteorder(self.order)  # pyright: ignore[reportArgumentType]


class _Array:
    """An array that is to be: what a pickle says of it."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None
        self.inner: Any = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        _, shape, kind, fortran, raw = state
        if kind.text.startswith("O"):  # numpy's wrapping of one object
            if shape != () or len(raw) != 1:
                raise ValueError("an array of objects")
            self.inner = raw[0]
            return
        held = kind.numbers()
        if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * held.itemsize:
            raise ValueError("an array that its bytes do not fill")
        self.values = np.frombuffer(raw, held).reshape(shape, order="F" if fortran else "C")


def _empty(*_: object) -> _Array:
    return _Array()


def _encoded(text: object, _coding: object) -> bytes:
    return str(text).encode("latin-1")


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy", "ndarray"): object,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
}


class _Arrays(pickle.Unpickler):
    """Makes arrays, and nothing else that has a name."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        found = _NAMES.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return found


def read(path: Path) -> Weights:
    """Arrays by layer and name.

    Raises:
        InputError: for anything else in the file.
    """
    if not path.is_file() or not inside(path.parent, path):
        raise InputError(
            f"mmdnn: got no file {path.name} in the graph's folder; allowed: the weights beside it"
        )
    if path.stat().st_size > _LARGEST:
        raise InputError(f"mmdnn: got {path.name} of 2 GiB or more; allowed: less")
    with path.open("rb") as file:
        try:
            head = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0
            reader = reader if head == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = reader(file, max_header_size=_LONGEST_HEADER)
            rest = file.read()
            if shape != () or kind != np.dtype(object):
                raise ValueError("no dictionary")
            _refuse_much(rest)
            held = _Arrays(io.BytesIO(rest), encoding="latin1").load()
            return _checked(held)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"mmdnn: got {path.name}, a pickle of {str(error)[:80]}, which is not made; "
                "allowed: arrays of numbers"
            ) from error
        except Exception as error:
            raise InputError(
                f"mmdnn: got {path.name}, which can't be read ({type(error).__name__}); allowed: a "
                "dictionary of arrays"
            ) from error


def _refuse_much(raw: bytes) -> None:
    """Refuse steps that take more memory than the file has bytes, before any is made."""
    for count, (step, given, _) in enumerate(pickletools.genops(raw)):
        far = step.name in ("PUT", "LONG_BINPUT") and int(given or 0) > _MOST_STEPS
        if count > _MOST_STEPS or far or step.name == "BYTEARRAY8":
            raise ValueError("steps that no dictionary of arrays needs")


def _checked(held: Any) -> Weights:  # noqa: ANN401
    """Plain dictionaries of arrays; the outermost array of one object is MMdnn's wrapper."""
    held = held.inner if isinstance(held, _Array) else held
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer, members in held.items():
        found[str(layer)] = {}
        for name, one in members.items():
            if not isinstance(one, _Array) or one.values is None:
                raise ValueError("a member that is no array")
            found[str(layer)][str(name)] = one.values
    return found


def write(path: Path, weights: Weights) -> None:
    """Write arrays as MMdnn does."""
    held = {
        layer: {n: np.ascontiguousarray(v) for n, v in one.items()}
        for layer, one in weights.items()
    }
    outer = np.empty((), object)
    outer[()] = held
    with whole(path) as part, part.open("wb") as file:
        np.save(file, outer, allow_pickle=True)
