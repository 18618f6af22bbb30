import math
from dataclasses import replace

import pytest
import scipy.stats
import torch
from captum.metrics import infidelity as captum_infidelity
from torch import nn

from xai_exp.compute import ops
from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness import correlation, infidelity
from xai_exp.metrics.faithfulness.correlation import (
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    SensitivityN,
    subsets,
)
from xai_exp.metrics.faithfulness.infidelity import Infidelity
from xai_exp.metrics.faithfulness.monotonicity import MonotonicityArya, MonotonicityNguyen
from xai_exp.removal.imputers import Constant, Mean, Noise

BLACK = Constant(value=0.0)
METRICS = [
    FaithfulnessCorrelation(imputer=Noise(), sets=20),
    FaithfulnessCorrelation(imputer=Mean(), sets=20, absolute=True, correlation="spearman"),
    SensitivityN(imputer=Noise(), sizes=3, sets=9),
    FaithfulnessEstimate(imputer=Noise(), groups=12, repeats=2),
    MonotonicityNguyen(imputer=Noise(), groups=12, repeats=2),
    MonotonicityArya(imputer=Noise(), steps=9),
    Infidelity(imputer=Noise(), samples=9),
    Infidelity(imputer=Noise(), samples=9, perturbation="noise", scale="optimal"),
]
CORRELATIONS = [
    FaithfulnessCorrelation(imputer=BLACK, sets=40),
    SensitivityN(imputer=BLACK, sizes=5, sets=16),
    FaithfulnessEstimate(imputer=BLACK, groups=10),
]


def linear_case(make_case, weights, **given):
    """f(x) = sum of weights * x for target 0, with heatmap weights * x summed over channels."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False))
    model.to(weights.dtype)[1].weight.data = torch.stack([weights.flatten(), -weights.flatten()])
    channels, *size = weights.shape
    case = make_case(model=model, channels=channels, size=tuple(size), dtype=weights.dtype, **given)
    heatmaps = given.get("heatmaps", (weights * case.images).sum(1))
    return replace(case, heatmaps=heatmaps, targets=torch.zeros_like(case.targets))


def weights_of(*shape, seed=2):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def output(case, row, image):
    with torch.no_grad():
        return case.model(image[None])[0, case.targets[row]].item()


def without(image, mask):
    """The image with its channels' means under the mask."""
    return torch.where(mask, image.mean((1, 2), keepdim=True), image)


@pytest.mark.parametrize("metric", CORRELATIONS, ids=repr)
def test_true_contributions_of_a_linear_model_correlate_perfectly(make_case, metric):
    case = linear_case(make_case, weights_of(2, 8, 7))
    ones = torch.ones(6, dtype=torch.float64)
    assert torch.allclose(metric(case), ones)
    assert torch.allclose(metric(replace(case, heatmaps=-case.heatmaps)), -ones)


def test_faithfulness_correlation_equals_a_loop_with_scipy_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3)
    kinds: tuple[correlation.Correlation, ...] = ("pearson", "spearman")
    for kind in kinds:
        absolute = kind == "spearman"
        metric = FaithfulnessCorrelation(
            imputer=Mean(), sets=15, size=20, absolute=absolute, correlation=kind
        )
        sets = subsets(case, 15, 20)
        assert (sets.sum((1, 2)) == 20).all()
        maps = case.heatmaps.abs() if absolute else case.heatmaps
        for row, score in enumerate(metric(case)):
            image = case.images[row]
            given = [maps[row][mask].sum().item() for mask in sets]
            lost = [
                output(case, row, image) - output(case, row, without(image, mask)) for mask in sets
            ]
            expected = getattr(scipy.stats, f"{kind}r")(given, lost)[0]
            assert score.item() == pytest.approx(expected, abs=1e-9)


