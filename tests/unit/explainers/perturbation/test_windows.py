"""Occlusion and RISE: against captum, DeepExplain's heatmaps, loops and closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch import nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.perturbation.windows import RISE, Occlusion
from xai_exp.models.whitebox import Blind
from xai_exp.removal.imputers import Border, Constant, Noise

BLACK = Constant(value=0.0)
TARGETS = torch.arange(4) % 3
EXPLAINERS = [
    Occlusion(imputer=BLACK, size=3, stride=2),
    Occlusion(imputer=Noise(), size=5, stride=1),
    RISE(imputer=Border(), masks=40, cells=4, centred=False),
    RISE(imputer=Noise(), masks=40, cells=3, output="probability", centred=True),
]


@pytest.fixture
def images():
    source = torch.Generator().manual_seed(1)
    return torch.rand(4, 2, 11, 14, dtype=torch.float64, generator=source)


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9 * 12, 3)
        return nn.Sequential(*layers).double()


def linear(seed=2):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(2 * 11 * 14, 3)).double()


def worth(model, images, level):
    """What each pixel contributes to a linear network, against this level."""
    weight = model[1].weight[TARGETS].view_as(images)
    return (weight * (images - level)).sum(1).detach()


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (4, 4), (5, 3), (4, 1)])
def test_occlusion_equals_captums_where_windows_overhang_too(network, images, size, stride):
    explain = Occlusion(imputer=Constant(value=0.25), size=size, stride=stride, shared=False)
    theirs = CaptumOcclusion(network).attribute(
        images, (2, size, size), (2, stride, stride), baselines=0.25, target=TARGETS
    )
    found = explain(network, images, TARGETS)
    torch.testing.assert_close(found.float(), theirs[:, 0].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (1, 1)])
def test_occlusion_equals_deepexplains(size, stride):
    arrays = np.load(Path(__file__).parents[3] / "golden" / "deepexplain_maxpool.npz")
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 3)),
    )
    for place, name in ((0, "conv1"), (3, "conv2"), (7, "fc1"), (9, "fc2")):
        network[place].weight.data = torch.tensor(arrays[f"{name}_weight"])
        network[place].bias.data = torch.tensor(arrays[f"{name}_bias"])
    explain = Occlusion(imputer=BLACK, size=size, stride=stride)
    found = explain(network, torch.tensor(arrays["x"]), torch.tensor(arrays["target"]))
    name = f"heatmap/occlusion|window_shape=({size}, {size}, 1)|step={stride}"
    theirs = torch.tensor(arrays[name]).sum(1)
    assert (found - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_occlusion_by_single_pixels_is_what_they_contribute_to_a_linear_network(images):
    model = linear()
    found = Occlusion(imputer=Constant(value=0.3), size=1, stride=1)(model, images, TARGETS)
    torch.testing.assert_close(found, worth(model, images, 0.3))


def test_windows_that_do_not_overlap_sum_to_the_logit_difference_of_a_linear_network(images):
    model = linear()
    found = Occlusion(imputer=Constant(value=0.3), size=4, stride=4)(model, images, TARGETS)
    gap = model(images) - model(torch.full_like(images, 0.3))
    torch.testing.assert_close(found.sum((1, 2)), ops.pick(gap, TARGETS).detach())


def test_a_window_larger_than_the_image_hides_all_of_it(network, images):
    found = Occlusion(imputer=BLACK, size=20, stride=20)(network, images, TARGETS)
    gap = ops.pick(network(images) - network(torch.zeros_like(images)), TARGETS).detach()
    torch.testing.assert_close(found, (gap / (11 * 14))[:, None, None].expand_as(found))


def test_occlusion_says_nothing_of_pixels_that_no_window_shares_with_what_is_seen(generator):
    images = torch.rand(4, 2, 12, 16, generator=generator)
    model = Blind(ignored="left").build(2, (12, 16), 3)
    found = Occlusion(imputer=Border(), size=3, stride=1)(model, images, TARGETS)
    assert (found[:, :, : 8 - 2] == 0).all()
    assert (found[:, :, 8:] != 0).all()


def test_a_stride_larger_than_the_window_is_refused():
    with pytest.raises(InputError, match=r"Occlusion.stride: got 5; allowed: at most size, 4"):
        Occlusion(imputer=BLACK, size=4, stride=5)


def masks_by_loops(explain, images, name="rise"):
    """Every mask as the paper makes it: enlarge the grid, then crop it."""
    keys = ops.named_keys(ops.image_keys(images, explain.seed), name)
    s, (height, width) = explain.cells, images.shape[2:]
    drawn = ops.keyed_uniform(keys, explain.masks * (s * s + 2))
    drawn = drawn.view(len(images), explain.masks, -1).double()
    cell = [-(-height // s), -(-width // s)]
    masks = images.new_zeros(len(images), explain.masks, height, width)
    for i, n in np.ndindex(*masks.shape[:2]):
        grid = (drawn[i, n, 2:] < explain.keep).double().view(1, 1, s, s)
        size = [(s + 1) * cell[0], (s + 1) * cell[1]]
        large = functional.interpolate(grid, size=size, mode="bilinear", align_corners=False)
        y, x = int(drawn[i, n, 0] * cell[0]), int(drawn[i, n, 1] * cell[1])
        masks[i, n] = large[0, 0, y : y + height, x : x + width]
    return masks


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("cells", [3, 7, 20])
@pytest.mark.parametrize("centred", [False, True])
def test_rise_equals_loops(network, images, output, cells, centred):
    explain = RISE(imputer=BLACK, masks=37, cells=cells, keep=0.3, output=output, centred=centred)
    masks = masks_by_loops(explain, images)
    expected = torch.zeros(4, 11, 14, dtype=torch.float64)
    for i in range(4):
        logits = network(images[i] * masks[i][:, None]).detach()
        values = (logits.softmax(1) if output == "probability" else logits)[:, TARGETS[i]]
        values = values - values.mean() if centred else values
        expected[i] = (values[:, None, None] * masks[i]).sum(0) / 37 / 0.3
    torch.testing.assert_close(explain(network, images, TARGETS), expected)


def test_masks_of_rise_expect_the_share_that_is_kept_at_every_pixel(generator):
    """1500 masks of one image, at 1 / (12 / masks) standard errors of a mean."""
    explain = RISE(imputer=BLACK, masks=1500, cells=4, keep=0.3)
    masks = masks_by_loops(explain, torch.rand(1, 1, 10, 12, generator=generator))[0]
    error = (0.3 * 0.7 / 1500) ** 0.5
    assert (masks.mean(0) - 0.3).abs().max() < 4.5 * error


def test_rise_of_a_linear_network_is_its_closed_form(images):
    """In the mean S_p = E f + sum over q of worth_q cov(M_p, M_q) / keep."""
    model, count = linear(), 4000
    explain = RISE(imputer=Constant(value=0.3), masks=count, cells=3, keep=0.4, centred=False)
    found = explain(model, images, TARGETS)
    other = masks_by_loops(RISE(imputer=BLACK, masks=4000, cells=3, keep=0.4, seed=1), images[:1])
    flat = other[0].flatten(1)
    covariance = (flat - 0.4).T @ (flat - 0.4) / count
    own = worth(model, images, 0.3).flatten(1)
    start = ops.pick(model(torch.full_like(images, 0.3)), TARGETS).detach()
    expected = (start + 0.4 * own.sum(1))[:, None] + own @ covariance / 0.4
    values = start[:, None] + own @ flat.T
    error = (values[:, None] * flat.T / 0.4).std(2) / count**0.5
    assert ((found.flatten(1) - expected) / error).abs().max() < 6


def test_centred_rise_is_nothing_for_what_is_never_seen_but_in_the_mean(generator):
    images = torch.rand(2, 1, 12, 24, generator=generator)
    model = Blind(ignored="left").build(1, (12, 24), 3)
    explain = RISE(imputer=BLACK, masks=2000, cells=6, centred=True)
    found = explain(model, images, TARGETS[:2]).abs().mean((0, 1))
    assert found[:6].mean() < 0.25 * found[12:].mean()


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_an_image_gets_the_same_heatmap_alone_and_among_many(network, images, explain):
    many = torch.cat([images, images.flip(0)])
    targets = torch.cat([TARGETS, TARGETS.flip(0)])
    together = explain(network, many, targets)
    alone = torch.cat([explain(network, many[i : i + 1], targets[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(together[:4], together[4:].flip(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("explain", EXPLAINERS, ids=str)
def test_a_constant_network_has_nothing_to_show(images, explain):
    class Constantly(nn.Module):
        def forward(self, x):
            return x.new_tensor([1.0, -2.0, 3.0]).expand(len(x), 3)

    found = explain(Constantly(), images, TARGETS)
    if isinstance(explain, RISE) and not explain.centred:
        return
    assert (found.abs() < 1e-12).all()
