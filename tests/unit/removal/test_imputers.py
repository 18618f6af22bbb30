import math

import pytest
import torch

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.removal.imputers import (
    Blur,
    Border,
    Constant,
    Invert,
    KnownBackground,
    Mean,
    Noise,
    NoisyLinear,
    gaussian_blur,
)
from xai_exp.types import Imputer, Scenes

IMPUTERS = [
    Constant(),
    Mean(),
    Border(),
    Invert(),
    Noise(),
    Blur(sigma=1.5),
    NoisyLinear(),
    KnownBackground(),
]
EVERYWHERE = slice(None)


class FakeScenes(Scenes):
    """Scenes whose background is one grey level each."""

    divisions = part_names = ("object 1", "object 2")

    def __init__(self, levels, shape):
        self.levels, self.shape = levels, shape

    @property
    def present(self):
        return torch.ones(len(self.levels), 2, dtype=torch.bool)

    def render(self, keep=None):
        assert keep is not None
        assert keep.shape == self.present.shape
        assert not keep.any()
        return self.levels[:, None, None, None].expand(-1, *self.shape[1:])


@pytest.fixture
def images(generator):
    return torch.rand(5, 3, 8, 7, generator=generator)


@pytest.fixture
def masks(generator):
    return torch.rand(5, 4, 8, 7, generator=generator) < 0.4


def removed(imputer, images, masks, rows=EVERYWHERE, seed=0):
    scenes = FakeScenes(torch.linspace(0, 1, len(images)), images.shape)
    return imputer(images, scenes, ops.image_keys(images, seed))(rows, masks[rows])


@pytest.mark.parametrize("imputer", IMPUTERS, ids=repr)
def test_only_pixels_under_the_mask_change_in_every_channel(imputer, images, masks):
    before = images.clone()
    steps = removed(imputer, images, masks).view(5, 4, 3, 8, 7)
    kept = ~masks[:, :, None].expand_as(steps)
    everything = removed(imputer, images, torch.ones_like(masks)).view(5, 4, 3, 8, 7)
    assert torch.equal(steps[kept], images[:, None].expand_as(steps)[kept])
    if not isinstance(imputer, NoisyLinear):  # what fills a hole depends on what is around it
        assert torch.equal(steps[~kept], everything[~kept])
    assert torch.equal(images, before)
    assert isinstance(imputer, Imputer)


@pytest.mark.parametrize("imputer", IMPUTERS[:-1], ids=repr)
def test_an_image_loses_the_same_pixels_alone_in_a_batch_and_at_any_row(imputer, images, masks):
    together = removed(imputer, images, masks).view(5, 4, 3, 8, 7)
    some = removed(imputer, images, masks, slice(2, 4))
    assert torch.allclose(some, together[2:4].flatten(0, 1), atol=1e-6)
    alone = removed(imputer, images[3:4], masks[3:4])
    assert torch.allclose(alone, together[3], atol=1e-6)


@pytest.mark.parametrize("imputer", IMPUTERS, ids=repr)
def test_another_key_changes_random_imputers_only(imputer, images, masks):
    same = torch.equal(removed(imputer, images, masks), removed(imputer, images, masks, seed=1))
    assert same is not imputer.random


def test_references_are_what_they_say(images):
    gone = torch.ones(5, 1, 8, 7, dtype=torch.bool)
    means = images.mean((2, 3), keepdim=True).expand_as(images)
    levels = torch.linspace(0, 1, 5)[:, None, None, None].expand_as(images)
    assert torch.equal(removed(Constant(value=0.25), images, gone), torch.full_like(images, 0.25))
    assert torch.equal(removed(Mean(), images, gone), means)
    assert torch.equal(removed(Invert(), images, gone), 1 - images)
    assert torch.equal(removed(KnownBackground(), images, gone), levels)


def test_noise_is_uniform_in_its_range_and_independent_between_channels():
    images = torch.rand(50, 2, 20, 20, generator=torch.Generator().manual_seed(1))
    gone = torch.ones(50, 1, 20, 20, dtype=torch.bool)
    noise = removed(Noise(low=0.2, high=0.6), images, gone)
    assert noise.min() >= 0.2
    assert noise.max() < 0.6
    count = noise.numel()
    assert abs(noise.mean() - 0.4) < 4 * 0.4 / math.sqrt(12 * count)
    counts = torch.histc((noise - 0.2) / 0.4, 10, 0, 1)
    assert ((counts - count / 10) ** 2 / (count / 10)).sum() < 27.9  # chi squared, 9 df, p = 0.001
    first, second = (noise[:, channel].flatten() - 0.4 for channel in (0, 1))
    correlation = (first * second).mean() / (first.std() * second.std())
    assert abs(correlation) < 4 / math.sqrt(len(first))


def test_blur_equals_a_weighted_mean_over_the_image_in_float64(images):
    sigma, reach = 1.5, 6
    blurred = gaussian_blur(images, sigma)
    for row, column in ((0, 0), (3, 4), (7, 6), (0, 5)):
        total, weights = torch.zeros(5, 3, dtype=torch.float64), 0.0
        for y in range(max(0, row - reach), min(8, row + reach + 1)):
            for x in range(max(0, column - reach), min(7, column + reach + 1)):
                weight = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
                total += weight * images[:, :, y, x].double()
                weights += weight
        assert torch.allclose(blurred[:, :, row, column].double(), total / weights, atol=1e-6)


def test_blur_leaves_a_constant_image_as_it_is():
    image = torch.full((1, 1, 9, 9), 0.7)
    assert torch.allclose(gaussian_blur(image, 3.0), image, atol=1e-6)


def test_known_background_refuses_data_without_scenes(images):
    with pytest.raises(InputError, match=r"known_background: got data without scenes; allowed: "):
        KnownBackground()(images, None, ops.image_keys(images))


def test_noise_refuses_an_empty_range():
    with pytest.raises(InputError, match=r"Noise.low: got 0.5; allowed: less than high, 0.5"):
        Noise(low=0.5, high=0.5)


def test_border_takes_away_what_known_background_does_where_the_background_is_uniform():
    index = torch.arange(16)
    split = Counting(count=500).test
    images, scenes = split.images(index), split.scenes(index)
    everything = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
    keys = ops.image_keys(images)
    by_border = Border()(images, None, keys)(EVERYWHERE, everything)
    known = KnownBackground()(images, scenes, keys)(EVERYWHERE, everything)
    assert torch.allclose(by_border, known, atol=1e-6)


@pytest.mark.parametrize("imputer", IMPUTERS, ids=repr)
def test_nested_copies_are_those_under_masks_bit_for_bit(imputer, images, generator):
    scenes = FakeScenes(torch.linspace(0, 1, len(images)), images.shape)
    removal = imputer(images, scenes, ops.image_keys(images))
    places = torch.rand(5, 56, generator=generator).argsort(1).view(5, 8, 7)
    counts = torch.tensor([0, 1, 17, 55, 56])
    rows = slice(1, 4)
    masks = places[rows, None] < counts[:, None, None]
    nested = removal.nested(places)(rows, counts)
    assert torch.equal(nested, removal(rows, masks))