def test_sensitivity_n_is_the_mean_of_faithfulness_correlation_over_sizes(make_case):
    case = make_case(dtype=torch.float64)
    metric = SensitivityN(imputer=Mean(), sizes=4, sets=11, fraction=0.5)
    curves = metric.curves(case)
    sizes = (curves["x"][0] * 144).round().int().tolist()
    assert sizes == [1, 4, 17, 72]
    for column, size in enumerate(sizes):
        at = FaithfulnessCorrelation(imputer=Mean(), sets=11, size=size)(case)
        assert torch.allclose(curves["correlation"][:, column], at)
    assert torch.allclose(metric(case), curves["correlation"].mean(1))


def groups_of(values, groups):
    """Pixels in descending order, in groups of equal size, the rest left out."""
    order = values.flatten().argsort(descending=True)
    return order[: len(order) // groups * groups].view(groups, -1)


def test_faithfulness_estimate_equals_a_loop_with_scipy_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3)
    scores = FaithfulnessEstimate(imputer=Mean(), groups=10)(case)
    for row, score in enumerate(scores):
        given, lost = [], []
        for pixels in groups_of(case.heatmaps[row], 10):
            mask = torch.zeros(144, dtype=torch.bool)
            mask[pixels] = True
            given.append(case.heatmaps[row].flatten()[pixels].sum().item())
            left = without(case.images[row], mask.view(12, 12))
            lost.append(output(case, row, case.images[row]) - output(case, row, left))
        assert score.item() == pytest.approx(scipy.stats.pearsonr(given, lost)[0], abs=1e-9)


def test_monotonicity_nguyen_equals_a_loop_with_scipy_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3)
    scores = MonotonicityNguyen(imputer=Noise(), groups=10, repeats=3)(case)
    draws = [
        Noise()(case.images, None, ops.named_keys(ops.image_keys(case.images), f"removal {draw}"))
        for draw in range(3)
    ]
    for row, score in enumerate(scores):
        given, moved = [], []
        for pixels in groups_of(case.heatmaps[row].abs(), 10):
            mask = torch.zeros(144, dtype=torch.bool)
            mask[pixels] = True
            given.append(case.heatmaps[row].abs().flatten()[pixels].sum().item())
            steps = mask.view(1, 1, 12, 12)
            images = [draw(slice(row, row + 1), steps)[0] for draw in draws]
            clean = output(case, row, case.images[row])
            moved.append(sum((clean - output(case, row, image)) ** 2 for image in images) / 3)
        expected = scipy.stats.spearmanr(given, moved)[0]
        assert score.item() == pytest.approx(expected, abs=1e-9)


def test_monotonicity_nguyen_of_a_linear_model_is_perfect_for_the_true_heatmap(make_case):
    """A pixel of contribution c moves the output by c, so |h| ranks as c squared does."""
    case = linear_case(make_case, weights_of(1, 5, 5))
    metric = MonotonicityNguyen(imputer=BLACK, groups=25)
    ones = torch.ones(6, dtype=torch.float64)
    assert torch.allclose(metric(case), ones)
    assert torch.allclose(metric(replace(case, heatmaps=1 / case.heatmaps)), -ones)


def test_monotonicity_arya_of_a_linear_model_counts_the_contributions_that_raise_it(make_case):
    case = linear_case(make_case, weights_of(1, 5, 4))
    settings = {"imputer": BLACK, "steps": 20, "output": "logit"}
    rising = (case.heatmaps >= 0).flatten(1).double().mean(1)
    assert torch.allclose(MonotonicityArya(**settings)(case), rising)
    assert (MonotonicityArya(**settings, score_by="all")(case) == 0).all()
    positive = linear_case(make_case, weights_of(1, 5, 4).abs())
    assert (MonotonicityArya(**settings, score_by="all")(positive) == 1).all()


def test_monotonicity_arya_equals_the_papers_loop_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3, size=(5, 4))
    metric = MonotonicityArya(imputer=Mean(), steps=20, output="logit")
    for row, score in enumerate(metric(case)):
        image = case.images[row]
        now = image.mean((1, 2), keepdim=True).repeat(1, 5, 4)
        outputs = [output(case, row, now)]
        for pixel in case.heatmaps[row].flatten().argsort().tolist():
            now.flatten(1)[:, pixel] = image.flatten(1)[:, pixel]
            outputs.append(output(case, row, now))
        steps = [after >= before for before, after in zip(outputs, outputs[1:], strict=False)]  # noqa: RUF007
        assert score.item() == pytest.approx(sum(steps) / 20)


