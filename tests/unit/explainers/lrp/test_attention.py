"""Explainers for transformers: AttnLRP against loops from the paper, attention in every writing."""

import math

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.activation.full_grad import FullGrad
from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient, IntegratedGradients
from xai_exp.explainers.lrp.attention import AttentionRollout, AttnLRP, attention_of
from xai_exp.explainers.lrp.attention_rules import multiplied, softened
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.lrp.rap import RAP
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop
from xai_exp.models.vit import ViT

EPSILON = 1e-3
TARGETS = torch.tensor([0, 2, 1])


def transformer(**given):
    """Weights of about one, so that attention is not flat, biases and norms not at rest."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        fields = {"patch": 2, "depth": 2, "width": 8, "heads": 2, **given}
        network = ViT(**fields).build(2, (4, 6), 3).double().eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.6)
    return network


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(2)
    return torch.rand(3, 2, 4, 6, dtype=torch.float64, generator=source)


class Oracle:
    """AttnLRP of one image and one transformer, with loops over tokens and units (numpy)."""

    def __init__(self, network, heads, softmax):
        self.network, self.heads, self.softmax = network, heads, softmax
        self.weights = {k: v.detach().numpy() for k, v in network.state_dict().items()}

    def parameters(self, name):
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def linear(self, name, x):
        weight, bias = self.parameters(name)
        return x @ weight.reshape(len(weight), -1).T + bias

    def linear_back(self, name, x, relevance):
        """Eq. 8: R_i = sum_j W_ji x_i R_j / (z_j + epsilon)."""
        weight, _ = self.parameters(name)
        weight = weight.reshape(len(weight), -1)
        z, found = self.linear(name, x), np.zeros_like(x)
        for token in range(len(x)):
            for j in range(len(weight)):
                share = relevance[token, j] / stable(z[token, j])
                for i in range(x.shape[1]):
                    found[token, i] += weight[j, i] * x[token, i] * share
        return found

    def norm(self, name, x):
        gain, offset = self.parameters(name)
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * gain + (
            offset
        )

    def norm_back(self, name, x, relevance):
        """Prop. 3.4: dividing is the identity; x - mean and the rest are linear (eq. 8)."""
        gain, _ = self.parameters(name)
        y, found, count = self.norm(name, x), np.zeros_like(x), x.shape[1]
        for token in range(len(x)):
            deviation = math.sqrt(x[token].var() + 1e-5)
            for i, j in np.ndindex(count, count):
                slope = ((i == j) - 1 / count) * gain[j] / deviation
                found[token, i] += x[token, i] * slope * relevance[token, j] / stable(y[token, j])
        return found

    def attend(self, name, x):
        """The output, and how relevance goes back to x."""
        count, width = x.shape
        size = width // self.heads
        split = self.linear(f"{name}.queries_keys_values", x)
        split = split.reshape(count, 3, self.heads, size)
        out, steps = np.zeros((count, self.heads, size)), []
        for head in range(self.heads):
            q, k, v = (split[:, part, head] for part in range(3))
            scores = q @ k.T / math.sqrt(size)
            weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            out[:, head] = weights @ v
            steps.append((q, k, v, scores, weights))
        out = out.reshape(count, width)

        def back(relevance):
            relevance = self.linear_back(f"{name}.out", out, relevance)
            relevance = relevance.reshape(count, self.heads, size)
            given = np.zeros_like(split)
            for head, (q, k, v, scores, weights) in enumerate(steps):
                first, given[:, 2, head] = product_back(weights, v, relevance[:, head])
                if self.softmax == "constant":
                    alone = relevance[:, head] / stable(weights @ v)
                    given[:, 2, head] = v * (weights.T @ alone)
                    continue
                first = softmax_back(scores, weights, first)
                given[:, 0, head], keys = product_back(q, k.T, first)
                given[:, 1, head] = keys.T
            return self.linear_back(f"{name}.queries_keys_values", x, given.reshape(count, -1))

        return self.linear(f"{name}.out", out), back

    def __call__(self, image, target):
        patches = functional.unfold(image[None], 2, stride=2)[0].T.numpy()
        tokens = self.linear("patches", patches) + self.weights["positions"][0]
        blocks = []
        for place in range(len(self.network.blocks)):
            name = f"blocks.{place}"
            seen = self.norm(f"{name}.attend.0", tokens)
            attended, attended_back = self.attend(f"{name}.attend.1", seen)
            between = tokens + attended
            thought = self.norm(f"{name}.think.0", between)
            hidden = self.linear(f"{name}.think.1", thought)
            active = functional.gelu(torch.tensor(hidden)).numpy()
            out = self.linear(f"{name}.think.3", active)
            blocks.append((name, tokens, attended, attended_back, between, thought, active, out))
            tokens = between + out
        last = self.norm("norm", tokens)
        mean = last.mean(0, keepdims=True)
        logits = self.linear("head", mean)
        start = np.zeros_like(logits)
        start[0, target] = logits[0, target]
        relevance = self.linear_back("head", mean, start)
        relevance = self.norm_back("norm", tokens, last / len(last) * (relevance / mean))
        for name, tokens, attended, attended_back, between, thought, active, out in reversed(
            blocks
        ):
            whole = between + out
            aside = self.linear_back(f"{name}.think.3", active, out / whole * relevance)
            aside = self.linear_back(f"{name}.think.1", thought, aside)
            aside = self.norm_back(f"{name}.think.0", between, aside)
            relevance = between / whole * relevance + aside
            aside = attended_back(attended / between * relevance)
            aside = self.norm_back(f"{name}.attend.0", tokens, aside)
            relevance = tokens / between * relevance + aside
        relevance = torch.tensor(self.linear_back("patches", patches, relevance))
        return functional.fold(relevance.T[None], image.shape[1:], 2, stride=2)[0].sum(0)


def stable(value):
    return value + EPSILON * np.where(value >= 0, 1, -1)


def product_back(first, second, relevance):
    """Prop. 3.3: R_ji = sum_p A_ji V_ip R_jp / (2 O_jp + epsilon), and the same for V."""
    output = first @ second
    one, other = np.zeros_like(first), np.zeros_like(second)
    for j, p in np.ndindex(*output.shape):
        share = relevance[j, p] / stable(2 * output[j, p])
        for i in range(first.shape[1]):
            one[j, i] += first[j, i] * second[i, p] * share
            other[i, p] += first[j, i] * second[i, p] * share
    return one, other


def softmax_back(scores, weights, relevance):
    """Prop. 3.1: R_i = x_i (R_i - s_i sum_j R_j)."""
    return scores * (relevance - weights * relevance.sum(1, keepdims=True))


@pytest.mark.parametrize("softmax", ["taylor", "constant"])
def test_attn_lrp_equals_loops_from_the_paper(images, softmax):
    network = transformer()
    explain = AttnLRP(epsilon=EPSILON, convolution_gamma=0.0, linear_gamma=0.0, softmax=softmax)
    found = explain(network, images, TARGETS)
    oracle = Oracle(network, 2, softmax)
    for image, target, heatmap in zip(images, TARGETS.tolist(), found, strict=True):
        expected = oracle(image, target)
        assert expected.abs().max() > 1e-2
        torch.testing.assert_close(heatmap, expected, rtol=1e-5, atol=1e-6 * expected.abs().max())


class Bilinear(nn.Module):
    """Products, layer norms and a residual sum without biases: all that conserves relevance."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Linear(6, 6, bias=False) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(6, bias=False), nn.Linear(6, 3, bias=False)
        self.rms = nn.RMSNorm(6)

    def forward(self, x):
        x = x[:, 0]
        y = self.norm(self.first(self.rms(x)) @ self.second(x).transpose(1, 2) @ x)
        return self.head((x + y).mean(1))


