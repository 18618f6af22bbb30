"""Xplique 2.0.2's estimators on fixed numbers, made by scripts/golden/from_xplique.py."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from xai_exp.explainers.activation import FEM
from xai_exp.explainers.filtered import low_passed
from xai_exp.explainers.perturbation.sensitivity import dependence, total_indices

KEPT = {
    name: torch.tensor(one) for name, one in np.load(Path(__file__).parent / "xplique.npz").items()
}


def test_sobol_indices_are_xpliques_on_the_same_outputs():
    values, found = KEPT["sobol/values"].double(), KEPT["sobol/found"].flatten()
    cells = len(found)
    base, _, swapped = values.split(
        [len(values) // (cells + 2)] * 2 + [len(values) * cells // (cells + 2)]
    )
    mine = total_indices(base[None], swapped.view(1, cells, -1))[0]
    torch.testing.assert_close(mine.float(), found, rtol=1e-5, atol=1e-6)


def test_hsic_is_xpliques_on_the_same_sets_but_for_its_divisor():
    """Theirs is divided by N, ours by (N - 1)^2 as in the paper."""
    values, masks = KEPT["hsic/values"], KEPT["hsic/masks"].flatten(1).double()
    mine = dependence(values[None], masks - 0.5)[0] * (len(values) - 1) ** 2 / len(values)
    torch.testing.assert_close(mine.float(), KEPT["hsic/found"].flatten(), rtol=1e-4, atol=1e-6)


def test_fem_is_xpliques_on_the_same_maps():
    class Given(nn.Module):
        """A layer whose maps are given, and something behind it."""

        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Conv2d(5, 5, 1, bias=False), nn.Linear(5, 2)
            self.layer.weight.data = torch.eye(5)[:, :, None, None]

        def forward(self, images):
            return self.head(self.layer(images).mean((2, 3)))

    maps = KEPT["fem/maps"].permute(0, 3, 1, 2).contiguous()
    found = FEM(layer="layer", deviations=1.0)(Given().eval(), maps, torch.tensor([0, 1]))
    torch.testing.assert_close(found, KEPT["fem/found"], rtol=1e-5, atol=1e-6)


def test_forgrad_is_xpliques_which_takes_absolute_values_before_and_after():
    maps, side = KEPT["forgrad/maps"], 16
    found = low_passed(maps.abs(), cutoff=2 * 4 / side).abs()
    torch.testing.assert_close(found, KEPT["forgrad/found"], rtol=1e-4, atol=1e-5)