@pytest.mark.parametrize("scale", ["none", "optimal"])
@pytest.mark.parametrize("perturbation", ["noise", "square"])
def test_infidelity_equals_captum_on_the_same_perturbations(make_case, scale, perturbation):
    case = make_case(dtype=torch.float64, channels=1)
    metric = Infidelity(
        imputer=BLACK, perturbation=perturbation, size=4, sigma=0.2, samples=7, scale=scale
    )
    if perturbation == "noise":
        moves = 0.2 * infidelity.gaussians(case, 7)
    else:
        moves = infidelity.squares(case, 7, 4).double()
    steps = moves[:, None].repeat(len(case), 1, 1, 1)  # captum repeats each image 7 times in a row

    def perturb(images):
        clean = case.images.repeat_interleave(7, 0)
        assert torch.equal(images, clean)
        removed = clean - steps if perturbation == "noise" else clean * (1 - steps)
        return steps, removed

    expected = captum_infidelity(
        case.model,
        perturb,
        case.images,
        case.heatmaps[:, None],
        target=case.targets,
        n_perturb_samples=7,
        normalize=scale == "optimal",
    )
    assert torch.allclose(metric(case), expected.double(), rtol=1e-6)


def test_infidelity_has_the_best_factor_that_is_not_negative_and_the_mean_fall_of_draws(make_case):
    case = make_case(dtype=torch.float64, count=4, channels=3, size=(7, 10))
    imputer, squares = Noise(), infidelity.squares(case, 9, 1)  # a quarter of 7, rounded down
    scores = Infidelity(imputer=imputer, samples=9, repeats=3)(case)
    negative = 0
    for row in range(4):
        keys = [shared.keys(case, f"removal {draw}") for draw in range(3)]
        copies = [imputer(case.images, None, k)(slice(row, row + 1), squares[None]) for k in keys]
        after = sum(case.model(c)[:, case.targets[row]] for c in copies) / 3
        lost = (case.model(case.images[row : row + 1])[0, case.targets[row]] - after).tolist()
        given = [float(case.heatmaps[row][square].sum()) for square in squares]
        factor = sum(g * lo for g, lo in zip(given, lost, strict=True)) / sum(g * g for g in given)
        negative += factor < 0
        errors = [(max(factor, 0) * g - lo) ** 2 for g, lo in zip(given, lost, strict=True)]
        assert float(scores[row]) == pytest.approx(sum(errors) / 9)
    assert 0 < negative < 4


def test_infidelity_of_a_linear_model_is_zero_for_its_contributions_and_its_gradient(make_case):
    weights = weights_of(2, 8, 8)
    case = linear_case(make_case, weights)
    gradient = replace(case, heatmaps=weights.sum(0).expand(6, -1, -1))
    zeros = torch.zeros(6, dtype=torch.float64)
    for scale in ("none", "optimal", "positive"):
        square = Infidelity(imputer=BLACK, scale=scale)
        noise = Infidelity(imputer=BLACK, perturbation="noise", scale=scale)
        assert torch.allclose(square(case), zeros, atol=1e-12)
        assert torch.allclose(noise(gradient), zeros, atol=1e-12)
        assert (square(gradient) > 1e-3).all()
        assert (noise(case) > 1e-3).all()


def test_without_a_factor_infidelity_measures_the_norm_and_only_a_positive_one_sees_the_sign(
    make_case,
):
    case = linear_case(make_case, weights_of(1, 8, 8))
    wrong = replace(case, heatmaps=-case.heatmaps)
    empty = replace(case, heatmaps=torch.zeros_like(case.heatmaps))
    none, optimal, positive = (
        Infidelity(imputer=BLACK, scale=scale) for scale in ("none", "optimal", "positive")
    )
    large = replace(case, heatmaps=case.heatmaps * 100)
    assert (none(large) > none(wrong)).all()
    assert torch.allclose(optimal(wrong), optimal(case), atol=1e-12)
    assert torch.allclose(positive(wrong), positive(empty))
    assert torch.allclose(positive(empty), none(empty))


