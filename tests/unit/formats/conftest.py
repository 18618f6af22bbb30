"""A network with batch norm, and pictures, as they go out and come in again."""

import pytest
import torch
from torch import nn

from xai_exp.models.cnn import CNN


@pytest.fixture(scope="package")
def network():
    """A network for four classes, with statistics of batch norm that are not the start's."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CNN(norm="batch").build(3, (32, 32), 4).eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    return network


@pytest.fixture(scope="package")
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="package")
def apart():
    """The largest difference of heatmaps that are not empty, as a share of the largest value."""

    def share(one, other):
        assert float(one.abs().max()) > 0
        return float((one - other).abs().max() / one.abs().max())

    return share
