"""DeepLIFT SHAP: captum's on the same references, and what its mean sums to."""

import pytest
import torch
from captum.attr import DeepLiftShap
from torch import nn

from xai_exp.config import InputError
from xai_exp.explainers.deeplift.shap import DeepLIFTSHAP

TARGETS = torch.tensor([0, 2, 1, 1])


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 7)
        return nn.Sequential(*layers, nn.ReLU(), nn.Linear(7, 3)).double().requires_grad_(False)


@pytest.fixture
def draws():
    source = torch.Generator().manual_seed(1)
    return [torch.rand(n, 2, 8, 8, generator=source, dtype=torch.float64) for n in (4, 9)]


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_the_rescale_rule_is_captums(network, draws):
    images, references = draws
    found = DeepLIFTSHAP(references=9).fit(network, references)(network, images, TARGETS)
    peer = DeepLiftShap(network).attribute(images, references, target=TARGETS)
    torch.testing.assert_close(found, peer.detach().sum(1))


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_it_sums_to_the_logit_less_the_mean_of_the_references(network, draws, rule):
    images, references = draws
    explain = DeepLIFTSHAP(references=9, rule=rule).fit(network, references)
    gap = network(images) - network(references).mean(0)
    sums = explain(network, images, TARGETS).sum((1, 2))
    torch.testing.assert_close(sums, gap[range(4), TARGETS])


def test_references_are_drawn_by_the_seed_from_all_that_there_are(network, draws):
    images, references = draws
    maps = [
        DeepLIFTSHAP(references=4, seed=seed).fit(network, references)(network, images, TARGETS)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])


def test_without_references_it_says_what_it_needs(network, draws):
    with pytest.raises(InputError, match=r"got no reference images; allowed: fit"):
        DeepLIFTSHAP()(network, draws[0], TARGETS)
