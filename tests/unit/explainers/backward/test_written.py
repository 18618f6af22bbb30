"""However a function is written: the same heatmap, or refused; never a gradient in silence."""

import operator
import warnings
from functools import partial
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.activation import FullGrad, GradCAM, GuidedGradCAM
from xai_exp.explainers.backward.calls import kept_apart
from xai_exp.explainers.deeplift import DeepLIFT, DeepLIFTSHAP
from xai_exp.explainers.gradients import Gradient
from xai_exp.explainers.lrp.attention import AttnLRP
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.lrp.pattern import PatternAttribution, PatternNet
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop, RectGrad


class Fitted:
    """An explainer that is bound to the images that it explains."""

    def __init__(self, explainer):
        self.explainer = explainer

    def __call__(self, model, images, targets):
        return self.explainer.fit(model, images)(model, images, targets)


EXPLAINERS = {
    "guided_backprop": GuidedBackprop(),
    "guided_everywhere": GuidedBackprop(at="every"),
    "deconvnet": DeconvNet(),
    "rectgrad": RectGrad(quantile=0.5),
    "beta_smooth": BetaSmooth(),
    "deeplift": DeepLIFT(baseline=0.3),
    "reveal_cancel": DeepLIFT(rule="reveal_cancel", baseline=0.3),
    "full_grad": FullGrad(),
    "lrp": LRP(),
    "deep_taylor": DeepTaylor(),
    "excitation": ExcitationBackprop(),
    "pattern_net": Fitted(PatternNet(kind="linear")),
}
# Made of those above, so that they need not be asked of each way of writing by itself.
FAMILIES = EXPLAINERS | {
    "pattern_attribution": Fitted(PatternAttribution(kind="linear")),
    "deeplift_shap": Fitted(DeepLIFTSHAP(references=2)),
    "guided_grad_cam": GuidedGradCAM(),
    "attn_lrp": AttnLRP(),
}
TARGETS = torch.tensor([0, 1, 2])
IMAGES = torch.rand(3, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class Around(nn.Module):
    """A step between two convolutions, and one behind a linear layer."""

    def __init__(self, step):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3, stride=2)
            self.head = nn.Linear(12, 3)
        self.step = step
        self.double().eval()

    def forward(self, x):
        x = self.step(self.first(x))
        return self.head(self.step(self.second(x)).flatten(1))


def agrees(name, step, other):
    """Whether both networks have the same heatmap; True, too, where the second one is refused."""
    networks = Around(step), Around(other)
    torch.testing.assert_close(networks[1](IMAGES), networks[0](IMAGES))
    expected = FAMILIES[name](networks[0], IMAGES, TARGETS)
    try:
        found = FAMILIES[name](networks[1], IMAGES, TARGETS)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return "refused"
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)
    return "same"


def agrees_or_both_are_refused(name, step, other):
    """As `agrees`; None where the first network is refused, as the second must be then."""
    try:
        EXPLAINERS[name](Around(step), IMAGES, TARGETS)
    except InputError:
        with pytest.raises(InputError, match="allowed"):
            EXPLAINERS[name](Around(other), IMAGES, TARGETS)
        return None
    return agrees(name, step, other)


def assigned(x, mask):
    x = x.clone()
    x[mask(x)] = 0
    return x


def assigned_at_once(x):
    x[x < 0] = 0
    return x


def filled(x):
    x.masked_fill_(x < 0, 0)
    return x


