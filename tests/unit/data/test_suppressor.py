"""Tetrominoes in noise: patterns, strengths and correlations are those of XAI-TRIS."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from xai_exp.config import InputError
from xai_exp.data.suppressor import Suppressor
from xai_exp.types import Scenes

INDEX = torch.arange(6)
T = torch.tensor([[1, 0], [1, 1], [1, 0]])
L = torch.tensor([[1, 0], [1, 0], [1, 1]])


def of(scenario="linear", background="white", pixels=8, **more):
    return Suppressor(
        count=900, scenario=scenario, background=background, pixels=pixels, **more
    ).train


def signal(split, index):
    """What the tetrominoes add to each image."""
    scenes = split.scenes(index)
    base, layers = scenes.layers()
    assert isinstance(scenes, Scenes)
    torch.testing.assert_close(base + layers.sum(1), split.images(index), rtol=0, atol=1e-6)
    return base[:, 0], layers[:, :, 0]


@pytest.mark.parametrize("pixels", [8, 64])
def test_a_t_is_the_first_class_and_an_l_the_second_each_in_its_place(pixels):
    split, unit = of(pixels=pixels), pixels // 8
    for label, shape, (row, column) in ((0, T, (1, 1)), (1, L, (4, 5))):
        index = (split.labels == label).nonzero()[:3, 0]
        wanted = torch.zeros(8, 8)
        wanted[row : row + 3, column : column + 2] = shape
        wanted = wanted.repeat_interleave(unit, 0).repeat_interleave(unit, 1)
        if pixels == 64:
            wanted = torch.from_numpy(gaussian_filter(wanted.numpy(), 1.5))
        _, added = signal(split, index)
        torch.testing.assert_close(
            added[:, 0] / added.amax(),
            (wanted / wanted.amax()).expand(3, -1, -1),
            rtol=0,
            atol=0.01,
        )
        assert torch.equal(split.parts(index)[0, 0], (wanted >= 0.05).float())


def test_equal_signs_are_the_first_class_of_xor():
    split = of("xor")
    _, added = signal(split, torch.arange(200))
    signs = added.sum((2, 3)).sign()
    assert set(map(tuple, signs.tolist())) == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert torch.equal((signs[:, 0] != signs[:, 1]).long(), split.labels[:200])


def test_rigid_tetrominoes_are_turned_and_lie_anywhere_whole():
    split = of("rigid")
    parts = split.parts(torch.arange(700))[:, 0]
    assert bool((parts.sum((1, 2)) == 4).all())
    assert len(parts.unique(dim=0)) > 250
    assert bool((parts.sum(0) > 0).all())


def test_a_multiplicative_tetromino_scales_the_noise():
    split = of("multiplicative", snr=0.7)
    base, added = signal(split, INDEX)
    inside = split.parts(INDEX)[:, 0] > 0
    noise = 2 * base - 1
    torch.testing.assert_close(2 * added[:, 0][inside], -0.7 * noise[inside], rtol=0, atol=1e-5)
    assert bool((added[:, 0][~inside] == 0).all())


@pytest.mark.parametrize("background", ["white", "correlated"])
def test_signal_and_noise_are_as_strong_as_the_published_generator_makes_them(background):
    split = of("linear", background, snr=0.3)
    base, added = signal(split, torch.arange(700))
    pattern, noise = added[:, 0], base - 0.5
    ratio = pattern.square().sum().sqrt() / noise.square().sum().sqrt()
    assert float(ratio) == pytest.approx(0.3 / 0.7, rel=0.1)


def test_correlated_noise_is_white_noise_under_their_gaussian():
    split = of("linear", "correlated")
    base, _ = signal(split, torch.arange(700))
    own = torch.Generator().manual_seed(0)
    white = torch.randn(4000, 8, 8, generator=own)
    theirs = torch.stack([torch.from_numpy(gaussian_filter(w, 3)) for w in white.numpy()])
    for one, other in (((0, 0), (0, 1)), ((0, 0), (7, 7)), ((2, 3), (5, 1))):
        found, wanted = (
            torch.corrcoef(torch.stack([planes[:, *one], planes[:, *other]]))[0, 1]
            for planes in (base, theirs)
        )
        assert float(found) == pytest.approx(float(wanted), abs=0.08)
    spread, wanted = base.std(0) / base.std(0).mean(), theirs.std(0) / theirs.std(0).mean()
    torch.testing.assert_close(spread, wanted, rtol=0, atol=0.08)


def test_grey_levels_hold_nearly_all_of_the_noise():
    for scenario in ("linear", "multiplicative", "rigid", "xor"):
        for background in ("white", "correlated"):
            images = of(scenario, background).images(torch.arange(700))
            assert float(((images == 0) | (images == 1)).float().mean()) < 1e-3
            assert float(images.std()) > 0.05


def test_grids_and_pixels_are_parts_of_noise_too():
    scenes = of("xor").scenes(INDEX)
    assert scenes.divisions == ("objects", "grid", "pixels")
    pixels = scenes.divided("pixels")
    assert torch.equal(pixels.present.sum(1), torch.full((6,), 8))
    assert torch.equal(pixels.render(), scenes.render())
    with pytest.raises(InputError, match="got 'corners'; allowed: objects, grid, pixels"):
        scenes.divided("corners")


def test_images_are_the_same_alone_and_together():
    for scenario in ("rigid", "xor"):
        split = of(scenario, "correlated")
        together = split.images(INDEX)
        assert torch.allclose(split.images(INDEX[3:4])[0], together[3], atol=1e-6)
