"""DeepLIFT's sum through norms, gates, attention and maxima; by hand, and by another way."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.backward.engine import ModifiedBackward
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.deeplift.rescale import Tape, rescale_rules

X, BASE = torch.rand(2, 3, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def multipliers(step, x, base, weights):
    """The multipliers of the weighed sum of what a step gives, from the rules alone."""
    tape = Tape()
    rules = rescale_rules(tape, "rescale")
    for values in (base, x):
        root = values.clone().requires_grad_()
        with ModifiedBackward(rules, {}):
            total = (step(root) * weights).sum()
        if values is base:
            tape.rewind()
    return torch.autograd.grad(total, root)[0]


STEPS = {
    "layer norm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "layer norm with weights": lambda x: functional.layer_norm(
        x, (6,), torch.linspace(-1, 2, 6).double(), torch.ones(6).double()
    ),
    "group norm": lambda x: functional.group_norm(x, 2, torch.linspace(-1, 2, 4).double()),
    "instance norm": functional.instance_norm,
    "rms norm": lambda x: functional.rms_norm(x, x.shape[2:]),
    "norm by hand": lambda x: (
        (x - x.mean((2, 3), keepdim=True))
        / torch.sqrt(x.var((2, 3), keepdim=True, unbiased=False) + 1e-5)
    ),
    "unit length": lambda x: functional.normalize(x, dim=1),
    "length by hand": lambda x: x / x.norm(dim=1, keepdim=True),
    "product": lambda x: x * x.flip(2),
    "three factors": lambda x: x * x.flip(2) * x.flip(3),
    "quotient": lambda x: x / (1 + x.flip(2)),
    "sign of a divisor": lambda x: 1.0 / (x - 0.5) + x.flip(2) / (x - 0.5),
    "matrices": lambda x: x @ x.transpose(2, 3),
    "einsum": lambda x: torch.einsum("bchw,bcwk->bchk", x, x.flip(1)),
    "softmax": lambda x: (9 * x).softmax(1),
    "log softmax": lambda x: functional.log_softmax(9 * x, dim=-1),
    "logsumexp": lambda x: torch.logsumexp(9 * x, 1, keepdim=True) + x,
    "attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(2), x.flip(1)),
    "squeeze and excitation": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "hard swish in pieces": lambda x: x * functional.relu6(9 * x - 4) / 6,
    "size": lambda x: (x - 0.5).abs(),
    "powers": lambda x: x**2 + x.pow(3) - 1 / (1 + x) + x.exp() + (x + 1).log() + x.sqrt(),
    "maxout": lambda x: torch.maximum(x, x.flip(2)) - torch.minimum(x, 2 * x.flip(3)),
    "pooling by amax": lambda x: x - x.amax((2, 3), keepdim=True),
    "padded by nothing": lambda x: functional.max_pool2d(
        functional.pad(x, (0, 1, 1, 0), value=-torch.inf), 3, 1
    ),
    "indices": lambda x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[0],
    "batch elsewhere": lambda x: x.permute(2, 3, 0, 1).softmax(-1).relu().permute(2, 3, 0, 1),
    "windows": lambda x: x.unfold(2, 3, 3).transpose(1, 2).flatten(0, 1).tanh().view(x.shape),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_sum_is_the_difference_of_the_values(name):
    step = STEPS[name]
    weights = torch.rand(step(X).shape, dtype=torch.float64) - 0.3
    for base in (BASE, torch.full_like(X, 0.3), X.flip(2)):
        found = ((X - base) * multipliers(step, X, base, weights)).flatten(1).sum(1)
        wanted = ((step(X) - step(base)) * weights).flatten(1).sum(1)
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)


def test_of_a_gate_in_pieces_the_multiplier_is_that_of_the_whole():
    weights = torch.ones_like(X)
    x, base = 4 * X - 2, 4 * BASE - 2
    wanted = (functional.silu(x) - functional.silu(base)) / (x - base)
    for step in (functional.silu, lambda x: x * torch.sigmoid(x), lambda x: x / (1 + (-x).exp())):
        torch.testing.assert_close(multipliers(step, x, base, weights), wanted)


def test_of_a_softmax_of_two_it_is_rescale_of_the_sigmoid_of_their_difference():
    x, base = 9 * X[:, :2], 9 * BASE[:, :2]
    weights = torch.zeros_like(x)
    weights[:, 0] = 1
    found = multipliers(lambda x: x.softmax(1), x, base, weights)
    apart, start = (values[:, 0] - values[:, 1] for values in (x, base))
    ratio = (apart.sigmoid() - start.sigmoid()) / (apart - start)
    torch.testing.assert_close(found, torch.stack([ratio, -ratio], 1))


def test_of_a_product_each_factor_has_the_mean_of_the_other():
    """The Shapley values of the two factors, by both orders."""
    first, other = X[:, :2], X[:, 2:]
    start, end = BASE[:, :2], BASE[:, 2:]
    found = (X - BASE) * multipliers(lambda x: x[:, :2] * x[:, 2:], X, BASE, torch.ones(1))
    wanted = ((first - start) * other + (first - start) * end) / 2
    torch.testing.assert_close(found[:, :2], wanted)
    torch.testing.assert_close(found[:, 2:], ((other - end) * (first + start)) / 2)


def test_other_steps_for_the_baseline_are_refused():
    class Branching(nn.Module):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            x = x.tanh() if self.calls % 2 else x.sigmoid()
            return x.mean((2, 3))

    with pytest.raises(InputError, match=r"sigmoid\(\) for the image where it calls tanh\(\)"):
        DeepLIFT()(Branching(), X, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "regnet_y_400mf", "efficientnet_b0", "swin_t", "convnext_tiny"]
)
def test_torchvisions_networks_keep_the_sum(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(weights=None).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = (network(images) - network(0 * images))[:, 3]
    found = DeepLIFT()(network, images, torch.tensor([3])).sum((1, 2))
    assert abs(found - wanted) < 1e-3 * abs(wanted)
