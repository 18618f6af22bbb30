"""Controls: what they draw, filter and look up."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.controls import (
    Constant,
    Difference,
    EqualShares,
    ExactMask,
    ImageItself,
    Laplacian,
    Random,
    Sobel,
    Tied,
)
from xai_exp.explainers.deeplift.shap import DeepLIFTSHAP
from xai_exp.explainers.gradients.gradients import Gradient
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.untrained import Untrained, untrained
from xai_exp.models.vit import ViT


@pytest.fixture
def images(generator):
    return torch.rand(5, 3, 9, 7, generator=generator)


TARGETS = torch.zeros(5, dtype=torch.long)


def test_noise_is_uniform_and_its_own_for_each_image_and_seed(generator):
    images = torch.rand(20, 1, 40, 40, generator=generator)
    targets = torch.zeros(20, dtype=torch.long)
    noise = Random(seed=3)(torch.nn.Identity(), images, targets)
    assert noise.min() >= -1
    assert noise.max() <= 1
    counts = torch.histc(noise, 10, -1, 1)
    # 32000 draws: a bin's standard deviation is 53.7.
    assert (counts - 3200).abs().max() < 4 * 53.7
    other = Random(seed=4)(torch.nn.Identity(), images, targets)
    rows = torch.cat([noise, other]).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(40)
    assert correlation.abs().max() < 5 / 40


def test_noise_comes_again_with_its_image(images):
    explain = Random(seed=0)
    noise = explain(torch.nn.Identity(), images, TARGETS)
    alone = explain(torch.nn.Identity(), images[[3]], TARGETS[[3]])
    assert torch.equal(alone, noise[[3]])
    assert not torch.equal(noise, explain(torch.nn.Identity(), images + 1e-6, TARGETS))


def test_sobel_equals_scipys(images):
    planes = images.double().numpy()
    expected = np.zeros((5, 9, 7))
    for n, c in np.ndindex(5, 3):
        across = ndimage.sobel(planes[n, c], 1, mode="nearest") / 8
        down = ndimage.sobel(planes[n, c], 0, mode="nearest") / 8
        expected[n] += np.hypot(across, down)
    found = Sobel()(torch.nn.Identity(), images, TARGETS)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_image_itself_is_summed_over_channels_and_a_constant_is_one_everywhere(images):
    found = ImageItself()(torch.nn.Identity(), images, TARGETS)
    assert torch.allclose(found, images[:, 0] + images[:, 1] + images[:, 2])
    assert torch.equal(Constant()(torch.nn.Identity(), images, TARGETS), torch.ones(5, 9, 7))


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_tied_noise_has_its_levels_in_equal_shares(generator, levels):
    images = torch.rand(20, 1, 40, 40, generator=generator)
    noise = Tied(levels=levels)(torch.nn.Identity(), images, torch.zeros(20, dtype=torch.long))
    values, counts = noise.unique(return_counts=True)
    assert torch.allclose(values, torch.linspace(-1, 1, levels))
    share = 32000 / levels
    assert (counts - share).abs().max() < 4 * (share * (1 - 1 / levels)) ** 0.5
    alone = Tied(levels=levels)(torch.nn.Identity(), images[[3]], torch.zeros(1, dtype=torch.long))
    assert torch.equal(alone, noise[[3]])
    assert not torch.equal(noise[0], noise[1])


def test_the_laplacian_equals_scipys(images):
    planes = images.double().numpy()
    expected = sum(
        np.abs(np.stack([ndimage.laplace(plane, mode="nearest") for plane in planes[:, c]]))
        for c in range(3)
    )
    found = Laplacian()(torch.nn.Identity(), images, TARGETS)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def trained(seed):
    """Two networks of one architecture that learnt different things."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
        net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(140, 3))
        net[1].running_mean.uniform_(-1, 1)
        net[1].weight.data.uniform_(0.5, 2)
    return net


def test_an_untrained_copy_forgets_what_was_learnt(images):
    networks = [trained(seed) for seed in (1, 2)]
    before = [value.clone() for value in networks[0].state_dict().values()]
    global_state = torch.get_rng_state()
    for explain in (Gradient(), LRP()):
        maps = [Untrained(explainer=explain)(net, images, TARGETS) for net in networks]
        assert torch.equal(*maps)
        assert not torch.allclose(maps[0], explain(networks[0], images, TARGETS))
        other = Untrained(explainer=explain, seed=1)(networks[0], images, TARGETS)
        assert not torch.allclose(maps[0], other)
    after = networks[0].state_dict().values()
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert torch.equal(torch.get_rng_state(), global_state)
    assert not untrained(networks[0], 0)[1].running_mean.any()