def test_products_layer_norms_and_sums_conserve_relevance(images):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Bilinear().double()
    explain = AttnLRP(epsilon=1e-12, convolution_gamma=0.0, linear_gamma=0.0)
    chosen = network(images).gather(1, TARGETS[:, None])[:, 0].detach()
    found = explain(network, images, TARGETS).sum((1, 2))
    torch.testing.assert_close(found, chosen, rtol=1e-6, atol=1e-9)
    for name, rows in explain.diagnostics(network, images, TARGETS).items():
        if name.startswith("conservation"):
            assert rows.max() < 1e-6, name


def test_each_factor_of_a_product_gets_half_of_the_relevance():
    source = torch.Generator().manual_seed(1)
    first, second = (
        torch.rand(3, 4, 4, dtype=torch.float64, generator=source).requires_grad_()
        for _ in range(2)
    )
    product = multiplied(torch.matmul, first, second, 1e-12)
    torch.testing.assert_close(product, first @ second)
    relevance = torch.randn(product.shape, dtype=torch.float64, generator=source)
    one, other = torch.autograd.grad(product, (first, second), relevance)
    torch.testing.assert_close(one.sum(), relevance.sum() / 2)
    torch.testing.assert_close(other.sum(), relevance.sum() / 2)
    alone = multiplied(torch.matmul, first, second.detach(), 1e-12)
    (one,) = torch.autograd.grad(alone, first, relevance)
    torch.testing.assert_close(one.sum(), relevance.sum())


