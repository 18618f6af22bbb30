"""A network that goes through its images one after the other is explained as one that doesn't.

Methods that tell layers apart by the order of their calls took the second image's for later ones.
"""

import pytest
import torch
from torch import nn

import xai_exp as xe
from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.models.look import look
from xai_exp.models.vit import ViT

DRAWN = torch.Generator().manual_seed(1)
IMAGES, REFERENCES = torch.rand(3, 3, 16, 16, generator=DRAWN), torch.rand(6, 3, 16, 16)
BY_ORDER = (
    "lrp_epsilon_gamma_box", "lrp_sequential_preset_a_flat", "lrp_epsilon_plus_flat", "rap",
    "deep_taylor_bounded", "pattern_net", "pattern_attribution",
)  # fmt: skip
BY_MAPS = ("grad_cam", "layer_cam", "eigen_cam", "fem", "score_cam", "guided_grad_cam")
OTHERS = ("gradient", "deeplift", "full_grad", "rise", "smoothgrad", "lime")


class Loop(nn.Module):
    """One image after the other."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return torch.cat([self.network(one) for one in images.split(1)])


@pytest.fixture(scope="module")
def cnn():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        then = (nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        made = nn.Sequential(*first, *then, nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        nn.init.uniform_(made[1].running_mean)
        return made.eval()


@pytest.fixture(scope="module")
def vit():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ViT().build(3, (16, 16), 4).eval()


def alike(network, methods, **keys):
    expected = xe.explain(network, IMAGES, methods, **keys)
    found = xe.explain(Loop(network), IMAGES, methods, **keys)
    assert not found.skipped
    assert "one after the other" in found.note
    for name in methods:
        near = 1e-4 * float(expected[name].abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=near)


@pytest.mark.parametrize("methods", [BY_ORDER, BY_MAPS, OTHERS])
def test_heatmaps_are_those_of_the_network_within(cnn, methods):
    alike(cnn, methods, references=REFERENCES)


def test_heatmaps_of_a_transformer_too(vit):
    alike(vit, ("attention_rollout", "attn_lrp", "grad_cam", "lrp_epsilon_plus_flat"))


def test_a_layer_is_found_by_its_name(cnn):
    expected = xe.explain(cnn, IMAGES, "grad_cam", layer="1")
    found = xe.explain(Loop(cnn), IMAGES, "grad_cam", layer="network.1")
    torch.testing.assert_close(found["grad_cam"], expected["grad_cam"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.Sigmoid()])
def test_its_end_is_cut(cnn, end):
    alike(nn.Sequential(cnn, nn.Linear(4, 1), end) if isinstance(end, nn.Sigmoid)
          else nn.Sequential(cnn, end), ("gradient", "lrp"))  # fmt: skip


def test_probabilities_from_nowhere_are_refused(cnn):
    class Shares(nn.Module):
        def forward(self, images):
            answer = cnn(images).exp()
            return answer / answer.sum(1, keepdim=True)

    with pytest.raises(InputError, match="outputs that are probabilities"):
        look(Loop(Shares()), IMAGES)


def test_chunks_are_single_images_within_and_as_before_outside(cnn):
    network, sizes = look(Loop(cnn), IMAGES).network, []

    def note(part):
        sizes.append(len(part))
        return part

    with ops.evaluating(network):
        ops.in_chunks(note, IMAGES, size=2)
    ops.in_chunks(note, IMAGES, size=2)
    with ops.evaluating(cnn):
        ops.in_chunks(note, IMAGES, size=2)
    assert sizes == [1, 1, 1, 2, 1, 2, 1]
