import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.metrics.faithfulness import removal
from xai_exp.metrics.faithfulness.removal import PixelFlipping, RegionPerturbation, region_sum
from xai_exp.removal.imputers import Constant, Mean, Noise
from xai_exp.types import CurveMetric

BLACK = Constant(value=0.0)
METRICS = [
    PixelFlipping(imputer=Noise(), steps=9),
    RegionPerturbation(imputer=Noise(), region=3, repeats=2),
    RegionPerturbation(imputer=Mean(), score_by="area", region=5),
    RegionPerturbation(imputer=Noise(), score_by="gain", region=4, output="probability"),
    RegionPerturbation(imputer=Mean(), score_by="lerf", region=4, ties=2),
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


def test_pixel_flipping_of_a_linear_model_subtracts_the_sorted_relevances(make_case):
    case = linear_case(make_case, weights_of(2, 5, 4))
    metric = PixelFlipping(imputer=BLACK, steps=20, output="logit")
    ordered = case.heatmaps.flatten(1).sort(1, descending=True).values
    removed = torch.cat([torch.zeros(6, 1), ordered.cumsum(1)], 1)
    expected = ordered.sum(1, keepdim=True) - removed
    curves = metric.curves(case)
    assert torch.allclose(curves["morf"], expected)
    assert torch.allclose(curves["x"], torch.arange(21, dtype=torch.float64).expand(6, -1) / 20)
    area = (expected[:, 1:] + expected[:, :-1]).sum(1) / 2 / 20
    assert torch.allclose(metric(case), area)


@pytest.mark.parametrize("steps", [None, 3])
def test_region_perturbation_of_a_linear_model_subtracts_the_sorted_region_sums(make_case, steps):
    case = linear_case(make_case, weights_of(1, 6, 9))
    sums = case.heatmaps.unfold(1, 3, 3).unfold(2, 3, 3).sum((3, 4)).flatten(1)
    expected = {}
    for name, most_first in (("morf", True), ("lerf", False)):
        falls = sums.sort(1, descending=most_first).values[:, :steps].cumsum(1)
        expected[name] = torch.cat([torch.zeros(6, 1), falls], 1)
    settings = {"imputer": BLACK, "region": 3, "steps": steps}
    aopc = RegionPerturbation(**settings)(case)
    lerf = RegionPerturbation(**settings, score_by="lerf")(case)
    area = RegionPerturbation(**settings, score_by="area")(case)
    assert torch.allclose(aopc, expected["morf"].mean(1))
    assert torch.allclose(lerf, -expected["lerf"].mean(1))
    assert torch.allclose(area, (expected["morf"] - expected["lerf"]).mean(1))


def test_one_region_alone_has_no_order_and_no_score(make_case):
    case = linear_case(make_case, weights_of(1, 6, 9))
    for score_by in ("aopc", "lerf", "area", "gain"):
        whole, halves = (
            RegionPerturbation(imputer=BLACK, region=size, steps=1, score_by=score_by)(case)
            for size in (9, 6)
        )
        assert whole.isnan().all()
        assert halves.isfinite().all()


def test_ties_change_the_order_of_equal_regions_only(make_case):
    distinct = linear_case(make_case, weights_of(1, 6, 9))
    level = replace(distinct, heatmaps=torch.ones_like(distinct.heatmaps))
    settings = {"imputer": BLACK, "region": 3, "score_by": "area"}
    for case, changes in ((distinct, False), (level, True)):
        one, other = (RegionPerturbation(**settings, ties=ties)(case) for ties in (0, 1))
        assert torch.equal(one, other) != changes


def test_uniform_noise_on_a_linear_model_has_its_mean_as_reference(make_case):
    weights = weights_of(1, 6, 6)
    case = linear_case(make_case, weights)
    metric = RegionPerturbation(imputer=Noise(), region=2, repeats=150)
    against_grey = RegionPerturbation(imputer=Constant(value=0.5), region=2)
    error = math.sqrt((weights**2).sum().item() / 12 / 150)
    assert (metric(case) - against_grey(case)).abs().max() < 4 * error


def perturbed_by_the_book(case, order_of, size, output, steps):
    """Samek et al. 2017, one image and one region at a time, mean imputation."""
    scores = []
    for image, heatmap, target in zip(case.images, case.heatmaps, case.targets, strict=True):
        height, width = heatmap.shape
        corners = [(y, x) for y in range(0, height, size) for x in range(0, width, size)]
        relevance = {c: heatmap[c[0] : c[0] + size, c[1] : c[1] + size].sum() for c in corners}
        now, outputs = image.clone(), []
        for corner in [None, *order_of(relevance)][: steps + 1]:
            if corner is not None:
                rows, columns = (slice(c, c + size) for c in corner)
                for channel in range(len(image)):
                    now[channel, rows, columns] = image[channel].mean()
            logits = case.model(now[None])[0]
            values = logits if output == "logit" else logits.softmax(0)
            outputs.append(values[target].item())
        scores.append(outputs)
    return torch.tensor(scores, dtype=torch.float64)


def falling(relevance):
    return sorted(relevance, key=relevance.__getitem__, reverse=True)


def rising(relevance):
    return sorted(relevance, key=relevance.__getitem__)


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("size", [3, 5])
def test_region_perturbation_equals_the_papers_loops_in_float64(make_case, output, size):
    case = make_case(dtype=torch.float64, count=3, size=(12, 11))
    settings = {"imputer": Mean(), "region": size, "steps": 7, "output": output}
    morf = perturbed_by_the_book(case, falling, size, output, 7)
    lerf = perturbed_by_the_book(case, rising, size, output, 7)
    curves = RegionPerturbation(**settings, score_by="area").curves(case)
    assert torch.allclose(curves["morf"], morf, atol=1e-12)
    assert torch.allclose(curves["lerf"], lerf, atol=1e-12)
    aopc = sum(morf[:, 0] - morf[:, k] for k in range(8)) / 8
    assert torch.allclose(RegionPerturbation(**settings)(case), aopc, atol=1e-12)


def test_pixel_flipping_equals_the_papers_loops_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3, size=(5, 5))
    heights = perturbed_by_the_book(case, falling, 1, "probability", 25)
    metric = PixelFlipping(imputer=Mean(), steps=5, fraction=0.6)
    curves = metric.curves(case)
    assert torch.allclose(curves["morf"], heights[:, [0, 3, 6, 9, 12, 15]], atol=1e-12)
    chosen = heights[:, :16:3]
    area = sum((chosen[:, k] + chosen[:, k + 1]) / 2 for k in range(5)) / 5
    assert torch.allclose(metric(case), area, atol=1e-12)


