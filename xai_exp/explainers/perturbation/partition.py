"""Partition SHAP: Owen values on a tree that halves the image again and again, best branches first.

Conventions: as in shapley.py; the players are cells of a few pixels, which play in nested unions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import Count, configured
from xai_exp.explainers.cost import SIDE, Cost
from xai_exp.explainers.perturbation.players import Kept
from xai_exp.explainers.perturbation.removal import (
    Output,
    Removing,
    Seed,
    outputs_of_subsets,
    worth,
)
from xai_exp.types import (
    Curves,
    Heatmaps,
    Images,
    Imputer,
    Labels,
    Scenes,
    Scores,
    Segments,
    Subsets,
)

_STEPS = 1000  # in which worths are compared between one and its double


@configured
class PartitionSHAP(Removing):
    r"""Owen values: Shapley values of halves, of quarters within each half, and so on.

    A node of the tree is a rectangle, cut in two along its longer side. What it is worth in a
    context c (the rectangles beside it and its ancestors that are kept) is
    $v(c + \text{node}) - v(c)$. Its halves l and r share it as in a game of two players,

        phi_l = [v(c + l) - v(c)] / 2 + [v(c + l + r) - v(c + r)] / 2,

    and each of the two terms is shared on in its own context, down to cells of `smallest` pixels a
    side. Run to the end this gives the Owen values (Owen 1977): the mean over those orders in which
    every rectangle comes in one piece. It never is run to the end, which takes about 2/3 of the
    squared number of cells: as in shap's PartitionExplainer (Lundberg and Lee 2017) the terms with
    the largest worth are refined first, until the evaluations are spent; a term that is left is
    shared evenly among its pixels. So the heatmap is fine where the effects are. Signed, in units
    of the output; it sums to f(x) - f(imputed) exactly. Nothing is drawn.

    Worths within 0.1 % of each other count as equal; of these the older term goes first.

    Pitfalls: a rectangle whose effects cancel is refined late. Cuts lie where the tree has them,
    not where objects end, and an object that two halves share counts as an interaction of them.
    Blocks of one value are what was not resolved, not what is uniform.

    Cost: `evaluations` forward passes.

    Args:
        evaluations: of the network in all.
        together: terms refined at once, 2 evaluations each; 1 is shap's order exactly, more fill
            batches of the network where there are few images.
        smallest: side of the smallest cells in pixels (those at most that can be larger by halves).
        output: what is explained, the logit or the probability.
        imputer: fills the rectangles that are not kept.
        seed: of a random imputer.
    """

    imputer: Imputer
    evaluations: Count = 512
    together: Count = 8
    smallest: Count = 2
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap of 64 x 64 pixels."""
        cells = 2 ** sum(_halvings(SIDE, SIDE, self.smallest))
        most = 2 + 2 * (cells**2 - 1) // 3
        return Cost(forward=min(most, max(2, self.evaluations // 2 * 2)), backward=0)

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The worth of every pixel."""
        height, width = images.shape[2:]
        cut, levels = tree(height, width, self.smallest)
        cut = cut.to(images.device).expand(len(images), -1, -1)
        removal = self.removal(images, scenes)
        with ops.evaluating(model):
            quick = streamlined(model, images[:1])  # once: what is streamlined stays as it is

        def values(kept: Kept, steps: int) -> Curves:
            found = outputs_of_subsets(
                quick, images, targets, removal, cut, kept, steps, self.output
            )
            return found.double()

        ends = torch.tensor([False, True], device=images.device)[None, :, None]
        before, after = values(lambda _, steps: ends[:, steps].expand(-1, -1, 2**levels), 2).split(
            1, 1
        )
        terms, left = Terms.root(before, after), self.evaluations // 2 - 1
        while left > 0 and bool(terms.open(levels).any()):
            count = min(self.together, left, terms.path.shape[1])
            chosen = terms.urgent(count, levels)
            parents = terms.at(chosen)
            mixed = values(parents.with_one_half(levels).contexts(levels), 2 * count)
            terms = terms.without(chosen, levels).joined(parents.halves(mixed, levels))
            left -= count
        shown = terms.shared_out(cut[0], levels)
        return shown.gather(1, cut.flatten(1)).view(cut.shape).to(images.dtype)

    def promised_with(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Scores | None:
        """f(x) - f(imputed)."""
        return worth(model, images, targets, self.removal(images, scenes), self.output)


def _halvings(height: int, width: int, smallest: int) -> tuple[int, int]:
    """How often each side can be halved into cells of `smallest` pixels at least."""
    down, across = (max(1, side // smallest).bit_length() - 1 for side in (height, width))
    return down, across


def tree(height: int, width: int, smallest: int) -> tuple[Segments, int]:
    """The cell of every pixel (1, height, width) and the number of levels above it.

    The bits of a cell's number are the way to it from the root, the first one the highest.

    >>> tree(2, 4, 1)
    (tensor([[[0, 1, 4, 5],
             [2, 3, 6, 7]]]), 3)
    """
    left = [*_halvings(height, width, smallest)]
    sides, parts = [height, width], [1, 1]
    places = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.zeros(height, width, dtype=torch.long)
    levels = sum(left)
    for _ in range(levels):
        lengths = [sides[a] / parts[a] if left[a] else 0 for a in (0, 1)]
        axis = lengths.index(max(lengths))
        left[axis] -= 1
        parts[axis] *= 2
        cells = cells * 2 + (places[axis] * parts[axis] // sides[axis]) % 2
    return cells[None], levels


@dataclass(frozen=True)
class Terms:
    """Parts of the heatmap so far: nodes of the tree in a context, each (batch, term).

    Args:
        path: the way to the node; bit `levels - 1 - d` says which half is taken at depth d.
        depth: of the node.
        around: for each depth on the way whether the other half is kept, in the same bits.
        before: the output in this context.
        after: the output with the node, too.
        weight: how much the term counts; 0 for one that has been refined.
    """

    path: Tensor
    depth: Tensor
    around: Tensor
    before: Tensor
    after: Tensor
    weight: Tensor

    @staticmethod
    def root(before: Tensor, after: Tensor) -> "Terms":
        """The whole image in no context."""
        number = torch.zeros_like(before, dtype=torch.long)
        return Terms(number, number, number, before, after, torch.ones_like(before))

    def fields(self) -> tuple[Tensor, ...]:
        """All fields in order."""
        return self.path, self.depth, self.around, self.before, self.after, self.weight

    def replaced(self, **others: Tensor) -> "Terms":
        """The same terms with other fields."""
        return Terms(**(self.__dict__ | others))

    def at(self, chosen: Tensor) -> "Terms":
        """Some terms of each image."""
        return Terms(*(field.gather(1, chosen) for field in self.fields()))

    def joined(self, others: "Terms") -> "Terms":
        """These and others."""
        pairs = zip(self.fields(), others.fields(), strict=True)
        return Terms(*(torch.cat(pair, 1) for pair in pairs))

    def open(self, levels: int) -> Tensor:
        """Which terms can be refined."""
        return (self.depth < levels) & (self.weight > 0)

    def urgent(self, count: int, levels: int) -> Tensor:
        """The places of the terms of the largest worth that can be refined."""
        worth = (self.after - self.before).abs() * self.weight
        # In steps of 0.1 %, so that rounding errors do not decide between terms of equal worth.
        worth = (worth.clamp(min=1e-30).log2() * _STEPS).round()
        worth = torch.where(self.open(levels), worth, -torch.inf)
        return worth.argsort(dim=1, descending=True, stable=True)[:, :count]

    def without(self, chosen: Tensor, levels: int) -> "Terms":
        """These without the chosen ones, unless they can't be refined."""
        rest = self.weight.gather(1, chosen) * ~self.at(chosen).open(levels)
        return self.replaced(weight=self.weight.scatter(1, chosen, rest))

    def with_one_half(self, levels: int) -> "Terms":
        """Terms whose contexts are each node's context with its first half, or with its second."""
        bit = self._bit(levels)
        first = self.replaced(path=self.path | bit, depth=self.depth + 1, around=self.around | bit)
        second = self.replaced(depth=self.depth + 1, around=self.around | bit)
        return first.joined(second)

    def halves(self, mixed: Tensor, levels: int) -> "Terms":
        """What each node is worth as four terms: each half without the other one and with it."""
        first, second = mixed.chunk(2, 1)
        bit, weight = self._bit(levels), self.weight * self.open(levels) / 2
        deep = self.replaced(depth=self.depth + 1, weight=weight)
        right = deep.replaced(path=self.path | bit)
        beside = self.around | bit
        found = deep.replaced(after=first)
        for term in (
            deep.replaced(around=beside, before=second),
            right.replaced(after=second),
            right.replaced(around=beside, before=first),
        ):
            found = found.joined(term)
        return found

    def _bit(self, levels: int) -> Tensor:
        """The bit of each node's next half."""
        return torch.ones_like(self.path) << (levels - 1 - self.depth).clamp(min=0)

    def contexts(self, levels: int) -> Kept:
        """The cells that are kept around each node, (batch, term, cell)."""
        cells = torch.arange(2**levels, device=self.path.device)

        def kept(rows: slice, steps: slice) -> Subsets:
            path, depth, around = (field[rows, steps, None] for field in self.fields()[:3])
            # In which bits the way to each cell differs from that to the node: 0 inside the node.
            apart = (cells ^ path) >> (levels - depth) << (levels - depth)
            # The ways part at the highest of them.
            place = torch.frexp(apart.double()).exponent.long() - 1
            return (apart > 0) & (around >> place.clamp(min=0) & 1 == 1)

        return kept

    def shared_out(self, cut: Tensor, levels: int) -> Tensor:
        """Each term's worth in equal shares for its pixels, added up (batch, cell)."""
        sizes = torch.bincount(cut.flatten(), minlength=2**levels).double()
        worth = (self.after - self.before) * self.weight
        total = worth.new_zeros(len(worth), 1)
        for depth in range(levels + 1):
            here = torch.where(self.depth == depth, worth, 0)
            nodes = torch.zeros_like(total).scatter_add(1, self.path >> (levels - depth), here)
            total = total + nodes / sizes.view(2**depth, -1).sum(1)
            total = total.repeat_interleave(2, 1) if depth < levels else total
        return total
