import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from xai_exp.metrics import shared
from xai_exp.metrics.faithfulness.curves import ABPC, Deletion, Insertion, Selectivity
from xai_exp.metrics.faithfulness.removal import PixelFlipping, RegionPerturbation
from xai_exp.metrics.faithfulness.superpixels import IROF, SymmetricRelevanceGain
from xai_exp.removal import segments
from xai_exp.removal.imputers import Constant, Invert, Mean, Noise
from xai_exp.types import CurveMetric

BLACK = Constant(value=0.0)
METRICS = [
    Deletion(imputer=Noise(), steps=9),
    Insertion(imputer=Noise(), steps=9, repeats=2),
    ABPC(imputer=Noise(), steps=7),
    Selectivity(imputer=Mean(), region=5),
    IROF(imputer=Noise(), count=9),
    IROF(imputer=Mean(), count=7, cut="grid"),
    SymmetricRelevanceGain(imputer=Noise(), count=12),
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


def area(values):
    """The area under equally spaced values over 0..1 by the trapezoidal rule."""
    return (values.sum(1) - (values[:, 0] + values[:, -1]) / 2) / (values.shape[1] - 1)


def left(relevance, most_first):
    """What remains of a sum as its terms go in order, step 0 included."""
    ordered = relevance.sort(1, descending=most_first).values
    gone = torch.cat([torch.zeros(len(ordered), 1), ordered.cumsum(1)], 1)
    return relevance.sum(1, keepdim=True) - gone


def test_deletion_and_insertion_of_a_linear_model_are_sums_of_sorted_relevances(make_case):
    case = linear_case(make_case, weights_of(2, 5, 4))
    flat = case.heatmaps.flatten(1)
    settings = {"imputer": BLACK, "steps": 20, "output": "logit"}
    inserted = torch.cat([torch.zeros(6, 1), flat.sort(1, descending=True).values.cumsum(1)], 1)
    deletion, insertion = area(left(flat, True)), area(inserted)
    assert torch.allclose(Deletion(**settings)(case), deletion)
    assert torch.allclose(Insertion(**settings).curves(case)["insertion"], inserted)
    assert torch.allclose(Insertion(**settings)(case), insertion)
    assert torch.allclose(ABPC(**settings)(case), insertion - deletion)


def by_the_book(case, metric):
    """Deletion and insertion one image and one pixel at a time (Petsiuk et al. 2018)."""
    areas = []
    for image, heatmap, target in zip(case.images, case.heatmaps, case.targets, strict=True):
        order = heatmap.flatten().argsort(descending=True)
        nothing = image.mean((1, 2), keepdim=True).expand_as(image)
        start, finish = (image, nothing) if metric == "deletion" else (nothing, image)
        now, outputs = start.clone(), []
        for pixel in [None, *order.tolist()]:
            if pixel is not None:
                now.flatten(1)[:, pixel] = finish.flatten(1)[:, pixel]
            outputs.append(case.model(now[None])[0].softmax(0)[target].item())
        areas.append(sum(a + b for a, b in pairwise(outputs)) / 2 / len(order))
    return torch.tensor(areas, dtype=torch.float64)


def test_deletion_and_insertion_equal_the_papers_loops_in_float64(make_case):
    case = make_case(dtype=torch.float64, count=3, size=(6, 5))
    settings = {"imputer": Mean(), "steps": 30}
    deletion, insertion = by_the_book(case, "deletion"), by_the_book(case, "insertion")
    assert torch.allclose(Deletion(**settings)(case), deletion, atol=1e-12)
    assert torch.allclose(Insertion(**settings)(case), insertion, atol=1e-12)
    assert torch.allclose(ABPC(**settings)(case), insertion - deletion, atol=1e-12)


def test_deletion_is_pixel_flipping_to_the_last_pixel(make_case):
    settings = {"imputer": Noise(), "steps": 10, "output": "logit"}
    case = make_case()
    assert torch.allclose(Deletion(**settings)(case), PixelFlipping(**settings)(case))


def test_selectivity_of_a_linear_model_is_the_area_under_the_sorted_region_sums(make_case):
    case = linear_case(make_case, weights_of(1, 6, 9))
    sums = case.heatmaps.unfold(1, 3, 3).unfold(2, 3, 3).sum((3, 4)).flatten(1)
    scores = Selectivity(imputer=BLACK, region=3)(case)
    assert torch.allclose(scores, area(left(sums, True)))


def test_segment_measures_of_a_linear_model_follow_the_mean_of_each_segment(make_case):
    """The oracle reads the segments and sums over each, one image at a time."""
    case = linear_case(make_case, weights_of(1, 10, 12))
    own = segments.slic(case.images, 12, 0.1)
    settings = {"imputer": BLACK, "count": 12, "output": "logit"}
    irof, gain = IROF(**settings)(case), SymmetricRelevanceGain(**settings)(case)
    for row, heatmap in enumerate(case.heatmaps):
        parts = [heatmap[own[row] == label] for label in own[row].unique()]
        parts.sort(key=lambda part: part.mean(), reverse=True)
        sums = torch.stack([part.sum() for part in parts])
        falls = torch.cat([torch.zeros(1), sums.cumsum(0)])
        rises = torch.cat([torch.zeros(1), sums.flip(0).cumsum(0)])
        clean = heatmap.sum()
        assert torch.allclose(irof[row], 1 - area((clean - falls)[None])[0] / clean)
        assert torch.allclose(gain[row], area((falls - rises)[None])[0])


@pytest.mark.parametrize("cut", ["slic", "grid"])
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_segment_measures_equal_loops_over_segments_and_draws_in_float64(make_case, cut, output):
    case = make_case(dtype=torch.float64, count=3, channels=3, size=(7, 10))
    settings = {"imputer": Noise(), "count": 12, "cut": cut, "output": output, "repeats": 2}
    own = segments.segments(case.images, cut, 12, 0.1)
    draws = [Noise()(case.images, None, shared.keys(case, f"removal {d}")) for d in range(2)]

    def value(row, gone):
        found = []
        for draw in draws:
            logits = case.model(draw(slice(row, row + 1), gone[None, None]))[0].detach()
            values = logits.softmax(0) if output == "probability" else logits
            found.append(float(values[case.targets[row]]))
        return sum(found) / 2

    def curve(row, most_first):
        heatmap, labels = case.heatmaps[row], own[row].unique().tolist()
        labels.sort(key=lambda label: float(heatmap[own[row] == label].mean()), reverse=most_first)
        steps = [torch.zeros_like(own[row], dtype=torch.bool)]
        for label in labels:
            steps.append(steps[-1] | (own[row] == label))
        return torch.tensor([[value(row, gone) for gone in steps]], dtype=torch.float64)

    irof, gain = IROF(**settings)(case), SymmetricRelevanceGain(**settings)(case)
    for row in range(3):
        morf, lerf = curve(row, True), curve(row, False)
        assert torch.allclose(irof[row], 1 - area(morf / morf[:, :1])[0])
        assert torch.allclose(gain[row], (area(lerf) - area(morf))[0])


@pytest.mark.parametrize("region", [3, 4])
def test_selectivity_equals_loops_over_regions_that_do_not_divide_the_image(make_case, region):
    case = make_case(dtype=torch.float64, count=3, channels=3, size=(7, 10))
    scores = Selectivity(imputer=Mean(), region=region)(case)
    for row in range(3):
        image, heatmap, target = case.images[row], case.heatmaps[row], case.targets[row]
        corners = [(y, x) for y in range(0, 7, region) for x in range(0, 10, region)]
        places = [(slice(y, y + region), slice(x, x + region)) for y, x in corners]
        places.sort(key=lambda place: float(heatmap[place].sum()), reverse=True)
        now, outputs = image.clone(), [case.model(image[None])[0, target].item()]
        for down, across in places:
            now[:, down, across] = image.mean((1, 2), keepdim=True)
            outputs.append(case.model(now[None])[0, target].item())
        assert float(scores[row]) == pytest.approx(float(area(torch.tensor([outputs]))[0]))


def test_the_true_contributions_are_the_best_heatmap_of_a_linear_model(make_case):
    case = linear_case(make_case, weights_of(1, 8, 8))
    for metric in (
        Deletion(imputer=BLACK, output="logit"),
        Insertion(imputer=BLACK, output="logit"),
        ABPC(imputer=BLACK, output="logit"),
        Selectivity(imputer=BLACK, region=2),
        SymmetricRelevanceGain(imputer=BLACK, count=16, output="logit", cut="grid"),
    ):
        sign = 1 if metric.higher_is_better else -1
        best = sign * metric(case)
        for seed in range(5):
            other = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(seed)).double()
            assert (sign * metric(replace(case, heatmaps=other)) < best).all(), metric


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
    assert torch.equal(metric(case), metric(make_case(heatmaps=case.heatmaps * 8)))
    broken = case.heatmaps.clone()
    broken[2, 0, 0], broken[4, 3, 3] = math.nan, -math.inf
    scores = metric(make_case(heatmaps=broken))
    assert scores.isnan().nonzero().flatten().tolist() == [2, 4]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_constant_heatmap_is_a_random_order_of_the_seed(make_case, metric):
    flat = torch.ones(6, 12, 12)
    scores = metric(make_case(heatmaps=flat))
    assert scores.isfinite().all()
    assert torch.equal(scores, metric(make_case(heatmaps=flat)))
    assert not torch.allclose(scores, metric(make_case(heatmaps=flat, seed=1)))


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_score_reads_the_curves(make_case, metric):
    assert isinstance(metric, CurveMetric)
    case = make_case()
    curves = metric.curves(case)
    assert {values.shape for values in curves.values()} == {curves["x"].shape}
    assert (curves["x"].diff(dim=1) >= 0).all()
    assert (curves["x"][:, [0, -1]] == torch.tensor([0.0, 1.0])).all()
    assert torch.equal(metric.score(curves), metric(case))


