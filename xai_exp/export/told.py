"""What is said of an exported dataset: where it comes from, and what was counted in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Told:
    """Where a dataset comes from.

    Attributes:
        name: of its YAML.
        settings: its configuration, resolved.
        command: what writes the same folder again.
    """

    name: str
    settings: Mapping[str, Any]
    command: str


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What was written.

    Attributes:
        index: a row an image: split, number, file, mask, label, class.
        classes: by label.
        size: height and width.
        channels: 1 for grey, 3 for RGB.
        parts: what the parts of a scene are called; empty without masks.
        parameters: the names of the exact parameters; empty where images are not rendered.
        completed: whether training leaves out random parts of images that are whole here.
        error: the largest difference of a pixel from its file, in 0..1.
    """

    index: pd.DataFrame
    classes: Sequence[str]
    size: tuple[int, int]
    channels: int
    parts: Sequence[str] = ()
    parameters: Sequence[str] = field(default_factory=tuple)
    error: float = 0.0
    completed: bool = False
