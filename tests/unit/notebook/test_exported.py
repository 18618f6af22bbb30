"""Networks as torch keeps them in files: exported programs and scripts, explained as they are."""

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
