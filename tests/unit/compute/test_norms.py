"""The gradient of one image is that which it has in a batch, whatever lies behind a norm."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.compute.norms import RightGradients
from xai_exp.explainers.activation import FullGrad, GradCAM
from xai_exp.explainers.deeplift import DeepLIFT
from xai_exp.explainers.gradients import Gradient, IntegratedGradients
from xai_exp.explainers.lrp import LRP
from xai_exp.explainers.modified import GuidedBackprop
from xai_exp.explainers.perturbation import ExtremalPerturbation
from xai_exp.removal import Constant

IMAGES = torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
TARGETS = torch.tensor([0, 1, 2])


class Tokens(nn.Module):
    """A convolution, a norm, and tokens made of its channels, as transformers begin."""

    def __init__(self, norm):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
            self.mixed = nn.Linear(4, 4)
        self.norm = norm
        self.double().eval()

    def forward(self, x):
        tokens = self.norm(self.first(x)).flatten(2).transpose(1, 2)
        return self.head(functional.gelu(self.mixed(tokens)).mean(1))


def stored():
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.running_mean.copy_(torch.linspace(-0.3, 0.4, 4))
        norm.running_var.copy_(torch.linspace(0.5, 2, 4))
    return norm


NORMS = {
    "batch norm": stored(),
    "instance norm": nn.InstanceNorm2d(4, affine=True),
    "function": lambda x: functional.batch_norm(x, torch.zeros(4).to(x), torch.ones(4).to(x)),
}
EXPLAINERS = {
    "gradient": Gradient(),
    "integrated_gradients": IntegratedGradients(),
    "guided_backprop": GuidedBackprop(at="every"),
    "deeplift": DeepLIFT(),
    "full_grad": FullGrad(),
    "lrp": LRP(),
    "grad_cam": GradCAM(layer="first"),
    "extremal_perturbation": ExtremalPerturbation(steps=5, imputer=Constant(value=0.5)),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_one_image_has_the_heatmap_that_it_has_in_a_batch(name, norm):
    network, explain = Tokens(NORMS[norm]), EXPLAINERS[name]
    together = explain(network, IMAGES, TARGETS)
    for image in range(3):
        alone = explain(network, IMAGES[image : image + 1], TARGETS[image : image + 1])
        torch.testing.assert_close(alone[0], together[image])


def test_a_norm_that_is_fixed_has_the_slope_of_its_scale():
    x = torch.rand(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 4, dtype=torch.float64)
    with RightGradients():
        said = (NORMS["function"](x).flatten(2).transpose(1, 2).mean(1) * weights).sum()
    (slope,) = torch.autograd.grad(said, x)
    expected = (weights / 36 / (1 + 1e-5) ** 0.5)[..., None, None].expand(1, 4, 6, 6)
    torch.testing.assert_close(slope, expected)
