r"""Exact truth: what a network really uses, computed by drawing the scene again without its parts.

The game. An image is a scene with a set N of k parts. The PLAYERS are the parts that this scene
has under one division of it: its objects, the corners or the sides of its polygon, the patches of a
grid or the pixels that have content; a planted tag is one more player. The VALUE of a set S of
parts is the logit of the explained target (or what `value` makes of the logits) on the image with
the parts of S and no others,

    v(S) = f_t(render(keep=S)),

where an absent part leaves background (objects, tag) or is cut off (a corner by a chord, a side by
a strip of the division's depth), and a patch or pixel shows the scene without objects; anti-aliased
borders are drawn for S, nothing is painted over.
Pixels of no part (the background; the core of a polygon divided into corners) are in every image.

The truth of a part is its Shapley value (Shapley 1953; for features of a model Strumbelj and
Kononenko 2014): what it adds to v, averaged over all orders in which the parts can come,

    phi_i = sum over S in N \ i of |S|! (k - |S| - 1)! / k! * [v(S + i) - v(S)],

in units of logit; the values sum to v(N) - v({}) (efficiency). Beside it stand the effect of a
single part, v(N) - v(N \ i), which is what removal of one part alone shows, and the pairwise
interaction index (Grabisch and Roubens 1999, eq. 6),

    I_ij = sum over S in N \ {i, j} of |S|! (k - |S| - 2)! / (k - 1)! *
           [v(S + i + j) - v(S + i) - v(S + j) + v(S)].

Which subsets are on the training manifold, so that v(S) asks the network nothing it never saw (how
much of a truth is: `xai_exp.truth.manifold`; how to stay on it: `xai_exp.truth.conditional`):

- objects of counting with min_objects 0: all 2^k, each is an image that the dataset draws;
- objects of counting with min_objects m > 0: those with at least m objects;
- the object of triangles and squares: only the whole image, the empty one was never seen;
- objects of typed and weighted counting, one of each and parity pairs: all 2^k;
- corners and sides: only the whole polygon; one with a corner cut off was never seen, unless it
  was in training (dataset.coalitions);
- patches and pixels: those that hold some objects whole and the others not at all;
- a tag: with and without it, since both occur in each class (unless agreement is 1).

Cost: 2^k forward passes an image, k its own number of parts; each part is drawn once. Where objects
hide one another they are painted k times for each subset instead of summed (benchmarks/truth.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.truth.coalitions import ends_of, shapley_weights, subsets
from xai_exp.types import (
    Drawing,
    Effects,
    Keep,
    Keys,
    Labels,
    Readout,
    Scenes,
    Scores,
    Subsets,
)

Interactions = Float[Tensor, "batch part part"]
Games = Float[Tensor, "batch subset"]

MOST_EXACT = 12  # parts up to which all subsets are drawn: 4096 forward passes an image
PERMUTATIONS = 256  # drawn where there are more parts
_IMAGES_AT_ONCE = 256  # whose layers are held in memory together
_STEPS_AT_ONCE = 1 << 25  # choices of parts (image x order x step x part) held in memory together
_MOST_PAIRED = 64  # parts up to which interactions have room of their own


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the parts of a batch of scenes are worth to a network, in float64 and units of logit.

    Args:
        shapley: (batch, part) Shapley values; 0 for a part that the image does not have.
        error: (batch, part) their standard errors; 0 where they are exact.
        effect: (batch, part) what the whole image loses without the part.
        interaction: (batch, part, part) pairwise interaction indices, the diagonal 0; NaN where
            values are sampled, and where an image has places for more than 64 parts.
        largest: (batch, part) the largest change that the part makes to any set of the others,
            max over S of |v(S + i) - v(S)|; 0 for a part that the network ignores. Over the sets
            that were drawn where values are sampled.
        present: (batch, part) which parts there are.
        empty: (batch) the logit without any part, v({}).
        whole: (batch) the logit with all of them, v(N).
    """

    shapley: Effects
    error: Effects
    effect: Effects
    interaction: Interactions
    largest: Effects
    present: Keep
    empty: Scores
    whole: Scores

    def __len__(self) -> int:
        return len(self.present)


