"""SmoothGrad and its relatives against moments by hand, captum, and statistics written out."""

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.gradients.averaged import SmoothGrad
from xai_exp.explainers.gradients.gradients import Gradient

STATISTICS = ["mean", "squared", "variance"]


class Cubic(nn.Module):
    """Every logit is the sum of w x^3, whose slope under noise has known moments."""

    def forward(self, x):
        weight = torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype).view(x.shape[1:])
        return (weight * x**3).sum((1, 2, 3))[:, None].expand(-1, 3)


def drawn(case, number, seed=0):
    """The noise of one draw, image by image."""
    rows = [
        ops.keyed_normal(
            ops.named_keys(ops.image_keys(image[None], seed), f"smoothgrad {number}"),
            image.numel(),
        ).view(image.shape)
        for image in case.images
    ]
    return torch.stack(rows).to(case.images)


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_statistic_is_that_of_gradients_at_noisy_copies(make_case, statistic, absolute):
    case = make_case(dtype=torch.float64)
    flat = case.images.flatten(1)
    strength = (0.3 * (flat.amax(1) - flat.amin(1))).view(-1, 1, 1, 1)
    slopes = []
    for number in range(7):
        x = (case.images + strength * drawn(case, number, seed=3)).requires_grad_()
        chosen = case.model(x).gather(1, case.targets[:, None]).sum()
        slope = torch.autograd.grad(chosen, x)[0]
        slopes.append(slope.abs() if absolute else slope)
    slopes = torch.stack(slopes)
    wanted = {
        "mean": slopes.mean(0),
        "squared": (slopes**2).mean(0),
        "variance": slopes.var(0, correction=0),
    }[statistic]
    explain = SmoothGrad(statistic=statistic, samples=7, sigma=0.3, absolute=absolute, seed=3)
    found = explain(case.model, case.images, case.targets)
    torch.testing.assert_close(found, wanted.sum(1))


def test_moments_of_a_cubic_are_those_of_the_normal_distribution(make_case):
    """The slope 3 w (x + s n)^2 has mean 3 w (x^2 + s^2), variance 9 w^2 (4 x^2 s^2 + 2 s^4)."""
    case = make_case(count=2, channels=1, size=(4, 4), dtype=torch.float64)
    x, s, count = case.images[:, 0], 0.2, 4000
    w = torch.linspace(-1, 2, 16, dtype=torch.float64).view(4, 4)
    mean, variance = 3 * w * (x**2 + s**2), 9 * w**2 * (4 * x**2 * s**2 + 2 * s**4)
    error = 5 * (variance / count).sqrt()  # standard errors
    shared = {"samples": count, "sigma": s, "scale": "unit"}
    found = {
        name: SmoothGrad(statistic=name, **shared)(Cubic(), case.images, case.targets)
        for name in STATISTICS
    }
    assert ((found["mean"] - mean).abs() <= error).all()
    torch.testing.assert_close(found["variance"], variance, rtol=0.15, atol=0)
    torch.testing.assert_close(found["squared"], found["variance"] + found["mean"] ** 2)


@pytest.mark.parametrize("absolute", [False, True])
def test_smoothgrad_without_noise_is_the_gradient(make_case, absolute):
    case = make_case()
    found = SmoothGrad(sigma=0.0, samples=5, absolute=absolute)(
        case.model, case.images, case.targets
    )
    wanted = Gradient(absolute=absolute)(case.model, case.images, case.targets)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vargrad_is_nothing_on_a_linear_network(make_case, dtype):
    case = make_case(dtype=dtype)
    linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(300, 3)).to(dtype)
    for scale in ("range", "unit"):
        found = SmoothGrad(statistic="variance", scale=scale)(linear, case.images, case.targets)
        assert found.abs().max() < 1e-12


def test_a_small_variance_beside_a_large_mean_is_not_lost():
    """In float32 E[g^2] - E[g]^2 would be off by a thousand times the variance."""

    class Steep(nn.Module):
        def forward(self, x):
            return (1000 * x + 0.05 * x**2).sum((1, 2, 3))[:, None]

    images = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    found = SmoothGrad(statistic="variance", sigma=0.5, samples=200)(
        Steep(), images, torch.tensor([0])
    )
    torch.testing.assert_close(found.mean(), torch.tensor(0.0025), rtol=0.1, atol=0)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_an_image_draws_the_same_noise_alone_and_in_a_batch(make_case, statistic):
    case = make_case(count=40, dtype=torch.float64)
    explain = SmoothGrad(statistic=statistic, samples=9, sigma=0.5)
    together = explain(case.model, case.images, case.targets)
    for row in (0, 17, 39):
        alone = slice(row, row + 1)
        found = explain(case.model, case.images[alone], case.targets[alone])
        torch.testing.assert_close(found, together[alone])
    other = SmoothGrad(statistic=statistic, samples=9, sigma=0.5, seed=1)
    assert not torch.allclose(other(case.model, case.images, case.targets), together)


@pytest.mark.parametrize(
    ("statistic", "theirs"),
    [("mean", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")],
)
def test_statistics_are_those_of_captum_within_the_error_of_sampling(make_case, statistic, theirs):
    case = make_case(count=2, size=(6, 6), dtype=torch.float64)
    ours = SmoothGrad(statistic=statistic, samples=4000, sigma=0.2, scale="unit")
    mine = ours(case.model, case.images, case.targets)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tunnel = NoiseTunnel(Saliency(case.model))
        peer = tunnel.attribute(
            case.images.clone().requires_grad_(),
            nt_type=theirs,
            nt_samples=4000,
            stdevs=0.2,
            target=case.targets,
            abs=False,
        ).sum(1)
    assert (mine - peer).abs().max() < 0.06 * peer.abs().max()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"samples": 0}, "SmoothGrad.samples: got 0; allowed: a whole number >= 1"),
        ({"sigma": -0.1}, "SmoothGrad.sigma: got -0.1; allowed: a number >= 0"),
        ({"statistic": "median"}, "got 'median'; allowed: one of mean, squared, variance"),
        ({"scale": "std"}, "got 'std'; allowed: one of range, unit"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(given, told):
    with pytest.raises(InputError) as error:
        SmoothGrad(**given)
    assert told in str(error.value)