def test_sets_and_squares_are_uniform(make_case):
    case = make_case()
    share = subsets(case, 4000, 36).double().mean(0)
    assert (share - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 4000)
    squares = infidelity.squares(case, 9000, 10)
    assert (squares.sum((1, 2)) == 100).all()
    corners = squares.flatten(1).int().argmax(1)
    counts = torch.bincount(corners[:, None].flatten(), minlength=27)[
        [0, 1, 2, 12, 13, 14, 24, 25, 26]
    ]
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 26.1  # chi squared, 8 df, p = 0.001
    noise = infidelity.gaussians(case, 1000)
    assert abs(noise.mean()) < 4 / math.sqrt(noise.numel())
    assert abs(noise.square().mean() - 1) < 4 * math.sqrt(2 / noise.numel())


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_scores_are_those_of_each_image_alone_and_follow_a_permutation(make_case, metric):
    case = make_case()
    together = metric(case)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    fields = ("images", "targets", "heatmaps")
    mixed = make_case(**{name: getattr(case, name)[order] for name in fields})
    assert torch.allclose(metric(mixed), together[order], atol=1e-5)
    for row in range(len(case)):
        alone = make_case(**{name: getattr(case, name)[row : row + 1] for name in fields})
        assert torch.allclose(metric(alone), together[row : row + 1], atol=1e-5)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_positive_factor_changes_nothing_and_no_score_comes_of_a_broken_heatmap(
    make_case, metric
):
    case = make_case()
    assert torch.allclose(metric(case), metric(make_case(heatmaps=case.heatmaps * 8)))
    broken = case.heatmaps.clone()
    broken[2, 0, 0], broken[4, 3, 3] = math.nan, -math.inf
    scores = metric(make_case(heatmaps=broken))
    assert scores.isnan().nonzero().flatten().tolist() == [2, 4]


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_a_constant_heatmap_or_a_deaf_model_has_no_correlation(make_case, value):
    case = make_case()
    flat = replace(case, heatmaps=torch.full_like(case.heatmaps, value))
    deaf = replace(case, model=nn.Sequential(nn.Flatten(), nn.Linear(288, 3)))
    nn.init.zeros_(deaf.model[1].weight)
    for metric in METRICS[:5]:
        assert metric(flat).isnan().all(), metric
        assert metric(deaf).isnan().all(), metric


def test_the_true_contributions_are_best_under_noise_on_a_linear_model(make_case):
    case = linear_case(make_case, weights_of(1, 8, 8).float())
    for metric in (*CORRELATIONS, Infidelity(imputer=BLACK)):
        sign = 1 if metric.higher_is_better else -1
        best = sign * metric(case)
        other = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(3))
        assert (sign * metric(replace(case, heatmaps=other)) < best).all(), metric


def test_cost_is_what_the_docstrings_say(make_case):
    for metric, number in (
        (METRICS[0], 20),
        (METRICS[2], 27),
        (METRICS[3], 24),
        (METRICS[4], 24),
        (METRICS[5], 9),
        (METRICS[6], 9),
        (METRICS[7], 9),
    ):
        case, seen = make_case(), []
        case.model.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(len(given[0])))
        metric(case)
        assert sum(seen) == 6 * (number + 1), metric


def test_rank_correlation_is_scipys_also_with_ties():
    values = torch.tensor([[3.0, 1.0, 3.0, 2.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
    other = torch.tensor([[2.0, 1.0, 1.0, 5.0, 9.0, 1.0], [4.0, 4.0, 1.0, 3.0, 2.0, 2.0]])
    expected = [scipy.stats.spearmanr(*pair)[0] for pair in zip(values, other, strict=True)]
    found = correlation.correlation(values, other, "spearman")
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
