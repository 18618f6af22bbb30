"""Robustness: closed forms on linear models, the papers' formulas one image at a time."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.explainers.controls import ExactMask, Sobel
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.metrics import around
from xai_exp.metrics.robustness.continuity import (
    Consistency,
    Continuity,
    LocalLipschitz,
    Sensitivity,
)
from xai_exp.metrics.robustness.relative_stability import RelativeStability

ALL = [
    Sensitivity(),
    Sensitivity(score_by="mean", scale="none"),
    LocalLipschitz(),
    Continuity(),
    RelativeStability(against="input"),
    RelativeStability(against="output"),
    RelativeStability(against="representation"),
]


def smooth_case(make_case, explain, **given):
    """A curved network in float64 and the explainer's own heatmaps."""
    case = make_case(dtype=torch.float64, size=(8, 8), **given)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(192, 3)
        ).double()
    heatmaps = explain(model, case.images, case.targets)
    return replace(case, model=model, explain=explain, heatmaps=heatmaps)


def kept_around(case, samples, radius):
    """Which neighbours the network gives the class that it gives the image itself."""
    said = around.answers(case, samples, radius).argmax(2)
    return said == case.model(case.images).argmax(1)[:, None]


def linear_case(make_case, explain):
    case = make_case(dtype=torch.float64, size=(8, 8))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double()
    heatmaps = explain(model, case.images, case.targets)
    return replace(case, model=model, explain=explain, heatmaps=heatmaps)


def by_the_book(case, samples, radius):
    """For each image and neighbour: both heatmaps, both images, one explanation at a time."""
    for row in range(len(case)):
        pairs = []
        for sample in range(samples):
            index = torch.tensor([row + sample * len(case)])
            near = around.noisy(case, index, radius)
            heat = case.explain(case.model, near, case.targets[row : row + 1])
            pairs.append((near[0], heat[0]))
        yield row, case.images[row], case.heatmaps[row], pairs


@pytest.mark.parametrize("metric", [*ALL[:3], Continuity(pixels=2)])
def test_the_gradient_of_a_linear_model_never_moves(make_case, metric):
    scores = metric(linear_case(make_case, Gradient()))
    assert torch.equal(scores, torch.zeros(6, dtype=torch.float64))


