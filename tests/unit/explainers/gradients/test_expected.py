"""Expected gradients against samples written out, exact means over references, and captum."""

import numpy as np
import pytest
import torch
from captum.attr import GradientShap
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.gradients.expected import ExpectedGradients
from xai_exp.explainers.gradients.gradients import IntegratedGradients, path_integral


@pytest.fixture
def references():
    source = torch.Generator().manual_seed(3)
    return torch.rand(5, 2, 12, 12, generator=source, dtype=torch.float64) ** 2


def slope(model, x, target):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x[None])[0, target], x)[0]


def samples(case, references, explain, row):
    """The summands of one image, one sample after another, channels summed."""
    x, target = case.images[row], case.targets[row]
    key = ops.image_keys(case.images[row : row + 1], explain.seed)
    for number in range(explain.samples):
        draw = ops.keyed_uniform(ops.named_keys(key, f"expected gradients {number}"), 2)[0]
        start = references[int(float(draw[0]) * len(references))]
        place = float(draw[1])
        if explain.places == "stratified":
            place = (number + place) / explain.samples
        end = x
        if explain.sigma:
            keys = ops.named_keys(key, f"gradient shap {number}")
            end = x + explain.sigma * ops.keyed_normal(keys, x.numel()).view(x.shape)
        at = start + place * (end - start)
        yield ((end - start) * slope(case.model, at, target)).sum(0)


@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("places", ["stratified", "independent"])
def test_heatmaps_are_means_of_samples_written_out(make_case, references, sigma, places):
    case = make_case(count=3, dtype=torch.float64)
    explain = ExpectedGradients(samples=9, sigma=sigma, places=places, seed=4)
    found = explain.fit(case.model, references)(case.model, case.images, case.targets)
    for row in range(3):
        wanted = torch.stack(list(samples(case, references, explain, row))).mean(0)
        torch.testing.assert_close(found[row], wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("places", ["stratified", "independent"])
def test_the_sum_is_the_logit_less_that_of_references_within_the_error_of_sampling(
    make_case, references, sigma, places
):
    case = make_case(count=2, dtype=torch.float64)
    explain = ExpectedGradients(samples=600, sigma=sigma, places=places)
    found = explain.fit(case.model, references)(case.model, case.images, case.targets)
    for row in range(2):
        each = torch.stack([one.sum() for one in samples(case, references, explain, row)])
        error = each.std() / 600**0.5
        target = case.targets[row]
        source = torch.Generator().manual_seed(0)
        shape = (4000, *case.images.shape[1:])
        noisy = torch.randn(shape, generator=source, dtype=torch.float64) * sigma
        logits = case.model(case.images[row] + noisy)[:, target].mean()
        wanted = logits - case.model(references)[:, target].mean()
        assert (found[row].sum() - wanted).abs() < 4 * error
        assert error < 0.1 * each.abs().mean()


def test_in_the_limit_it_is_the_mean_of_integrated_gradients_over_references(make_case, references):
    case = make_case(count=2, dtype=torch.float64)
    places = [(i + 0.5) / 200 for i in range(200)]
    exact = torch.stack(
        [
            path_integral(
                case.model,
                case.images,
                one.expand_as(case.images),
                case.targets,
                places,
                [1 / 200] * 200,
            ).sum(1)
            for one in references
        ]
    ).mean(0)
    errors = {}
    for count in (100, 1600):
        method = ExpectedGradients(samples=count).fit(case.model, references)
        found = method(case.model, case.images, case.targets)
        errors[count] = (found - exact).norm() / exact.norm()
    assert errors[1600] < 0.08
    assert errors[1600] < 0.4 * errors[100]  # a quarter, as the root of the number of samples


def test_with_one_black_reference_stratified_places_sum_as_integrated_gradients(make_case):
    case = make_case(dtype=torch.float64)
    black = torch.zeros_like(case.images[:1])
    found = ExpectedGradients(samples=400).fit(case.model, black)(
        case.model, case.images, case.targets
    )
    exact = IntegratedGradients(steps=400, method="midpoint")(case.model, case.images, case.targets)
    assert (found - exact).abs().max() < 1e-3 * exact.abs().max()


def test_stratified_places_have_less_error(make_case):
    case = make_case(dtype=torch.float64)
    black = torch.zeros_like(case.images[:1])
    exact = IntegratedGradients(steps=200, method="midpoint")(case.model, case.images, case.targets)
    error = {
        places: (
            ExpectedGradients(samples=50, places=places).fit(case.model, black)(
                case.model, case.images, case.targets
            )
            - exact
        ).norm()
        for places in ("stratified", "independent")
    }
    assert error["stratified"] < 0.3 * error["independent"]


@pytest.fixture
def numpy_seed():
    """Captum draws references and places from numpy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(before)  # noqa: NPY002


@pytest.mark.usefixtures("numpy_seed")
def test_gradient_shap_is_captums_within_the_error_of_sampling(make_case, references):
    case = make_case(count=2, dtype=torch.float64)
    count, runs = 400, 12
    ours = ExpectedGradients(samples=count, sigma=0.2, places="independent")
    mine = ours.fit(case.model, references)(case.model, case.images, case.targets)
    draws = {"n_samples": count, "stdevs": 0.2, "target": case.targets}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        explain = GradientShap(case.model).attribute
        several = [explain(case.images, references, **draws).sum(1) for _ in range(runs)]
    peers = torch.stack(several).detach()
    # A draw moves all pixels together, so that their errors are told apart by runs only.
    for row in range(2):
        each = torch.stack(list(samples(case, references, ours, row)))
        error = each.std(0) / count**0.5
        spread = (peers[:, row] - peers[:, row].mean(0)) / error
        assert 0.7 < spread.square().sum(0).div(runs - 1).mean() < 1.4
        off = (mine[row] - peers[:, row].mean(0)) / (error * (1 + 1 / runs) ** 0.5)
        assert off.abs().max() < 4.5


def test_on_a_linear_network_one_reference_gives_captums_heatmap(make_case):
    case = make_case(dtype=torch.float64)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(288, 3)).double()
    one = case.images[:1] ** 2
    mine = ExpectedGradients(samples=3).fit(linear, one)(linear, case.images, case.targets)
    peer = GradientShap(linear).attribute(case.images, one, n_samples=3, target=case.targets)
    torch.testing.assert_close(mine, peer.sum(1).detach())


def test_an_image_draws_the_same_samples_alone_and_in_a_batch(make_case, references):
    case = make_case(count=40, dtype=torch.float64)
    explain = ExpectedGradients(samples=7, sigma=0.1).fit(case.model, references)
    together = explain(case.model, case.images, case.targets)
    for row in (0, 23):
        alone = slice(row, row + 1)
        found = explain(case.model, case.images[alone], case.targets[alone])
        torch.testing.assert_close(found, together[alone])


def test_without_references_or_with_wrong_ones_it_is_refused_in_one_line(make_case, references):
    case = make_case()
    method = ExpectedGradients()
    with pytest.raises(InputError, match=r"got no reference images; allowed: fit\(model, images\)"):
        method(case.model, case.images, case.targets)
    with pytest.raises(InputError, match="got 0 reference images; allowed: 1 or more"):
        method.fit(case.model, case.images[:0])
    bound = method.fit(case.model, references[..., :6].float())
    with pytest.raises(InputError, match=r"references of 2 x 12 x 6; .* the images, 2 x 12 x 12"):
        bound(case.model, case.images, case.targets)
    with pytest.raises(InputError, match=r"ExpectedGradients\.samples: got 0"):
        ExpectedGradients(samples=0)
