"""Activation maps: loops from the papers, captum, closed forms, and how their layer is found."""

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import GuidedGradCam, LayerAttribution, LayerGradCam
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.explainers.activation.feature_map import from_maps, layer_of
from xai_exp.explainers.activation.maps import (
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedGradCAM,
    LayerCAM,
    ScoreCAM,
)
from xai_exp.models.mlp import MLP
from xai_exp.models.vit import ViT

TARGETS = torch.tensor([0, 2, 1, 1, 0])
EVERY = [GradCAM(), GradCAMPlusPlus(), LayerCAM(), EigenCAM(), ScoreCAM(), GuidedGradCAM()]


def drawn(make):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return make().double().eval()


def network():
    body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    body += nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU())
    head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 2 * 3, 7), nn.ReLU())
    return nn.Sequential(body, head + nn.Sequential(nn.Linear(7, 3)))


@pytest.fixture
def net():
    return drawn(network)


@pytest.fixture
def images():
    source = torch.Generator().manual_seed(4)
    return torch.rand(5, 2, 8, 12, generator=source, dtype=torch.float64)


def last(net):
    """The layer whose output the maps are, for captum."""
    return net[0][-1]


@pytest.mark.parametrize("relu", [True, False])
def test_grad_cam_is_captums(net, images, relu):
    found = GradCAM(relu=relu)(net, images, TARGETS)
    coarse = LayerGradCam(net, last(net)).attribute(
        images, target=TARGETS, relu_attributions=relu, attr_dim_summation=True
    )
    peer = LayerAttribution.interpolate(coarse, (8, 12), "bilinear")
    torch.testing.assert_close(found, peer.detach()[:, 0])


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0 did not")
def test_guided_grad_cam_is_captums(net, images):
    found = GuidedGradCAM()(net, images, TARGETS)
    peer = GuidedGradCam(net, last(net)).attribute(
        images, target=TARGETS, interpolate_mode="bilinear"
    )
    assert found.abs().max() > 0
    torch.testing.assert_close(found, peer.detach().sum(1))


def maps_and_slopes(net, image, target):
    maps = net[0](image[None]).detach().requires_grad_()
    net[1](maps)[0, target].backward()
    return maps.detach()[0].numpy(), maps.grad[0].numpy()


def bilinear(coarse, height, width):
    """Interpolation between the centres of cells, pixel by pixel."""
    rows, columns = coarse.shape
    fine = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        v = max(0.0, (y + 0.5) * rows / height - 0.5)
        u = max(0.0, (x + 0.5) * columns / width - 0.5)
        top, left = int(v), int(u)
        below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
        b, a = v - top, u - left
        fine[y, x] = (1 - b) * ((1 - a) * coarse[top, left] + a * coarse[top, right])
        fine[y, x] += b * ((1 - a) * coarse[below, left] + a * coarse[below, right])
    return fine


def plus_plus(maps, slopes):
    coarse = np.zeros(maps.shape[1:])
    for one, slope in zip(maps, slopes, strict=True):
        weight = 0.0
        for place in np.ndindex(slope.shape):
            g = slope[place]
            if g != 0:  # eq. 19 with the second and third power of the gradient
                weight += g**2 / (2 * g**2 + one.sum() * g**3) * max(g, 0)
        coarse += weight * one
    return np.maximum(coarse, 0)


def layer_cam(maps, slopes):
    coarse = np.zeros(maps.shape[1:])
    for k, y, x in np.ndindex(maps.shape):
        coarse[y, x] += max(slopes[k, y, x], 0) * maps[k, y, x]
    return np.maximum(coarse, 0)


def eigen(maps, _slopes):
    cells = maps.reshape(len(maps), -1).T
    direction = np.ones(len(maps))
    for _ in range(2000):  # power iteration
        direction = cells.T @ (cells @ direction)
        direction /= np.linalg.norm(direction)
    return (cells @ direction).reshape(maps.shape[1:])


def grad_cam(maps, slopes):
    total = sum(slope.mean() * one for one, slope in zip(maps, slopes, strict=True))
    return np.maximum(total, 0)


