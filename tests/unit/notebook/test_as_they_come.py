"""Networks as they come: exported programs, scripts, and those that give more than logits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import xai_exp as xe
from xai_exp.config import InputError

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
SEEN = ("gradient", "lrp", "lrp_gamma", "deeplift", "full_grad", "guided_backprop")


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        end = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, 3))
        made = nn.Sequential(*layers, nn.Conv2d(4, 4, 1), nn.Hardswish(), *end)
        nn.init.uniform_(made[1].running_mean)
        return made.eval()


def test_an_exported_program_is_explained_as_what_it_was_made_of(network):
    any_number = ({0: torch.export.Dim("images")},)
    program = torch.export.export(network, (IMAGES,), dynamic_shapes=any_number)
    expected = xe.explain(network, IMAGES, SEEN)
    found = xe.explain(program.module(), IMAGES, SEEN)
    assert not found.skipped
    for name in SEEN:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("many", [1, 2, 3])
def test_a_program_for_one_number_of_images_becomes_one_for_any(network, many):
    program = torch.export.export(network, (torch.cat([IMAGES, IMAGES])[:many],))
    expected = xe.explain(network, IMAGES, SEEN)
    found = xe.explain(program.module(), IMAGES, SEEN)
    assert not found.skipped
    for name in SEEN:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


class Flat(nn.Module):
    """Written for two images and no other number of them."""

    def forward(self, images):
        rows = images.mean(1).flatten().split(64)
        return torch.stack([rows[0][:3], rows[1][:3]])


def test_a_program_that_can_t_be_is_refused_in_a_line():
    program = torch.export.export(Flat(), (IMAGES,))
    with pytest.raises(InputError, match="takes 2 pictures at a time and no other number"):
        xe.explain(program.module(), IMAGES, "gradient")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda one: torch.jit.trace(one, IMAGES)])
@pytest.mark.parametrize("how", [None, xe.Preprocessing(mean=0.5, std=0.2)])
def test_a_script_is_explained_by_every_method_as_what_it_was_made_of(network, script, how):
    network = nn.Sequential(*network[:6], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    expected = xe.explain(network, IMAGES, SEEN, preprocessing=how)
    found = xe.explain(script(network), IMAGES, SEEN, preprocessing=how)
    assert not found.skipped
    assert "the script was written out" in found.note
    for name in SEEN:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


class Turns(nn.Module):
    """A network whose steps hang on the image: no graph can hold them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        answer = self.network(images)
        if bool(images.sum() > 0):
            answer = answer * 2
        return answer


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_script_that_no_graph_can_hold_has_its_gradient_and_no_rules(network, capfd):
    expected = xe.explain(Turns(network), IMAGES, "gradient")
    with pytest.warns(UserWarning, match="scripted or compiled"):
        found = xe.explain(torch.jit.script(Turns(network)), IMAGES, ["gradient", "lrp"])
    assert not capfd.readouterr().out
    torch.testing.assert_close(found["gradient"], expected["gradient"], rtol=1e-4, atol=1e-6)
    assert "scripted or compiled" in found.skipped["lrp"]
    assert "it stays a script" in found.note


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()])
@pytest.mark.parametrize("way", ["traced", "exported", "taken apart"])
def test_what_stands_at_the_end_is_cut_as_that_of_the_network(end, way):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outputs = 1 if isinstance(end, nn.Sigmoid) else 3
        body = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))
    network = nn.Sequential(*body, end).eval()
    if way == "traced":
        found = torch.jit.trace(network, IMAGES)
    else:
        program = torch.export.export(network, (IMAGES,))
        found = (program.run_decompositions() if way == "taken apart" else program).module()
    expected, given = xe.explain(network, IMAGES, SEEN), xe.explain(found, IMAGES, SEEN)
    assert "is cut" in given.note
    for name in SEEN:
        torch.testing.assert_close(given[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_one_output_that_may_be_a_probability_is_no_logit_without_a_word(network):
    ended = nn.Sequential(Turns(network), nn.Linear(3, 1), nn.Sigmoid()).eval()
    with pytest.raises(InputError, match="one output between 0 and 1 from a script"):
        xe.explain(torch.jit.script(ended), IMAGES, "gradient")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_script_that_fails_is_refused_in_a_line():
    class Fails(nn.Module):
        def forward(self, images):
            raise ValueError(images.shape)

    with pytest.raises(InputError, match="can't be asked with images of shape") as refused:
        xe.explain(torch.jit.script(Fails()), IMAGES, "gradient")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("core", [False, True])
def test_a_program_for_one_number_that_gives_more_than_logits_is_explained(network, core):
    program = torch.export.export(Named(network, dict), (IMAGES,))
    found = (program.run_decompositions() if core else program).module()
    expected, given = xe.explain(network, IMAGES, SEEN), xe.explain(found, IMAGES, SEEN)
    for name in SEEN:
        torch.testing.assert_close(given[name], expected[name], rtol=1e-4, atol=1e-6)


class Named(nn.Module):
    """A network that gives several things by name, as those of transformers do."""

    def __init__(self, network, kind):
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, pixel_values=None, labels=None):
        assert labels is None
        return self.kind(loss=None, logits=self.network(pixel_values))


@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
@pytest.mark.parametrize("how", [None, xe.Preprocessing(mean=0.5)])
def test_of_several_things_by_name_the_logits_are_explained(network, kind, how):
    expected = xe.explain(network, IMAGES, SEEN, preprocessing=how)
    found = xe.explain(Named(network, kind), IMAGES, SEEN, preprocessing=how)
    assert not found.skipped
    for name in SEEN:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)
    scores = xe.score(found, ["pixel_flipping"])
    others = xe.score(expected, ["pixel_flipping"])
    np.testing.assert_allclose(scores["score"], others["score"], rtol=1e-5)


def test_several_things_without_names_are_refused(network):
    with pytest.raises(InputError, match="got an output of type tuple"):
        xe.explain(Named(network, lambda loss, logits: (loss, logits)), IMAGES, "gradient")
