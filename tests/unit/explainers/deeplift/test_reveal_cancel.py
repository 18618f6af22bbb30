"""Reveal-cancel: the paper's example, an oracle of loops, its sum, and however a net is written."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.gradients.baselines import uniform

EXPLAIN = DeepLIFT(rule="reveal_cancel")
ACTIVATIONS = [nn.ReLU, nn.ELU, nn.SiLU, nn.Tanh, nn.Softplus, nn.LeakyReLU]
TARGETS = torch.arange(5) % 3


def images(count=5, channels=2, side=8):
    source = torch.Generator().manual_seed(3)
    return torch.rand(count, channels, side, side, generator=source, dtype=torch.float64)


def frozen(model):
    return model.double().eval().requires_grad_(False)


def network(activation=nn.ReLU, pool=None):
    torch.manual_seed(1)
    made = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), activation()),
        pool or nn.MaxPool2d(2),
        *(nn.Conv2d(4, 6, 3, stride=2), activation(), nn.Flatten()),
        *(nn.Linear(6, 5), nn.Dropout(), activation(), nn.Linear(5, 3)),
    )
    made[1].running_mean.normal_()
    made[1].running_var.uniform_(0.5, 2)
    made[1].weight.data.normal_()
    return frozen(made)


class Residual(nn.Module):
    """Functions, one activation used twice, sums and differences of branches and of constants."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(8, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = (x - 0.4) / 0.3
        x = self.relu(self.first(x))
        x = functional.relu(x + self.second(x))
        x = functional.max_pool2d(x, 3, 2, padding=1)
        y = 2 - x - self.second(x)
        x = torch.cat([x, y], 1).tanh()
        return self.last(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def gap(model, x, baseline):
    rows = torch.arange(len(x))
    return (model(x) - model(uniform(x, baseline)))[rows, TARGETS[: len(x)]]


def sums_to(maps, wanted):
    torch.testing.assert_close(maps.sum((1, 2)), wanted.to(maps), rtol=1e-6, atol=1e-6)


class Pixels(nn.Module):
    """A small network behind pixels that are used as plain numbers."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x):
        return self.body(x)


def minimum():
    """min(a, b) = relu(a) - relu(a - b) for a, b >= 0, as in figure 1 of the paper."""
    first, last = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    first.weight.data = torch.tensor([[1.0, 0.0], [1.0, -1.0]])
    last.weight.data = torch.tensor([[1.0, -1.0]])
    return frozen(Pixels(first, nn.ReLU(), last))


def conjunction():
    """relu(a + b - 1): both are needed."""
    first, last = nn.Linear(2, 1), nn.Linear(1, 1, bias=False)
    first.weight.data, first.bias.data = torch.ones(1, 2), torch.tensor([-1.0])
    last.weight.data = torch.ones(1, 1)
    return frozen(Pixels(first, nn.ReLU(), last))


@pytest.mark.parametrize(("a", "b"), [(0.7, 0.4), (0.2, 0.9), (1.0, 1.0)])
def test_both_inputs_of_a_minimum_get_half_where_rescale_gives_one_of_them_all(a, b):
    x, target = torch.tensor([[[[a, b]]]]).double(), torch.tensor([0])
    half = torch.full((1, 1, 2), min(a, b) / 2).double()
    torch.testing.assert_close(EXPLAIN(minimum(), x, target), half)
    other = DeepLIFT()(minimum(), x, target)[0, 0]
    if a != b:
        torch.testing.assert_close(other, torch.tensor([a * (a < b), b * (b < a)]).double())


def test_both_inputs_of_a_conjunction_get_half():
    x, target = torch.ones(1, 1, 1, 2).double(), torch.tensor([0])
    torch.testing.assert_close(
        EXPLAIN(conjunction(), x, target), torch.full((1, 1, 2), 0.5).double()
    )


def parts(layers, activation, image, start):
    """Each layer's input differences and parts, by the equations of sections 3.5.1 and 3.5.3."""
    found = []
    value, base = image, start
    for weight, bias in layers:
        difference = value - base
        total, empty = weight @ value + bias, weight @ base + bias
        shares = weight * difference
        more, less = shares.clamp(min=0).sum(1), shares.clamp(max=0).sum(1)
        up = torch.zeros_like(total)
        down = torch.zeros_like(total)
        for unit in range(len(total)):
            z, p, n = empty[unit], more[unit], less[unit]
            up[unit] = (activation(z + p) - activation(z)) / 2
            up[unit] += (activation(z + n + p) - activation(z + n)) / 2
            down[unit] = (activation(z + n) - activation(z)) / 2
            down[unit] += (activation(z + p + n) - activation(z + p)) / 2
        # A part that is not there has the slope for its multiplier, the limit of the quotient.
        slope = torch.func.vmap(torch.func.grad(activation))(total)
        ups, downs = (
            torch.where(more == 0, slope, up / more),
            torch.where(less == 0, slope, down / less),
        )
        found.append((weight, difference, ups, downs))
        value, base = activation(total), activation(empty)
    return found


def oracle(layers, activation, image, start, target):
    """Multipliers chained unit by unit; the last layer has no activation."""
    walk = parts(layers, activation, image, start)
    adds = takes = torch.eye(len(layers[-1][1]), dtype=torch.float64)[target]
    for place, (weight, difference, ups, downs) in reversed(list(enumerate(walk))):
        if place < len(walk) - 1:
            adds, takes = adds * ups, takes * downs
        found = torch.zeros_like(difference)
        for i in range(len(difference)):
            for unit in range(len(ups)):
                share = weight[unit, i] * difference[i]
                if share == 0:
                    found[i] += weight[unit, i] * (adds[unit] + takes[unit]) / 2
                else:
                    found[i] += weight[unit, i] * (adds if share > 0 else takes)[unit]
        adds = takes = found
    return adds * (image - start)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SiLU])
