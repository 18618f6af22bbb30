"""Randomisation: controls that never change, likeness by scipy, the network left as it was."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity
from torch import nn

from xai_exp import stability
from xai_exp.explainers.controls import ExactMask, Sobel
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.metrics import randomisation
from xai_exp.metrics.likeness import alike, mean_ranks
from xai_exp.metrics.randomisation import (
    EfficientParameterRandomisation,
    ParameterRandomisation,
    RandomLogit,
    entropy,
)

PLAIN = [
    ParameterRandomisation(),
    ParameterRandomisation(order="independent", measure="cosine"),
    ParameterRandomisation(score_by="last", measure="pearson", absolute=True),
    ParameterRandomisation(copies=3),
]
ALL = [*PLAIN, RandomLogit(), RandomLogit(classes="all"), EfficientParameterRandomisation()]


def own_case(make_case, explain=None, classes=3, **given):
    """A small convolutional network with batch norm and the explainer's own heatmaps."""
    explain = explain or InputXGradient()
    case = make_case(size=(8, 8), **given)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(256, 16),
            nn.Tanh(),
            nn.Linear(16, classes),
        ).eval()
    targets = case.targets % classes
    heatmaps = explain(model, case.images, targets)
    return replace(case, model=model, targets=targets, explain=explain, heatmaps=heatmaps)


@pytest.mark.parametrize("metric", ALL[:-1], ids=repr)
def test_an_edge_filter_does_not_change_and_scores_worst(make_case, metric):
    scores = metric(own_case(make_case, Sobel()))
    assert torch.allclose(scores, torch.ones(6))


def test_an_edge_filter_gains_no_entropy(make_case):
    assert torch.equal(
        EfficientParameterRandomisation()(own_case(make_case, Sobel())), torch.zeros(6)
    )


def test_a_mask_of_the_truth_scores_worst_too(make_case):
    case = make_case(parts=torch.rand(6, 1, 8, 8), size=(8, 8))
    bound = ExactMask().with_parts(case.images, case.parts)
    case = replace(own_case(make_case, lambda *_: case.parts[:, 0]), explain=bound)
    for metric in (ParameterRandomisation(), RandomLogit()):
        assert torch.allclose(metric(case), torch.ones(6))


@pytest.mark.parametrize("metric", PLAIN, ids=repr)
def test_a_gradient_changes_with_the_network_and_so_beats_the_edge_filter(make_case, metric):
    assert metric(own_case(make_case)).max() < 0.8


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_the_network_and_the_global_generator_stay_as_they_were(make_case, metric):
    case = own_case(make_case)
    before, state = copy.deepcopy(case.model.state_dict()), torch.get_rng_state()
    first = metric(case)
    assert all(torch.equal(before[k], v) for k, v in case.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in case.model.parameters())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, metric(replace(case)))


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_an_image_gets_the_same_score_alone_and_in_any_batch(make_case, metric):
    case = own_case(make_case, count=40)
    together = metric(case)
    for row in (0, 33):
        one = slice(row, row + 1)
        fields = ("images", "targets", "heatmaps")
        alone = metric(replace(case, **{name: getattr(case, name)[one] for name in fields}))
        assert torch.allclose(alone, together[one], atol=2e-4)


@pytest.mark.parametrize("metric", ALL, ids=repr)
def test_a_factor_on_the_explainer_changes_no_score(make_case, metric):
    case = own_case(make_case)

    def eightfold(model, images, targets):
        return 8 * InputXGradient()(model, images, targets)

    scaled = replace(case, explain=eightfold, heatmaps=8 * case.heatmaps)
    assert torch.allclose(metric(scaled), metric(case), atol=1e-6)


def test_another_seed_draws_another_network(make_case):
    one = ParameterRandomisation()(own_case(make_case, seed=0))
    other = ParameterRandomisation()(own_case(make_case, seed=1))
    assert not torch.allclose(one, other)


def changed_layers(model, other):
    return [
        name
        for name, module in model.named_modules()
        if any(
            not torch.equal(mine, theirs)
            for mine, theirs in zip(
                module.parameters(recurse=False),
                other.get_submodule(name).parameters(recurse=False),
                strict=True,
            )
        )
    ]


