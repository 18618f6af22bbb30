"""The engine: one network written in several ways, what is refused, what is left as it was."""

import warnings

import pytest
import torch
from captum.attr import Deconvolution
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient, IntegratedGradients
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop, RectGrad

RULED = {
    "deconvnet": DeconvNet(),
    "guided_backprop": GuidedBackprop(),
    "rectgrad": RectGrad(quantile=0.5),
    "beta_smooth": BetaSmooth(),
    "epsilon_plus": LRP(),
    "epsilon_alpha2_beta1": LRP(rule="epsilon_alpha2_beta1"),
    "flat": LRP(rule="flat"),
}
METHODS = {"gradient": Gradient(), "integrated_gradients": IntegratedGradients(steps=3), **RULED}


class Modules(nn.Module):
    """A residual net of modules, each used once."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        x = self.relus[0](self.first(x))
        x = self.relus[1](x + self.norm(self.second(x)))
        return self.head(self.relus[2](nn.functional.avg_pool2d(x, 2)).flatten(1))


class Functions(Modules):
    def forward(self, x):
        x = torch.conv2d(x, self.first.weight, self.first.bias, padding=1).relu()
        n = self.norm
        y = functional.conv2d(x, self.second.weight, bias=self.second.bias, padding="same")
        y = functional.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias)
        x = torch.relu(torch.add(x, y))
        x = functional.adaptive_avg_pool2d(x, 4).clamp(min=0).view(len(x), -1)
        return functional.linear(x, self.head.weight, self.head.bias)


class Reused(Modules):
    def forward(self, x):
        x = self.relus[0](self.first(x))
        x = self.relus[0](self.norm(self.second(x)) + x)
        return self.head(self.relus[0](nn.AvgPool2d(2)(x)).reshape(len(x), 64))


class InPlace(Modules):
    """Work in place whose results are taken by the old names."""

    def forward(self, x):
        x = self.first(x)
        x.relu_()
        y = self.norm(self.second(x))
        y += x
        functional.relu(y, inplace=True)
        return self.head(functional.relu_(functional.avg_pool2d(y, 2)).flatten(1))


class Sliced(Modules):
    """Two halves of the same net, put together again."""

    def forward(self, x):
        x = self.relus[0](self.first(x))
        x = torch.cat(x.chunk(2, 1), 1).permute(0, 2, 3, 1).permute(0, 3, 1, 2)
        x = functional.relu(sum([x, self.norm(self.second(x))]))
        x = functional.relu(functional.avg_pool2d(functional.dropout(x, training=False), 2))
        return self.head(x.flatten(1))


WRITTEN = [Functions, Reused, InPlace, Sliced]


@pytest.fixture(scope="module")
def reference():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Modules()
        network.norm.running_mean.uniform_(-0.2, 0.2)
        network.norm.running_var.uniform_(0.5, 1.5)
        return network.double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


TARGETS = torch.tensor([0, 1, 2])


def written(kind, reference):
    network = kind().double()
    network.load_state_dict(reference.state_dict())
    return network.eval()


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("name", METHODS)
def test_the_same_network_written_differently_has_the_same_heatmap(reference, images, kind, name):
    other = written(kind, reference)
    torch.testing.assert_close(other(images), reference(images))
    explain = METHODS[name]
    ours = explain(reference, images, TARGETS)
    torch.testing.assert_close(explain(other, images, TARGETS), ours, rtol=1e-7, atol=1e-10)
    assert ours.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("ours", "theirs"), [(DeconvNet(), Deconvolution), (GuidedBackprop(), CaptumGuidedBackprop)]
)
def test_deconvolution_and_guided_backpropagation_equal_captums(reference, images, ours, theirs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = images.clone().requires_grad_()
        expected = theirs(reference).attribute(pixels, target=TARGETS).sum(1).detach()
    torch.testing.assert_close(ours(reference, images, TARGETS), expected)
    assert not torch.allclose(expected, Gradient()(reference, images, TARGETS))


def test_other_activations_have_their_gradient_or_at_every_one_are_guided_with_their_slope():
    """By hand: f = v . tanh(w x), so that R = w (1 - tanh^2(w x)) v, or max(v, 0) for v."""
    w, v = torch.tensor([[0.7], [-0.4]]), torch.tensor([[0.5, -2.0]])
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    network[1].weight.data, network[3].weight.data = w, v
    nn.init.zeros_(network[1].bias)
    images, targets = torch.full((1, 1, 1, 1), 0.9), torch.tensor([0])
    slope = 1 - torch.tanh(0.9 * w[:, 0]).square()
    guided = (w[:, 0] * slope * v[0].clamp(min=0)).sum()
    torch.testing.assert_close(
        GuidedBackprop(at="every")(network, images, targets)[0, 0, 0], guided
    )
    deconvolved = (w[:, 0] * v[0].clamp(min=0)).sum()
    everywhere = DeconvNet(at="every")(network, images, targets)
    torch.testing.assert_close(everywhere[0, 0, 0], deconvolved)
    plain = (w[:, 0] * slope * v[0]).sum()
    for explain in (GuidedBackprop(), DeconvNet()):
        torch.testing.assert_close(explain(network, images, targets)[0, 0, 0], plain)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.8])
def test_rectgrad_lets_the_largest_contributions_of_each_layer_through(quantile):
    """Loops over units: two layers of tanh, whose slope and value differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Flatten(), nn.Linear(9, 10), nn.Tanh()),
            *(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 3)),
        ).double()
        images = torch.rand(3, 1, 3, 3, dtype=torch.float64)
    found = RectGrad(quantile=quantile)(network, images, TARGETS)
    times = RectGrad(quantile=quantile, times_input=True)(network, images, TARGETS)
    torch.testing.assert_close(times, images[:, 0] * found)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        first = network[2](network[1](image.flatten())).detach()
        second = network[4](network[3](first)).detach()
        relevance = network[5].weight[target].tolist()
        for layer, active in ((network[3], second), (network[1], first)):
            order = sorted(range(len(relevance)), key=lambda i: float(active[i] * relevance[i]))
            gone = set(order[: int(quantile * len(order))])
            slopes = (1 - active.square()).tolist()
            passed = [0 if i in gone else r * slopes[i] for i, r in enumerate(relevance)]
            relevance = (torch.tensor(passed).double() @ layer.weight.detach()).tolist()
        torch.testing.assert_close(heatmap.flatten(), torch.tensor(relevance).double())
    if not quantile:
        torch.testing.assert_close(found, Gradient()(network, images, TARGETS))


class OwnRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, grad):
        return grad * (ctx.saved_tensors[0] > 0)


def ending(function):
    class Ending(Modules):
        def forward(self, x):
            return function(super().forward(x))

    return Ending


REFUSED = {
    "softmax": (lambda x: x.softmax(1), "no rule for softmax() that is not a factor"),
    "quotient": (lambda x: x[:, :1] / x, "no rule for div() of two values that both depend"),
    "softmax in pieces": (
        lambda x: x.exp() / x.exp().sum(1, keepdim=True),
        "no rule for div() of an exponential, which is a softmax in pieces",
    ),
    "constant": (lambda x: torch.rand(3, 3).to(x) @ x, "no rule for matmul() with a constant"),
    "broadcast": (lambda x: x + x[:, :1], "no rule for add() of shapes (3, 3) and (3, 1)"),
    "broadcast by name": (
        lambda x: torch.mul(input=x[:, :1], other=torch.ones(3).to(x)),
        "no rule for mul() from shape (3, 1) to (3, 3)",
    ),
    "batch statistics": (
        lambda x: functional.batch_norm(x, None, None, training=True),
        "no rule for batch_norm() that takes its statistics from the batch",
    ),
    "own function": (OwnRelu.apply, "no rule for OwnRelu() which hides what it does"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_lrp_refuses_a_step_without_a_rule_by_its_name(reference, images, name):
    function, told = REFUSED[name]
    with pytest.raises(InputError) as error:
        LRP()(written(ending(function), reference), images, TARGETS)
    assert told in str(error.value)
    assert "allowed: networks of convolutions" in str(error.value)
    assert "use a gradient or perturbation method" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["deconvnet", "guided_backprop"])
@pytest.mark.parametrize(
    "function",
    [OwnRelu.apply, lambda x: torch.maximum(x, 0 * x), lambda x: torch.where(x > 0, x, x / 9)],
)
def test_an_activation_that_can_not_be_seen_is_refused(reference, images, name, function):
    with pytest.raises(InputError, match="allowed"):
        RULED[name](written(ending(function), reference), images, TARGETS)


@pytest.mark.parametrize("name", RULED)
def test_a_scripted_part_is_refused(images, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        body = torch.jit.script(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).double())
    network = nn.Sequential(body, nn.Flatten(), nn.Linear(108, 3).double())
    with pytest.raises(InputError, match="can't see into 0: got a scripted or compiled module"):
        RULED[name](network, images, TARGETS)


def test_work_in_place_on_a_view_is_refused(reference, images):
    def function(x):
        half = x[:, :1]
        half.relu_()
        return x

    with pytest.raises(InputError, match="relu_\\(\\) in place on a view"):
        LRP()(written(ending(function), reference), images, TARGETS)


@pytest.mark.parametrize("name", METHODS)
def test_logits_that_do_not_depend_on_the_images_are_refused(reference, images, name):
    network = written(ending(torch.detach), reference)
    with pytest.raises(InputError, match="got logits that do not depend on the images"):
        METHODS[name](network, images, TARGETS)


def state(network):
    hooks = [
        len(getattr(module, kind))
        for module in network.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    ]
    flags = [p.requires_grad for p in network.parameters()]
    grads = [p.grad for p in network.parameters()]
    modes = [module.training for module in network.modules()]
    values = [value.clone() for value in network.state_dict().values()]
    return hooks, flags, grads, modes, values, set(vars(network))


def unchanged(before, after):
    assert before[:4] == after[:4]
    assert before[5] == after[5]
    assert all(torch.equal(one, other) for one, other in zip(before[4], after[4], strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_left_as_it_was_even_after_an_exception(reference, images, name):
    class Breaking(Modules):
        def forward(self, x):
            x = super().forward(x)
            raise RuntimeError(f"broken at {tuple(x.shape)}")

    for kind in (Modules, Breaking):
        network = written(kind, reference).train()
        network.norm.eval()
        network.head.bias.requires_grad_(False)
        before = state(network)
        if kind is Breaking:
            with pytest.raises(RuntimeError, match="broken"):
                METHODS[name](network, images, TARGETS)
        else:
            METHODS[name](network, images, TARGETS)
        unchanged(before, state(network))
        assert torch.nn.functional.relu(images[:0]).shape == images[:0].shape


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_heatmaps_can_be_made_where_gradients_are_off(reference, images, name, context):
    explain = METHODS[name]
    expected = explain(reference, images, TARGETS)
    with context():
        torch.testing.assert_close(explain(reference, images.clone(), TARGETS), expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_no_images_give_no_heatmaps(reference, images, name):
    assert METHODS[name](reference, images[:0], TARGETS[:0]).shape == (0, 8, 8)


def test_work_in_place_on_the_images_leaves_them(reference, images):
    class Shifting(Modules):
        def forward(self, x):
            x.sub_(0.5).mul_(2)
            return super().forward(x)

    network, before = written(Shifting, reference), images.clone()
    for explain in (*METHODS.values(), InputXGradient()):
        explain(network, images, TARGETS)
        assert torch.equal(images, before)
    inner = LRP()(reference, (images - 0.5) * 2, TARGETS)
    torch.testing.assert_close(LRP()(network, images, TARGETS), inner)