def test_an_untrained_copy_is_torchs_own_beginning():
    with torch.random.fork_rng():
        torch.manual_seed(7)
        fresh = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(5, 2))
    old = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(5, 2))
    made = untrained(old, 7).state_dict()
    assert all(torch.equal(made[name], value) for name, value in fresh.state_dict().items())


def test_parameters_that_stand_alone_are_drawn_anew():
    vit = ViT(patch=4, depth=1, width=64, heads=2).build(3, (8, 8), 3)
    own = {n: p.detach() for n, p in vit.named_parameters() if "position" in n}
    assert own
    made = dict(untrained(vit, 0).named_parameters())
    for name, values in own.items():
        assert not torch.equal(made[name], values)
        assert 0.5 < float(made[name].detach().std() / values.std()) < 2


def test_an_explainer_that_must_be_bound_has_no_untrained_form():
    with pytest.raises(InputError, match=r"Untrained.explainer: got DeepLIFTSHAP, which must be"):
        Untrained(explainer=DeepLIFTSHAP())


def test_the_exact_mask_needs_to_be_bound_to_the_truth(images):
    with pytest.raises(InputError, match="exact_mask: got no masks; allowed: data with masks"):
        ExactMask()(torch.nn.Identity(), images, TARGETS)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_exact_mask_is_found_by_the_image_even_if_it_changed_a_little(
    images, generator, inverted
):
    parts = torch.rand(5, 2, 9, 7, generator=generator)
    bound = ExactMask(inverted=inverted).with_parts(images, parts)
    masks = parts.sum(1).clamp(max=1)
    masks = 1 - masks if inverted else masks
    order = torch.tensor([4, 0, 0, 2])
    noisy = images[order] + 0.05 * torch.randn(4, 3, 9, 7, generator=generator)
    for given in (images[order], noisy):
        assert torch.equal(bound(torch.nn.Identity(), given, TARGETS[:4]), masks[order])


def test_images_that_differ_in_one_pixel_keep_their_own_masks():
    images = torch.ones(64, 1, 16, 16)
    images.view(64, -1)[torch.arange(64), torch.arange(64)] -= 1e-4
    parts = torch.zeros(64, 1, 16, 16)
    parts.view(64, -1)[torch.arange(64), torch.arange(64)] = 1
    bound = ExactMask().with_parts(images, parts)
    targets = torch.zeros(64, dtype=torch.long)
    assert torch.equal(bound(torch.nn.Identity(), images, targets), parts[:, 0])


def test_difference_is_the_distance_from_the_border_and_noise_takes_shares_of_it(generator):
    images = torch.rand(3, 2, 6, 7, generator=generator)
    level = torch.stack([ops.border_level(one[None])[0] for one in images])
    wanted = (images - level).abs().sum(1)
    network, targets = nn.Identity(), torch.zeros(3, dtype=torch.long)
    torch.testing.assert_close(Difference()(network, images, targets), wanted)
    noisy = Difference(noise=True)(network, images, targets)
    assert ((noisy >= 0) & (noisy <= wanted)).all()
    shares = (noisy / wanted)[wanted > 0]
    assert 0.4 < float(shares.mean()) < 0.6
    assert torch.equal(noisy, Difference(noise=True)(network, images, targets))
    grey = Difference(baseline=0.5)(network, images, targets)
    torch.testing.assert_close(grey, (images - 0.5).abs().sum(1))


def test_equal_shares_give_every_part_that_is_there_the_same(generator):
    images = torch.rand(2, 1, 6, 6, generator=generator)
    parts = torch.zeros(2, 3, 6, 6)
    parts[0, 0, :2, :2], parts[0, 1, 4:, 3:] = 1, 0.5
    parts[1, 2, 1:5, 1:5] = 1
    bound = EqualShares().with_parts(images, parts)
    found = bound(nn.Identity(), images, torch.zeros(2, dtype=torch.long))
    by_part = (found[:, None] * (parts > 0)).sum((2, 3))
    torch.testing.assert_close(by_part, torch.tensor([[0.5, 0.5, 0], [0, 0, 1.0]]))
    with pytest.raises(InputError, match="no parts"):
        EqualShares()(nn.Identity(), images, torch.zeros(2, dtype=torch.long))