def attribute(
    model: nn.Module,
    scenes: Scenes,
    targets: Labels,
    *,
    most_exact: int = MOST_EXACT,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    value: Readout = ops.pick,
) -> Truth:
    """The truth of every part of every scene under the scenes' division.

    Images with at most `most_exact` parts get exact values from all subsets of their own parts;
    the others get the mean over `permutations` random orders (Castro et al. 2009) with the standard
    error of that mean, for permutations x (k - 1) + k + 2 forward passes. Orders are drawn from
    the image's own key, so an image gets the same numbers alone and in a batch.
    With pixels as parts that is 10^5 passes an image at 256 orders: take some 8 to 32 of them.

    Args:
        model: the network; it is run in evaluation mode and left as it was.
        scenes: the images to explain, divided into parts.
        targets: the class whose logit is explained.
        most_exact: number of parts up to which all subsets are drawn.
        permutations: orders drawn for images with more parts.
        seed: of these orders.
        value: what of the logits is explained: (logits, targets) -> a number an image.

    Raises:
        InputError: when most_exact or permutations are out of range.
    """
    if not 0 <= most_exact <= 20:
        raise InputError(f"truth: got most_exact {most_exact}; allowed: 0 to 20 (2^20 passes)")
    if permutations < 2:
        raise InputError(f"truth: got {permutations} permutations; allowed: 2 or more")
    found = []
    with ops.evaluating(model), torch.no_grad():
        for rows in torch.arange(len(scenes), device=targets.device).split(_IMAGES_AT_ONCE):
            game = Game.of(model, scenes[rows], targets[rows], value)
            found.append(_solved(game, most_exact, permutations, seed))
    return found[0] if len(found) == 1 else _joined(found)


@dataclass(frozen=True, kw_only=True)
class Game:
    """The game of each image of a batch: v of any subsets of its parts.

    Args:
        model: in evaluation mode.
        drawing: the images with any subset of their parts.
        present: (batch, part) the players.
        targets: the explained class.
        value: what of the logits is explained.
    """

    model: nn.Module
    drawing: Drawing
    present: Keep
    targets: Labels
    value: Readout = ops.pick

    @staticmethod
    def of(model: nn.Module, scenes: Scenes, targets: Labels, value: Readout = ops.pick) -> "Game":
        """The game of these scenes; each part is drawn once."""
        drawing = scenes.drawing()
        quick = streamlined(model, drawing.empty[:1])
        return Game(
            model=quick, drawing=drawing, present=scenes.present, targets=targets, value=value
        )

    def __getitem__(self, rows: Tensor) -> "Game":
        """The games of some images, with as many parts as these have; all have equally many."""
        present = self.present[rows]
        count = int(present[0].sum())
        players = present.nonzero()[:, 1].view(len(rows), count)
        return Game(
            model=self.model,
            drawing=self.drawing.only(rows, players),
            present=torch.ones_like(players, dtype=torch.bool),
            targets=self.targets[rows],
            value=self.value,
        )

    def values(self, subsets: Subsets) -> Games:
        """The values v of subsets (batch or 1, subset, part) for each image, as (batch, subset).

        The images are drawn and passed in chunks, many subsets and images together.
        """
        shared = len(subsets) == 1

        def block(rows: slice, columns: slice) -> Tensor:
            chosen = subsets[:, columns] if shared else subsets[rows, columns]
            images = self.drawing(rows, chosen)
            targets = self.targets[rows].repeat_interleave(chosen.shape[1])
            found = self.value(self.model(images).double(), targets)
            return found.view(-1, chosen.shape[1])

        empty = self.drawing.empty
        return ops.in_grid(block, len(empty), subsets.shape[1], ops.chunk_size(empty))


def _solved(game: Game, most_exact: int, permutations: int, seed: int) -> Truth:
    """The truth of a batch, images with equally many parts together."""
    counts = game.present.sum(1)
    out = _nothing(game.present)
    for count in sorted(set(counts.tolist())):
        rows = (counts == count).nonzero()[:, 0]
        mine = game[rows]
        exact = count <= most_exact
        _fill(
            out,
            rows,
            _exact(mine) if exact else _sampled(mine, permutations, _keys(game, rows, seed)),
        )
    return out


def filled(present: Keep, truths: Sequence[Truth]) -> Truth:
    """The truth of a batch from that of each image, whose parts are those that it has."""
    out = _nothing(present)
    for row, truth in enumerate(truths):
        _fill(out, torch.tensor([row], device=present.device), truth)
    return out


def _fill(out: Truth, rows: Tensor, truth: Truth) -> None:
    """Put the truth of images with equally many parts into that of a batch."""
    players = out.present[rows].nonzero()[:, 1].view(len(rows), -1)
    for name in ("shapley", "error", "effect", "largest"):
        getattr(out, name)[rows[:, None], players] = getattr(truth, name)
    if out.present.shape[1] <= _MOST_PAIRED:
        where = (rows[:, None, None], players[:, :, None], players[:, None, :])
        out.interaction[where] = truth.interaction
    out.empty[rows], out.whole[rows] = truth.empty, truth.whole