def test_it_equals_an_oracle_of_loops(activation):
    torch.manual_seed(7)
    linears = [nn.Linear(32, 9), nn.Linear(9, 7), nn.Linear(7, 3)]
    model = frozen(Pixels(linears[0], activation(), linears[1], activation(), linears[2]))
    x = images(side=4)
    x[0, 0, 0, 0] = 0.25  # no difference from the baseline
    layers = [(one.weight.double(), one.bias.double()) for one in linears]
    wanted = [
        oracle(layers, activation(), image.flatten(), torch.full((32,), 0.25).double(), target)
        for image, target in zip(x, TARGETS, strict=True)
    ]
    maps = DeepLIFT(rule="reveal_cancel", baseline=0.25)(model, x, TARGETS)
    torch.testing.assert_close(maps, torch.stack(wanted).view(5, 2, 4, 4).sum(1))


def test_a_convolution_is_the_matrix_product_that_it_is():
    torch.manual_seed(8)
    convolution = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    zero = convolution(torch.zeros(1, 2, 4, 4).double()).flatten()
    dense = nn.Linear(32, 12).double()
    dense.bias.data = zero.detach()
    eye = torch.eye(32).double().view(32, 2, 4, 4)
    dense.weight.data = (convolution(eye).flatten(1) - zero).T.detach()
    last = nn.Linear(12, 3).double()
    one = frozen(nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), last))
    other = frozen(nn.Sequential(nn.Flatten(), dense, nn.ReLU(), last))
    x = images(side=4)
    torch.testing.assert_close(EXPLAIN(one, x, TARGETS), EXPLAIN(other, x, TARGETS))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("baseline", [0.0, -0.5, "border"])
