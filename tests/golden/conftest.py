"""The small network that all golden files share."""

import pytest
import torch
from torch import nn


def network_of(arrays):
    """The network of a golden file, from its arrays."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    for place, name in ((0, "conv1"), (3, "conv2"), (7, "fc1"), (9, "fc2")):
        network[place].weight.data = torch.tensor(arrays[f"{name}_weight"])
        network[place].bias.data = torch.tensor(arrays[f"{name}_bias"])
    return network


@pytest.fixture(scope="session")
def golden_network():
    """Makes the network of a golden file from its arrays."""
    return network_of