RECTIFIERS = {
    "masked": lambda x: x * (x > 0),
    "mask first": lambda x: (x >= 0) * x,
    "mask as numbers": lambda x: x * (x > 0).to(x.dtype),
    "mask of zeros": lambda x: x.mul(torch.gt(x, torch.zeros_like(x)).double()),
    "mask turned": lambda x: x * ~(x < 0),
    "zero first": lambda x: x * (0 < x),  # noqa: SIM300
    "heaviside": lambda x: x * torch.heaviside(x, torch.zeros_like(x)),
    "sum with size": lambda x: (x + x.abs()) / 2,
    "size first": lambda x: 0.5 * torch.add(torch.abs(x), x),
    "max of two": lambda x: torch.max(x, torch.zeros_like(x)),
    "max with zeros of its kind": lambda x: torch.max(x, torch.zeros(x.shape).to(x)),
    "max with zeros of its type": lambda x: torch.max(torch.zeros(1).type_as(x).expand_as(x), x),
    "maximum": lambda x: torch.maximum(torch.zeros_like(x), x),
    "fmax": lambda x: torch.fmax(x, x.new_zeros(())),
    "min": lambda x: -torch.min(-x, torch.zeros_like(x)),
    "minimum": lambda x: -torch.minimum(-x, torch.zeros_like(x)),
    "clamp": lambda x: x.clamp(min=0),
    "clip": lambda x: torch.clip(x, 0),
    "clamp from above": lambda x: -(-x).clamp(max=0),
    "clamp_max": lambda x: -torch.clamp_max(-x, 0),
    "clamp by a tensor": lambda x: torch.clamp(x, min=torch.zeros_like(x)),
    "without what is below": lambda x: x - x.clamp(max=0),
    "without the smaller": lambda x: torch.sub(x, torch.minimum(x, torch.zeros_like(x))),
    "without what is below by a tensor": lambda x: x - torch.clamp_max(x, 0),
    "where": lambda x: torch.where(x > 0, x, 0),
    "where not": lambda x: torch.where(x <= 0, torch.zeros_like(x), x),
    "where as a method": lambda x: x.where(x > 0, 0),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "index_put": lambda x: torch.index_put(x, (x < 0,), torch.zeros(())),
    "index_put in place": lambda x: x.clone().index_put_((x < 0,), torch.zeros(())),
    "index_put of ATen": lambda x: torch.ops.aten.index_put.default(x, [x < 0], torch.zeros(())),
    "masked_fill in place": filled,
    "assigned": lambda x: assigned(x, lambda x: x < 0),
    "assigned in place": assigned_at_once,
    "stacked": lambda x: torch.stack([x, torch.zeros_like(x)]).max(0)[0],
    "stacked last": lambda x: torch.stack([torch.zeros_like(x), x], -1).amax(-1),
    "threshold": lambda x: functional.threshold(x, 0, 0),
    "leaky": lambda x: functional.leaky_relu(x, 0.0),
    "hardtanh": lambda x: functional.hardtanh(x, 0.0, float("inf")),
    "elu": lambda x: functional.elu(x, 0.0),
    "in place": lambda x: x.relu_(),
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "clamp in place": lambda x: x.clamp_(min=0),
    "module in place": nn.ReLU(inplace=True),
    "flattened in place": lambda x: x.flatten(1).relu_().view_as(x),
}
SEEN_BY_ALL = RECTIFIERS.keys()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("written", RECTIFIERS)
def test_a_relu_is_one_however_it_is_written(name, written):
    assert agrees(name, torch.relu, RECTIFIERS[written]) == "same"


LEAKS = {
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "where not": lambda x: torch.where(x < 0, x * 0.1, x),
    "where with a tensor": lambda x: torch.where(
        x >= 0, x, x.mul(torch.tensor(0.1, dtype=x.dtype))
    ),
    "where by channel": lambda x: torch.where(
        x > 0, x, torch.full((x.shape[1], 1, 1), 0.1, dtype=x.dtype) * x
    ),
    "where as a method": lambda x: x.where(x > 0, 0.1 * x),
}
NO_LEAKS = {
    "another slope above": lambda x: torch.where(x > 0, 0.1 * x, x),
    "another value": lambda x: torch.where(x > 0, x, 0.1 * x.flip(-1)),
    "another threshold": lambda x: torch.where(x > 0.1, x, 0.1 * x),
    "changed since": lambda x: torch.where(x > 0, x, (0.1 * x).add_(0.1)),
    "by place": lambda x: torch.where(x > 0, x, torch.linspace(0.1, 0.2, x.shape[-1]).to(x) * x),
}
DISGUISED = {
    "sign": lambda x: x * (1 + x.sign()) / 2,
    "detached mask": lambda x: x * (x / (x.abs() + 1e-30)).detach().clamp(min=0),
    "joined": lambda x: torch.cat([x[None], 0 * x[None].detach()]).amax(0),
    "padded": lambda x: functional.pad(x[..., None], (0, 1)).amax(-1),
    "half each": lambda x: x / 2 + x.abs() / 2,
    "straight through": lambda x: x + (x.relu() - x).detach(),
    "no_grad": lambda x: x * rectified(x),
    "sorted": lambda x: torch.stack([x, torch.zeros_like(x)]).sort(0)[0][1],
    "read out": lambda x: x if float(x.min()) > 0 else x.relu(),
    "data": lambda x: x * (x.data > 0),
}
SUMMED = {  # these have rules for sizes, or for the largest of any values
    **dict.fromkeys(
        ("deeplift", "full_grad", "lrp", "deep_taylor", "excitation"),
        ("half each", "padded", "joined"),
    ),
    "reveal_cancel": ("padded",),
}


