r"""Masks learnt for one image: what must be hidden to destroy an output, or shown to keep it.

A mask m in 0..1 says how much of each pixel is seen, $x_m = m x + (1 - m) x_0$, where $x_0$ is the
image with all pixels imputed. It is a grid of `cells` x `cells` values, enlarged bilinearly, which
keeps it from finding patterns that fool the network, and it is learnt by gradients. Outputs are
made comparable between networks: a logit is counted in units of the largest change of any logit
between x and $x_0$, a probability as it is.

Conventions: heatmaps are in 0..1, more where a pixel matters more: they are masks, not shares of
the logit, and know no sign. Every image is learnt by itself, all images of a chunk at once.
Nothing is drawn: the random shifts of the papers are left out.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.compute.norms import right_gradients
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.perturbation.removal import Output, Removing, Seed, gone_entirely
from xai_exp.explainers.sizes import enlarged, size_of
from xai_exp.types import Blocks, Heatmaps, Images, Imputer, Labels, Rows, Scenes, Scores

Cells = Annotated[int, Range(2, 64)]
Weight = Annotated[float, Range(0)]
Rate = Annotated[float, Range(0, exclusive_low=True)]
Area = Annotated[float, Range(0, 1, exclusive_low=True, exclusive_high=True)]


@dataclass(frozen=True)
class Seen:
    """Images under masks, and what the network says of them."""

    model: nn.Module
    images: Images
    empty: Images
    targets: Labels
    output: Output

    def values(self, masks: Blocks) -> Scores:
        """The output of each image under its mask, by `unit`."""
        seen = enlarged(masks, size_of(self.images))[:, None]
        logits = self.model(self.empty + seen * (self.images - self.empty))
        found = logits if self.output == "logit" else logits.softmax(1)
        return ops.pick(found, self.targets)

    @torch.no_grad()
    def unit(self) -> Scores:
        """What outputs are counted in."""
        ones = self.images.new_ones(len(self.images))
        if self.output == "probability":
            return ones
        change = (self.model(self.images) - self.model(self.empty)).abs().amax(1)
        return torch.where(change > 0, change, ones)


class Learning(Removing):
    """An explainer whose heatmap is learnt."""

    output: Output

    @abstractmethod
    def learnt(self, seen: Seen) -> Heatmaps:
        """The heatmap of each image."""

    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The heatmap of each image."""
        empty = gone_entirely(images, self.removal(images, scenes))

        def chunk(images: Images, empty: Images, targets: Labels) -> Heatmaps:
            given = (images.clone(), empty.clone(), targets.clone())
            with right_gradients(images):
                return self.learnt(Seen(model, *given, self.output)).detach()

        with torch.inference_mode(False), torch.enable_grad(), ops.evaluating(model):
            return ops.in_chunks(chunk, images, empty, targets)