@pytest.mark.parametrize(
    ("explain", "loop"),
    [
        (GradCAM(), grad_cam),
        (GradCAMPlusPlus(), plus_plus),
        (LayerCAM(), layer_cam),
        (EigenCAM(), eigen),
    ],
)
def test_a_loop_from_the_paper_gives_the_same(net, images, explain, loop):
    found = explain(net, images, TARGETS)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        coarse = loop(*maps_and_slopes(net, image, target))
        np.testing.assert_allclose(heatmap, bilinear(coarse, 8, 12), rtol=1e-6, atol=1e-9)


def score_cam(net, image, target, baseline, keep):
    """Algorithm 1 of the paper, one masked image at a time."""
    maps = net[0](image[None])[0].detach()
    net = net.requires_grad_(False)
    order = sorted(range(len(maps)), key=lambda k: -float(maps[k].var(correction=0)))[:keep]
    start = torch.full_like(image, baseline)
    contributions = []
    for k in order:
        large = torch.tensor(bilinear(maps[k].numpy(), 8, 12))
        if large.max() == large.min():
            contributions.append(-np.inf)
            continue
        mask = (large - large.min()) / (large.max() - large.min())
        seen = net((start + mask * (image - start))[None])[0, target]
        contributions.append(float(seen - net(start[None])[0, target]))
    weights = np.exp(contributions)
    total = sum(w * maps[k].numpy() for w, k in zip(weights / weights.sum(), order, strict=True))
    return np.maximum(total, 0)


@pytest.mark.parametrize(("baseline", "keep"), [(0.0, 5), (0.3, 3)])
@pytest.mark.parametrize("dead", [False, True])
def test_score_cam_is_the_papers_algorithm(net, images, baseline, keep, dead):
    if dead:  # a map that is zero everywhere has no mask
        net[0][-2].bias.data[1] = -100
    found = ScoreCAM(baseline=baseline, maps=keep)(net, images, TARGETS)
    for image, target, heatmap in zip(images, TARGETS, found, strict=True):
        coarse = score_cam(net, image, target, baseline, keep)
        np.testing.assert_allclose(heatmap, bilinear(coarse, 8, 12), rtol=1e-6, atol=1e-9)


def test_score_cam_of_a_dead_layer_is_empty(net, images):
    net[0][-2].bias.data[:] = -100
    assert not ScoreCAM()(net, images, TARGETS).any()


def test_behind_global_pooling_grad_cam_is_cam_and_sums_to_the_logit_less_its_bias(images):
    net = drawn(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
        )
    )
    maps = net[:5](images)
    cam = torch.einsum("bk,bkhw->bhw", net[7].weight[TARGETS], maps) / maps[0, 0].numel()
    large = functional.interpolate(cam[:, None], (8, 12), mode="bilinear")[:, 0].detach()
    logit = (net(images) - net[7].bias)[range(5), TARGETS]
    for explain in (GradCAM(relu=False), LayerCAM(relu=False, positive=False)):
        found = explain(net, images, TARGETS)
        torch.testing.assert_close(found, large)
        # Enlarging twice each way makes four pixels of each cell and keeps the mean.
        torch.testing.assert_close(found.sum((1, 2)) / 4, logit.detach())


def test_eigen_cam_asks_for_no_class_and_the_others_do(net, images):
    other = (TARGETS + 1) % 3
    for explain in EVERY:
        same = torch.equal(explain(net, images, TARGETS), explain(net, images, other))
        assert same == isinstance(explain, EigenCAM), explain


