"""One pair of a bridge and our method of the same name."""

from dataclasses import dataclass
from typing import Any

from xai_exp.removal import Constant

BLACK = Constant(value=0.0)
FOUR: dict[str, Any] = {"imputer": BLACK, "cut": "grid", "segments": 4, "shared": False}
DRAWN = "both draw"
EXACT = "are drawn there; 4 segments are exact here"
POOLING = "captum passes the plain gradient where max pooling stands behind an activation"
HIGH: dict[str, Any] = {"statistic": "mean", "samples": 200, "sigma": 0.1, "scale": "unit"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pair.

    Args:
        theirs: class of the library, with its arguments.
        ours: the explainer or metric here, with its fields.
        bridge: the former.
        explainer: the latter.
        why: they differ; where it is empty they must be equal.
        change: what is different about the network.
        single: whether it can only be asked in single precision.
        stretched: whether theirs are stretched, so that ours are laid over them by a line first.
        scored: whether both are metrics.
        count: how many images, at most six.
    """

    theirs: str
    ours: str
    bridge: Any
    explainer: Any
    why: str = ""
    change: str = ""
    single: bool = False
    stretched: bool = False
    scored: bool = False
    count: int = 6
