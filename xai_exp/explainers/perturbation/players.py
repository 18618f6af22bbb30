"""Segments as players of a game: what the output is when only some of them are kept."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.explainers.cost import SIDE
from xai_exp.explainers.perturbation.removal import (
    Output,
    Removing,
    existing,
    outputs_of_subsets,
    spread,
    worth,
)
from xai_exp.removal import segments
from xai_exp.removal.segments import Cut
from xai_exp.truth.coalitions import shapley_weights, subsets
from xai_exp.types import (
    Curves,
    Effects,
    Heatmaps,
    Images,
    Keep,
    Keys,
    Labels,
    Removal,
    Scenes,
    Scores,
    Segments,
    Subsets,
)

Kept = Callable[[slice, slice], Subsets]


@dataclass(frozen=True, kw_only=True)
class Game:
    """The game of each image: the value of a set of its segments is the output with only these.

    Args:
        model: the network.
        images: whose segments are the players.
        targets: whose output is the value.
        removal: takes the other segments away.
        cut: every pixel's segment.
        players: (batch, segment) which segments have pixels; one without any changes nothing.
        keys: of each image, for draws.
        output: the logit or the probability.
    """

    model: nn.Module
    images: Images
    targets: Labels
    removal: Removal
    cut: Segments
    players: Keep
    keys: Keys
    output: Output

    @property
    def number(self) -> int:
        """The number of segments that an image may have."""
        return self.players.shape[1]

    def values(self, kept: Kept, steps: int) -> Curves:
        """The values of the sets that `kept(rows, steps)` makes, (batch, step), in float64."""
        given = (self.model, self.images, self.targets, self.removal, self.cut)
        return outputs_of_subsets(*given, kept, steps, self.output).double()

    def with_ends(self, kept: Subsets) -> tuple[Scores, Scores, Curves]:
        """The values of no player, of all players, and of each image's own sets."""
        none = torch.zeros_like(self.players)
        everything = torch.cat([torch.stack([none, ~none], 1), kept], 1)
        values = self.values(lambda rows, steps: everything[rows, steps], everything.shape[1])
        return values[:, 0], values[:, 1], values[:, 2:]

    def drawn(self, name: str, draw: Callable[[Keys, Keep], Tensor]) -> Tensor:
        """`draw(keys, players)` for each image by its own key, in chunks: draws take memory."""
        keys, size = ops.named_keys(self.keys, name), ops.chunk_size(self.images)
        return ops.in_chunks(draw, keys, self.players, size=size)

    def exact(self) -> Effects:
        """The Shapley values from all subsets; segments without pixels are dummies."""
        everything = subsets(self.number).to(self.images.device)[None]
        values = self.values(lambda _, steps: everything[:, steps], everything.shape[1])
        weights, _ = shapley_weights(self.number)
        return values @ weights.to(values).T


class Playing(Removing):
    """An explainer that says what each segment of an image adds to the output."""

    cut: Cut
    segments: int
    compactness: float
    shared: bool
    output: Output

    @abstractmethod
    def effects(self, game: Game) -> Effects:
        """What each segment adds, in units of the output."""

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """Each segment's effect at its pixels."""

        def cut_up(some: Images) -> Segments:
            return segments.segments(some, self.cut, self.segments, self.compactness)

        cut = ops.in_chunks(cut_up, images).contiguous()
        game = Game(
            model=model,
            images=images,
            targets=targets,
            removal=self.removal(images, scenes),
            cut=cut,
            players=existing(cut, self.number(*images.shape[2:])),
            keys=ops.image_keys(images, self.seed),
            output=self.output,
        )
        return spread(self.effects(game).to(images.dtype), cut, shared=self.shared)

    def worth(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Scores | None:
        """What efficient effects add up to: f(x) - f(imputed), if the pixels share them."""
        if not self.shared:
            return None
        return worth(model, images, targets, self.removal(images, scenes), self.output)

    def number(self, height: int = SIDE, width: int = SIDE) -> int:
        """The number of segments that an image of this size is cut into."""
        return math.prod(segments.shape_of(height, width, self.segments))


def ranked(drawn: Tensor, players: Keep) -> Tensor:
    """A random order of each row's players, those who do not exist last: the place of everyone."""
    lots = torch.where(players[:, None], drawn, 2.0)
    return lots.argsort(dim=2, stable=True).argsort(2)
