"""LIME and Shapley values: against brute force, scikit-learn, captum, DeepExplain, closed forms."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, KernelShap, Lime, ShapleyValues
from sklearn.linear_model import Ridge
from torch import nn

from xai_exp.compute import chunks, ops
from xai_exp.explainers.perturbation.lime import LIME
from xai_exp.explainers.perturbation.removal import existing
from xai_exp.explainers.perturbation.shapley import KernelSHAP, ShapleySampling
from xai_exp.explainers.perturbation.windows import RISE, Occlusion
from xai_exp.removal.imputers import Border, Constant, Noise
from xai_exp.removal.segments import grid, segments

GREY = Constant(value=0.25)
TARGETS = torch.tensor([0, 2, 1])
FOUR = {"imputer": GREY, "cut": "grid", "segments": 4}
NINE = {"imputer": GREY, "cut": "grid", "segments": 9}
BOTH = [ShapleySampling, KernelSHAP]
SAMPLED = [ShapleySampling(**NINE, permutations=4), KernelSHAP(**NINE, samples=60)]
EVERY = [
    *SAMPLED,
    ShapleySampling(imputer=Noise(), segments=12, permutations=3),
    KernelSHAP(imputer=Border(), segments=12, samples=31, output="probability", shared=False),
    ShapleySampling(**FOUR),
    LIME(imputer=Border(), segments=10, samples=40),
    LIME(**NINE, samples=40, shared=False),
]


class Quadratic(nn.Module):
    """Every pixel by itself and every pair of pixels, no more."""

    def __init__(self, rank=6):
        super().__init__()
        source = torch.Generator().manual_seed(3)
        self.linear = torch.randn(3, 216, dtype=torch.float64, generator=source)
        self.pairs = torch.randn(3, 216, rank, dtype=torch.float64, generator=source) / 5

    def forward(self, x):
        flat = x.flatten(1)
        square = torch.einsum("bp,cpr->bcr", flat, self.pairs).square().sum(2)
        return flat @ self.linear.T + square - flat.square() @ self.pairs.square().sum(2).T


def value(model, image, target, cut, kept, level=0.25):
    """The logit with only the segments in `kept`."""
    seen = torch.isin(cut, torch.tensor(sorted(kept), dtype=torch.long))
    return model(torch.where(seen, image, level)[None])[0, target].item()


def by_permutations(model, images, cut, number):
    """Shapley values by their definition: all orders of the segments of every image."""
    found = torch.zeros(len(images), number, dtype=torch.float64)
    for row in range(len(images)):
        given = model, images[row], TARGETS[row], cut[row]
        subsets = itertools.chain(*(itertools.combinations(range(number), n) for n in range(99)))
        values = {frozenset(s): value(*given, s) for s in itertools.islice(subsets, 2**number)}
        for order in itertools.permutations(range(number)):
            for place, player in enumerate(order):
                before = frozenset(order[:place])
                found[row, player] += values[before | {player}] - values[before]
    return found / math.factorial(number)


def gap(model, images, explain):
    """How much the logit changes when all pixels are taken away."""
    gone = explain.removal(images, None)(slice(0, 3), torch.ones(3, 1, 9, 12, dtype=torch.bool))
    outputs = [model(each) for each in (images, gone)]
    if explain.output == "probability":
        outputs = [each.softmax(1) for each in outputs]
    return ops.pick(outputs[0] - outputs[1], TARGETS).detach()


@pytest.mark.parametrize("kind", BOTH)
def test_few_segments_get_their_shapley_values_by_the_definition(network, images, kind):
    explain = kind(**FOUR, shared=False)
    found = explain(network, images, TARGETS)
    expected = by_permutations(network, images, grid(images, 4), 4)
    spread = expected.gather(1, grid(images, 4).flatten(1)).view(3, 9, 12)
    torch.testing.assert_close(found, spread)
    shares = replace(explain, shared=True)(network, images, TARGETS)
    sizes = torch.tensor([5, 4]).repeat_interleave(torch.tensor([5, 4]))[:, None] * 6  # pixels
    torch.testing.assert_close(shares, spread / sizes)
    assert explain.cost.forward == 16


def test_few_segments_get_captums_shapley_values(network, images):
    mask = grid(images, 4)[:1, None]
    theirs = ShapleyValues(network).attribute(
        images, baselines=0.25, target=TARGETS, feature_mask=mask
    )
    found = ShapleySampling(**FOUR, shared=False)(network, images, TARGETS)
    torch.testing.assert_close(found.float(), theirs[:, 0].detach(), rtol=1e-5, atol=1e-6)


def test_windows_side_by_side_are_captums_feature_ablation(network, images):
    mask = (torch.arange(9)[:, None] // 3 * 4 + torch.arange(12) // 3)[None, None]
    theirs = FeatureAblation(network).attribute(
        images, baselines=0.25, target=TARGETS, feature_mask=mask
    )
    explain = Occlusion(imputer=GREY, size=3, stride=3, shared=False)
    torch.testing.assert_close(explain(network, images, TARGETS), theirs[:, 0].detach())


@pytest.mark.parametrize("explain", SAMPLED, ids=str)
def test_a_linear_network_gets_what_each_segment_contributes(images, explain):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(216, 3)).double()
    worth = (model[1].weight[TARGETS].view_as(images) * (images - 0.25)).sum(1).detach()
    found = replace(explain, shared=False)(model, images, TARGETS)
    for row, segment in itertools.product(range(3), range(9)):
        inside = grid(images, 9)[row] == segment
        expected = worth[row][inside].sum().expand(int(inside.sum()))
        torch.testing.assert_close(found[row][inside], expected, rtol=1e-6, atol=1e-8)
    theirs = KernelShap(model).attribute(
        images[:1], 0.25, 0, feature_mask=grid(images, 9)[:1, None], n_samples=200
    )
    torch.testing.assert_close(found[:1], theirs[:, 0].double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("explain", SAMPLED, ids=str)
def test_pairs_make_interactions_of_two_segments_exact(images, explain):
    """Whatever the samples; without pairs they leave an error."""
    exact = KernelSHAP(**NINE, samples=512)(Quadratic(), images, TARGETS)
    found = explain(Quadratic(), images, TARGETS)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-8)
    single = ShapleySampling(**NINE, permutations=4, antithetic=False)
    assert (single(Quadratic(), images, TARGETS) - exact).abs().max() > 1e-3 * exact.abs().max()


@pytest.mark.parametrize("explain", [one for one in EVERY if not isinstance(one, LIME)], ids=str)
def test_however_few_the_samples_values_sum_to_the_difference_of_outputs(network, images, explain):
    explain = replace(explain, shared=True)
    found = explain(network, images, TARGETS).sum((1, 2))
    torch.testing.assert_close(found, gap(network, images, explain))


@pytest.mark.parametrize("explain", [*SAMPLED, ShapleySampling(**FOUR)], ids=str)
def test_a_segment_that_changes_nothing_gets_nothing(network, images, explain):
    images = images.clone()
    inside = grid(images, explain.segments) == 0
    images[inside[:, None].expand_as(images)] = 0.25
    found = explain(network, images, TARGETS)
    if isinstance(explain, KernelSHAP):  # in the mean only
        assert found[inside].abs().max() < 0.2 * found.abs().max()
        return
    assert found[inside].abs().max() < 1e-12 < found.abs().max()


@pytest.mark.parametrize("kind", BOTH)
def test_segments_that_the_network_treats_alike_get_alike(images, kind):
    class Folded(nn.Module):
        def forward(self, x):
            halves = (x + x.flip(3)).flatten(1)
            return halves[:, :3] * halves[:, 50:53] + halves.sum(1, keepdim=True) ** 3

    images = (images + images.flip(3)) / 2
    found = kind(**FOUR)(Folded(), images, TARGETS)
    torch.testing.assert_close(found, found.flip(2))
    assert not torch.allclose(found, found.flip(1))


@pytest.mark.parametrize("explain", [ShapleySampling(**NINE, permutations=4), SAMPLED[1]], ids=str)
def test_sampled_values_are_right_in_the_mean_over_seeds(network, images, explain):
    """40 seeds; errors in units of the standard error of their mean, 27 values."""
    exact = KernelSHAP(**NINE, samples=512)(network, images, TARGETS)[:, ::3, ::4]
    found = torch.stack(
        [replace(explain, seed=seed)(network, images, TARGETS)[:, ::3, ::4] for seed in range(40)]
    )
    error = (found.mean(0) - exact) / (found.std(0) / 40**0.5)
    assert found.std(0).min() > 0
    assert error.abs().max() < 4.5
    assert 0.5 < error.square().mean() < 2


def test_shapley_sampling_is_deepexplains_within_the_error_of_sampling():
    """Theirs has 300 orders of single pixels, ours 10 x 2; both are unbiased and independent."""
    arrays = np.load(Path(__file__).parents[3] / "golden" / "deepexplain_maxpool.npz")
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    for place, name in ((0, "conv1"), (3, "conv2"), (7, "fc1"), (9, "fc2")):
        network[place].weight.data = torch.tensor(arrays[f"{name}_weight"])
        network[place].bias.data = torch.tensor(arrays[f"{name}_bias"])
    images, targets = torch.tensor(arrays["x"]), torch.tensor(arrays["target"])
    theirs = torch.tensor(arrays["heatmap/shapley_sampling|samples=300"]).sum(1)
    black = Constant(value=0.0)
    explain = ShapleySampling(
        imputer=black, cut="grid", segments=256, permutations=2, antithetic=False
    )
    found = torch.stack(
        [replace(explain, seed=seed)(network, images, targets) for seed in range(10)]
    )
    variance = found.var(0)  # of the mean of 2 orders
    expected = variance / 10 + variance * 2 / 300
    squared = (found.mean(0) - theirs).square().sum() / expected.sum()
    assert 0.9 < squared < 1.1


def lime_by_loops(explain, model, images, cut, number):
    """The authors' procedure, one image after the other, by scikit-learn."""
    keys = ops.named_keys(ops.image_keys(images, explain.seed), "lime")
    found = torch.zeros(len(images), number, dtype=torch.float64)
    drawn = ops.keyed_uniform(keys, explain.samples * number).view(3, explain.samples, number)
    for row in range(len(images)):
        seen = (drawn[row] < 0.5).numpy()
        seen[0] = True
        values = [
            value(model, images[row], TARGETS[row], cut[row], np.flatnonzero(each)) for each in seen
        ]
        cosine = seen.sum(1) / (np.sqrt(seen.sum(1)).clip(1e-9) * number**0.5)
        weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / explain.width**2))
        fit = Ridge(alpha=explain.ridge).fit(seen, np.array(values), sample_weight=weights)
        found[row] = torch.tensor(fit.coef_)
    return found


