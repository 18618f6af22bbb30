"""Optimised images show the feature that a white box is known to look for."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.digits import Digits
from xai_exp.data.shortcut import CountingShortcut
from xai_exp.data.suppressor import Suppressor
from xai_exp.data.worths import WeightedCounting
from xai_exp.insight.features import additions, objectives, of_images, penalties
from xai_exp.insight.features.atlas import ActivationAtlas
from xai_exp.insight.features.attribution import (
    ActivationGrid,
    Attribution,
    NeuronGroups,
    attributed,
)
from xai_exp.insight.features.optimise import Robustness
from xai_exp.insight.features.parameterisations import (
    CPPN,
    Fourier,
    LaplacianPyramid,
    MaCo,
    Pixels,
)
from xai_exp.insight.features.visualise import ContactSheets, Visualise
from xai_exp.models.cnn import CNN
from xai_exp.models.whitebox import Blind, CentreSurround, LinearSum, TagReader
from xai_exp.models.whitebox.kinds import WeightedCounter

PIXELS = {"parameterisation": Pixels(scale=0.01), "robust": None, "steps": 40, "rate": 0.5}


def logit(*classes, **other):
    look = {**PIXELS, **other}
    return Visualise(objective=objectives.ClassLogit(classes=classes), **look)


def test_a_class_of_the_reader_of_tags_is_a_tag_on_grey(of):
    data = CountingShortcut(count=60, pixels=48, max_objects=3)
    made, _ = logit(3).made(of(data, TagReader()))
    image = made.images[0, 0]
    tag, border = image[1:5, 1:5], torch.cat([image[0, :6], image[1:6, 0]])
    assert abs(float(tag.mean() - border.mean())) > 0.9
    elsewhere = torch.ones_like(image, dtype=torch.bool)
    elsewhere[:6, :6] = False
    assert float((image[elsewhere] - 0.5).abs().max()) < 0.05


def test_classes_of_the_mean_grey_level_are_black_and_white(of):
    made, _ = logit(0, 9).made(of(Digits(), LinearSum()))
    assert float(made.images[0].mean()) < 0.05
    assert float(made.images[1].mean()) > 0.95


def test_classes_of_the_suppressor_are_its_weights(of):
    data, box = Suppressor(), CentreSurround()
    made, _ = logit(0, 1).made(of(data, box))
    reason = (box.contrast(data.size, 1) - box.contrast(data.size, 0)).sign().flatten()
    seen = made.images[:, 0].flatten(1) - 0.5
    used = reason != 0
    for image, sign in zip(seen, (-1, 1), strict=True):
        right = (image.sign() == sign * reason)[used]
        assert float(right.float().mean()) > 0.99


def test_a_detector_of_red_shows_red_in_every_parameterisation(of):
    small = {"count": 60, "pixels": 24, "min_radius": 2, "max_radius": 3, "max_objects": 2}
    subject = of(WeightedCounting(by="color", color="rgb", **small), WeightedCounter())
    for way in (Pixels(), Fourier(), LaplacianPyramid(), CPPN()):
        aim = objectives.Channel(layer="0", channels=(0,))
        look = {"parameterisation": way, "robust": None, "steps": 60, "rate": 0.1}
        made, _ = Visualise(objective=aim, **look).made(subject)
        red, green, _ = made.images[0].mean((1, 2)).tolist()
        assert red > green + 0.5, type(way)
        assert float(made.score) > float(made.start)


def test_the_half_that_is_never_seen_stays_as_it_began(of):
    made, _ = logit(0).made(of(Digits(), Blind(ignored="left")))
    assert float((made.images[0, 0, :, :4] - 0.5).abs().max()) < 0.05
    assert float((made.images[0, 0, :, 4:] - 0.5).abs().mean()) > 0.3


def test_magnitudes_are_those_of_real_images_whatever_is_optimised(of):
    subject = of(Digits(), CNN(width=2, hidden=8))
    example = subject.images(32)
    source = torch.Generator().manual_seed(0)
    canvas = MaCo().begin((2, 1, 8, 8), example, source)
    images = canvas.images().detach()
    within = (images > 1e-3) & (images < 1 - 1e-3)
    assert bool(within.any())
    look = {"parameterisation": MaCo(), "robust": None, "steps": 20, "rate": 0.2}
    made, _ = Visualise(objective=objectives.ClassLogit(classes=(3,)), **look).made(subject)
    assert float(made.score) > float(made.start)
    spectrum = torch.fft.rfft2(made.images, norm="ortho").abs()
    real = torch.fft.rfft2(example - example.mean(), norm="ortho").abs()
    assert float(spectrum[..., 3:5, 3:].mean()) < 2 * float(real[..., 3:5, 3:].mean())


def test_inversion_finds_an_image_that_the_layer_takes_for_the_original(of):
    subject = of(Digits(), CNN(width=8, hidden=8, norm="none", pooling="avg"))
    aim = of_images.Inversion(layer="0", images=2)
    look = {**PIXELS, "steps": 120, "rate": 0.3}
    made, _ = Visualise(objective=aim, **look).made(subject)
    assert float(made.score.min()) > -0.05
    assert float((made.images - subject.images(2)).abs().mean()) < 0.08


def test_diverse_images_of_one_channel_differ_more(of):
    subject = of(Digits(), CNN(width=4, hidden=8))
    aim = objectives.Channel(layer="1", channels=(0, 0, 0))
    look = {**PIXELS, "steps": 30, "rate": 0.1}
    alike, _ = Visualise(objective=aim, **look).made(subject)
    extra = {"diversity": additions.Diversity(layer="1", weight=10.0)}
    apart, _ = Visualise(objective=aim, also=extra, **look).made(subject)
    assert float(apart.images.std(0).mean()) > 1.2 * float(alike.images.std(0).mean())


def test_penalties_are_their_formulas():
    images = torch.zeros(1, 1, 8, 8)
    images[..., 4:] = 1
    assert float(penalties.TotalVariation()(images)) == pytest.approx(8 / 56)
    assert float(penalties.L1()(images)) == 0.5
    assert float(penalties.L2()(images)) == pytest.approx(0.5)
    assert float(penalties.Blur()(images)) == pytest.approx((16 / 9 / 64) ** 0.5)
    inner = torch.full((1, 1, 8, 8), 0.5)
    inner[..., 3:5, 3:5] = 1
    edge = penalties.BoundaryComplexity(frame=2)
    assert float(edge(inner)) == 0
    assert float(edge(images)) > 0.1


def test_attribution_to_the_answer_is_complete_where_the_rest_is_linear(of):
    subject = of(Digits(), CNN(width=4, hidden=0, depth=1, norm="none"))
    images = subject.images(3)
    found = attributed(subject, "2", None, images).sum((1, 2, 3))
    logits = subject.network(images).detach()
    top = logits.argmax(1)
    bias = subject.network[-1].bias
    centred = logits - logits.mean(1, keepdim=True)
    wanted = centred.gather(1, top[:, None])[:, 0] - (bias[top] - bias.mean())
    assert torch.allclose(found, wanted.detach(), atol=1e-4)


def test_every_look_at_a_layer_gives_its_pictures(of):
    subject = of(Digits(), CNN(width=4, hidden=8))
    short = {"steps": 2}
    for insight in (
        ContactSheets(channels=3, **short),
        Attribution(images=2),
        Attribution(layer="1", to="5", images=2),
        ActivationGrid(cells=2, **short),
        NeuronGroups(groups=2, images=8, **short),
        ActivationAtlas(images=24, cells=2, method="pca", **short),
        Visualise(objective=of_images.TensorDirection(images=2, caricature=True), **short),
        Visualise(objective=objectives.Neuron(), robust=Robustness(), **short),
        Visualise(objective=objectives.Direction(neuron=True), **short),
        Visualise(objective=objectives.DeepDream(), also={"n": additions.InputDiff()}, **short),
        Visualise(
            objective=objectives.ChannelInterpolate(), also={"a": additions.Alignment()}, **short
        ),
    ):
        found = insight(subject)
        assert found.figures
        for draw in found.figures.values():
            assert draw().axes
    assert not list(subject.network.modules())[1]._forward_hooks


@pytest.mark.parametrize(
    ("aim", "words"),
    [
        (objectives.Channel(layer="nine"), "unknown layer"),
        (objectives.Channel(channels=(99,)), "got channel 99"),
        (objectives.ClassLogit(classes=(10,)), "got class 10; allowed: 0 to 9"),
        (objectives.Direction(direction=(1.0,)), "one a channel"),
    ],
)
def test_features_that_there_are_not_are_refused(of, aim, words):
    with pytest.raises(InputError, match=words):
        Visualise(objective=aim, steps=1)(of(Digits(), CNN(width=2, hidden=8)))


def test_networks_without_layers_are_refused(of):
    subject = replace(of(Digits(), LinearSum()), network=nn.Flatten())
    for insight in (Visualise(), ContactSheets(), NeuronGroups()):
        with pytest.raises(InputError, match=r"without (a convolution|layers)"):
            insight(subject)