class Functional(nn.Module):
    """A small residual network whose one convolution and activation are used twice."""

    def __init__(self, functions):
        super().__init__()
        self.first, self.again = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.relu, self.functions = nn.ReLU(inplace=True), functions

    def forward(self, x):
        relu = torch.relu if self.functions else self.relu
        x = relu(self.first(x))
        for _ in range(2):
            if self.functions:
                y = functional.conv2d(x, self.again.weight, self.again.bias, padding=1)
                norm = self.norm
                y = functional.batch_norm(
                    y, norm.running_mean, norm.running_var, norm.weight, norm.bias
                )
                x = functional.max_pool2d(relu(x + y), 2)
            else:
                y = self.norm(self.again(x))
                y += x
                x = functional.max_pool2d(self.relu(y), 2)
            self.last = y
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("explain", EVERY, ids=lambda one: type(one).__name__)
def test_functions_and_reused_modules_give_the_same_map(images, explain):
    one, other = (drawn(lambda functions=f: Functional(functions)) for f in (True, False))
    found = explain(one, images, TARGETS)
    assert found.abs().max() > 0
    torch.testing.assert_close(found, explain(other, images, TARGETS))


def test_the_map_is_the_last_convolutions_with_norm_sum_and_activation_but_no_pooling(images):
    one = drawn(lambda: Functional(functions=False))
    found = from_maps(one, images, TARGETS, None, lambda maps, _: maps)
    assert found.shape == (5, 4, 4, 6)
    torch.testing.assert_close(found, one.last.detach())  # what `+=` and ReLU made of it in place


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet18", "layer4"), ("mobilenet_v3_small", "features.12"), ("squeezenet1_1", None)],
)
def test_of_torchvisions_networks_it_is_the_layer_that_everybody_names(name, layer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.get_model(name, weights=None).eval()
    images, targets = torch.rand(2, 3, 64, 64), torch.tensor([1, 2])
    found = GradCAM(relu=False)(model, images, targets)
    named = GradCAM(relu=False, layer=layer or "classifier.2")(model, images, targets)
    assert found.abs().max() > 0
    torch.testing.assert_close(found, named)


def test_a_map_of_one_cell_is_passed_over(images):
    net = drawn(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 3, 1), nn.Flatten()),
        )
    )
    torch.testing.assert_close(
        GradCAM()(net, images, TARGETS), GradCAM(layer="1")(net, images, TARGETS)
    )


def test_a_named_layer_is_that_modules_output_though_later_work_is_in_place(images):
    net = drawn(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Linear(4 * 6 * 10, 3)),
        )
    )
    found = from_maps(net, images, TARGETS, "1", lambda maps, _: maps)
    torch.testing.assert_close(found, torch.tanh(net[0](images)).detach())


def test_a_wrong_name_lists_the_layers_that_have_maps():
    model = torchvision.models.resnet18(weights=None).eval()
    with pytest.raises(InputError) as error:
        GradCAM(layer="layer5")(model, torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
    text = str(error.value)
    assert "got 'layer5'; allowed: layer1, layer2, layer3, layer4, " in text
    assert " more modules and functions" in text
    assert text.split("allowed: ")[1].count(", ") == 4


@pytest.mark.parametrize("layer", ["1.2", "1", "nothing", "linear.0"])
def test_a_layer_without_places_is_refused(net, images, layer):
    with pytest.raises(
        InputError, match=r"layer with feature maps: got '.*'; allowed: .*, .* more"
    ):
        GradCAM(layer=layer)(net, images, TARGETS)


def test_a_layer_beside_the_way_to_the_logits_is_refused(images):
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.on, self.off = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)

        def forward(self, x):
            self.off(x)
            return self.on(x).mean((2, 3))

    with pytest.raises(InputError, match="on which the logits do not depend"):
        GradCAM(layer="off")(drawn(Beside), images, TARGETS)


@pytest.mark.parametrize("explain", EVERY, ids=lambda one: type(one).__name__)
def test_networks_without_maps_are_refused_in_one_line(explain):
    built = MLP().build(2, (8, 12), 3).eval()
    with pytest.raises(InputError, match="without a convolution; allowed: networks") as error:
        explain(built, torch.rand(5, 2, 8, 12), TARGETS)
    assert "\n" not in str(error.value)


