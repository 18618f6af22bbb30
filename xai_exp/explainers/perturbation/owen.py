"""Owen values of segments that come in unions: what each adds where unions come one by one."""

from functools import cache
from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.config import Count, InputError, Range, configured
from xai_exp.explainers.cost import SIDE, Cost
from xai_exp.explainers.perturbation.players import Game, Playing
from xai_exp.explainers.perturbation.removal import Output, Seed
from xai_exp.removal import segments
from xai_exp.removal.segments import Compactness, Cut
from xai_exp.truth.owen import design
from xai_exp.types import Effects, Images, Imputer, Labels, Scenes, Scores

_MOST = 1 << 14  # sets of an image that are asked


@configured
class Owen(Playing):
    r"""Owen values (Owen 1977): Shapley values where segments come in given unions, exact.

    Orders are drawn in which unions come one after another, the members of each together; a
    segment's value is what it adds in the mean over them (see xai_exp.truth.owen). Unions are the
    blocks of a coarser grid. Values of a union's segments add up to what the union is worth among
    unions, so a heatmap says the same of blocks however finely these are cut, and all of it sums
    to f(x) - f(imputed). One union, or unions of one segment, give Shapley values. PartitionSHAP
    (`partition_shap`) halves again and again instead of cutting twice, and is adaptive.

    Cost: 2^(unions - 1) x the sum over unions of 2^segments forward passes: 512 with the defaults.

    Args:
        cut: slic for superpixels, grid for squares.
        segments: about how many.
        unions: about how many blocks they lie in.
        compactness: of superpixels (see xai_exp.removal.segments).
        shared: whether the pixels of a segment share its value, or each gets all of it.
        output: what is explained, the logit or the probability.
        imputer: fills the segments that are not kept.
        seed: of a random imputer.

    Raises:
        InputError: when more than 2^14 sets of an image would be asked.
    """

    imputer: Imputer
    cut: Cut = "grid"
    segments: Count = 16
    unions: Annotated[int, Range(1, 12)] = 4
    compactness: Compactness = 0.1
    shared: bool = True
    output: Output = "logit"
    seed: Seed = 0

    def __post_init__(self) -> None:
        asked = _asked(_unions(SIDE, SIDE, self.segments, self.unions))
        if asked > _MOST:
            raise InputError(
                f"Owen.segments: got {self.segments} in {self.unions} unions, {asked} sets of "
                f"which would be asked; allowed: at most {_MOST}, such as 16 in 4"
            )

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of 64 x 64 pixels."""
        return Cost(forward=_asked(_unions(SIDE, SIDE, self.segments, self.unions)), backward=0)

    def promised_with(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Scores | None:
        """f(x) - f(imputed), unless each pixel has its segment's whole value."""
        return self.worth(model, images, targets, scenes)

    def effects(self, game: Game) -> Effects:
        """The Owen value of each segment; one without pixels is a dummy."""
        height, width = game.images.shape[2:]
        sets, weights = _designed(_unions(height, width, self.segments, self.unions))
        kept = sets.to(game.images.device)[None]
        values = game.values(lambda _, steps: kept[:, steps], len(sets))
        return values @ weights.to(values).T * game.players


def _unions(height: int, width: int, count: int, unions: int) -> tuple[int, ...]:
    """The union of every segment: the block of a coarser grid that its place lies in."""
    rows, columns = segments.shape_of(height, width, count)
    high, wide = segments.shape_of(height, width, unions)
    high, wide = min(high, rows), min(wide, columns)
    return tuple(
        (row * high // rows) * wide + column * wide // columns
        for row in range(rows)
        for column in range(columns)
    )


def _asked(unions: tuple[int, ...]) -> int:
    """How many sets the values ask for."""
    sizes = [unions.count(one) for one in set(unions)]
    return 2 ** (len(sizes) - 1) * sum(2**size for size in sizes)


@cache
def _designed(unions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        return design(unions)
