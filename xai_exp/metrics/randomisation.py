"""Randomisation: does the heatmap change when the network, or what is asked of it, changes?

Layers are randomised in copies; the case's own network is never touched. A heatmap that stays as it
was does not explain the network. How much it should change nobody knows: do not rank explainers by
these scores (Binder et al. 2023, CVPR); read them as a check that some fail.
"""

import copy
import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import Range, configured
from xai_exp.metrics import shared
from xai_exp.metrics.around import explained, mean
from xai_exp.metrics.likeness import Likeness, alike
from xai_exp.types import Case, Curves, Heatmaps, Images, Labels, Scores


def layers(model: nn.Module) -> list[str]:
    """The names of the modules that have parameters of their own, the last (top) first."""
    named = model.named_modules()
    return [name for name, module in named if any(True for _ in module.parameters(recurse=False))][
        ::-1
    ]


@torch.no_grad()
def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw a module's own parameters anew, as an untrained network has them.

    Weights of two axes or more and the biases beside them are uniform in +-1 / sqrt(fan in), which
    is how torch begins linear and convolution layers; a layer of vectors alone (batch norm, layer
    norm) goes back to weight 1 and bias 0. Running statistics stay.
    """
    own = dict(module.named_parameters(recurse=False))
    wide = [parameter for parameter in own.values() if parameter.dim() >= 2]
    bound = 1 / math.sqrt(max(1, wide[0][0].numel())) if wide else 0.0
    for name, parameter in own.items():
        if wide:
            drawn = torch.rand(parameter.shape, generator=generator)
            parameter.copy_((2 * drawn - 1) * bound)
        else:
            parameter.fill_(0.0 if "bias" in name else 1.0)


def randomised(case: Case, order: Literal["cascading", "independent"]) -> Iterator[nn.Module]:
    """Copies of the network: with ever more layers randomised from the top, or each one alone.

    A layer's draw depends on the seed and its place alone. A copy is valid until the next is asked
    for.
    """
    model = case.model
    changed = copy.deepcopy(model)
    for place, name in enumerate(layers(model)):
        if order == "independent":
            changed = copy.deepcopy(model)
        # Hashed, since a small seed may be the one that the network itself began with.
        key = torch.tensor([case.generator.initial_seed()])
        seed = int(ops.named_keys(key, f"layer {place}")[0])
        randomise(changed.get_submodule(name), torch.Generator().manual_seed(seed))
        yield changed.eval().requires_grad_(False)


@configured
class ParameterRandomisation:
    r"""How alike the heatmaps of the network and of copies with random layers are.

    Adebayo et al. 2018 (NeurIPS, "Sanity checks for saliency maps"), the model parameter
    randomisation test. With f_1, f_2, ... the network with its top layer, its top two layers, ...
    randomised (`order: cascading`), or with one layer at a time (`independent`):

        mean over l of likeness(h(f_l), h(f)),     score_by last: of the last copy alone.

    `copies` > 0 is the smooth form (Hedstroem et al. 2024, "A fresh look at sanity checks for
    saliency maps", sMPRT): every heatmap is the mean over so many images with Gaussian noise of
    `noise` times the image's range, which takes shattered gradients out of the comparison.
    `absolute` drops signs first. `measure: ssim` is the paper's other likeness. Range -1..1, LOWER
    is better; 1 is a heatmap that does not look at the network.

    Cost: one explanation a layer with parameters (`copies` times as many and `copies` more, if
    smooth). Normalisation layers are layers too.

    Pitfalls: do not rank by it. The likeness decides the verdict: Spearman counts the many pixels
    of no relevance, and a network with random top layers still shows where the object is, so a
    correct explanation does (Binder et al. 2023; Kokhlikyan et al. 2021). Top-down and bottom-up
    order differ, since top-down keeps the layers that see (Hedstroem et al. 2024). Means of small
    noise are not alike, which favours noisy explainers. A copy whose heatmap has no variation
    (a dead network) does not count. Quantus' mean counts the likeness of the untouched network to
    itself, 1, as one more layer; its smooth form takes the clean image for one of the copies.
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is constant, or so are all of random networks"

    order: Literal["cascading", "independent"] = "cascading"
    score_by: Literal["mean", "last"] = "mean"
    measure: Likeness = "spearman"
    absolute: bool = False
    copies: Annotated[int, Range(0)] = 0
    noise: Annotated[float, Range(0, exclusive_low=True)] = 0.1

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        values = self.similarities(case)
        if self.score_by == "last":
            return shared.where_defined(case, values[:, -1])
        return shared.where_defined(case, mean(values, ~values.isnan()))

    def similarities(self, case: Case) -> Curves:
        """The likeness to the first heatmap after each copy (batch, copy); NaN: no variation.

        A network without parameters has nothing to randomise: one column of NaN.
        """

        def seen(model: nn.Module) -> Heatmaps:
            heatmaps = smooth(case, model, self.copies, self.noise)
            return heatmaps.abs() if self.absolute else heatmaps

        with ops.evaluating(case.model):
            before = seen(case.model)
            found = [
                alike(before, seen(model), self.measure) for model in randomised(case, self.order)
            ]
        return torch.stack(found or [before.flatten(1)[:, 0] * torch.nan], 1)


def smooth(case: Case, model: nn.Module, copies: int, noise: float) -> Heatmaps:
    """The mean heatmap over noisy copies of the images; without copies, the plain heatmap.

    The noise is that of the image's own key, and so the same for every network.
    """
    if copies == 0:
        if model is case.model:
            return case.heatmaps
        return explained(case, case.images, case.targets, model).to(case.heatmaps)
    span = case.images.flatten(1).amax(1) - case.images.flatten(1).amin(1)
    total = torch.zeros_like(case.heatmaps)
    for number in range(copies):
        images = case.images + noise * span[:, None, None, None] * _gaussian(case, number)
        total = total + explained(case, images, case.targets, model).to(total)
    return total / copies


def _gaussian(case: Case, number: int) -> Images:
    """Standard normal noise for every image (Box & Muller), the same alone and in a batch."""
    values = case.images[0].numel()
    drawn = ops.keyed_uniform(shared.keys(case, f"smooth {number}"), 2 * values)
    length, turn = (1 - drawn[:, :values]).log().mul(-2).sqrt(), 2 * math.pi * drawn[:, values:]
    return (length * turn.cos()).view(case.images.shape).to(case.images)


@configured
class EfficientParameterRandomisation:
    r"""How much more complex the heatmap becomes when all of the network is random.

    Hedstroem et al. 2024 ("A fresh look at sanity checks for saliency maps", eMPRT): with xi the
    entropy of the histogram of a heatmap's values over `bins` equal bins from its minimum to its
    maximum, and f' the network with every layer randomised,

        (xi(h(f')) - xi(h(f))) / xi(h(f))

    HIGHER is better: the explanation of a network that knows nothing should be less orderly.
    0 is a heatmap that does not look at the network. Range -1 to infinity.

    Cost: one explanation. No likeness of heatmaps, so no choice of it.

    Pitfalls: the entropy is of values, not of places, so shuffled pixels are as complex as before;
    it depends on the bins. Heatmaps of wide noise have nowhere to rise from, and a dead random
    network gives -1.
    """

    higher_is_better: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "the heatmap is constant or the random network's is not finite"

    bins: Annotated[int, Range(2)] = 100

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        with ops.evaluating(case.model):
            model = case.model
            for changed in randomised(case, "cascading"):
                model = changed
            after = smooth(case, model, 0, 0.0)
        before = entropy(case.heatmaps, self.bins)
        scores = (entropy(after, self.bins) - before) / before
        return shared.where_defined(case, scores, before > 0)


def entropy(heatmaps: Heatmaps, bins: int) -> Scores:
    """The entropy, in nats, of the histogram of every heatmap's values; NaN if not finite.

    >>> entropy(torch.tensor([[[0.0, 0.1, 0.9, 1.0]], [[2.0, 2.0, 2.0, 2.0]]]), 2)
    tensor([0.6931, 0.0000])
    """
    flat = heatmaps.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    place = (flat - low) / torch.where(high > low, high - low, 1) * bins
    finite = place.isfinite().all(1)
    index = torch.where(finite[:, None], place, 0).long().clamp(max=bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=flat.dtype, device=flat.device)
    shares = counts.scatter_add_(1, index, torch.ones_like(flat)) / flat.shape[1]
    return torch.where(finite, torch.special.entr(shares).sum(1), torch.nan)


@configured
class RandomLogit:
    r"""How alike the heatmaps of the target and of another class are.

    Sixt, Granz & Landgraf 2020 (ICML, "When explanations lie"):

        likeness(h_t(x), h_s(x))    for a class s, other than t, drawn by the seed for each image;

    `classes: all` is the mean over all others. The paper's likeness is `measure: ssim`. Range
    -1..1, LOWER is better; 1 is a heatmap that does not look at the class.

    Cost: one explanation (`all`: one for each other class).

    Pitfalls: with two classes a faithful heatmap is often the other's negative, hence -1, and with
    many classes that share an object their reasons are truly alike. The number of classes is the
    network's own (Quantus takes 1000 unless told, seeds numpy's global generator, and flattens the
    heatmaps before it takes the SSIM, so that a window is seven pixels of one row).
    """

    higher_is_better: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "a heatmap is constant or the network has one class only"

    classes: Literal["random", "all"] = "random"
    measure: Likeness = "spearman"

    def __call__(self, case: Case) -> Scores:
        """Score every image of the case."""
        count = shared.clean_logits(case).shape[1]
        if count < 2:
            return shared.undefined(case)
        likenesses = [self._likeness(case, targets) for targets in self._others(case, count)]
        return shared.where_defined(case, torch.stack(likenesses).mean(0))

    def _others(self, case: Case, count: int) -> list[Labels]:
        """Other classes for every image: one drawn, or each in turn."""
        if self.classes == "all":
            return [(case.targets + step) % count for step in range(1, count)]
        drawn = ops.keyed_uniform(shared.keys(case, "random logit"), 1)[:, 0]
        return [(case.targets + 1 + (drawn * (count - 1)).long()) % count]

    def _likeness(self, case: Case, targets: Labels) -> Scores:
        with ops.evaluating(case.model):
            other: Tensor = explained(case, case.images, targets)
        return alike(case.heatmaps, other.to(case.heatmaps), self.measure)
