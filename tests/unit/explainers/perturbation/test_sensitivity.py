"""Sobol indices and HSIC of functions whose sensitivity is known in closed form."""

import numpy as np
import torch
from torch import nn

from xai_exp.explainers.perturbation import HSIC, SobolIndices
from xai_exp.explainers.perturbation.sensitivity import dependence, total_indices
from xai_exp.removal import Constant


class Known(nn.Module):
    """A function of the means of the four quarters of an image."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        a, b, c, d = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1).unbind(1)
        value = self.function(a, b, c, d)
        return torch.stack([value, -value], 1)


def quarters(explainer, function):
    images = torch.ones(1, 1, 8, 8)
    found = explainer(Known(function), images, torch.tensor([0]))[0]
    return found[[0, 0, 4, 4], [0, 4, 0, 4]]


def sobol(**given):
    return SobolIndices(imputer=Constant(value=0.0), cells=2, **given)


def test_indices_of_a_sum_are_shares_of_the_variance():
    found = quarters(sobol(designs=512), lambda a, b, c, d: 3 * a + 2 * b + c + 0 * d)
    assert torch.allclose(found, torch.tensor([9.0, 4, 1, 0]) / 14, atol=0.02)


def test_a_product_counts_for_both_of_its_factors():
    """Uniform a, b: V = 7/144; without a, E[(ab - a'b)^2] / 2 = 1/36, so S_T = 4/7 for each."""
    found = quarters(sobol(designs=1024), lambda a, b, c, d: a * b + 0 * (c + d))
    assert torch.allclose(found, torch.tensor([4.0, 4, 0, 0]) / 7, atol=0.03)


def test_an_output_that_never_changes_has_no_indices():
    assert not quarters(sobol(), lambda a, b, c, d: 0 * (a + b + c + d) + 2).any()
    assert not total_indices(torch.ones(1, 4), torch.ones(1, 3, 4)).any()


def test_the_criterion_is_the_trace_of_its_definition():
    source = np.random.default_rng(0)
    masks, values = source.integers(0, 2, (20, 3)), source.normal(size=20)
    apart = np.abs(values[:, None] - values)
    width = torch.from_numpy(apart).flatten().median().item()
    kernel = np.exp(-(apart**2) / (2 * width**2))
    centring = np.eye(20) - 1 / 20
    wanted = [
        np.trace(((m[:, None] == m) - 0.5) @ centring @ kernel @ centring) / 19**2 for m in masks.T
    ]
    found = dependence(torch.from_numpy(values)[None], torch.from_numpy(masks - 0.5))
    assert np.allclose(found[0].numpy(), wanted, atol=1e-12)


def test_only_cells_that_act_alone_are_seen():
    explainer = HSIC(imputer=Constant(value=0.0), cells=2, samples=600)
    found = quarters(explainer, lambda a, b, c, d: 2 * a + b + 0 * (c + d))
    assert found[0] > 2 * found[1] > 10 * found[2:].max()