class Branches(nn.Module):
    """Two ways from the images to the logits, of which either can run first."""

    def __init__(self, first, finer=False):
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 5, 3, padding=1)
        self.heads = nn.ModuleList([nn.Linear(4, 3), nn.Linear(5, 3)])
        self.first, self.finer = first, finer

    def forward(self, x):
        parts = {}
        for side in (0, 1) if self.first == "left" else (1, 0):
            given = functional.avg_pool2d(x, 2) if self.finer and side else x
            maps = (self.left, self.right)[side](given).relu()
            parts[side] = self.heads[side](maps.mean((2, 3)))
        return parts[0] + parts[1]


def test_of_branches_all_count_in_whichever_order_they_run(images):
    left, right = (drawn(lambda one=one: Branches(one)) for one in ("left", "right"))
    found = GradCAM(relu=False)(left, images, TARGETS)
    torch.testing.assert_close(found, GradCAM(relu=False)(right, images, TARGETS))
    # Both heads pool over places, so the map sums to what both branches add to the logit.
    biases = sum(head.bias for head in left.heads)
    logits = (left(images) - biases).detach()[range(5), TARGETS]
    torch.testing.assert_close(found.sum((1, 2)), logits)
    assert layer_of(left, images, None) == "relu.0 + relu.1"


def test_what_a_coarser_branch_adds_up_to_is_kept(images):
    net = drawn(lambda: Branches("left", finer=True))
    found = GradCAM(relu=False)(net, images, TARGETS)
    biases = sum(head.bias for head in net.heads)
    logits = (net(images) - biases).detach()[range(5), TARGETS]
    torch.testing.assert_close(found.sum((1, 2)), logits)


def test_a_layer_can_be_a_function_by_the_number_of_its_call(images):
    net = drawn(lambda: Functional(functions=True))
    found = GradCAM(layer="relu.2")(net, images, TARGETS)
    torch.testing.assert_close(found, GradCAM()(net, images, TARGETS))
    sums = GradCAM(layer="conv2d")(net, images, TARGETS)
    torch.testing.assert_close(sums, GradCAM(layer="conv2d.2")(net, images, TARGETS))
    assert not torch.allclose(found, GradCAM(layer="relu.0")(net, images, TARGETS))
    assert layer_of(net, images, None) == "relu.2"


def test_a_map_of_one_cell_can_be_named(images):
    net = drawn(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 3, 1), nn.Flatten()),
        )
    )
    found = LayerCAM(layer="4", relu=False, positive=False)(net, images, TARGETS)
    logits = (net(images) - net[5].bias).detach()[range(5), TARGETS]
    torch.testing.assert_close(found, logits[:, None, None].expand(-1, 8, 12))


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_tokens_are_a_map_of_the_last_norm_whose_patches_decide(images, pooling):
    built = drawn(
        lambda: ViT(patch=4, depth=2, width=8, heads=2, pooling=pooling).build(2, (8, 12), 3)
    )
    seen = {}
    name = "norm" if pooling == "mean" else "blocks.1.attend.0"
    layer = built.get_submodule(name)
    layer.register_forward_hook(lambda _, __, out: seen.update(out=out))
    found = GradCAM(relu=False)(built, images, TARGETS)
    pixels = images.clone().requires_grad_()
    chosen = built(pixels)[range(5), TARGETS].sum()
    tokens = seen["out"]
    slopes = torch.autograd.grad(chosen, tokens)[0]
    extra = int(pooling == "class")
    weights = slopes[:, extra:].mean(1, keepdim=True)
    coarse = (weights * tokens[:, extra:]).sum(2).view(5, 1, 2, 3)
    large = functional.interpolate(coarse, (8, 12), mode="bilinear")[:, 0]
    torch.testing.assert_close(found, large.detach())
    assert layer_of(built, images, None) == name


def test_swins_last_norm_is_a_map_with_channels_last():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.swin_t(weights=None, num_classes=5).eval()
    images, targets = torch.rand(2, 3, 64, 64), torch.tensor([1, 2])
    assert layer_of(model, images, None) == "norm"
    coarse = from_maps(model, images, targets, None, lambda maps, _: maps)
    assert coarse.shape == (2, 768, 2, 2)
    torch.testing.assert_close(coarse.movedim(1, -1), model.norm(model.features(images)).detach())
    found = LayerCAM(relu=False, positive=False)(model, images, targets)
    logits = (model(images) - model.head.bias).detach()[range(2), targets]
    torch.testing.assert_close(found.mean((1, 2)) * 4, logits, rtol=1e-4, atol=1e-5)


