"""Texture against shape: a striped triangle or square, whose stripes may say the other class.

After the cue conflict of Geirhos et al. (2019), with the agreement of the two cues as a dose: what
a network answers where they conflict says which of them it uses.
"""

import dataclasses
from typing import Annotated, Literal

import torch
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.data import loading
from xai_exp.data.loading import SceneSplit, stream
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.scenes.texture import Amplitude, Stripes, stripes
from xai_exp.data.triangles_squares import TrianglesSquares

TestCue = Literal["aligned", "conflicting"]
_OWN_STREAM = 2_000_003  # so that scenes are those of the same dataset without stripes
_LEAST_LEVEL = 0.3  # of objects, and 1 minus it the largest, so that stripes are not cut


@configured
class CueConflict(TrianglesSquares):
    """Triangles with fine and squares with coarse stripes, as often as the cues agree.

    The label is the shape. Stripes have any direction; their period is uniform within 15 % of
    `fine` or `coarse`.

    Args:
        agreement: the probability p that the stripes are those of the shape's class; 0.5 says
            nothing, 1 everything.
        fine, coarse: the stripes' periods in pixels, of triangles and of squares.
        depth: the stripes' amplitude in grey levels.
        test_cue: the stripes of the test split: aligned (always the shape's), conflicting (always
            the other's); null: as in training.
    """

    agreement: Annotated[float, Range(0, 1)] = 0.9
    fine: Annotated[float, Range(2)] = 3.0
    coarse: Annotated[float, Range(2)] = 7.0
    depth: Amplitude = 0.2
    test_cue: TestCue | None = None

    undeciding = frozenset({"test_cue"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1.15 * self.fine >= 0.85 * self.coarse:
            raise InputError(
                f"CueConflict.fine: got periods of {self.fine:g} and {self.coarse:g} pixels; "
                "allowed: such that 1.15 fine < 0.85 coarse, so that they can be told apart"
            )

    def split(self, which: int) -> SceneSplit[Scene]:
        """Sample the scenes of one split."""
        plain = super().split(which)
        generator = stream(self.seed + _OWN_STREAM, which)
        skin = self._skin(self._cues(plain.labels, which, generator), generator)
        levels = plain.everything.levels.clamp(_LEAST_LEVEL, 1 - _LEAST_LEVEL)
        scene = dataclasses.replace(plain.everything, levels=levels, skin=skin)
        return dataclasses.replace(plain, everything=scene)

    def _cues(self, labels: Tensor, which: int, generator: torch.Generator) -> Tensor:
        """The class that each image's stripes stand for."""
        agrees = torch.rand(len(labels), generator=generator) < self.agreement
        if which == loading.TEST and self.test_cue is not None:
            agrees = torch.full_like(agrees, self.test_cue == "aligned")
        return torch.where(agrees, labels, 1 - labels)

    def _skin(self, cues: Tensor, generator: torch.Generator) -> Stripes:
        drawn = stripes(self.depth, (0.85, 1.15), len(cues), generator)
        return dataclasses.replace(
            drawn, periods=drawn.periods * torch.tensor([self.fine, self.coarse])[cues]
        )