def passes(case, metrics):
    seen = []
    handle = case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    for metric in metrics:
        metric(case)
    handle.remove()
    return sum(seen)


def test_curves_are_computed_once_for_all_who_read_them(make_case):
    pixels = {"imputer": Noise(), "steps": 16}
    both = [Deletion(**pixels), Insertion(**pixels), ABPC(**pixels), PixelFlipping(**pixels)]
    assert passes(make_case(), both) == 6 * (2 * 16 + 1)
    regions = {"imputer": Noise(), "region": 4, "repeats": 2}
    assert passes(make_case(), [Selectivity(**regions), RegionPerturbation(**regions)]) == 6 * 19
    settings = {"imputer": Mean(), "count": 16}
    assert passes(make_case(), [SymmetricRelevanceGain(**settings), IROF(**settings)]) == 6 * 33


def test_irof_is_undefined_where_the_clean_output_is_zero(make_case):
    case = linear_case(make_case, torch.zeros(1, 4, 4))
    assert IROF(imputer=Invert(), count=4, output="logit")(case).isnan().all()


def test_superpixels_of_a_flat_image_or_of_great_compactness_are_the_grid(make_case):
    images = make_case(size=(12, 18)).images
    grid = segments.grid(images, 24)
    assert torch.equal(segments.slic(torch.full_like(images, 0.3), 24, 0.1), grid)
    assert torch.equal(segments.slic(images, 24, 1e4), grid)
    assert grid.unique().numel() == 24


def test_superpixels_keep_to_an_edge_and_do_not_depend_on_the_batch():
    images = torch.zeros(3, 1, 12, 12)
    images[1, :, :, 5:] = 1
    images[2, :, 7:] = 0.5
    own = segments.slic(images, 9, 0.1)
    for row in (1, 2):
        inside = images[row, 0] > 0
        assert not set(own[row][inside].tolist()) & set(own[row][~inside].tolist())
        assert torch.equal(segments.slic(images[row : row + 1], 9, 0.1)[0], own[row])