def test_cascading_goes_down_from_the_top_and_independent_takes_one_at_a_time(make_case):
    case = own_case(make_case)
    case.model[1].weight.data += 1
    copies = randomisation.randomised(case, "cascading")
    steps = [set(changed_layers(case.model, other)) for other in copies]
    assert steps == [{"6"}, {"4", "6"}, {"1", "4", "6"}, {"0", "1", "4", "6"}]
    copies = randomisation.randomised(case, "independent")
    assert [changed_layers(case.model, other) for other in copies] == [["6"], ["4"], ["1"], ["0"]]


@pytest.mark.parametrize("seed", [0, 3])
def test_no_layer_is_drawn_as_the_network_itself_was(make_case, seed):
    case = own_case(make_case, seed=seed)
    for other in randomisation.randomised(case, "independent"):
        mine, theirs = case.model[0].weight, other[0].weight
        correlation = np.corrcoef(mine.detach().flatten(), theirs.flatten())[0, 1]
    assert abs(correlation) < 0.5


def test_random_layers_are_those_of_an_untrained_network():
    torch.manual_seed(1)
    drawn, fresh = nn.Linear(400, 300), nn.Linear(400, 300)
    randomisation.randomise(drawn, torch.Generator().manual_seed(0))
    for name in ("weight", "bias"):
        mine, torchs = getattr(drawn, name), getattr(fresh, name)
        assert mine.abs().max() <= 1 / math.sqrt(400)
        assert mine.std().item() == pytest.approx(torchs.std().item(), rel=0.1)
    norm = nn.BatchNorm2d(5)
    norm.weight.data += 3
    norm.bias.data += 3
    randomisation.randomise(norm, torch.Generator().manual_seed(0))
    assert torch.equal(norm.weight, torch.ones(5))
    assert torch.equal(norm.bias, torch.zeros(5))


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_parameter_randomisation_equals_the_mean_of_scipys_correlations(make_case, order):
    case = own_case(make_case)
    expected = []
    for model in randomisation.randomised(case, order):
        heat = InputXGradient()(model, case.images, case.targets)
        pairs = zip(case.heatmaps, heat, strict=True)
        expected.append([stats.spearmanr(a.flatten(), b.flatten())[0] for a, b in pairs])
    scores = ParameterRandomisation(order=order)(case)
    assert np.allclose(scores.numpy(), np.mean(expected, 0), atol=1e-6)
    last = ParameterRandomisation(order=order, score_by="last")(case)
    assert np.allclose(last.numpy(), expected[-1], atol=1e-6)


def test_the_smooth_form_compares_means_over_the_same_noisy_images(make_case):
    case = own_case(make_case, images=torch.rand(6, 2, 8, 8))
    images = []

    def recording(model, seen, targets):
        images.append(seen.clone())
        return InputXGradient()(model, seen, targets)

    ParameterRandomisation(copies=5)(replace(case, explain=recording))
    assert len(images) == 5 * 5
    noise = torch.stack(images[:5]) - case.images
    assert torch.equal(torch.stack(images[5:10]), torch.stack(images[:5]))
    assert noise.std().item() == pytest.approx(0.1, rel=0.1)
    assert noise.mean().abs() < 0.01
    smooth = randomisation.smooth(case, case.model, 5, 0.1)
    by_hand = [InputXGradient()(case.model, seen, case.targets) for seen in images[:5]]
    assert torch.allclose(smooth, torch.stack(by_hand).mean(0), atol=1e-6)


def test_a_constant_map_has_no_likeness_and_a_dead_copy_does_not_count(make_case):
    case = own_case(make_case, lambda model, images, targets: torch.ones(6, 8, 8))  # noqa: ARG005
    assert ParameterRandomisation()(case).isnan().all()
    assert EfficientParameterRandomisation()(case).isnan().all()
    assert RandomLogit()(case).isnan().all()
    values = iter([torch.zeros(6, 8, 8)] + 3 * [own_case(make_case).heatmaps])
    case = own_case(make_case)
    dead = replace(case, explain=lambda model, images, targets: next(values))  # noqa: ARG005
    assert torch.allclose(ParameterRandomisation()(dead), torch.ones(6))


def test_a_network_without_parameters_has_nothing_to_randomise(make_case):
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    case = replace(make_case(), model=model)
    assert ParameterRandomisation()(case).isnan().all()


