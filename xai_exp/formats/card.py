"""What a network's file says about itself: what pictures go through, and the names of classes."""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_NAMES = ("classes", "class_names", "names", "labels", "character")
_MOST = 100_000  # classes


@dataclass(frozen=True, kw_only=True)
class Card:
    """Of pictures in 0..1 a network gets (resized - mean) / std.

    Args:
        mean: by channel; None: not said.
        std: likewise.
        size: height and width; None: not said, or any.
        classes: names in the order of the outputs; None: not said.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None

    def words(self) -> dict[str, str]:
        """As entries of metadata, a JSON value each."""
        held = {"mean": self.mean, "std": self.std, "size": self.size, "classes": self.classes}
        return {key: json.dumps(list(value)) for key, value in held.items() if value is not None}


def read(words: Mapping[str, str]) -> Card:
    """The card in a file's metadata; what is not there or not understood is None.

    Class names are found as they are usually written: a JSON or Python list, a dictionary from
    number to name, or a name a line.

    >>> read({"mean": "[0.5]", "names": "{0: 'cat', 1: 'dog'}"})
    Card(mean=(0.5,), std=None, size=None, classes=('cat', 'dog'))
    """
    size = _numbers(words.get("size"), int)
    return Card(
        mean=_numbers(words.get("mean"), float),
        std=_positive(_numbers(words.get("std"), float)),
        size=(size[0], size[1]) if size and len(size) == 2 and min(size) > 0 else None,
        classes=next((found for n in _NAMES if (found := _names(words.get(n)))), None),
    )


def _positive(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    return values if values and min(values) > 0 else None


def _plain(text: str) -> Any:  # noqa: ANN401
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _numbers(text: str | None, kind: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    found = _plain(text) if text else None
    found = [found] if isinstance(found, int | float) else found
    if not isinstance(found, list | tuple) or not found:
        return None
    good = all(isinstance(one, int | float) and abs(one) < 1e9 for one in found)
    return tuple(map(kind, found)) if good else None


def _names(text: str | None) -> tuple[str, ...] | None:
    if not text:
        return None
    found = _plain(text)
    if isinstance(found, dict):
        keys = [str(place) for place in range(min(len(found), _MOST))]
        held = {str(key): str(value) for key, value in found.items()}
        found = [held[key] for key in keys] if set(held) == set(keys) else None
    elif found is None:
        found = [line.strip() for line in text.splitlines() if line.strip()]
    if not isinstance(found, list | tuple) or not 1 < len(found) <= _MOST:
        return None
    names = tuple(map(str, found))
    return names if len(set(names)) == len(names) else None