@configured
class MeaningfulPerturbation(Learning):
    r"""The smallest smooth part of the image whose loss destroys the output: a deletion game.

    $\min_m f_t(x_m) + \lambda_1 \overline{1 - m} + \lambda_2 \overline{|\nabla m|^\beta}$ (Fong and
    Vedaldi 2017, eq. 3 to 6), bars being means over the grid, $\nabla$ differences between
    neighbours; the heatmap is 1 - m. With $\lambda_2 = 0$ and a linear network a cell is hidden if
    it holds more than $\lambda_1$ times the mean share of the change. Learnt by Adam from a mask
    that shows all, clipped to 0..1 after each step, as in the authors' code, which explains the
    probability and blurs the image where it is hidden (`output=probability`, `imputer: Blur`).

    Pitfalls: a network that recognises an object by each of its parts is destroyed only if all go,
    but several objects of which one suffices are never told apart. A probability near 1 hardly has
    a gradient to start from. What is found depends on the weights of the penalties.

    Cost: `steps` forward and backward passes and 2 forward passes.

    Args:
        cells: of the mask along each side; 8 pixels each in the paper.
        steps: of Adam.
        rate: of Adam.
        sparse: lambda_1, the price of hiding everything.
        smooth: lambda_2.
        power: beta.
        output: what is destroyed, the logit or the probability (paper).
        imputer: what is seen where a mask is 0.
        seed: of a random imputer.
    """

    imputer: Imputer
    cells: Cells = 16
    steps: Count = 100
    rate: Rate = 0.1
    sparse: Weight = 0.5
    smooth: Weight = 1.0
    power: Annotated[float, Range(1)] = 3.0
    output: Output = "logit"
    seed: Seed = 0

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        ends = 2 * (self.output == "logit")
        return Cost(forward=self.steps + ends, backward=self.steps)

    def learnt(self, seen: Seen) -> Heatmaps:
        """The share of each pixel that is hidden."""
        masks = torch.ones(len(seen.images), self.cells, self.cells).to(seen.images)
        unit = seen.unit()

        def loss(masks: Blocks) -> Scores:
            return seen.values(masks) / unit + self.price(masks)

        first, second = torch.zeros_like(masks), torch.zeros_like(masks)
        for step in range(1, self.steps + 1):
            masks.requires_grad_()
            slope = torch.autograd.grad(loss(masks).sum(), masks)[0]
            first, second = first.lerp(slope, 0.1), second.lerp(slope**2, 0.001)
            change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            masks = (masks.detach() - self.rate * change).clamp(0, 1)
        return 1 - enlarged(masks, size_of(seen.images))

    def price(self, masks: Blocks) -> Scores:
        """What a mask costs for hiding much and for being rough."""
        steps = [masks.diff(dim=axis).abs() for axis in (1, 2)]
        rough = sum((step**self.power).mean((1, 2)) for step in steps)
        return self.sparse * (1 - masks).mean((1, 2)) + self.smooth * rough


