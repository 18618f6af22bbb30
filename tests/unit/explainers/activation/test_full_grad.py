"""FullGrad: it sums to the logit whatever the network, and its terms are what the paper says."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.gradients.gradients import InputXGradient
from xai_exp.explainers.sizes import shared_out
from xai_exp.models.resnet import ResNet18
from xai_exp.models.vit import ViT

TARGETS = torch.tensor([0, 2, 1])


def drawn(make):
    """A network in float64 whose biases and statistics are all away from their beginnings."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().double().eval()
        for name, values in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(("bias", "running_mean")):
                values.data.uniform_(-0.5, 0.5)
            if name.endswith("running_var"):
                values.data.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def images():
    source = torch.Generator().manual_seed(4)
    return torch.rand(3, 2, 8, 12, generator=source, dtype=torch.float64)


class Written(nn.Module):
    """Constants that are added, work in place, reused modules, functions, several branches."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.again = nn.Conv2d(2, 4, 3, 2, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(8 * 5 * 7, 3)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.first((x - 0.4) / 0.2))
        y = self.norm(self.again(x))
        y += x
        y = self.activation(y)
        y = self.again(y).mul(0.7).sub_(0.1)
        x = torch.cat([1 - x, functional.relu(y, inplace=True)], 1)
        x = functional.pad(x, (0, 1, 1, 0), value=0.3)
        return -self.head(functional.max_pool2d(x, 2, 1, padding=1)[..., :5, :7].flatten(1)) + 2


def clamped_below(x):
    return x.clamp(min=0)


def clamped(x):
    return x.clamp(-0.2, 0.3)


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(), nn.ELU(), nn.ELU(inplace=True)),
        *(nn.GELU(), nn.SiLU(inplace=True), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.PReLU()),
        *(clamped_below, clamped),
    ],
    ids=lambda activation: getattr(activation, "__name__", str(activation)),
)
def test_it_sums_to_the_logit(images, activation):
    net = drawn(lambda: Written(activation))
    found = FullGrad()(net, images, TARGETS)
    logits = net(images)[range(3), TARGETS].detach()
    torch.testing.assert_close(found.sum((1, 2)), logits)
    assert (InputXGradient()(net, images, TARGETS).sum((1, 2)) - logits).abs().min() > 1e-3


@pytest.mark.parametrize("kind", ["ours", "torchvision"])
def test_it_sums_to_the_logit_of_residual_networks(kind):
    make = {
        "ours": lambda: ResNet18(width=8).build(3, (64, 64), 3),
        "torchvision": lambda: torchvision.models.resnet18(weights=None, num_classes=3),
    }[kind]
    net, images = drawn(make), torch.rand(3, 3, 64, 64, dtype=torch.float64)
    logits = net(images)[range(3), TARGETS].detach()
    torch.testing.assert_close(FullGrad()(net, images, TARGETS).sum((1, 2)), logits)


def test_without_biases_it_is_input_x_gradient(images):
    net = drawn(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(60, 3, bias=False),
        )
    )
    found = FullGrad()(net, images, TARGETS)
    torch.testing.assert_close(found, InputXGradient()(net, images, TARGETS))


def small():
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)
    return nn.Sequential(*layers, nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), HEAD)


HEAD = nn.Linear(5 * 4 * 6, 3)


def terms(net, image, target):
    """Input x gradient and, layer by layer, bias times the gradient of a copy for each place."""
    x = image[None].clone().requires_grad_()
    conv, norm, relu, pool, second, _, flat, head = net
    b1 = conv.bias[None, :, None, None].expand(1, 4, 8, 12).clone().detach().requires_grad_()
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - scale * norm.running_mean
    b2 = shift[None, :, None, None].expand(1, 4, 8, 12).clone().detach().requires_grad_()
    b3 = second.bias[None, :, None, None].expand(1, 5, 4, 6).clone().detach().requires_grad_()
    b4 = head.bias[None].clone().detach().requires_grad_()
    y = functional.conv2d(x, conv.weight, padding=1) + b1
    y = pool(relu(scale.view(1, -1, 1, 1) * y + b2))
    y = relu(functional.conv2d(y, second.weight, padding=1) + b3)
    logit = (flat(y) @ head.weight.T + b4)[0, target]
    slopes = torch.autograd.grad(logit, [x, b1, b2, b3, b4])
    return [(v * g).detach()[0] for v, g in zip([x, b1, b2, b3, b4], slopes, strict=True)]


def test_its_terms_are_input_and_biases_times_their_gradients(images):
    net = drawn(small)
    found = FullGrad()(net, images, TARGETS)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        x, b1, b2, b3, b4 = terms(net, image, target)
        coarse = shared_out(b3.sum(0)[None], (8, 12))[0]
        expected = x.sum(0) + b1.sum(0) + b2.sum(0) + coarse + b4.sum() / 96
        torch.testing.assert_close(heatmap, expected)


def test_the_papers_saliency_map_is_made_of_them(images):
    net = drawn(small)
    found = FullGrad(postprocess="paper")(net, images, TARGETS)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        expected = torch.zeros(8, 12, dtype=torch.float64)
        for term in terms(net, image, target)[:-1]:
            size = term.abs()
            size = (size - size.min()) / (size.max() - size.min())
            expected += functional.interpolate(size[None], (8, 12), mode="bilinear")[0].sum(0)
        torch.testing.assert_close(heatmap, expected)


@pytest.mark.parametrize("cells", [(4, 6), (3, 5), (8, 12), (1, 1), (20, 31)])
def test_sharing_out_keeps_sums_and_places(generator, cells):
    maps = torch.rand(2, *cells, generator=generator, dtype=torch.float64)
    found = shared_out(maps, (8, 12))
    torch.testing.assert_close(found.sum((1, 2)), maps.sum((1, 2)))
    corner = torch.zeros(1, *cells, dtype=torch.float64)
    corner[0, 0, -1] = 1
    shared = shared_out(corner, (8, 12))[0]
    assert shared.min() >= 0
    assert shared.max() == shared[0, -1]


def test_no_hook_is_left_and_a_step_without_a_known_bias_is_named(images):
    net = drawn(small)
    FullGrad()(net, images, TARGETS)
    assert all(not m._forward_hooks and not m._backward_hooks for m in net.modules())
    with pytest.raises(InputError, match=r"has no rule for sort\(\)"):
        FullGrad()(drawn(lambda: nn.Sequential(Squared(), Sorted())), images, TARGETS)


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(1)[0]


def test_products_norms_and_attention_keep_the_sum(images):
    vit = ViT(patch=4, depth=2, width=8, heads=2).build(2, (8, 12), 3).double().eval()
    for net in (vit, drawn(lambda: Squared())):
        chosen = net(images)[torch.arange(len(images)), TARGETS].detach()
        found = FullGrad()(net, images, TARGETS)
        torch.testing.assert_close(found.sum((1, 2)), chosen, rtol=1e-9, atol=1e-12)
        alone = FullGrad()(net, images[1:2], TARGETS[1:2])
        torch.testing.assert_close(alone[0], found[1], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("fused", [True, False])
def test_masked_attention_keeps_the_sum(images, fused):
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Conv2d(2, 8, 4, 4), nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.embed(x).flatten(2).mT
            attend = nn.functional.scaled_dot_product_attention
            if fused:
                return self.head(attend(tokens, tokens, tokens, is_causal=True).mean(1))
            count = tokens.shape[1]
            future = torch.full((count, count), -torch.inf).triu(1).to(tokens)
            weights = (tokens @ tokens.mT + future).softmax(-1)
            return self.head((weights @ nn.functional.normalize(tokens, dim=-1)).mean(1))

    net = drawn(Causal)
    chosen = net(images)[torch.arange(len(images)), TARGETS].detach()
    found = FullGrad()(net, images, TARGETS)
    torch.testing.assert_close(found.sum((1, 2)), chosen, rtol=1e-9, atol=1e-12)


def test_padding_with_minus_infinity_before_max_pooling_has_no_bias(images):
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Conv2d(2, 3, 3), nn.Linear(3, 3)

        def forward(self, x):
            x = nn.functional.pad(self.first(x), (0, 1, 0, 1), value=-torch.inf)
            return self.head(nn.functional.max_pool2d(x, 3, 2).mean((2, 3)))

    net = drawn(Padded)
    chosen = net(images)[torch.arange(len(images)), TARGETS].detach()
    torch.testing.assert_close(FullGrad()(net, images, TARGETS).sum((1, 2)), chosen)


class Squared(nn.Module):
    def forward(self, x):
        return (x * x).mean((2, 3)).repeat(1, 2)[:, :3]


def test_padding_with_minus_infinity_before_max_pooling_adds_nothing(images):
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Conv2d(2, 3, 3), nn.Linear(3, 3)

        def forward(self, x):
            x = functional.pad(self.body(x), (1, 1, 1, 1), value=-torch.inf)
            return self.head(functional.max_pool2d(x, 3, 2).mean((2, 3)))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Padded().to(images)
    targets = torch.arange(len(images)) % 3
    found = FullGrad()(net, images, targets)
    logits = net(images).detach()[range(len(images)), targets]
    torch.testing.assert_close(found.sum((1, 2)), logits)
