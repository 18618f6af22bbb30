"""Inpainting ring by ring, against loops over pixels."""

import torch

from xai_exp.removal import Inpaint


def by_loops(image, lost, radius):
    """One grey image, pixel by pixel in float64."""
    known, filled = ~lost.clone(), image.double() * ~lost
    while not bool(known.all()):
        ring = {}
        for y, x in (~known).nonzero().tolist():
            near = [
                ((y - v) ** 2 + (x - u) ** 2, v, u)
                for v, u in known.nonzero().tolist()
                if 0 < (y - v) ** 2 + (x - u) ** 2 <= radius**2
            ]
            if near and any(max(abs(y - v), abs(x - u)) == 1 for _, v, u in near):
                total = sum(1 / d for d, _, _ in near)
                ring[y, x] = sum(float(filled[v, u]) / d for d, v, u in near) / total
        for (y, x), value in ring.items():
            filled[y, x], known[y, x] = value, True
    return filled


def test_holes_are_filled_as_by_loops_over_pixels():
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 9, 9, generator=source)
    masks = torch.rand(2, 3, 9, 9, generator=source) < 0.6
    masks[0, 0, 2:8, 2:8] = True
    for radius in (1, 3):
        removal = Inpaint(radius=radius)(images, None, torch.zeros(2).long())
        found = removal(slice(0, 2), masks).view(2, 3, 9, 9)
        for image, mine, lost in zip(images[:, 0], found, masks, strict=True):
            for one, gone in zip(mine, lost, strict=True):
                assert torch.allclose(one.double(), by_loops(image, gone, radius), atol=1e-6)


def test_flat_images_stay_flat_and_an_empty_one_is_its_mean():
    flat = torch.full((1, 3, 8, 8), 0.3)
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[0, 0, 1:7, 1:] = True
    masks[0, 1] = True
    found = Inpaint()(flat, None, torch.zeros(1).long())(slice(0, 1), masks)
    assert torch.allclose(found, flat.expand(2, -1, -1, -1))