@configured
class ExtremalPerturbation(Learning):
    r"""The part of the image of a given area that keeps the output highest: a preservation game.

    $\max_m f_t(x_m) - \lambda \overline{(\mathrm{vecsort}(m) - r_a)^2}$ (Fong, Patrick and Vedaldi
    2019, eq. 4 to 8), where $r_a$ is 0 for the share 1 - a of the smallest values and 1 for the
    rest, so that m has the area a and no weights have to be balanced. m is smooth because it is
    made of bumps: $m(u) = \mathrm{smax}_v\, k(|u - v| / \sigma)\, \bar m(v)$ with the flat-topped
    bump $k(z) = \exp(-2 \max(0, z - 1/2)^2)$ and the smooth maximum $\mathrm{smax} f =
    \sum f e^{f / T} / \sum e^{f / T}$, T = 1/20. The heatmap is the mean of the masks over
    `areas`, as their code does to locate objects: the first to be kept count most. In 0..1.

    Unlike there, hidden pixels are imputed, not blurred step by step; the area is that of the grid;
    equal values share what $r_a$ wants of them, so that a network which does not care where the
    area is gets a grey level there and not a place that sorting has chosen;
    gradients are scaled for each image (the largest is 1) and followed with momentum 0.9 at a rate
    that falls linearly; $\lambda$ rises in proportion to the steps.

    Pitfalls: an area smaller than what the network needs has no good mask, a larger one is filled
    up with anything: what is pale in a heatmap may be there to fill it. Masks make new edges.
    Bumps have a size of their own: details smaller than `sigma` are not told apart.

    Cost: `areas` x `steps` forward and backward passes and 2 x `areas` forward passes.

    Args:
        areas: shares of the image that are kept, a mask for each.
        cells: of the grid along each side.
        sigma: width of a bump, in cells.
        steps: for each area.
        rate: the largest change of a value in the first step.
        strength: lambda in the last step.
        output: what is kept, the logit or the probability.
        imputer: what is seen where a mask is 0.
        seed: of a random imputer.
    """

    imputer: Imputer
    areas: tuple[Area, ...] = (0.05, 0.1, 0.2)
    cells: Cells = 16
    sigma: Annotated[float, Range(0.5, 8)] = 1.0
    steps: Count = 50
    rate: Rate = 0.1
    strength: Weight = 20.0
    output: Output = "logit"
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.areas:
            raise InputError("ExtremalPerturbation.areas: got an empty list; allowed: one or more")

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        ends = 2 * (self.output == "logit")
        return Cost(forward=self.steps + ends, backward=self.steps) * len(self.areas)

    def learnt(self, seen: Seen) -> Heatmaps:
        """The mean of the masks of all areas."""
        areas = len(self.areas)
        images, empty, targets = (
            each.repeat_interleave(areas, 0) for each in (seen.images, seen.empty, seen.targets)
        )
        masks = self.masks(Seen(seen.model, images, empty, targets, seen.output))
        return enlarged(masks.unflatten(0, (-1, areas)).mean(1), size_of(seen.images))

    def masks(self, seen: Seen) -> Blocks:
        """The mask of each image for each area."""
        ideal, unit = self._ideal(seen.images), seen.unit()
        bumps = self._bumps().to(seen.images)
        # Bumps may lie outside, too: else the border would be unlike the rest.
        side = self.cells + int(len(bumps) ** 0.5) - 1
        values = torch.full((len(seen.images), side, side), 0.5).to(seen.images)
        speed = torch.zeros_like(values)
        for step in range(self.steps):
            values.requires_grad_()
            masks = self._mask(values, bumps)
            ordered = masks.flatten(1).sort(1).values
            apart = (ordered - shared_by_ties(ordered.detach(), ideal)).square().mean(1)
            gain = seen.values(masks) / unit - self.strength * step / self.steps * apart
            slope = torch.autograd.grad(gain.sum(), values)[0]
            largest = slope.abs().amax((1, 2), keepdim=True)
            speed = 0.9 * speed + slope / torch.where(largest > 0, largest, 1)
            rate = self.rate * (1 - step / self.steps)
            values = (values.detach() + rate * speed).clamp(0, 1)
        return self._mask(values, bumps)

    def _ideal(self, images: Images) -> Tensor:
        """The sorted values of masks of the areas, one after the other: (image and area, cell)."""
        place = (torch.arange(self.cells**2, device=images.device) + 0.5) / self.cells**2
        ends = 1 - torch.tensor(self.areas, device=images.device)
        return (place >= ends[:, None]).to(images).repeat(len(images) // len(self.areas), 1)

    def _mask(self, values: Heatmaps, bumps: Tensor) -> Blocks:
        """The smooth maximum of the bumps at all cells, each as high as its value."""
        high = bumps[:, None] * functional.unfold(values[:, None], int(len(bumps) ** 0.5))
        return (high * (high * 20).softmax(1)).sum(1).view(-1, self.cells, self.cells)

    def _bumps(self) -> Tensor:
        """The height of a bump at each of its cells."""
        reach = 1 + round(self.sigma)
        place = torch.arange(-reach, reach + 1)
        far = (place[:, None] ** 2 + place**2).double().sqrt() / self.sigma
        return (-2 * (far - 0.5).clamp(min=0) ** 2).exp().flatten()


def shared_by_ties(ordered: Rows, ideal: Rows) -> Rows:
    """What is wanted of sorted values, those that are equal (within 1e-5) sharing it evenly.

    >>> shared_by_ties(torch.tensor([[0.1, 0.5, 0.5]]), torch.tensor([[0.0, 0.0, 1.0]]))
    tensor([[0.0000, 0.5000, 0.5000]])
    """
    group = (ordered.diff(dim=1, prepend=ordered[:, :1]) > 1e-5).cumsum(1)
    empty = torch.zeros_like(ordered)
    sizes = empty.scatter_add(1, group, torch.ones_like(ordered))
    return (empty.scatter_add(1, group, ideal) / sizes.clamp(min=1)).gather(1, group)
