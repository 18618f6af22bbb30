"""Noisy linear imputation against a sparse direct solve of the paper's system in float64."""

import itertools

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse import linalg

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.removal import harmonic
from xai_exp.removal.imputers import NoisyLinear, gaussian_blur


def direct(plane, lost):
    """The system of Rong et al. 2022, pixel by pixel."""
    height, width = plane.shape
    number = {place: i for i, place in enumerate(zip(*np.nonzero(lost), strict=True))}
    matrix, right = sparse.lil_matrix((len(number), len(number))), np.zeros(len(number))
    for (y, x), i in number.items():
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            there = (y + dy, x + dx)
            if (dy, dx) == (0, 0) or not (0 <= there[0] < height and 0 <= there[1] < width):
                continue
            weight = 1 / 12 if dy and dx else 1 / 6
            matrix[i, i] += weight
            if there in number:
                matrix[i, number[there]] -= weight
            else:
                right[i] += weight * plane[there]
    solved = plane.copy()
    solved[lost] = linalg.spsolve(matrix.tocsc(), right)
    return solved


def filled(planes, lost, tolerance):
    """What the solver does with planes that are first, not last."""
    planes, lost = (given.movedim(0, 2).contiguous() for given in (planes, lost.to(planes)))
    return harmonic.filled(planes, lost, tolerance).movedim(2, 0)


def planes_and_holes(size, sigma, shares=(0.1, 0.5, 0.9)):
    """Noise, and the most relevant pixels of smoother and smoother maps lost."""
    source = torch.Generator().manual_seed(3)
    planes = torch.rand(2 * len(shares), *size, generator=source)
    maps = torch.randn(len(planes), 1, *size, generator=source)
    maps = (gaussian_blur(maps, float(sigma)) if sigma else maps).flatten(1)
    places = maps.argsort(1).argsort(1).view(planes.shape)
    limits = torch.tensor(shares * 2)[:, None, None] * places[0].numel()
    return planes, places < limits


@pytest.mark.parametrize("sigma", [0, 1, 4])
@pytest.mark.parametrize("size", [(24, 24), (17, 30), (5, 40), (6, 7), (2, 30), (1, 40)])
def test_holes_are_filled_as_by_a_direct_solve(size, sigma):
    planes, lost = planes_and_holes(size, sigma)
    found = filled(planes.double(), lost, 1e-11)
    for plane, gone, one in zip(planes, lost, found, strict=True):
        expected = direct(plane.double().numpy(), gone.numpy())
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-9)


def blocks_and_objects():
    """Noise and a step between two levels; squares of 4 to 16 pixels, one disc, and both lost."""
    source = torch.Generator().manual_seed(4)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    step = ((rows + 2 * columns) < 90).float()
    masks = []
    for size in (4, 8, 16):
        gone = torch.rand(64 // size, 64 // size, generator=source) < 0.5
        masks.append(gone.repeat_interleave(size, 0).repeat_interleave(size, 1))
    for row, column, radius in ((30, 36, 20), (8, 55, 14)):
        masks.append((rows - row) ** 2 + (columns - column) ** 2 < radius**2)
    masks.append(masks[1] | masks[3])
    lost = torch.stack(masks * 2)
    noise = torch.rand(len(masks), 64, 64, generator=source)
    return torch.cat([noise, step.expand(len(masks), -1, -1)]), lost


@pytest.mark.parametrize("sigma", [0, 1, 4, None], ids=str)
def test_the_default_tolerance_leaves_an_error_far_below_the_noise(sigma):
    planes, lost = blocks_and_objects() if sigma is None else planes_and_holes((64, 64), sigma)
    imputer = NoisyLinear()
    found = filled(planes, lost, imputer.tolerance)
    pairs = zip(planes.double().numpy(), lost.numpy(), strict=True)
    exact = torch.from_numpy(np.stack([direct(plane, gone) for plane, gone in pairs]))
    squares = ((found - exact).square() * lost).sum((1, 2)) / lost.sum((1, 2))
    assert squares.sqrt().max() < 0.15 * imputer.noise
    assert squares.sqrt().median() < 0.07 * imputer.noise


def test_a_ramp_is_filled_exactly_and_values_stay_between_the_known_ones():
    rows, columns = torch.meshgrid(
        torch.linspace(0, 1, 40), torch.linspace(0, 1, 48), indexing="ij"
    )
    ramp = (0.3 * rows + 0.6 * columns)[None]
    lost = torch.zeros(1, 40, 48, dtype=torch.bool)
    lost[:, 5:33, 7:40] = True
    assert torch.allclose(filled(ramp, lost, 1e-6), ramp, atol=1e-5)
    planes, lost = planes_and_holes((24, 24), 2)
    found = filled(planes, lost, 1e-6)
    for plane, gone, one in zip(planes, lost, found, strict=True):
        assert one.min() >= plane[~gone].min() - 1e-5
        assert one.max() <= plane[~gone].max() + 1e-5


def test_without_any_pixel_left_the_mean_stands_and_nothing_lost_changes_nothing():
    planes = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(1))
    lost = torch.zeros(2, 20, 20, dtype=torch.bool)
    lost[0] = True
    found = filled(planes, lost, 1e-6)
    assert torch.allclose(found[0], planes[0].mean().expand(20, 20), atol=1e-6)
    assert torch.equal(found[1], planes[1])


def test_a_plane_is_filled_alike_alone_and_beside_harder_ones():
    planes, lost = planes_and_holes((33, 40), 4)
    together = filled(planes, lost, 1e-2)
    for i in range(len(planes)):
        alone = filled(planes[i : i + 1], lost[i : i + 1], 1e-2)[0]
        assert torch.allclose(alone, together[i], atol=1e-5)


def test_noisy_linear_adds_noise_of_its_size_to_lost_pixels_only():
    planes, lost = planes_and_holes((32, 32), 2)
    images, masks = planes.view(3, 2, 32, 32), lost[:3, None]
    keys = ops.image_keys(images)
    noisy, smooth = (
        NoisyLinear(noise=noise, tolerance=1e-6)(images, None, keys)(slice(0, 3), masks)
        for noise in (0.05, 0.0)
    )
    gone = masks.expand(3, 2, 32, 32)
    assert torch.equal(noisy[~gone], images[~gone])
    noise = (noisy - smooth)[gone]
    count = len(noise)
    assert abs(noise.mean()) < 4 * 0.05 / count**0.5
    assert abs(noise.std() / 0.05 - 1) < 4 / (2 * count) ** 0.5


def test_a_tolerance_of_nothing_is_refused():
    with pytest.raises(InputError, match="tolerance"):
        NoisyLinear(tolerance=0.0)