def test_curves_begin_at_the_clean_output_and_end_with_nothing_left(make_case):
    case = make_case()
    metric = RegionPerturbation(imputer=Noise(), score_by="area", region=4)
    curves = metric.curves(case)
    with torch.no_grad():
        clean = ops.pick(case.model(case.images), case.targets)
    for order in ("morf", "lerf"):
        assert torch.allclose(curves[order][:, 0], clean, atol=1e-6)
    assert torch.allclose(curves["morf"][:, -1], curves["lerf"][:, -1], atol=1e-5)


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
def test_nothing_that_was_given_is_changed(make_case, metric):
    case = make_case()
    case.model.train()
    state = case.generator.get_state()
    before = copy.deepcopy((case.images, case.heatmaps, case.targets, case.model.state_dict()))
    metric(case)
    after = (case.images, case.heatmaps, case.targets, case.model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert all(torch.equal(before[3][name], after[3][name]) for name in before[3])
    assert torch.equal(case.generator.get_state(), state)
    assert case.model.training
    assert all(parameter.requires_grad for parameter in case.model.parameters())


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_score_does_not_depend_on_which_metrics_ran_before(make_case, metric):
    after_all = make_case()
    for other in METRICS:
        other(after_all)
    assert torch.equal(metric(make_case()), metric(after_all))


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_positive_factor_changes_nothing_and_another_seed_changes_random_ones(make_case, metric):
    case = make_case()
    scaled = make_case(heatmaps=case.heatmaps * 8)
    assert torch.equal(metric(case), metric(scaled))
    sampled = metric.imputer.random or getattr(metric, "score_by", "") == "gain"
    assert torch.equal(metric(case), metric(make_case(seed=1))) is not sampled


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_heatmap_that_is_not_finite_has_no_score(make_case, metric):
    case = make_case()
    broken = case.heatmaps.clone()
    broken[2, 0, 0], broken[4, 3, 3] = math.nan, -math.inf
    scores = metric(make_case(heatmaps=broken))
    kept = torch.tensor([0, 1, 3, 5])
    assert scores.isnan().nonzero().flatten().tolist() == [2, 4]
    assert torch.equal(scores[kept], metric(case)[kept])


def test_equal_relevances_go_in_a_random_order_not_by_position(make_case):
    """With all weight on one pixel the score is that pixel's place in the order: uniform."""
    for row, column in ((0, 0), (4, 4)):
        weights = torch.zeros(1, 5, 5)
        weights[0, row, column] = 1
        images = torch.rand(400, 1, 5, 5, generator=torch.Generator().manual_seed(4)) + 1e-3
        images[:, 0, row, column] = 1
        flat = linear_case(make_case, weights, images=images, heatmaps=torch.ones(400, 5, 5))
        places = PixelFlipping(imputer=BLACK, steps=25, output="logit")(flat) * 25 - 0.5
        assert torch.allclose(places, places.round(), atol=1e-4)
        counts = torch.bincount(places.round().long(), minlength=25)
        assert ((counts - 16.0) ** 2 / 16).sum() < 51.2  # chi squared, 24 df, p = 0.001


def test_noise_mixed_into_the_heatmap_lowers_the_mean_score_step_by_step(make_case):
    images = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    weights = weights_of(1, 16, 16).float()
    noise = torch.randn(64, 16, 16, generator=torch.Generator().manual_seed(6))
    truth = (weights * images).sum(1)
    means = {"area": [], "aopc": [], "gain": [], "flipping": []}
    for share in (0.0, 0.3, 0.6, 0.9):
        mixed = (1 - share) * truth + share * noise
        case = linear_case(make_case, weights, images=images, heatmaps=mixed)
        for score_by in ("area", "aopc", "gain"):
            metric = RegionPerturbation(imputer=BLACK, score_by=score_by, region=2)
            means[score_by].append(metric(case).mean().item())
        flipping = PixelFlipping(imputer=BLACK, output="logit")(case).mean().item()
        means["flipping"].append(-flipping)
    assert all(values == sorted(values, reverse=True) for values in means.values())


def test_random_heatmaps_have_area_and_gain_zero_in_the_mean(make_case):
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    noise = torch.randn(200, 8, 8, generator=torch.Generator().manual_seed(8))
    case = linear_case(make_case, weights_of(1, 8, 8).float(), images=images, heatmaps=noise)
    for score_by in ("area", "gain"):
        scores = RegionPerturbation(imputer=BLACK, score_by=score_by, region=1)(case)
        assert abs(scores.mean()) < 4 * scores.std() / math.sqrt(200)
        assert scores.std() > 0


def passes(case, metrics):
    """How many images the model sees."""
    seen = []
    handle = case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for metric in metrics:
        metric(case)
    handle.remove()
    return sum(seen)


def test_cost_is_what_the_docstrings_say_and_shared_work_is_done_once(make_case):
    aopc, area = (
        RegionPerturbation(imputer=Noise(), region=4, repeats=3, score_by=score_by)
        for score_by in ("aopc", "area")
    )
    constant = PixelFlipping(imputer=Mean(), steps=70, repeats=5)
    assert passes(make_case(), [constant]) == 6 * (70 + 1)
    assert passes(make_case(), [aopc]) == 6 * (3 * 9 + 1)
    assert passes(make_case(), [area, aopc, area]) == 6 * (2 * 3 * 9 + 1)
    assert passes(make_case(), [aopc, constant]) == 6 * (3 * 9 + 70 + 1)


@pytest.mark.parametrize(("side", "size"), [(8, 1), (28, 3), (32, 4), (64, 8), (224, 9)])
def test_region_size_follows_the_image_up_to_the_papers_nine(make_case, side, size, monkeypatch):
    sizes = []
    monkeypatch.setattr(removal, "region_sum", lambda h, s: sizes.append(s) or region_sum(h, s))
    case = make_case(size=(side, side + 1), count=1)
    RegionPerturbation(imputer=Mean(), steps=1).curves(case)
    assert sizes == [size]


def test_steps_are_whole_pixels_and_no_more_than_there_are(make_case):
    metric = PixelFlipping(imputer=Mean(), steps=64)
    assert metric.curves(make_case(size=(3, 3)))["x"].shape == (6, 10)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_score_reads_the_curves(make_case, metric):
    assert isinstance(metric, CurveMetric)
    case = make_case()
    curves = metric.curves(case)
    assert {values.shape for values in curves.values()} == {curves["x"].shape}
    assert (curves["x"].diff(dim=1) > 0).all()
    assert torch.equal(metric.score(curves), metric(case))


@pytest.mark.parametrize("score_by", ["aopc", "lerf", "area", "gain"])
def test_a_relative_area_does_not_see_the_scale_of_the_output(make_case, score_by):
    case = make_case()
    case.model[-1].weight.data[0] *= -1  # so that one class loses by removal and the others gain
    plain = RegionPerturbation(imputer=BLACK, region=3, score_by=score_by)
    relative = replace(plain, relative=True)
    curves = plain.curves(case)
    curve = curves["lerf" if score_by == "lerf" else "morf"]
    lost = curve[:, 0] - curve[:, -1]
    wanted = torch.where(lost > 0, plain(case) / lost, torch.nan)
    assert bool(wanted.isnan().any() & wanted.isfinite().any())
    torch.testing.assert_close(relative(case), wanted, equal_nan=True)
    louder = copy.deepcopy(case.model)
    for parameter in louder[-1].parameters():
        parameter.data *= 7
    loud = replace(case, model=louder)
    torch.testing.assert_close(relative(loud), wanted, equal_nan=True, rtol=1e-3, atol=1e-4)
    assert "nothing is lost" in relative.undefined
    known = ~wanted.isnan()
    weights = relative.weights(case)
    ratio = (
        plain(case)[known].sum() / weights[known].sum()
    )  # of sums, in which nothing small swings
    torch.testing.assert_close(
        (relative(case) * weights)[known].sum() / weights[known].sum(), ratio
    )
    assert (plain.weights(case) == 1).all()
    assert "nothing is lost" not in plain.undefined


def test_a_relative_area_needs_all_regions_gone():
    with pytest.raises(InputError, match=r"got 3 with relative: true; allowed: null"):
        RegionPerturbation(imputer=BLACK, steps=3, relative=True)