def _nothing(present: Keep) -> Truth:
    """A truth to be filled in: absent parts are worth 0, for they are dummies."""
    batch, parts = present.shape
    zeros = torch.zeros(batch, parts, dtype=torch.float64, device=present.device)
    paired = parts <= _MOST_PAIRED
    return Truth(
        shapley=zeros,
        error=zeros.clone(),
        effect=zeros.clone(),
        interaction=zeros.new_zeros(batch, parts, parts) if paired else _unknown(zeros),
        largest=zeros.clone(),
        present=present,
        empty=zeros.new_zeros(batch),
        whole=zeros.new_zeros(batch),
    )


def _exact(game: Game) -> Truth:
    """The truth from all subsets."""
    count = game.present.shape[1]
    everything = subsets(count).to(game.present.device)
    return solved(game.values(everything[None]))


def solved(values: Games) -> Truth:
    """The truth of games given by all their values: (batch, 2^k), the bits of a column its set.

    >>> solved(torch.tensor([[0.0, 1.0, 2.0, 5.0]], dtype=torch.float64)).shapley
    tensor([[2., 3.]], dtype=torch.float64)
    """
    count = values.shape[1].bit_length() - 1
    singles, pairs = (weights.to(values.device) for weights in shapley_weights(count))
    whole = values[:, -1]
    without = values[:, [2**count - 1 - 2**part for part in range(count)]]
    shapley = values @ singles.T
    return Truth(
        shapley=shapley,
        error=torch.zeros_like(shapley),
        effect=whole[:, None] - without,
        interaction=(values @ pairs.flatten(0, 1).T).view(len(values), count, count),
        largest=_largest(values, count),
        present=torch.ones_like(shapley, dtype=torch.bool),
        empty=values[:, 0],
        whole=whole,
    )


def _largest(values: Games, count: int) -> Effects:
    """The largest change that each part makes to any set of the others."""
    changes = [
        values.view(len(values), -1, 2, 2**part).diff(dim=2).abs().flatten(1).amax(1)
        for part in range(count)
    ]
    return torch.stack(changes, 1) if changes else values[:, :0]


def _sampled(game: Game, permutations: int, keys: Keys) -> Truth:
    """The truth from random orders: each adds its parts one by one."""
    batch, count = game.present.shape
    draws = ops.keyed_uniform(keys, permutations * count).view(batch, permutations, count)
    places = draws.argsort(2).argsort(2)
    ends = game.values(ends_of(count).to(places.device)[None])
    few = max(1, _STEPS_AT_ONCE // (batch * count * count))
    gains = torch.cat([_gains(game, part, ends) for part in places.split(few, 1)], 1)
    shapley = gains.mean(1)
    return Truth(
        shapley=shapley,
        error=gains.std(1) / math.sqrt(permutations),
        effect=ends[:, 1, None] - ends[:, 2:],
        interaction=_unknown(shapley),
        largest=gains.abs().amax(1),
        present=game.present,
        empty=ends[:, 0],
        whole=ends[:, 1],
    )


def _gains(game: Game, places: Tensor, ends: Games) -> Tensor:
    """What each part adds in each order: (batch, order, part), `places` being its turn."""
    batch, orders, count = places.shape
    sizes = torch.arange(1, count, device=places.device)
    steps = places[:, :, None, :] < sizes[:, None]
    inner = game.values(steps.flatten(1, 2)).view(batch, orders, count - 1)
    empty, whole = (ends[:, which, None, None].expand(-1, orders, 1) for which in (0, 1))
    return torch.cat([empty, inner, whole], 2).diff(dim=2).gather(2, places)


def _unknown(shapley: Effects) -> Interactions:
    """NaN for every pair, in the memory of one number: pixels have millions of pairs."""
    batch, count = shapley.shape
    return shapley.new_full((1, 1, 1), torch.nan).expand(batch, count, count)


def _keys(game: Game, rows: Tensor, seed: int) -> Keys:
    """A key for each image, read off the image itself."""
    return ops.named_keys(ops.image_keys(game.drawing.whole()[rows], seed), "truth")


def _joined(truths: list[Truth]) -> Truth:
    def of(name: str) -> Tensor:
        return torch.cat([getattr(truth, name) for truth in truths])

    known = all(truth.interaction.stride(1) for truth in truths)
    names = [field.name for field in fields(Truth) if field.name != "interaction"]
    interaction = of("interaction") if known else _unknown(of("shapley"))
    return Truth(interaction=interaction, **{name: of(name) for name in names})