def test_masked_scores_get_no_relevance():
    scores = torch.tensor([[1.0, -2.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    (back,) = torch.autograd.grad(softened(scores, -1), scores, torch.tensor([[1.0, 2.0, 3.0]]))
    assert back.isfinite().all()
    assert back[0, 2] == 0


class Fused(nn.Module):
    """The same attention by torch's fused function."""

    def __init__(self, explicit):
        super().__init__()
        self.explicit = explicit

    def forward(self, tokens):
        batch, count, width = tokens.shape
        split = self.explicit.queries_keys_values(tokens)
        split = split.view(batch, count, 3, self.explicit.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(split[0], split[1], split[2])
        return self.explicit.out(attended.transpose(1, 2).reshape(batch, count, width))


class MultiHead(nn.Module):
    """The same attention by torch's module."""

    def __init__(self, explicit):
        super().__init__()
        width = explicit.out.in_features
        self.inner = nn.MultiheadAttention(width, explicit.heads, batch_first=True).double()
        self.inner.in_proj_weight.data = explicit.queries_keys_values.weight
        self.inner.in_proj_bias.data = explicit.queries_keys_values.bias
        self.inner.out_proj.weight.data = explicit.out.weight
        self.inner.out_proj.bias.data = explicit.out.bias

    def forward(self, tokens):
        return self.inner(tokens, tokens, tokens, need_weights=False)[0]


@pytest.mark.parametrize("kind", [Fused, MultiHead])
@pytest.mark.parametrize(
    "explain",
    [
        *(AttnLRP(epsilon=1e-3), AttnLRP(softmax="constant"), AttentionRollout()),
        *(LRP(epsilon=1e-3), LRP(epsilon=1e-3, gates="half"), ExcitationBackprop()),
    ],
)
def test_attention_written_differently_has_the_same_heatmap(images, kind, explain):
    network, other = transformer(), transformer()
    for block in other.blocks:
        block.attend[1] = kind(block.attend[1])
    other.eval()
    torch.testing.assert_close(other(images), network(images))
    expected = explain(network, images, TARGETS)
    torch.testing.assert_close(explain(other, images, TARGETS), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_rollout_is_the_product_of_half_attention_and_half_identity(images, pooling):
    network = transformer(pooling=pooling)
    matrices = []
    for block in network.blocks:
        block.attend[1].register_forward_hook(lambda m, given, _: matrices.append((m, given[0])))
    found = AttentionRollout()(network, images, TARGETS)
    flow = torch.eye(6 + (pooling == "class"), dtype=torch.float64)
    for module, tokens in matrices:
        split = module.queries_keys_values(tokens).view(3, -1, 3, 2, 4).detach()
        scores = torch.einsum("bihd,bjhd->bhij", split[:, :, 0], split[:, :, 1]) / 2
        flow = (0.5 * torch.eye(flow.shape[-1]) + 0.5 * scores.softmax(-1).mean(1)) @ flow
    share = flow[:, 0, 1:] if pooling == "class" else flow.mean(1)
    expected = share.view(3, 2, 3).repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
    torch.testing.assert_close(found, expected)
    assert (found.sum((1, 2)) <= 1 + 1e-9).all()
    assert found.flatten(1).std(1).min() > 1e-4


def test_a_vision_transformer_of_torchvision_has_rollout_and_attn_lrp():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.VisionTransformer(16, 4, 2, 2, 8, 16, num_classes=3)
        nn.init.normal_(network.heads[0].weight)
        images = torch.rand(3, 3, 16, 16)
    network.eval()
    assert [one.shape for one in attention_of(network, images)] == [(3, 17, 17)] * 2
    for explain in (AttentionRollout(), AttnLRP()):
        found = explain(network, images, TARGETS)
        assert found.flatten(1).std(1).min() > 0
        torch.testing.assert_close(explain(network, images[1:2], TARGETS[1:2]), found[1:2])


@pytest.mark.parametrize(
    "explain",
    [
        *(Gradient(), InputXGradient(), IntegratedGradients(steps=4)),
        *(DeconvNet(), GuidedBackprop(), BetaSmooth(), AttnLRP(), AttentionRollout()),
        *(LRP(), LRP(rule="z_plus"), ExcitationBackprop()),
    ],
    ids=str,
)
def test_a_transformer_is_explained_and_a_batch_equals_its_images_one_by_one(images, explain):
    network = transformer(pooling="class")
    found = explain(network, images, TARGETS)
    assert found.isfinite().all()
    assert found.flatten(1).std(1).min() > 0
    alone = [explain(network, images[i : i + 1], TARGETS[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), found, rtol=1e-7, atol=1e-9)
    assert explain(network, images[:0], TARGETS[:0]).shape == (0, 4, 6)


def test_attn_lrp_is_lrp_on_a_network_without_attention(make_case):
    case = make_case()
    given = case.model, case.images, case.targets
    ours = AttnLRP(epsilon=1e-6, convolution_gamma=0.0, linear_gamma=0.0)
    assert torch.equal(ours(*given), LRP(rule="epsilon", epsilon=1e-6)(*given))


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_lrp_of_a_transformer_is_attn_lrp_with_its_own_rules_for_layers(images, pooling):
    network = transformer(pooling=pooling)
    given = network, images, TARGETS
    uniform = {"convolution_gamma": 0.0, "linear_gamma": 0.0, "epsilon": 1e-3}
    half = AttnLRP(**uniform)(*given)
    torch.testing.assert_close(LRP(rule="epsilon", epsilon=1e-3, gates="half")(*given), half)
    gate = AttnLRP(**uniform, softmax="constant")(*given)
    torch.testing.assert_close(LRP(rule="epsilon", epsilon=1e-3)(*given), gate)
    assert not torch.allclose(half, gate)
    gamma = AttnLRP(convolution_gamma=0.5, linear_gamma=0.5, softmax="constant")
    torch.testing.assert_close(LRP(rule="gamma", gamma=0.5)(*given), gamma(*given))


def test_rap_names_the_layer_of_a_transformer_that_it_has_no_rule_for(images):
    with pytest.raises(InputError, match=r"layer blocks\.0\.attend\.\S+ \(\w+\): .*attn_lrp$"):
        RAP()(transformer(), images, TARGETS)


class Attending(nn.Module):
    """Patches that attend to each other, in one of several ways of writing it; no biases."""

    def __init__(self, attend):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.embed = nn.Conv2d(2, 8, 2, 2, bias=False)
            self.query, self.key = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
            self.head = nn.Linear(8, 3, bias=False)
        self.attend = attend
        self.double().eval()

    def parts(self, x):
        values = self.embed(x).relu().flatten(2).mT
        return values, 3 * self.query(values) @ self.key(values).mT

    def forward(self, x):
        values, scores = self.parts(x)
        return self.head(self.attend(scores, values).mean(1))


ATTENDING = {
    "matmul": lambda scores, values: scores.softmax(-1) @ values,
    "turned": lambda scores, values: (values.mT @ functional.softmax(scores, -1).mT).mT,
    "bmm": lambda scores, values: torch.bmm(torch.softmax(scores, dim=-1), values),
    "einsum": lambda scores, values: torch.einsum("bij,bjd->bid", scores.softmax(-1), values),
    "einsum of a list": lambda scores, values: torch.einsum(
        "bjd,bij->bid", [values, scores.softmax(-1)]
    ),
    "columns": lambda scores, values: scores.mT.softmax(-2).mT.clone() @ values.contiguous(),
    "dropped out": lambda scores, values: (
        functional.dropout(scores.softmax(-1), 0.5, False) @ values
    ),
    "multiplied": lambda scores, values: (
        scores.softmax(-1)[..., None] * values[:, None].expand(-1, 6, -1, -1)
    ).sum(2),
}
AROUND = [
    *(LRP(epsilon=1e-12), LRP(rule="gamma", epsilon=1e-12), LRP(rule="flat", epsilon=1e-12)),
    *(LRP(gates="half"), AttnLRP()),
]


@pytest.mark.parametrize("explain", [*AROUND, ExcitationBackprop()], ids=str)
@pytest.mark.parametrize("way", [way for way in ATTENDING if way != "matmul"])
def test_attention_is_explained_alike_however_it_is_written(images, explain, way):
    if way == "multiplied" and explain in AROUND[3:]:
        return  # each small product is halved by itself, and what it is of is no attention
    expected = explain(Attending(ATTENDING["matmul"]), images, TARGETS)
    found = explain(Attending(ATTENDING[way]), images, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    assert found.flatten(1).std(1).min() > 1e-4


@pytest.mark.parametrize(
    "explain",
    [LRP(rule="epsilon", epsilon=1e-12), LRP(rule="z_plus", epsilon=1e-12), ExcitationBackprop()],
)
def test_weights_of_attention_count_as_constants(images, explain):
    """Relevance is what it is where the same weights stand in the network as numbers."""
    network = Attending(ATTENDING["matmul"])
    found = explain(network, images, TARGETS)
    for image in range(3):
        given = images[image : image + 1], TARGETS[image : image + 1]
        weights = network.parts(given[0])[1].softmax(-1).detach()[0]
        # One by one is a scale, whose output has one input, and a sum.
        fixed = Attending(
            lambda _, values, w=weights: torch.stack(
                [(values * row[:, None]).sum(1) for row in w], 1
            )
        )
        expected = explain(fixed, *given)
        torch.testing.assert_close(found[image : image + 1], expected, rtol=1e-5, atol=1e-9)


def test_relevance_and_excitation_are_kept_by_attention(images):
    network = Attending(ATTENDING["matmul"])
    chosen = network(images)[torch.arange(3), TARGETS].detach()
    sums = LRP(rule="epsilon", epsilon=1e-12)(network, images, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, chosen, rtol=1e-6, atol=1e-9)
    found = ExcitationBackprop()(network, images, TARGETS)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(3).double(), rtol=1e-5, atol=1e-6)


def test_an_explainer_that_takes_attention_for_a_gate_refuses_a_softmax_that_is_none(images):
    """What would be lost without a word: the way through the weights themselves."""
    shown = Attending(
        lambda scores, values: values + scores.softmax(-1).sum(1)[..., None].expand(-1, -1, 8)
    )
    mixed = Attending(lambda _, values: torch.rand(3, 6, 6).double() @ values)
    for explain in (LRP(), ExcitationBackprop()):
        with pytest.raises(InputError, match=r"softmax\(\) that is not a factor of a product"):
            explain(shown, images, TARGETS)
    for explain in (LRP(), LRP(gates="half"), AttnLRP(), ExcitationBackprop()):
        with pytest.raises(InputError, match=r"matmul\(\) with a constant other than"):
            explain(mixed, images, TARGETS)
    linear = Attending(lambda scores, values: scores @ values)
    with pytest.raises(InputError, match="of which none is a gate"):
        ExcitationBackprop()(linear, images, TARGETS)
    assert LRP()(linear, images, TARGETS).isfinite().all()


@pytest.mark.parametrize("version", [1, 2])
def test_windows_that_shift_are_explained(version):
    """Swin's attention, of cosines in its second version."""
    swin = torchvision.models.swin_transformer
    block = swin.SwinTransformerBlockV2 if version == 2 else swin.SwinTransformerBlock
    merging = swin.PatchMergingV2 if version == 2 else swin.PatchMerging
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = swin.SwinTransformer(
            *([2, 2], 8, [2], [2], [4, 4], 2.0),
            num_classes=3,
            block=block,
            downsample_layer=merging,
        )
        images = torch.rand(3, 3, 16, 16).double()
        nn.init.normal_(network.head.weight)
    network.double().eval()
    chosen = network(images)[torch.arange(3), TARGETS].detach()
    for explain in (LRP(), LRP(rule="z_plus"), AttnLRP(softmax="constant"), ExcitationBackprop()):
        found = explain(network, images, TARGETS)
        assert found.flatten(1).std(1).min() > 0
        one = explain(network, images[1:2], TARGETS[1:2])
        torch.testing.assert_close(one, found[1:2], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(
        FullGrad()(network, images, TARGETS).sum((1, 2)), chosen, rtol=1e-8, atol=1e-9
    )


class Shifting(nn.Module):
    def forward(self, x):
        return (x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1).flatten(1)


def test_rollout_is_refused_in_one_line_where_there_is_no_attention(make_case):
    case = make_case()
    for network, told in (
        (case.model, "got a network without attention; allowed: vision transformers"),
        (Shifting(), "got 2 tokens for images of 12x12 pixels; allowed: a token for each"),
    ):
        with pytest.raises(InputError) as error:
            AttentionRollout()(network, case.images, case.targets)
        assert told in str(error.value)
        assert "\n" not in str(error.value)


def test_nothing_is_left_behind_after_an_exception(images):
    network = transformer()

    class Breaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            raise RuntimeError(f"broken at {tuple(self.inner(x).shape)}")

    before = [p.requires_grad for p in network.parameters()]
    for explain in (AttnLRP(), AttentionRollout()):
        with pytest.raises(RuntimeError, match="broken at"):
            explain(Breaking(), images, TARGETS)
        assert [p.requires_grad for p in network.parameters()] == before
        assert torch.overrides._get_current_function_mode() is None
        assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
