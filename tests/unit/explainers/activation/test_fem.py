"""FEM counts what its formula counts."""

import torch
from torch import nn

from xai_exp.explainers.activation import FEM


def test_cells_that_stand_out_weigh_as_much_as_their_maps_mean():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2)
    )
    images = torch.rand(2, 1, 6, 6)
    found = FEM(layer="1", deviations=1.0)(network, images, torch.zeros(2).long())
    maps = network[:2](images).detach().double()
    for image, heatmap in zip(maps, found, strict=True):
        wanted = torch.zeros(6, 6, dtype=torch.float64)
        for one in image:
            level = one.mean() + one.std(correction=0)
            wanted += one.mean() * (one >= level) * (one.std() > 0)
        assert torch.allclose(heatmap.double(), wanted, atol=1e-6)
        assert wanted.any()
