"""Equivariance: when the image is turned, mirrored or moved, the heatmap must follow."""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import explained, knows_any_image, shifted
from xai_exp.metrics.likeness import Likeness, alike, alike_rows
from xai_exp.metrics.localisation import regions
from xai_exp.metrics.truth.people import strategy
from xai_exp.types import Case, Effects, Heatmaps, Scenes, Scores, Turning

Change = Literal["rotate", "flip", "shift"]
Move = Callable[[Tensor], Tensor]
Within = tuple[slice, slice]
_EVERYWHERE: Within = (slice(None), slice(None))
_UNKNOWN = "the explainer knows only its images"


def changes(
    which: tuple[Change, ...], size: tuple[int, int], pixels: int, fill: str
) -> Iterator[tuple[Move, Within]]:
    """Exact changes of images (and heatmaps alike), each with where nothing came in from outside.

    rotate: by 90, 180 and 270 degrees (180 only, if the image is no square); flip: left to right
    and upside down; shift: by `pixels` to the right, left, bottom and top.
    """
    height, width = size
    if "rotate" in which:
        for turns in (1, 2, 3) if height == width else (2,):
            yield (lambda maps, turns=turns: maps.rot90(turns, (-2, -1))), _EVERYWHERE
    if "flip" in which:
        for axis in (-1, -2):
            yield (lambda maps, axis=axis: maps.flip(axis)), _EVERYWHERE
    if "shift" in which:
        for right, down in ((pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)):
            inside = (_left(down, height), _left(right, width))
            yield (
                lambda maps, right=right, down=down: shifted(maps, right, down, fill),
                _EVERYWHERE if fill == "circular" else inside,
            )


def _left(by: int, length: int) -> slice:
    """What remains of an axis that moved."""
    return slice(max(0, by), min(length, length + by))


@configured
class Equivariance:
    r"""How well the heatmap follows when the image is turned, mirrored or moved.

    Crabbe & van der Schaar 2023 (NeurIPS, "Evaluating the robustness of interpretability methods
    through explanation invariance and equivariance"): with T the changes of `which`
    that map pixels on pixels exactly (turns by 90 degrees, mirrorings, shifts by whole pixels),

        mean over T of likeness(h(T x), T h(x))

    (the paper takes the cosine). Range -1..1, HIGHER is better; 1: the heatmap follows exactly.
    What a shift brings in repeats the edge and is left out of the comparison, or comes round
    (`fill: circular`).

    `pixels: null` shifts by an eighth of the short side. Cost: one explanation for each change, 9
    with all of them (7, if the image is no square).

    Pitfalls: the network itself is not equivariant, so no faithful heatmap gets 1 but where the
    network's output is unchanged (convolutions with circular padding, global pooling, no stride:
    shifts); a drop says that network or explainer changed its mind, not which: compare explainers
    of one network. Spearman counts the order of pixels that hold next to nothing. The edge filter
    is perfect. Explainers that draw noise draw anew for T x. A digit upside down is another digit:
    choose `which` by the data.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = (
        "any of the compared heatmaps is all zero or, but for cosine, constant, or " + _UNKNOWN
    )

    which: tuple[Change, ...] = ("rotate", "flip", "shift")
    pixels: Annotated[int, Range(1)] | None = None
    fill: Literal["edge", "circular"] = "edge"
    measure: Likeness = "cosine"

    def __post_init__(self) -> None:
        """Refuse to do nothing."""
        if not self.which:
            raise InputError("Equivariance.which: got none; allowed: rotate, flip, shift")

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        height, width = case.heatmaps.shape[1:]
        pixels = self.pixels or max(1, min(height, width) // 8)
        if pixels >= min(height, width):
            raise InputError(
                f"Equivariance.pixels: got {pixels}; allowed: less than the image's short side"
            )
        if not knows_any_image(case):
            return shared.undefined(case)
        with ops.evaluating(case.model):
            found = [
                self._followed(case, move, within)
                for move, within in changes(self.which, (height, width), pixels, self.fill)
            ]
        return shared.where_defined(case, torch.stack(found).mean(0))

    def _followed(self, case: Case, move: Move, within: Within) -> Scores:
        after: Heatmaps = explained(case, move(case.images), case.targets).to(case.heatmaps)
        rows, columns = within
        inside = (slice(None), rows, columns)
        return alike(after[inside], move(case.heatmaps)[inside], self.measure)


@configured
class SceneEquivariance:
    r"""How well relevance stays with its objects when the scene is drawn turned, by any angle.

    Ours: as equivariance, but the image at an angle is rendered anew, so nothing is resampled: with
    r(h, x) the relevance that heatmap h gives to every part of the scene and to the rest,

        mean over angles of cosine(r(h(T x), T x), r(h(x), x))

    Relevance is signed and shared out by exact coverage. Parts: corners where scenes are one
    polygon, else objects. Range -1..1, HIGHER is better.

    An angle at which a part would reach over the image's border does not count for that image,
    nor one at which nothing is relevant.
    `angles` are degrees about the image's centre. Cost: one explanation and one rendering for each.

    Pitfalls: what moves within a part goes unseen, so one object alone tells little; few parts
    are alike by chance; the network need not be invariant (see equivariance). Images that are not
    just what their scene draws (noise laid over them) change in more than the angle.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"scenes"})
    undefined: ClassVar[str] = (
        "at every angle a part leaves the image or the relevance of all parts and of the rest is 0,"
        " or " + _UNKNOWN
    )

    angles: tuple[float, ...] = (15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 135.0, 180.0)

    def __post_init__(self) -> None:
        """Refuse to do nothing."""
        if not self.angles:
            raise InputError("SceneEquivariance.angles: got none; allowed: a list of degrees")

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        if case.scenes is None or not isinstance(case.scenes, Turning):
            raise InputError("scene_equivariance: got no scenes that turn; allowed: rendered data")
        nothing = shared.undefined(case)
        if not knows_any_image(case):
            return nothing
        scenes = case.scenes.divided(strategy(case, None))
        with ops.evaluating(case.model):
            found = [self._followed(case, scenes, angle) for angle in self.angles]
        return shared.where_defined(case, torch.stack(found).nanmean(0))

    def _followed(self, case: Case, scenes: Scenes, angle: float) -> Scores:
        """The likeness at one angle; NaN where a part leaves the image or nothing is relevant."""
        assert isinstance(scenes, Turning)
        turned = scenes.turned(math.radians(angle))
        images = turned.render().to(case.images).expand_as(case.images)
        after = explained(case, images, case.targets).to(case.heatmaps)
        old, new = scenes.parts(), turned.parts()
        before, later = _by_part(case.heatmaps, old), _by_part(after, new)
        areas = old.sum((2, 3)), new.sum((2, 3))
        inside = ((areas[0] - areas[1]).abs() <= _AREA * areas[0].clamp(min=1)).all(1)
        likeness = alike_rows(later, before, "cosine").to(case.heatmaps)
        return torch.where(inside, likeness, torch.nan)


_AREA = 1e-3  # exact coverages of a part that stays inside sum to its area, up to rounding


def _by_part(heatmaps: Heatmaps, parts: Tensor) -> Effects:
    """The relevance on every part and on what no part covers (batch, part + 1)."""
    parts = parts.to(heatmaps)
    shares = torch.cat([parts, 1 - parts.sum(1, keepdim=True)], 1)
    return regions.sums(shares, heatmaps)