@pytest.mark.parametrize("ridge", [1.0, 0.01])
@pytest.mark.parametrize("width", [0.25, 0.1])
def test_lime_is_its_authors_procedure(network, images, ridge, width):
    explain = LIME(**NINE, samples=30, ridge=ridge, width=width, shared=False)
    expected = lime_by_loops(explain, network, images, grid(images, 9), 9)
    spread = expected.gather(1, grid(images, 9).flatten(1)).view(3, 9, 12)
    torch.testing.assert_close(explain(network, images, TARGETS), spread, rtol=1e-5, atol=1e-7)


def test_lime_is_captums_with_the_same_samples_kernel_and_fit(network, images):
    explain = LIME(**NINE, samples=30, shared=False)
    keys = ops.named_keys(ops.image_keys(images, 0), "lime")
    drawn = ops.keyed_uniform(keys[:1], 30 * 9).view(30, 9) < 0.5
    drawn[0] = True

    class Fit:
        def fit(self, data):
            x, y, w = next(iter(data))
            self.found = Ridge(alpha=1.0).fit(x.numpy(), y.numpy(), sample_weight=w.numpy())
            return {}

        def representation(self):
            return torch.tensor(self.found.coef_)

    def kernel(_, __, seen, **___):
        return float(np.exp(-((1 - float(seen.double().mean()) ** 0.5) ** 2) / 2 / 0.25**2))

    def samples(*_, **__):
        yield from drawn[:, None].long()

    lime = Lime(network, interpretable_model=Fit(), similarity_func=kernel, perturb_func=samples)
    mask = grid(images, 9)[:1, None]
    theirs = lime.attribute(images[:1], 0.25, 0, feature_mask=mask, n_samples=30)
    found = explain(network, images[:1], TARGETS[:1])
    torch.testing.assert_close(found, theirs[:, 0].double(), rtol=1e-4, atol=1e-5)


