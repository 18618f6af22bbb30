r"""Shapley values of segments: what each adds to the output, in the mean over orders.

The game: players are the segments of an image, the value v(S) of a set of them is the target's
output on the image of which only S is kept, the rest being filled by the imputer. A segment's
Shapley value (Shapley 1953) is what it adds, averaged over all orders in which segments can come,

    phi_i = sum over S in N \ i of |S|! (M - |S| - 1)! / M! * [v(S + i) - v(S)].

Conventions: heatmaps are signed, in units of the output, and sum to f(x) - f(imputed) exactly,
however few samples are drawn. Only forward passes are made. Where all 2^M subsets cost no more than
the samples, they are all taken, and the values are exact.
"""

from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Count, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.perturbation.players import Game, Playing, ranked
from xai_exp.explainers.perturbation.removal import Output, Seed
from xai_exp.removal.segments import Compactness, Cut
from xai_exp.types import (
    Curves,
    Effects,
    Images,
    Imputer,
    Keep,
    Keys,
    Labels,
    Order,
    Scenes,
    Scores,
    Subsets,
)

# Where samples are too few to tell segments apart, this much of a ridge takes the smallest values.
_RIDGE = 1e-10


@configured
class ShapleySampling(Playing):
    r"""Shapley values as the mean over random orders: segments come in one by one.

    $\hat\varphi_i = \frac{1}{m} \sum_{\pi} v(P_i^\pi + i) - v(P_i^\pi)$, $P_i^\pi$ those before i
    in order $\pi$ (Castro et al. 2009; Strumbelj and Kononenko 2010). Unbiased. `antithetic` takes
    each order backwards, too (Mitchell et al. 2022), which is exact for pairwise interactions.

    Pitfalls: the error falls with the root of `permutations` only. Most sets on the way are images
    that the network has never seen. DeepExplain's players are single pixels (`cut=grid` and
    `segments` their number), which cost as many passes an order and whose effects are tiny.

    Cost: `permutations` x (segments - 1) + 2 forward passes: 506 with the defaults at 64 x 64
    pixels, which `cost` states; 2^segments where that is less.

    Args:
        cut: slic for superpixels, grid for squares.
        segments: about how many.
        compactness: of superpixels (see xai_exp.removal.segments).
        permutations: m, drawn for each image.
        antithetic: whether every second order is the one before it backwards.
        shared: whether the pixels of a segment share its value, or each gets all of it (captum).
        output: what is explained, the logit or the probability.
        imputer: fills the segments that are not kept.
        seed: of the orders.
    """

    imputer: Imputer
    cut: Cut = "slic"
    segments: Count = 64
    compactness: Compactness = 0.1
    permutations: Count = 8
    antithetic: bool = True
    shared: bool = True
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of 64 x 64 pixels."""
        number = self.number()
        return Cost(forward=min(2**number, self._passes(number)), backward=0)

    def promised_with(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Scores | None:
        """f(x) - f(imputed), unless each pixel has its segment's whole value."""
        return self.worth(model, images, targets, scenes)

    def effects(self, game: Game) -> Effects:
        """The Shapley value of each segment."""
        number = game.number
        if 2**number <= self._passes(number):
            return game.exact()
        places = game.drawn("shapley sampling", self._orders)
        device = places.device
        inner = torch.arange(1, number, device=device)
        # Sets are the first so many of an order; the first two are none and all.
        sizes = torch.cat([torch.tensor([0, number], device=device), inner.repeat(places.shape[1])])
        orders = torch.arange(places.shape[1], device=device).repeat_interleave(len(inner))
        orders = torch.cat([torch.zeros_like(sizes[:2]), orders])

        def kept(rows: slice, steps: slice) -> Subsets:
            return places[rows][:, orders[steps]] < sizes[steps, None]

        values = game.values(kept, len(sizes))
        ends = values[:, :2, None].expand(-1, -1, places.shape[1]).mT
        inner_values = values[:, 2:].view(len(values), places.shape[1], -1)
        path = torch.cat([ends[..., :1], inner_values, ends[..., 1:]], 2)
        return path.diff(dim=2).gather(2, places).mean(1) * game.players

    def _passes(self, number: int) -> int:
        return self.permutations * (number - 1) + 2

    def _orders(self, keys: Keys, players: Keep) -> Tensor:
        """Each segment's place in each order (batch, order, segment)."""
        count = -(-self.permutations // 2) if self.antithetic else self.permutations
        drawn = ops.keyed_uniform(keys, count * players.shape[1])
        places = ranked(drawn.view(len(keys), count, -1), players)
        if not self.antithetic:
            return places
        last = players.sum(1)[:, None, None] - 1
        back = torch.where(players[:, None], last - places, places)
        return torch.stack([places, back], 2).flatten(1, 2)[:, : self.permutations]


@configured
class KernelSHAP(Playing):
    r"""Shapley values as a weighted least squares fit to the values of random sets.

    $\min_\varphi \sum_S \frac{M - 1}{\binom{M}{|S|} |S| (M - |S|)} (v(S) - v(\emptyset) -
    \sum_{i \in S} \varphi_i)^2$ under $\sum_i \varphi_i = v(N) - v(\emptyset)$ (Lundberg and Lee
    2017, theorem 2). Sets are drawn with the kernel's weights, so that all count alike: sizes in
    proportion to 1 / (s (M - s)), spread evenly over the samples, then any set of that size; every
    set comes with its complement (Covert and Lee 2021), which is exact for pairwise interactions.
    The constraint holds exactly: it is solved by a multiplier, not by a large weight as in captum.

    Pitfalls: slightly biased while samples are few. Less samples than about four times the
    segments give noise, less than twice do not determine the values; the smallest ones are taken
    then. Most sets are images that the network has never seen.

    Cost: `samples` + 2 forward passes; 2^segments where that is less.

    Args:
        cut: slic for superpixels, grid for squares.
        segments: about how many.
        compactness: of superpixels (see xai_exp.removal.segments).
        samples: sets, half of them complements, drawn for each image.
        shared: whether the pixels of a segment share its value, or each gets all of it (captum).
        output: what is explained, the logit or the probability.
        imputer: fills the segments that are not kept.
        seed: of the sets.
    """

    imputer: Imputer
    cut: Cut = "slic"
    segments: Count = 64
    compactness: Compactness = 0.1
    samples: Annotated[int, Range(2)] = 510
    shared: bool = True
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of 64 x 64 pixels."""
        return Cost(forward=min(2 ** self.number(), self.samples // 2 * 2 + 2), backward=0)

    def promised_with(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Scores | None:
        """f(x) - f(imputed), unless each pixel has its segment's whole value."""
        return self.worth(model, images, targets, scenes)

    def effects(self, game: Game) -> Effects:
        """The Shapley value of each segment."""
        if 2**game.number <= self.samples + 2:
            return game.exact()
        kept = game.drawn("kernel shap", self._drawn)
        empty, whole, values = game.with_ends(kept)
        given = (kept, values - empty[:, None], whole - empty, game.players)
        return ops.in_chunks(constrained, *given, size=64)

    def _drawn(self, keys: Keys, players: Keep) -> Subsets:
        """Sets of players, and then their complements."""
        pairs, number = self.samples // 2, players.shape[1]
        drawn = ops.keyed_uniform(keys, pairs * (number + 1)).view(len(keys), pairs, -1)
        strata = torch.arange(pairs, device=keys.device)
        sizes = _sizes((strata + drawn[..., 0]) / pairs, players.sum(1), number)
        some = ranked(drawn[..., 1:], players) < sizes[..., None]
        return torch.cat([some, players[:, None] & ~some], 1)


def _sizes(share: Curves, count: Tensor, number: int) -> Order:
    """The size s at each share of the distribution in proportion to 1 / (s (M - s)), 0 < s < M."""
    size = torch.arange(1, max(2, number), device=share.device)
    weight = 1 / (size * (count[:, None] - size)).double()
    weight = torch.where(size < count[:, None], weight, 0)
    below = weight.cumsum(1) / weight.sum(1, keepdim=True).clamp(min=1e-30)
    found = 1 + (share.double()[..., None] >= below[:, None]).sum(2)
    return torch.minimum(found, count[:, None] - 1)


def constrained(kept: Subsets, values: Curves, total: Scores, players: Keep) -> Effects:
    """Least squares of values on the sets' members, under the constraint that effects sum to total.

    Segments that do not exist are in no set and get 0.
    """
    design, mine = kept.double(), players.double()[..., None]
    square = design.mT @ design / design.shape[1]
    square.diagonal(dim1=1, dim2=2).add_(_RIDGE)
    wanted = design.mT @ values[..., None] / design.shape[1]
    free, slope = torch.linalg.solve(square, torch.cat([wanted, mine], 2)).split(1, 2)
    excess = (mine * free).sum(1) - total[:, None]
    return (free - slope * (excess / (mine * slope).sum(1))[..., None])[..., 0]
