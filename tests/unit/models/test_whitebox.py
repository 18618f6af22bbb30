"""White boxes: their reason in closed form, and what every explainer says of a region ignored."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.data.shortcut import CountingShortcut, TrianglesSquaresShortcut
from xai_exp.models.whitebox import Blind, Counter, LinearSum, TagReader
from xai_exp.training import Trainer, accuracy
from xai_exp.truth import games as truth

CONF = Path(__file__).parents[3] / "conf"
CPU = torch.device("cpu")
NO_METHODS = ("defaults:", "FromFile")  # presets, and heatmaps that are made elsewhere
EXPLAINERS = sorted(
    path.stem
    for path in (CONF / "explainer").glob("*.yaml")
    if not any(word in path.read_text() for word in NO_METHODS)
)
# These do not look at the network at all, so they can not know what it ignores.
CONTROLS = {
    "exact_mask",
    "inverted_mask",
    "random",
    "sobel",
    "laplacian",
    "image",
    "constant",
    "tied",
    "difference",
    "noise_x_difference",
    "equal_shares",
}
# These can't help it: windows, masks, segments and filters reach over the edge, maps are laid over
# the whole image, though a network may have cut a part of it off, and draws leave a dependence.
SPREADING = {"occlusion", "rise", "full_grad", "eigen_cam", "score_cam", "layer_cam"}
SPREADING |= {"grad_cam", "grad_cam_plus_plus", "lime", "kernel_shap", "shapley_sampling"}
SPREADING |= {"extremal_perturbation", "meaningful_perturbation", "exact_shapley", "owen"}
SPREADING |= {"fem", "forgrad", "hsic"}
# Differences of outputs from batches of several sizes, on which the last bit of an output depends.
ROUNDED = {"partition_shap"}


def built(architecture, data):
    return architecture.build(data.channels, data.size, len(data.classes)).eval()


def explained(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"explainer={name}", *overrides])
    return instantiate(config.explainer[name], _convert_="all")


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("ignored", ["left", "bottom"])
def test_explainers_put_nothing_on_what_the_network_ignores(name, ignored):
    network = Blind(ignored=ignored).build(1, (16, 18), 3).eval()
    images = torch.rand(3, 1, 16, 18, generator=torch.Generator().manual_seed(2))
    explainer = explained(name)
    if getattr(explainer, "requires", "") == "attention":
        with pytest.raises(InputError, match="got a network without attention"):
            explainer(network, images, torch.tensor([0, 1, 2]))
        return
    if hasattr(explainer, "with_parts"):
        explainer = explainer.with_parts(images, (images > 0.5).float())
    if hasattr(explainer, "fit"):
        explainer = explainer.fit(network, images)
    heatmaps = explainer(network, images, torch.tensor([0, 1, 2]))
    unseen = {"left": heatmaps[:, :, :9], "bottom": heatmaps[:, 8:]}[ignored]
    seen = {"left": heatmaps[:, :, 9:], "bottom": heatmaps[:, :8]}[ignored]
    assert bool((seen != 0).any())
    least = 1e-6 * float(seen.abs().max()) if name in ROUNDED else 0.0
    assert bool((unseen.abs() <= least).all()) is (name not in CONTROLS | SPREADING)


RULES = ["z", "epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square", "z_box"]


@pytest.mark.parametrize("rule", [*RULES, "epsilon_plus_flat", "epsilon_gamma_box"])
def test_every_rule_of_lrp_puts_nothing_on_what_the_network_ignores(rule):
    network = Blind().build(1, (16, 18), 3).eval()
    images = torch.rand(2, 1, 16, 18, generator=torch.Generator().manual_seed(2))
    explainer = explained("lrp", f"explainer.lrp.rule={rule}")
    heatmaps = explainer(network, images, torch.tensor([0, 2]))
    assert bool((heatmaps[:, :, :9] == 0).all())
    assert bool((heatmaps[:, :, 9:] != 0).any())


def test_the_ignored_half_changes_nothing():
    images = torch.rand(2, 3, 12, 10)
    for ignored, half in {
        "left": (slice(None), slice(0, 5)),
        "right": (slice(None), slice(5, 10)),
        "top": (slice(0, 6), slice(None)),
        "bottom": (slice(6, 12), slice(None)),
    }.items():
        network = Blind(ignored=ignored).build(3, (12, 10), 4).eval()
        changed, other = images.clone(), 1 - images
        changed[:, :, half[0], half[1]] = torch.rand_like(changed[:, :, half[0], half[1]])
        assert torch.equal(network(changed), network(images))
        assert not torch.equal(network(other), network(images))


def test_the_linear_sum_gives_each_object_its_contrast_times_its_area():
    data = Counting(count=60, max_objects=4)
    index, targets = torch.arange(6), torch.tensor([0, 1, 2, 3, 4, 0])
    scenes = data.test.scenes(index)
    found = truth.attribute(built(LinearSum(), data), scenes, targets)
    contrast = (scenes.levels - scenes.background[:, None]).double()
    area = scenes.parts().double().sum((2, 3))
    weight = torch.linspace(-1, 1, 5).double()[targets] / 64**2
    wanted = weight[:, None] * contrast * area
    torch.testing.assert_close(found.shapley, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("least", [0, 2])
@pytest.mark.parametrize("shape", ["disc", "square"])
def test_the_counter_counts(least, shape):
    data = Counting(count=3000, min_contrast=0.9, min_objects=least, shape=shape)
    network = built(Counter(least=least), data)
    assert accuracy(network, data.test, CPU) == 1
    index = data.test.labels.argsort(descending=True)[:3]
    label = data.test.labels[index]
    logits = network(data.test.images(index))
    number, classes = (label + least).float()[:, None], torch.arange(10.0 - least) + least
    wanted = 2 * classes * number - classes**2
    torch.testing.assert_close(logits, wanted, rtol=0, atol=0.05)


def test_each_disc_is_worth_the_same_to_the_counter_and_none_interacts():
    data = Counting(count=3000, min_contrast=0.9, max_objects=5)
    index = torch.arange(8)
    scenes, labels = data.test.scenes(index), data.test.labels[index]
    found = truth.attribute(built(Counter(), data), scenes, labels)
    wanted = 2.0 * labels[:, None] * found.present
    torch.testing.assert_close(found.shapley, wanted.double(), rtol=0, atol=0.02)
    torch.testing.assert_close(
        found.interaction, torch.zeros_like(found.interaction), rtol=0, atol=0.05
    )


@pytest.mark.parametrize(
    "data",
    [CountingShortcut(count=1000), TrianglesSquaresShortcut(count=1000)],
    ids=["counting", "triangles_squares"],
)
def test_to_the_tag_reader_the_tag_is_everything(data):
    network = built(TagReader(), data)
    index = data.test.everything.present[:, -1].nonzero()[:12, 0]
    scenes = data.test.scenes(index)
    targets = torch.full_like(index, len(data.classes) - 1)
    found = truth.attribute(network, scenes, targets)
    contrast = (scenes.levels[:, -1] - scenes.background).abs().double()
    torch.testing.assert_close(found.shapley[:, -1], 10 * contrast, rtol=0, atol=1e-4)
    rest = found.shapley[:, :-1]
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-4)
    positive = network(data.test.images(torch.arange(100))).argmax(1) > (len(data.classes) - 1) / 2
    assert torch.equal(positive, data.test.everything.present[:100, -1])


def test_there_is_nothing_to_learn(tmp_path):
    data = Counting(count=120, min_contrast=0.9)
    network = built(Counter(), data)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = Trainer().fit(data, network, seed=0, folder=tmp_path, device=CPU)
    assert result.accuracy == result.validation_accuracy == 1
    assert (result.epochs, result.history) == (0, ())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_tag_that_does_not_fit_is_refused_in_one_line():
    with pytest.raises(InputError, match="got tag_size 7 for images of 8x8 pixels; allowed"):
        TagReader(tag_size=7).build(1, (8, 8), 2)