def test_superpixels_without_pixels_take_no_share(images, network):
    """SLIC leaves some of its cells empty; they are no players."""
    cut = segments(images, "slic", 40, 0.02)
    assert not existing(cut, 40).all()
    for explain in (
        KernelSHAP(imputer=GREY, segments=40, compactness=0.02, samples=100),
        ShapleySampling(imputer=GREY, segments=40, compactness=0.02, permutations=2),
    ):
        found = explain(network, images, TARGETS).sum((1, 2))
        torch.testing.assert_close(found, gap(network, images, explain))


def test_sizes_of_sets_follow_the_shapley_kernel(images):
    """Kernel times the number of sets of that size: 1 / (s (M - s))."""
    explain = KernelSHAP(**NINE, samples=1000)
    keys, players = ops.image_keys(images), torch.ones(3, 9, dtype=torch.bool)
    sizes = explain._drawn(keys, players).sum(2)
    expected = torch.tensor([0.0, *(1 / (s * (9 - s)) for s in range(1, 9)), 0.0])
    for row in sizes:
        share = row.bincount(minlength=10) / 1000
        assert (share - expected / expected.sum()).abs().max() < 0.003  # strata leave no chance


@pytest.mark.parametrize("explain", EVERY, ids=str)
def test_an_image_gets_the_same_heatmap_alone_and_among_many(network, images, explain):
    many, targets = torch.cat([images, images.flip(0)]), torch.cat([TARGETS, TARGETS.flip(0)])
    together = explain(network, many, targets)
    alone = torch.cat([explain(network, many[i : i + 1], targets[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-11)
    torch.testing.assert_close(together[:3], together[3:].flip(0), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("explain", EVERY, ids=str)
def test_other_seeds_and_other_images_get_other_samples(network, images, explain):
    if explain.cost.forward == 16:
        return
    other = replace(explain, seed=1)(network, images, TARGETS)
    assert not torch.allclose(explain(network, images, TARGETS), other)


@pytest.mark.parametrize("explain", EVERY, ids=str)
def test_as_many_passes_are_made_as_the_cost_says(network, images, explain):
    passes = []
    network.register_forward_hook(lambda _, given, __: passes.append(len(given[0])))
    explain(network, images[:1], TARGETS[:1])
    assert sum(passes) == explain.cost.forward


@pytest.mark.parametrize("explain", [*SAMPLED, EVERY[-1], RISE(imputer=GREY, masks=40)], ids=str)
def test_out_of_memory_halves_the_batch_and_changes_nothing(network, images, explain, monkeypatch):
    monkeypatch.setattr(chunks, "_FITTING", {})
    given = []

    class Small(nn.Module):
        def forward(self, x):
            given.append(len(x))
            if len(x) > 12:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return network(x)

    found = explain(Small(), images, TARGETS)
    torch.testing.assert_close(found, explain(network, images, TARGETS), rtol=1e-8, atol=1e-11)
    assert given[0] > 12 >= given[-1]