def test_relative_stability_of_the_gradient_of_a_linear_model_is_zero(make_case):
    case = linear_case(make_case, Gradient())
    for against in ("input", "output", "representation"):
        scores = RelativeStability(against=against, radius=1e-4)(case)
        assert torch.equal(scores, torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("scale", ["heatmap", "none"])
def test_sensitivity_and_lipschitz_equal_their_papers_one_image_at_a_time(make_case, scale):
    case = smooth_case(make_case, InputXGradient())
    options = {"samples": 4, "radius": 0.1, "scale": scale}
    most = Sensitivity(**options)(case)
    mean = Sensitivity(**options, score_by="mean")(case)
    steepest = LocalLipschitz(**options)(case)
    for row, image, heat, pairs in by_the_book(case, 4, 0.1):
        by = heat.norm() if scale == "heatmap" else 1
        moved = torch.stack([(near - heat).norm() / by for _, near in pairs])
        slopes = torch.stack([(h - heat).norm() / (x - image).norm() / by for x, h in pairs])
        assert most[row].item() == pytest.approx(moved.max().item(), rel=1e-9)
        assert mean[row].item() == pytest.approx(moved.mean().item(), rel=1e-9)
        assert steepest[row].item() == pytest.approx(slopes.max().item(), rel=1e-9)


def test_neighbours_stay_within_the_radius_and_fill_it(make_case):
    case = make_case()
    near = around.noisy(case, torch.arange(60), 0.05)
    apart = near - case.images.repeat(10, 1, 1, 1)
    assert 0.049 < apart.max() <= 0.05001
    assert -0.05001 <= apart.min() < -0.049
    assert apart.mean().abs() < 0.001
    assert len(torch.unique(apart.flatten(1)[:, 0])) == 60


@pytest.mark.parametrize("against", ["input", "output", "representation"])
def test_relative_stability_equals_its_paper_one_image_at_a_time(make_case, against):
    case = smooth_case(make_case, InputXGradient())
    scores = RelativeStability(against=against, samples=6, radius=2.0)(case)
    kept = kept_around(case, 6, 2.0)
    assert (kept.any(1) & ~kept.all(1)).sum() >= 2, "the prediction has to matter"

    def view(image):
        if against == "input":
            return image.flatten()
        stop = 3 if against == "representation" else 4
        return case.model[:stop](image[None])[0].flatten()

    for row, image, heat, pairs in by_the_book(case, 6, 2.0):
        ratios = []
        for near, moved in pairs:
            before, after = view(image), view(near)
            below = (before - after) if against == "output" else (before - after) / before
            if case.model(near[None]).argmax() == case.model(image[None]).argmax():
                ratios.append(((heat - moved) / heat).norm() / below.norm().clamp(min=1e-6))
        if ratios:
            assert scores[row].item() == pytest.approx(max(ratios).item(), rel=1e-8)
        else:
            assert scores[row].isnan()


def test_a_neighbour_of_another_class_is_left_out_not_the_whole_image(make_case):
    """Quantus takes a maximum with NaN and loses the image."""
    case = smooth_case(make_case, InputXGradient())
    kept = kept_around(case, 10, 2.0)
    mixed = kept.any(1) & ~kept.all(1)
    assert mixed.any()
    scores = RelativeStability(radius=2.0)(case)
    assert scores[mixed].isfinite().all()
    assert torch.equal(scores.isnan(), ~kept.any(1))


@pytest.mark.parametrize("metric", ALL, ids=str)
def test_the_network_is_asked_by_those_that_want_its_answers_only(make_case, metric):
    case = make_case(size=(8, 8))
    seen = []
    case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    metric(replace(case, explain=lambda model, images, targets: images.sum(1)))  # noqa: ARG005
    if isinstance(metric, RelativeStability):
        assert sum(seen) >= 10 * len(case.images)
    else:
        assert not seen


def test_continuity_equals_its_definition_one_move_at_a_time(make_case):
    case = smooth_case(make_case, InputXGradient())
    scores = Continuity(pixels=2, scale="none")(case)
    for row in range(6):
        image, heat = case.images[row], case.heatmaps[row]
        moved = [
            torch.cat([image[..., :1]] * k + [image[..., :-k]], 2)
            if k > 0
            else torch.cat([image[..., -k:]] + [image[..., -1:]] * -k, 2)
            for k in (-2, -1, 1, 2)
        ]
        slopes = [
            (case.explain(case.model, x[None], case.targets[row : row + 1])[0] - heat).abs().sum()
            / (x - image).norm()
            for x in moved
        ]
        assert scores[row].item() == pytest.approx(max(slopes).item(), rel=1e-9)


def test_what_comes_into_a_moved_image_is_its_edge_and_not_black(make_case):
    images = make_case().images + 0.5
    moved = around.shifted(images, 3, -2)
    assert torch.equal(moved[..., :-2, 3:], images[..., 2:, :-3])
    assert moved.min() >= 0.5


def test_moves_that_change_nothing_and_explainers_of_known_images_have_no_continuity(make_case):
    case = make_case(parts=torch.ones(6, 1, 12, 12))
    case.images[2] = 0.25
    scores = Continuity()(replace(case, explain=Sobel()))
    assert scores.isnan().nonzero().flatten().tolist() == [2]
    bound = ExactMask().with_parts(case.images, case.parts)
    assert Continuity()(replace(case, explain=bound)).isnan().all()


def test_a_mask_that_never_looks_at_the_network_is_perfectly_robust(make_case):
    case = make_case(parts=torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(2)))
    bound = ExactMask().with_parts(case.images, case.parts)
    case = replace(case, explain=bound, heatmaps=case.parts[:, 0])
    assert torch.equal(Sensitivity()(case), torch.zeros(6))


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_an_image_gets_the_same_robustness_alone_and_in_any_batch(make_case, metric):
    case = smooth_case(make_case, InputXGradient(), count=40)
    together = metric(case)
    for row in (0, 17, 39):
        one = slice(row, row + 1)
        fields = ("images", "targets", "heatmaps")
        alone = metric(replace(case, **{name: getattr(case, name)[one] for name in fields}))
        assert torch.allclose(alone, together[one], rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize("metric", [m for m in ALL if getattr(m, "scale", "") != "none"], ids=repr)
def test_a_factor_on_the_explainer_changes_no_robustness(make_case, metric):
    case = smooth_case(make_case, InputXGradient())

    def eightfold(model, images, targets):
        return 8 * InputXGradient()(model, images, targets)

    scaled = replace(case, explain=eightfold, heatmaps=8 * case.heatmaps)
    assert torch.allclose(metric(scaled), metric(case), rtol=1e-9, equal_nan=True)


def test_noise_mixed_into_the_explanation_makes_it_less_robust_step_by_step(make_case):
    def noisier(share):
        def explain(model, images, targets):
            noise = torch.sin(1e4 * images).sum(1)
            return InputXGradient()(model, images, targets) + share * noise

        return smooth_case(make_case, explain)

    for metric in (Sensitivity(), LocalLipschitz(), Sensitivity(score_by="mean")):
        means = [metric(noisier(share)).mean().item() for share in (0, 0.01, 0.1, 1)]
        assert means == sorted(means)


def test_the_neighbours_are_explained_once_for_all_metrics(make_case):
    seen = []

    def explain(model, images, targets):  # noqa: ARG001
        seen.append(len(images))
        return images.sum(1)

    case = make_case(explain=explain)
    for metric in (Sensitivity(), Sensitivity(score_by="mean"), LocalLipschitz(), *ALL[4:]):
        metric(case)
    assert sum(seen) == 60


def test_a_heatmap_that_is_zero_or_not_finite_has_no_robustness(make_case):
    case = smooth_case(make_case, InputXGradient())
    case.heatmaps[1], case.heatmaps[4, 0, 0] = 0, torch.nan
    for metric in (Sensitivity(), LocalLipschitz(), Continuity()):
        assert metric(case).isnan().nonzero().flatten().tolist() == [1, 4]


def consistency_case(make_case, heatmaps, predictions):
    images = torch.nn.functional.one_hot(torch.tensor(predictions), 3).float()
    images = images.view(-1, 3, 1, 1).expand(-1, -1, *heatmaps.shape[1:]).contiguous()
    return make_case(
        model=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        images=images,
        heatmaps=heatmaps,
    )


def test_consistency_is_the_share_of_the_same_prediction_among_the_nearest(make_case):
    heatmaps = torch.zeros(6, 2, 2)
    heatmaps[:3, 0, 0], heatmaps[3:, 1, 1] = torch.tensor([1.0, 2, 3]), 1
    case = consistency_case(make_case, heatmaps, [0, 0, 1, 2, 2, 2])
    expected = torch.tensor([0.5, 0.5, 0.0, 1.0, 1.0, 1.0])
    assert torch.allclose(Consistency(count=2)(case), expected)
    one = Consistency(count=1)(case)
    assert torch.allclose(one, expected), "two equally near images count half each"


def test_the_nearest_heatmaps_count_the_further_ones_do_not(make_case):
    turns = torch.tensor([0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
    heatmaps = torch.stack([turns.cos(), turns.sin()], 1)[:, None]
    case = consistency_case(make_case, heatmaps, [0, 1, 0, 0, 1, 1])
    expected = torch.tensor([1, 0, 1, 1, 1, 1]) / 2
    assert torch.allclose(Consistency(count=2)(case), expected)
    assert torch.allclose(Consistency(count=1)(case), torch.tensor([0, 0, 0, 1, 0, 1.0]))


def test_equal_signs_at_the_top_are_the_same_explanation(make_case):
    heatmaps = torch.tensor([[[3.0, 2, 0.1]], [[1.0, 0.5, 0]], [[3.0, -2, 1]], [[9.0, 8, 7]]])
    case = consistency_case(make_case, heatmaps, [0, 0, 0, 1])
    scores = Consistency(same_if="top_n_sign", count=2)(case)
    assert torch.allclose(scores, torch.tensor([2 / 3, 2 / 3, 2 / 3, 0.0]))
    heatmaps[2] = -heatmaps[2].abs()
    scores = Consistency(same_if="top_n_sign", count=2)(replace(case, heatmaps=heatmaps))
    assert torch.allclose(scores[[0, 1, 3]], torch.tensor([0.5, 0.5, 0.0]))
    assert scores[2].isnan(), "no other image has this explanation"


def test_consistency_of_an_image_alone_is_undefined(make_case):
    assert Consistency()(make_case(count=1)).isnan().all()


@pytest.mark.parametrize(
    ("against", "passes"), [("input", 6 * 4), ("output", 6 * 4), ("representation", 6 * (4 + 5))]
)
def test_relative_stability_costs_the_forward_passes_that_it_says(make_case, against, passes):
    """Beside the clean one and those of the explainer, which has none here."""
    case = replace(make_case(), explain=lambda model, images, targets: images.sum(1))  # noqa: ARG005
    seen = []
    hook = case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    RelativeStability(against=against, samples=4)(case)
    hook.remove()
    assert sum(seen) == 6 + passes