def test_a_network_of_torchvision_says_which_layer_it_took():
    model = torchvision.models.resnet18(weights=None).eval()
    assert layer_of(model, torch.rand(1, 3, 64, 64), None) == "layer4"


@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
def test_scripted_networks_hide_their_maps(net, images):
    with pytest.raises(InputError, match="scripted or compiled"):
        GradCAM()(torch.jit.trace(net, images), images, TARGETS)


@pytest.mark.parametrize("layer", [None, "0", "nothing"])
def test_nothing_stays_on_the_model_even_after_an_exception(net, images, layer):
    def fail(*_):
        raise RuntimeError("broken")

    handle = net[1].register_forward_pre_hook(fail)
    net.train()
    with pytest.raises((RuntimeError, InputError)):
        GradCAM(layer=layer)(net, images, TARGETS)
    handle.remove()
    assert all(not module._forward_hooks for module in net.modules())
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("explain", EVERY, ids=lambda one: type(one).__name__)
def test_no_images_give_no_heatmaps_and_no_grad_mode_does_not_matter(net, images, explain):
    assert explain(net, images[:0], TARGETS[:0]).shape == (0, 8, 12)
    expected = explain(net, images, TARGETS)
    with torch.inference_mode():
        torch.testing.assert_close(explain(net, images, TARGETS), expected)


def assigned(x):
    x = x.clone()
    x[x < 0] = 0
    return x


RELUS = {
    "mask": lambda x: x * (x > 0),
    "size": lambda x: (x + x.abs()) / 2,
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max": lambda x: torch.max(x, torch.zeros_like(x)),
    "minimum": lambda x: -torch.min(-x, torch.zeros_like(x)),
    "stack": lambda x: torch.stack([x, torch.zeros_like(x)]).max(0)[0],
    "stack, amax": lambda x: torch.stack([x, torch.zeros_like(x)], 1).amax(1),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "filled": lambda x: x.masked_fill(x < 0, 0.0),
    "assigned": assigned,
}


class Written(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.first, self.last, self.step = nn.Conv2d(2, 4, 3), nn.Linear(4, 3), step

    def forward(self, x):
        maps = self.step(self.first(x))
        return self.last(functional.max_pool2d(maps, 2).amax((2, 3)))


@pytest.mark.parametrize("written", RELUS)
def test_however_its_activation_is_written_the_map_is_the_same(images, written):
    plain, other = drawn(lambda: Written(torch.relu)), drawn(lambda: Written(RELUS[written]))
    for explain in EVERY:
        wanted = explain(plain, images, TARGETS)
        torch.testing.assert_close(explain(other, images, TARGETS), wanted)


def unseen(function):
    """What `function` does, so that nothing sees it."""

    def hidden(*given):
        with torch._C.DisableTorchFunction():
            return function(*given)

    return hidden


@pytest.mark.parametrize(
    "step", [unseen(torch.relu), lambda x: torch.relu(x.double()).to(x)], ids=["hidden", "cast"]
)
def test_a_map_that_nobody_saw_made_counts_as_one(images, step):
    plain, other = drawn(lambda: Written(torch.relu)), drawn(lambda: Written(step))
    for explain in (one for one in EVERY if not isinstance(one, GuidedGradCAM)):
        wanted = explain(plain, images, TARGETS)
        torch.testing.assert_close(explain(other, images, TARGETS), wanted)


def test_a_convolution_as_aten_has_it_makes_maps(images):
    class Low(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            steps = [1, 1], [0, 0], [1, 1], False, [0, 0], 1
            maps = torch.ops.aten.convolution(x, self.first.weight, self.first.bias, *steps)
            return self.last(torch.relu(maps).mean((2, 3)))

    assert layer_of(drawn(Low), images, None) == "relu.0"
