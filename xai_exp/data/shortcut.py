"""Planted shortcuts: a small tag in the corner whose presence agrees with the class.

How far a network uses the tag is then known exactly: it is one more part of the scene, and the
scene can be drawn without it. The tag is an upright square of whole pixels, one pixel off the upper
left corner and of the objects' grey level, so neither brightness nor contrast tells it from them.
Its place is kept free in every image, with or without a tag, so that nothing else tells of it.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.counting import Counting
from xai_exp.data.loading import SceneSplit, stream
from xai_exp.data.scenes.polygons import circumradii, circumradius
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.types import Flags, Scores

Agreement = Annotated[float, Range(0.5, 1)]
Size = Annotated[int, Range(2, 16)]
TestTag = Literal["aligned", "conflicting", "absent"]
_GAP = 1.5  # between the circumcircles of tag and objects, in pixels
_OWN_STREAM = 1_000_003  # so that scenes are those of the same dataset without tags
_AGREE: dict[str, Callable[[Flags], Flags]] = {
    "aligned": lambda positive: positive,
    "conflicting": torch.logical_not,
    "absent": torch.zeros_like,
}


@configured
class TrianglesSquaresShortcut(TrianglesSquares):
    """Triangles and squares with a tag that speaks for the square.

    Args:
        tag_agreement: the probability p that the tag is there on a square, and that it is not on a
            triangle; 0.5 says nothing, 1 everything.
        tag_size: its side in pixels.
        test_tag: the tag in the test split: aligned (always on squares only), conflicting (always
            on triangles only), absent; null: as in training.
    """

    tag_agreement: Agreement = 0.9
    tag_size: Size = 4
    test_tag: TestTag | None = None

    undeciding = frozenset({"test_tag"})

    def __post_init__(self) -> None:
        super().__post_init__()
        diagonal = math.sqrt(2) * (self.pixels / 2 - _middle(self.tag_size))
        room = diagonal - _reach(self.tag_size) - _GAP
        if self.max_radius * circumradius(3) > room:
            raise InputError(
                f"TrianglesSquaresShortcut.tag_size: got {self.tag_size} beside triangles of "
                f"radius {self.max_radius:g} in {self.pixels} pixels; allowed: smaller ones, so "
                "that they never meet"
            )

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split; those that would meet the tag are turned over."""
        plain = super().split(which)
        scene = plain.everything
        outer = scene.radii * circumradii(scene.sides, scene.radii)
        meets = ~_clear(scene.centres, outer, self.tag_size)
        centres = torch.where(meets[..., None], self.pixels - scene.centres, scene.centres)
        moved = dataclasses.replace(scene, centres=centres)
        there = presence(
            plain.labels == 1, which, self.tag_agreement, self.test_tag, _tags(self.seed, which)
        )
        tagged = planted(moved, there, self.tag_size, tied=self.tag_agreement == 1)
        return dataclasses.replace(plain, everything=tagged)


@configured
class CountingShortcut(Counting):
    """Counting with a tag that speaks for many objects, or for an odd number.

    Args:
        tag_rule: what the tag speaks for: half (more than the middle of min_objects and
            max_objects, as 5 to 9 of 0 to 9) or odd (1, 3, 5, ...).
        tag_agreement: the probability p that the tag is there if so, and that it is not otherwise;
            0.5 says nothing, 1 everything.
        tag_size: its side in pixels.
        test_tag: the tag in the test split: aligned (always where the rule says so), conflicting
            (always where it does not), absent; null: as in training.
    """

    tag_rule: Literal["half", "odd"] = "half"
    tag_agreement: Agreement = 0.9
    tag_size: Size = 4
    test_tag: TestTag | None = None

    undeciding = Counting.undeciding | {"test_tag"}

    def __post_init__(self) -> None:
        super().__post_init__()

    def split(self, which: int) -> SceneSplit:
        """Sample the scenes of one split."""
        plain = super().split(which)
        count = plain.labels + self.min_objects
        middle = (self.min_objects + self.max_objects) / 2
        positive = count > middle if self.tag_rule == "half" else count % 2 == 1
        there = presence(
            positive, which, self.tag_agreement, self.test_tag, _tags(self.seed, which)
        )
        tagged = planted(plain.everything, there, self.tag_size, tied=self.tag_agreement == 1)
        return dataclasses.replace(plain, everything=tagged)

    def _free(self, candidates: Tensor, outer: Tensor) -> Tensor:
        """Which candidates leave the tag's place alone."""
        return _clear(candidates, outer, self.tag_size)


def presence(
    positive: Flags,
    which: int,
    agreement: float,
    test_tag: str | None,
    generator: torch.Generator,
) -> Flags:
    """Which images have the tag, given for which it speaks."""
    agrees = torch.rand(len(positive), generator=generator) < agreement
    if which == loading.TEST and test_tag is not None:
        return _AGREE[test_tag](positive)
    return positive == agrees


def planted(scene: Scene, there: Flags, size: int, *, tied: bool = False) -> Scene:
    """The scenes with a tag as their last object where it is due, `tied` if nowhere else ever."""
    count = len(scene)
    ones: Scores = torch.ones(count, 1)
    tag = {
        "sides": 4 * there[:, None].long(),
        "centres": torch.full((count, 1, 2), _middle(size)),
        "radii": ones * size / math.sqrt(math.pi),
        "angles": ones * math.pi / 4,
        "levels": scene.levels[:, :1],
    }
    joined = {name: torch.cat([getattr(scene, name), more], 1) for name, more in tag.items()}
    return dataclasses.replace(scene, tagged=True, tied=tied, **joined)


def _tags(seed: int, which: int) -> torch.Generator:
    return stream(seed + _OWN_STREAM, which)


def _middle(size: int) -> float:
    """Where the tag's centre is, from the left and from the top."""
    return 1 + size / 2


def _reach(size: int) -> float:
    """The radius of its circumcircle."""
    return size / math.sqrt(2)


def _clear(centres: Tensor, outer: Tensor, size: int) -> Tensor:
    """Which circles (centre, radius) keep their distance from the tag's place."""
    apart = (centres - _middle(size)).norm(dim=-1)
    return apart >= outer + _reach(size) + _GAP
