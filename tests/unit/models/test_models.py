"""Architectures: they fit the data or say in one line why not."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from xai_exp.config import InputError
from xai_exp.models.blocks import ACTIVATIONS
from xai_exp.models.cnn import CNN
from xai_exp.models.lenet5 import LeNet5
from xai_exp.models.mlp import MLP
from xai_exp.models.resnet import ResNet18
from xai_exp.models.torchvision import Torchvision
from xai_exp.models.vgg import VGG

CONF = Path(__file__).parents[3] / "conf"
NAMES = sorted(
    path.stem
    for path in (CONF / "model").glob("*.yaml")
    if not path.stem.startswith("whitebox")
    and "path: ???" not in path.read_text()  # a network from a file is as good as the file
)
OWN = [CNN(), LeNet5(), VGG(), MLP(), ResNet18(width=8)]
FAMILIES = [
    *("convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5"),
    *("mobilenet_v2", "regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0"),
    *("swin_t", "vit_b_32"),
]


def from_yaml(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose("config", [f"model={name}"]).model)


def built(architecture, channels=1, size=(32, 32), classes=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return architecture.build(channels, size, classes)


def calls(network, images):
    """How often one forward pass goes through each module."""
    counts = {}
    leaves = [m for m in network.modules() if not list(m.children())]

    def count(module, *_):
        counts[module] = counts.get(module, 0) + 1

    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return counts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_model_gives_a_logit_for_each_class(name, channels):
    network = built(from_yaml(name), channels, (32, 40), 4)
    assert network.training
    logits = network(torch.rand(2, channels, 32, 40))
    assert logits.shape == (2, 4)
    assert bool(logits.isfinite().all())
    logits[0, 0].backward()
    assert any(bool((p.grad != 0).any()) for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_fits_digits_or_says_in_one_line_why_not(name):
    said = None
    try:
        network = built(from_yaml(name), 1, (8, 8), 10)
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    except InputError as error:
        said = str(error)
    assert said is None or ("8x8" in said and "allowed:" in said and "\n" not in said)


@pytest.mark.parametrize("architecture", OWN, ids=lambda a: type(a).__name__)
def test_every_activation_is_a_module_of_its_own_and_none_is_in_place(architecture):
    network = built(architecture).eval()
    counts = calls(network, torch.rand(2, 1, 32, 32))
    kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Softplus)
    activations = [module for module in network.modules() if isinstance(module, kinds)]
    assert activations
    assert all(counts[module] == 1 for module in activations)
    assert not any(getattr(module, "inplace", False) for module in network.modules())


@pytest.mark.parametrize("architecture", OWN, ids=lambda a: type(a).__name__)
def test_no_activation_is_hidden_in_a_function(architecture):
    """Modules made linear leave a linear network, so nothing else bends the signal."""
    network = built(architecture).eval().double()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Identity())
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    first, second = torch.randn(2, 3, 1, 32, 32, dtype=torch.float64)
    zero = network(torch.zeros(1, 1, 32, 32, dtype=torch.float64))
    both = network(first + second) - zero
    torch.testing.assert_close(both, network(first) + network(second) - 2 * zero)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("architecture", [CNN, LeNet5, VGG, MLP])
def test_the_activation_that_is_named_is_the_one_that_is_used(architecture, activation):
    network = built(architecture(activation=activation))
    kind = type(ACTIVATIONS[activation]())
    assert any(isinstance(module, kind) for module in network.modules())
    assert activation == "relu" or not any(isinstance(m, nn.ReLU) for m in network.modules())


@pytest.mark.parametrize("pooling", ["max", "avg", "stride"])
@pytest.mark.parametrize("head", ["flatten", "gap"])
@pytest.mark.parametrize("size", [(28, 28), (33, 47), (8, 9)])
def test_a_cnn_takes_any_size_with_any_pooling_and_head(pooling, head, size):
    network = built(CNN(pooling=pooling, head=head, dropout=0.2), 3, size, 5)
    assert network(torch.rand(2, 3, *size)).shape == (2, 5)


def test_the_gap_head_has_as_many_parameters_at_every_size():
    counts = {
        sum(p.numel() for p in built(CNN(head="gap", depth=2), 1, size).parameters())
        for size in [(16, 16), (64, 64)]
    }
    assert len(counts) == 1


def test_width_doubles_up_to_the_most_allowed_and_depth_counts_convolutions():
    network = built(CNN(depth=5, width=8, max_width=24, hidden=0), 1, (32, 32))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [8, 16, 24, 24, 24]
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 1


def test_blocks_beyond_the_halvings_keep_the_images_size():
    network = built(CNN(depth=6, halvings=2, hidden=0, max_width=8), 1, (32, 32))
    assert sum(isinstance(one, nn.Conv2d) for one in network.modules()) == 6
    assert sum(isinstance(one, nn.MaxPool2d) for one in network.modules()) == 2
    last = [one for one in network.modules() if isinstance(one, nn.Linear)][-1]
    assert last.in_features == 8 * 8 * 8
    with pytest.raises(InputError, match="without a depth"):
        CNN(halvings=2)


@pytest.mark.parametrize(
    ("size", "blocks"), [((64, 64), 4), ((28, 28), 3), ((8, 8), 1), ((4, 4), 0), ((96, 33), 3)]
)
def test_without_a_depth_blocks_follow_until_four_pixels_or_less_are_left(size, blocks):
    network = built(CNN(), 1, size)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == blocks


def test_norm_none_keeps_biases_and_has_no_batch_norm():
    network = built(CNN(norm="none"))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert all(m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (CNN(depth=4), "allowed: at most 3"),
        (CNN(depth=9, pooling="stride"), "allowed: at most"),
        (LeNet5(), "12x12 or larger"),
        (VGG(stages=5), "each stage halves the image"),
        (Torchvision(name="alexnet"), "larger images"),
        (Torchvision(name="vit_b_16"), "Input shape indivisible by patch size"),
        (Torchvision(name="maxvit_t"), "maxvit_t"),
    ],
)
def test_a_network_too_deep_for_the_image_is_refused_in_one_line(architecture, said):
    with pytest.raises(InputError) as caught:
        built(architecture, 1, (8, 8))
    assert said in str(caught.value)
    assert "8x8" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_even_kernel_is_refused():
    with pytest.raises(InputError, match="odd"):
        CNN(kernel=4)


def test_an_unknown_model_of_torchvision_is_answered_with_near_ones():
    with pytest.raises(InputError, match=r"got 'resnet19'.*resnet18") as caught:
        Torchvision(name="resnet19")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", FAMILIES)
def test_the_families_of_torchvision_fit_grey_images_and_have_nothing_in_place(name):
    network = built(Torchvision(name=name), 1, (32, 32), 3)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 3)
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_a_vision_transformer_refuses_images_that_are_not_square():
    with pytest.raises(InputError, match="vit_b_32"):
        built(Torchvision(name="vit_b_32"), 3, (32, 64))


def test_resnet18_keeps_small_images_large_and_shrinks_large_ones():
    small, large = built(ResNet18(), 1, (64, 64)), built(ResNet18(), 1, (96, 96))
    assert small[0].stride == (1, 1)
    assert large[0].stride == (2, 2)
    assert isinstance(large[3], nn.MaxPool2d)


def test_resnet18_has_as_many_parameters_as_the_paper_s_at_its_size():
    import torchvision

    ours = sum(p.numel() for p in built(ResNet18(), 3, (224, 224), 1000).parameters())
    theirs = torchvision.models.resnet18(weights=None)
    assert ours == sum(p.numel() for p in theirs.parameters())


def test_the_same_seed_builds_the_same_network():
    first, second = built(CNN()), built(CNN())
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_networks_come_in_channels_last_so_that_trained_and_loaded_ones_are_alike():
    weights = [p for p in built(CNN()).parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    assert not any(w.is_contiguous() for w in weights if min(w.shape) > 1)