@torch.no_grad()
def rectified(x):
    return torch.tanh(1e9 * x).clamp(min=0)


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("written", DISGUISED)
def test_a_rectifier_that_is_not_recognised_is_refused(name, written):
    if written in SUMMED.get(name, ()):
        return
    with pytest.raises(InputError, match="allowed"):
        EXPLAINERS[name](Around(DISGUISED[written]), IMAGES, TARGETS)


@pytest.mark.parametrize("written", LEAKS)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_leaky_relu_by_where_is_one(name, written):
    agrees_or_both_are_refused(name, lambda x: functional.leaky_relu(x, 0.1), LEAKS[written])


@pytest.mark.parametrize("written", NO_LEAKS)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_what_is_nearly_a_leaky_relu_is_refused(name, written):
    with pytest.raises(InputError, match="where"):
        EXPLAINERS[name](Around(NO_LEAKS[written]), IMAGES, TARGETS)


ACTIVATIONS = {
    "relu": (functional.relu, nn.ReLU(inplace=True)),
    "silu": (functional.silu, nn.SiLU(inplace=True)),
    "silu function": (functional.silu, lambda x: functional.silu(x, inplace=True)),
    "relu6": (functional.relu6, nn.ReLU6(inplace=True)),
    "leaky_relu": (functional.leaky_relu, nn.LeakyReLU(inplace=True)),
    "elu": (functional.elu, nn.ELU(inplace=True)),
    "selu": (functional.selu, nn.SELU(inplace=True)),
    "celu": (functional.celu, nn.CELU(inplace=True)),
    "hardswish": (functional.hardswish, nn.Hardswish(inplace=True)),
    "hardsigmoid": (functional.hardsigmoid, nn.Hardsigmoid(inplace=True)),
    "hardtanh": (functional.hardtanh, nn.Hardtanh(inplace=True)),
    "mish": (functional.mish, nn.Mish(inplace=True)),
    "rrelu": (functional.rrelu, nn.RReLU(inplace=True).eval()),
    "threshold": (lambda x: functional.threshold(x, 0.1, 0.2), nn.Threshold(0.1, 0.2, True)),
    "clamp": (lambda x: torch.clamp(x, -0.1, 0.2), lambda x: x.clamp_(-0.1, 0.2)),
    "sigmoid": (torch.sigmoid, lambda x: x.sigmoid_()),
    "tanh": (torch.tanh, lambda x: torch.tanh_(x)),
    "sigmoid, relu": (lambda x: torch.relu(torch.sigmoid(x)), lambda x: x.sigmoid_().relu_()),
    "scaled": (lambda x: functional.silu(x) * 2 + 1, lambda x: functional.silu(x).mul_(2).add_(1)),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("written", ACTIVATIONS)
def test_in_place_equals_out_of_place(name, written):
    assert agrees(name, *ACTIVATIONS[written]) == "same"


def gated(x, multiply, bend=torch.sigmoid):
    return multiply(x, bend(0.5 * x + 0.1))


def into(name):
    return lambda x, gate: getattr(x, name)(gate)


def by_itself(x, multiply):
    x = x * 1.0
    return multiply(x, x)


BRANCHES = {
    "gate": (partial(gated, multiply=torch.mul), partial(gated, multiply=into("mul_"))),
    "gate, operator": (partial(gated, multiply=torch.mul), partial(gated, multiply=operator.imul)),
    "gate, relu": (
        partial(gated, multiply=torch.mul, bend=torch.relu),
        partial(gated, multiply=into("mul_"), bend=torch.relu),
    ),
    "sum": (partial(gated, multiply=torch.add), partial(gated, multiply=into("add_"))),
    "difference": (partial(gated, multiply=torch.sub), partial(gated, multiply=into("sub_"))),
    "by sizes": (
        lambda x: x.div(1 + x.abs()),
        lambda x: x.div_(1 + x.abs()),
    ),
    "by itself": (
        partial(by_itself, multiply=torch.mul),
        partial(by_itself, multiply=into("mul_")),
    ),
    "behind a smooth one": (
        lambda x: torch.exp(x) * x.tanh(),
        lambda x: torch.exp(x).mul_(x.tanh_()),
    ),
}


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("written", BRANCHES)
def test_branches_that_meet_in_place_are_as_out_of_place(name, written):
    assert agrees_or_both_are_refused(name, *BRANCHES[written]) in ("same", None)


def mixed(x):
    """A constant matrix of this many channels."""
    source = torch.Generator().manual_seed(x.shape[1])
    return torch.rand(x.shape[1], x.shape[1], dtype=torch.float64, generator=source) - 0.4


def between(x, y, weight):
    return x * (1 - weight) + y * weight


AT_ONCE = {
    "addcmul": (
        lambda x: 0.1 + x * mixed(x)[:1].T[:, :, None] * 2,
        lambda x: torch.addcmul(torch.tensor(0.1).double(), x, mixed(x)[:1].T[:, :, None], value=2),
    ),
    "addcmul of a gate": (lambda x: x + x * x.sigmoid(), lambda x: x.addcmul(x, x.sigmoid())),
    "constants that are more": (
        lambda x: x[:, :1].expand_as(x) * mixed(x)[0][:, None, None],
        lambda x: x[:, :1] * mixed(x)[0][:, None, None],
    ),
    "addcdiv": (lambda x: x + x / 3, lambda x: torch.addcdiv(x, x, torch.full_like(x, 3.0))),
    "lerp": (lambda x: x * 0.75 + 0.025, lambda x: torch.lerp(x, torch.full_like(x, 0.1), 0.25)),
    "lerp by a gate": (
        lambda x: between(x, x.relu(), x.sigmoid()),
        lambda x: torch.lerp(x, x.relu(), x.sigmoid()),
    ),
    "einsum as a sum": (
        lambda x: x.sum((2, 3))[..., None, None] * torch.ones_like(x),
        lambda x: torch.einsum("b c h w -> b c", x)[..., None, None] * torch.ones_like(x),
    ),
    "einsum as an order": (
        lambda x: x.permute(0, 1, 3, 2),
        lambda x: torch.einsum("bchw->bcwh", x),
    ),
    "einsum as a layer": (
        lambda x: functional.linear(x.permute(0, 2, 3, 1), mixed(x)).permute(0, 3, 1, 2),
        lambda x: torch.einsum("bihw,oi->bohw", x, mixed(x)),
    ),
    "einsum as a layer, constant first": (
        lambda x: functional.linear(x.permute(0, 2, 3, 1), mixed(x)).permute(0, 3, 1, 2),
        lambda x: torch.einsum("oi,bihw->bohw", [mixed(x), x]),
    ),
    "matrix first": (
        lambda x: functional.linear(x.flatten(2).mT, mixed(x)).mT.view(x.shape),
        lambda x: (mixed(x) @ x.flatten(2)).view(x.shape),
    ),
}


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("written", AT_ONCE)
def test_several_steps_in_one_call_are_explained_as_the_steps(name, written):
    said = agrees_or_both_are_refused(name, *AT_ONCE[written])
    alone = (name, written) == ("reveal_cancel", "constants that are more")
    assert said in ("same", None) or alone


@pytest.mark.parametrize("rule", ["z", "gamma", "alpha_beta"])
def test_a_product_with_windows_is_a_convolution(rule):
    def unfolded(x):
        windows = functional.unfold(x, 3, padding=1)
        return torch.matmul(mixed(x).repeat(1, 9), windows).view(x.shape)

    def convolved(x):
        kernels = mixed(x).repeat(1, 9).view(*mixed(x).shape, 3, 3)
        return functional.conv2d(x, kernels, padding=1)

    explain = LRP(rule=rule)
    expected = explain(Around(convolved), IMAGES, TARGETS)
    torch.testing.assert_close(explain(Around(unfolded), IMAGES, TARGETS), expected)


class Keeping(Around):
    """A network that keeps what it made of a parameter, gradient and all, in its first pass."""

    def __init__(self):
        super().__init__(self.scaled)
        self.scale, self.kept = nn.Parameter(torch.tensor(0.5).double()), None

    def scaled(self, x):
        self.kept = self.scale * 2 if self.kept is None else self.kept
        return torch.relu(x) * self.kept


@pytest.mark.parametrize("name", EXPLAINERS)
def test_what_a_network_kept_of_its_parameters_is_a_constant(name):
    network = Keeping()
    network(IMAGES)
    assert network.kept.requires_grad
    found = EXPLAINERS[name](network, IMAGES, TARGETS)
    assert network.kept.requires_grad
    expected = EXPLAINERS[name](Around(lambda x: torch.relu(x) * 1.0), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected)


def own_order(x, norm):
    """Torch's own batch norm, whose weights come before its statistics."""
    stored = norm.running_mean, norm.running_var
    return torch.batch_norm(x, norm.weight, norm.bias, *stored, False, 0.1, norm.eps, False)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_two_orders_of_batch_norms_arguments_are_told_apart(name):
    norms = {}
    for channels in (3, 4):
        norm = nn.BatchNorm2d(channels).double().eval().requires_grad_(False)
        for number, values in enumerate((norm.weight, norm.bias, norm.running_mean)):
            values.copy_(torch.linspace(0.5, 1, channels) - 0.2 * number)
        norms[channels] = norm.requires_grad_(False)
    assert (
        agrees(
            name,
            lambda x: torch.relu(norms[x.shape[1]](x)),
            lambda x: torch.relu(own_order(x, norms[x.shape[1]])),
        )
        == "same"
    )


def test_memory_that_is_overwritten_unseen_is_no_way_back():
    x = torch.ones(2, requires_grad=True)
    with kept_apart():
        y = x * 2
        z = y.exp() * y
        with torch.no_grad():
            y.mul_(3)
        with pytest.raises(RuntimeError, match="inplace"):
            z.sum().backward()


def blanked(x):
    x[:, 0] = 0
    return x


def test_assignment_of_constants_is_linear_or_refused():
    def out_of_place(x):
        return x * torch.tensor([0.0, 1, 1, 1]).double()[: x.shape[1], None, None]

    said = {name: agrees(name, out_of_place, blanked) for name in EXPLAINERS}
    assert [name for name, what in said.items() if what == "refused"] == ["reveal_cancel"]


def test_a_view_worked_on_in_place_is_right_unless_its_base_is_used_again():
    def used_again(x):
        x[:, :1].relu_()
        return x

    for name in EXPLAINERS:
        with pytest.raises(InputError, match="in place on a view of another value"):
            EXPLAINERS[name](Around(used_again), IMAGES, TARGETS)


POOLS = {
    "amax": lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(-1),
    "max": lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).max(-1)[0],
    "max.values": lambda x: x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).max(dim=-1).values,
    "min": lambda x: -(-x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).min(-1)[0],
    "amin": lambda x: -(-x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amin(-1),
    "indices": lambda x: functional.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive": lambda x: functional.adaptive_max_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)),
    "adaptive indices": lambda x: functional.adaptive_max_pool2d(
        x, (x.shape[2] // 2, x.shape[3] // 2), return_indices=True
    )[0],
    "adaptive 1d": lambda x: functional.adaptive_max_pool1d(
        x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(0, 3)[:, None], 1
    ).view(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2),
    "larger ones": lambda x: torch.maximum(
        torch.maximum(x[..., ::2, ::2], x[..., ::2, 1::2]),
        torch.maximum(x[..., 1::2, ::2], x[..., 1::2, 1::2]),
    ),
}
# Refused where it may be an activation, or where values leave their image's row.
MAXOUT = {"guided_backprop", "guided_everywhere", "deconvnet", "rectgrad", "beta_smooth"}


class Pooled(Around):
    def forward(self, x):
        x = self.step(self.first(x).relu())
        return self.head(functional.interpolate(x, size=3)[:, :3].flatten(1)[:, :12])


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("written", POOLS)
def test_max_pooling_is_the_same_however_it_is_written(name, written):
    networks = Pooled(lambda x: functional.max_pool2d(x, 2)), Pooled(POOLS[written])
    torch.testing.assert_close(networks[1](IMAGES), networks[0](IMAGES))
    expected = EXPLAINERS[name](networks[0], IMAGES, TARGETS)
    refused = written == "larger ones" and name in {*MAXOUT, "reveal_cancel"}
    if refused or (written == "adaptive 1d" and name == "reveal_cancel"):
        with pytest.raises(InputError, match="allowed"):
            EXPLAINERS[name](networks[1], IMAGES, TARGETS)
        return
    found = EXPLAINERS[name](networks[1], IMAGES, TARGETS)
    # Of equal values (zeros behind a ReLU) amax shares, and pooling takes the first.
    if name in ("deeplift", "reveal_cancel", "full_grad", "lrp"):
        torch.testing.assert_close(found.sum((1, 2)), expected.sum((1, 2)))
    if written not in ("amax", "amin", "larger ones"):
        torch.testing.assert_close(found, expected)


UNKNOWN = {
    "sort": lambda x: x.sort(1)[0],
    "median": lambda x: x.median(1, keepdim=True)[0].expand_as(x),
    "topk": lambda x: x.topk(x.shape[1], 1)[0],
    "erfinv": lambda x: torch.erfinv(x.tanh() / 2),
    "fmod": lambda x: x.fmod(0.1),
    "rounded quotient": lambda x: torch.div(x, 0.1, rounding_mode="floor"),
    "atan2": lambda x: torch.atan2(x, x + 1),
    "dropout": functional.dropout,
    "batch statistics": lambda x: functional.batch_norm(x, None, None, training=True),
    "whole maximum": lambda x: x - x.max(),
}


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("step", UNKNOWN)
def test_what_is_not_known_is_refused_by_its_name(name, step):
    with pytest.raises(InputError, match=r"has no rule for \w+\(\).*allowed"):
        EXPLAINERS[name](Around(UNKNOWN[step]), IMAGES, TARGETS)


MODULES = {
    "relu": [nn.ReLU(), torch.relu, nn.ReLU(inplace=True), lambda x: x * (x > 0)],
    "silu": [nn.SiLU(), lambda x: x * torch.sigmoid(x), nn.SiLU(inplace=True)],
    "relu6": [nn.ReLU6(), functional.relu6, lambda x: x.clamp_(0, 6)],
    "tanh": [nn.Tanh(), torch.tanh, lambda x: x.tanh_()],
    "half": [lambda x: x / 2, lambda x: 0.5 * x, lambda x: x.mul_(0.5)],
    "shift": [lambda x: x + 0.1, lambda x: x - (-0.1), lambda x: x.add_(0.1)],
    "pool": [
        nn.AvgPool2d(3, 1, 1),
        lambda x: functional.avg_pool2d(x, 3, stride=1, padding=1),
        nn.AvgPool2d(kernel_size=3, stride=1, padding=1, count_include_pad=True),
    ],
    "residual": [
        lambda x: x + torch.relu(x),
        lambda x: torch.add(x, x.clamp(min=0)),
        lambda x: x.clone().add_(torch.relu(x)),
    ],
    "gate": [
        lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
        lambda x: torch.sigmoid(functional.adaptive_avg_pool2d(x, 1)).mul(x),
        lambda x: x.mul_(x.mean((2, 3), keepdim=True).sigmoid_()),
    ],
    "maximum": [
        nn.MaxPool2d(3, 1, 1),
        lambda x: functional.max_pool2d(x, 3, 1, 1),
        lambda x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[0],
    ],
    "mean": [
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda x: x - functional.adaptive_avg_pool2d(x, 1),
        lambda x: x.sub_(x.mean(3, keepdim=True).mean(2, keepdim=True)),
    ],
    "product": [
        lambda x: x * x.flip(2),
        lambda x: torch.mul(x.flip(2), x),
        lambda x: x.mul_(x.flip(2)),
    ],
    "softmax": [nn.Softmax(1), lambda x: x.softmax(1), lambda x: functional.softmax(x, dim=1)],
    "norm": [
        lambda x: functional.group_norm(x, 1),
        lambda x: torch.group_norm(x, 1),
        lambda x: functional.layer_norm(x, x.shape[1:]),
    ],
}


@st.composite
def grammar(draw):
    """Two networks of the same layers, each layer written in one of its ways."""
    kinds = draw(st.lists(st.sampled_from(sorted(MODULES)), min_size=1, max_size=4))
    return [[draw(st.sampled_from(MODULES[kind])) for kind in kinds] for _ in range(2)]


@pytest.mark.parametrize("name", FAMILIES)
@given(grammar())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_networks_of_the_same_layers_agree_or_are_refused_alike(name, written):
    networks = [Around(nn.Sequential(*map(Step, steps))) for steps in written]
    found = []
    for network in networks:
        try:
            found.append(FAMILIES[name](network, IMAGES, TARGETS))
        except InputError as error:
            assert "allowed" in str(error)  # noqa: PT017
            if name == "guided_grad_cam" and "in place that overwrites" in str(error):
                return  # torch itself has no gradient of it
            found.append(None)
    assert (found[0] is None) == (found[1] is None)
    if found[0] is not None and found[1] is not None:
        scale = found[0].abs().max()
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-8 * float(scale) + 1e-12)