@pytest.mark.parametrize("bins", [2, 10, 100])
def test_entropy_equals_scipys_of_numpys_histogram(bins):
    maps = torch.randn(5, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    maps[3] = maps[3].round()
    expected = [stats.entropy(np.histogram(m.flatten(), bins=bins)[0]) for m in maps]
    assert np.allclose(entropy(maps, bins).numpy(), expected, atol=1e-12)


def test_the_efficient_form_is_the_relative_rise_of_the_entropy(make_case):
    case = own_case(make_case)
    *_, last = randomisation.randomised(case, "cascading")
    after = InputXGradient()(last, case.images, case.targets)
    for row, score in enumerate(EfficientParameterRandomisation(bins=20)(case)):
        old, new = (
            stats.entropy(np.histogram(h[row].flatten(), bins=20)[0])
            for h in (case.heatmaps, after)
        )
        assert score.item() == pytest.approx((new - old) / old, abs=1e-5)


def test_random_logit_explains_another_class_than_the_target(make_case):
    case, seen = own_case(make_case, count=60), []

    def recording(model, images, targets):
        seen.append(targets)
        return InputXGradient()(model, images, targets)

    RandomLogit()(replace(case, explain=recording))
    step = (torch.cat(seen) - case.targets) % 3
    assert set(step.tolist()) == {1, 2}
    assert 15 < (step == 1).sum() < 45


def test_random_logit_of_two_opposite_classes_is_minus_one(make_case):
    case = own_case(make_case, Gradient(), classes=2)
    case.model[-1].weight.data[1] = -case.model[-1].weight.data[0]
    case = replace(case, heatmaps=Gradient()(case.model, case.images, case.targets))
    for measure in ("spearman", "pearson", "cosine"):
        assert torch.allclose(RandomLogit(measure=measure)(case), -torch.ones(6), atol=1e-6)


def test_all_other_classes_are_averaged(make_case):
    case = own_case(make_case)
    expected = torch.zeros(6, dtype=torch.float64)
    for step in (1, 2):
        other = InputXGradient()(case.model, case.images, (case.targets + step) % 3)
        expected += alike(case.heatmaps, other, "spearman") / 2
    assert torch.allclose(RandomLogit(classes="all")(case).double(), expected, atol=1e-6)


def test_with_one_class_there_is_no_other(make_case):
    assert RandomLogit()(own_case(make_case, classes=1)).isnan().all()


@pytest.mark.parametrize("size", [(7, 9), (16, 16), (3, 5)])
def test_structural_similarity_is_that_of_the_literature_and_of_stability(size):
    source = torch.Generator().manual_seed(5)
    one, other = (torch.randn(4, *size, generator=source) for _ in range(2))
    ours = alike(one, one + other, "ssim").numpy()
    pairs = [(a / a.abs().max(), b / b.abs().max()) for a, b in zip(one, one + other, strict=True)]
    if min(size) >= 7:
        found = [
            structural_similarity(
                a.numpy(), b.numpy(), data_range=2, use_sample_covariance=False, full=True
            )[1].mean()
            for a, b in pairs
        ]
        assert np.allclose(ours, found, atol=1e-5)
    between = stability.similarities(one.numpy()[None], (one + other).numpy()[None])
    assert np.allclose(ours, between["ssim"][0, 0], atol=1e-5)
    assert (ours < 0.95).all()
    assert np.allclose(alike(one, one, "ssim").numpy(), 1)
    assert alike(one, torch.ones_like(one), "ssim").isnan().all()


def test_likeness_equals_scipys_ties_and_tiny_values_included():
    source = torch.Generator().manual_seed(4)
    one, other = (torch.randn(6, 7, 7, generator=source) for _ in range(2))
    one[:3], other[1] = one[:3].round(), other[1] * 1e-30
    for measure, judge in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        expected = [
            judge(a.flatten().double(), b.flatten().double())[0]
            for a, b in zip(one, other, strict=True)
        ]
        assert np.allclose(alike(one, other, measure).numpy(), expected, atol=1e-6)
    assert np.array_equal(mean_ranks(one.flatten(1))[0] + 1, stats.rankdata(one[0].flatten()))
