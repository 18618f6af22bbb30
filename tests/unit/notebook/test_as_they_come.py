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


def test_a_program_for_another_number_of_images_is_refused_in_a_line(network):
    program = torch.export.export(network, (IMAGES,))
    with pytest.raises(InputError, match=r"can't be asked with images of shape \(1, 3, 8, 8\)"):
        xe.explain(program.module(), IMAGES, "gradient")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda one: torch.jit.trace(one, IMAGES)])
def test_a_script_has_its_gradient_and_no_rules(network, script):
    expected = xe.explain(network, IMAGES, "gradient")
    scripted = script(network)
    with pytest.warns(UserWarning, match="scripted or compiled"):
        found = xe.explain(scripted, IMAGES, ["gradient", "lrp"])
    torch.testing.assert_close(found["gradient"], expected["gradient"], rtol=1e-4, atol=1e-6)
    assert "scripted or compiled" in found.skipped["lrp"]


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