def test_it_sums_to_the_difference_of_the_logits(activation, baseline):
    x, model = images(), network(activation)
    maps = DeepLIFT(rule="reveal_cancel", baseline=baseline)(model, x, TARGETS)
    sums_to(maps, gap(model, x, baseline))


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(2), nn.MaxPool2d(3, 2, padding=1), nn.AdaptiveMaxPool2d(4)]
)
def test_it_sums_with_other_pooling(pool):
    x, model = images(), network(pool=pool)
    sums_to(DeepLIFT(rule="reveal_cancel", baseline=0.5)(model, x, TARGETS), gap(model, x, 0.5))


def test_it_sums_on_residual_networks_of_functions_and_reused_modules():
    x, model = images(), frozen(Residual())
    sums_to(EXPLAIN(model, x, TARGETS), gap(model, x, 0.0))


def test_a_batch_norm_is_the_same_as_one_folded_into_its_convolution():
    model = network()
    convolution, norm = model[0], model[1]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = nn.Conv2d(2, 4, 3, padding=1).double()
    folded.weight.data = convolution.weight * scale[:, None, None, None]
    folded.bias.data = (convolution.bias - norm.running_mean) * scale + norm.bias
    other = frozen(nn.Sequential(folded, *model[2:]))
    assert (scale < 0).any()
    x = images()
    torch.testing.assert_close(EXPLAIN(model, x, TARGETS), EXPLAIN(other, x, TARGETS))


def test_it_is_not_rescale():
    x, model = images(), network()
    one, other = EXPLAIN(model, x, TARGETS), DeepLIFT()(model, x, TARGETS)
    assert (one - other).abs().max() > 0.01 * other.abs().max()


def test_it_is_rescale_where_nothing_cancels():
    torch.manual_seed(9)
    model = Pixels(nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 3))
    for layer in (model.body[1], model.body[3]):
        layer.weight.data.abs_()
    model, x = frozen(model), images(side=4)
    torch.testing.assert_close(EXPLAIN(model, x, TARGETS), DeepLIFT()(model, x, TARGETS))


def test_an_image_gets_the_same_heatmap_alone_and_among_many():
    x, model = images(count=40), network()
    targets = torch.arange(40) % 3
    together = EXPLAIN(model, x, targets)
    alone = torch.cat([EXPLAIN(model, x[i : i + 1], targets[i : i + 1]) for i in range(40)])
    torch.testing.assert_close(together, alone)


def test_an_image_that_is_its_own_baseline_gets_nothing():
    x = torch.full((2, 2, 8, 8), 0.3, dtype=torch.float64)
    explain = DeepLIFT(rule="reveal_cancel", baseline="border")
    assert not explain(network(), x, torch.tensor([0, 1])).any()


class Step(nn.Module):
    """A network with one step that is to be refused."""

    def __init__(self, step):
        super().__init__()
        torch.manual_seed(0)
        self.step, self.last = step, nn.Linear(32, 3)

    def forward(self, x):
        return self.last(self.step(x).flatten(1)[:, :32])


@pytest.mark.parametrize(
    ("step", "named"),
    [
        (lambda x: x * x, "two values"),
        (lambda x: x.softmax(1), "softmax"),
        (lambda x: 1 / (x + 2), "reciprocal|by a value|div"),
        (lambda x: functional.pad(x, (1, 1), value=0.5), "value=0.5"),
        (lambda x: torch.cat([x, torch.ones(x.shape)], 1), "with a constant"),
        (lambda x: torch.sub(x, x.relu(), alpha=2), "alpha=2"),
        (lambda x: functional.batch_norm(x, None, None, training=True), "batch"),
    ],
)
def test_what_has_no_rule_is_refused_by_its_name(step, named):
    with pytest.raises(InputError, match=named):
        EXPLAIN(frozen(Step(step)), images(side=4), TARGETS)


def test_the_gradient_of_max_pooling_is_refused():
    with pytest.raises(InputError, match=r"pooling: got gradient .* allowed: pooling=rescale"):
        DeepLIFT(rule="reveal_cancel", pooling="gradient")