class Layered(nn.Module):
    """A convolution and a linear layer, each written in one of its ways."""

    def __init__(self, convolve, apply):
        super().__init__()
        source = torch.Generator().manual_seed(5)
        for name, shape in {
            "kernel": (4, 2, 3, 3),
            "k": (4,),
            "matrix": (3, 64),
            "m": (3,),
        }.items():
            values = torch.randn(shape, dtype=torch.float64, generator=source)
            self.register_parameter(name, nn.Parameter(values, requires_grad=False))
        self.convolve, self.apply_last = convolve, apply
        self.eval()

    def forward(self, x):
        maps = torch.relu(self.convolve(x, self.kernel, self.k))
        return self.apply_last(maps.flatten(1), self.matrix, self.m)


LAYERS = {
    "as a product": (functional.conv2d, lambda x, w, b: x @ w.T + b),
    "matmul": (functional.conv2d, lambda x, w, b: b + torch.matmul(x, w.mT)),
    "mm": (functional.conv2d, lambda x, w, b: torch.mm(x, w.t()).add_(b)),
    "addmm": (functional.conv2d, lambda x, w, b: torch.addmm(b, x, w.t())),
    "addmm of a row": (functional.conv2d, lambda x, w, b: torch.addmm(b[None], x, w.t())),
    "less": (functional.conv2d, lambda x, w, b: functional.linear(x, w) - (-b)),
    "by keywords": (
        functional.conv2d,
        lambda x, w, b: torch.add(input=functional.linear(x, w), other=b),
    ),
    "taken apart": (
        lambda x, w, b: torch.cat([*functional.conv2d(x, w, b).split(2, 1)], 1),
        lambda x, w, b: torch.stack([*functional.linear(x, w, b).unbind(1)], 1),
    ),
    "iterated": (
        functional.conv2d,
        lambda x, w, b: torch.stack([*functional.linear(x, w, b).T], 1),
    ),
    "in two": (functional.conv2d, lambda x, w, b: functional.linear(x, w, b - 1) + 1),
    "convolution": (lambda x, w, b: functional.conv2d(x, w) + b[:, None, None], functional.linear),
    "by number": (lambda x, w, b: 2 + functional.conv2d(x, w, b - 2), functional.linear),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("written", LAYERS)
def test_a_layer_is_one_however_its_product_and_its_bias_are_written(name, written):
    plain = Layered(functional.conv2d, functional.linear)
    other = Layered(*LAYERS[written])
    torch.testing.assert_close(other(IMAGES), plain(IMAGES))
    if name == "reveal_cancel" and written == "iterated":  # by rows, which may be images
        with pytest.raises(InputError, match="allowed"):
            FAMILIES[name](other, IMAGES, TARGETS)
        return
    expected = FAMILIES[name](plain, IMAGES, TARGETS)
    torch.testing.assert_close(FAMILIES[name](other, IMAGES, TARGETS), expected)


def test_a_constant_with_places_is_no_bias():
    places = torch.arange(16.0, dtype=torch.float64).view(4, 4)
    networks = [
        Layered(lambda x, w, b, s=s: functional.conv2d(x, w, b) + s * places, functional.linear)
        for s in (0, 1)
    ]
    images = IMAGES + 20  # every unit is on
    found = [LRP(rule="z", bias="ignore")(one, images, TARGETS).sum() for one in networks]
    assert not torch.isclose(*found)


def scripted(function):
    """A function in a language of its own, whose steps are not Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out
        return torch.jit.script(function)


def in_another_language(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(torch.relu(x), 1)


def convolved(x: torch.Tensor) -> torch.Tensor:
    return torch.conv2d(x, torch.ones(x.shape[1], 1, 1, 1, dtype=x.dtype), groups=x.shape[1])


def unseen(x):
    with torch._C.DisableTorchFunction():
        return x * 2


def elsewhere(x):
    found = []
    thread = Thread(target=lambda: found.append(functional.leaky_relu(x)))
    thread.start()
    thread.join()
    return found[0]


HIDDEN = {
    "scripted": scripted(in_another_language),
    "a scripted convolution": scripted(convolved),
    "seen by none": unseen,
    "in a thread": elsewhere,
    "mapped": lambda x: torch.vmap(torch.relu)(x),
    "of torch.func": lambda x: torch.func.vjp(torch.relu, x)[0],
}


@pytest.mark.parametrize("name", [one for one in FAMILIES if one != "guided_grad_cam"])
@pytest.mark.parametrize("step", HIDDEN)
def test_what_can_not_be_seen_is_refused(name, step):
    with pytest.raises(InputError, match=r"(has no rule for|can't see into).*allowed"):
        FAMILIES[name](Around(HIDDEN[step]), IMAGES, TARGETS)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_last_step_that_can_not_be_seen_is_refused(name):
    network = nn.Sequential(Around(torch.relu), Step(unseen))
    with pytest.raises(InputError, match="has no rule for"):
        EXPLAINERS[name](network, IMAGES, TARGETS)


def test_reveal_cancel_refuses_what_is_stacked_where_images_are_told_apart():
    step = lambda x: torch.stack([x, -x, 2 * x]).amax(0)  # noqa: E731
    with pytest.raises(InputError, match="along the first axis"):
        EXPLAINERS["reveal_cancel"](Around(step), IMAGES, TARGETS)


def test_what_torch_has_no_gradient_of_is_refused_in_one_line():
    step = lambda x: x.softmax(1).mul_(0.5)  # noqa: E731
    for explain in (Gradient(), GradCAM(), GuidedGradCAM()):
        with pytest.raises(InputError, match=r"in place that overwrites.*allowed: .*out of place"):
            explain(Around(step), IMAGES, TARGETS)


class Step(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        return self.step(x)
