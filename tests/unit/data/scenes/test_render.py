"""The rasteriser against areas computed pixel by pixel in float64."""

import math

import numpy as np
import pytest
import torch

from xai_exp.data.scenes import render

PIXELS = 20
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}
POLYGONS = {
    "triangle": [(4.3, 3.1), (15.9, 7.7), (6.2, 16.4)],
    "square on the pixel grid": [(5, 5), (13, 5), (13, 12), (5, 12)],
    "square between pixels": [(5.5, 5.25), (13.5, 5.25), (13.5, 12.75), (5.5, 12.75)],
    "diamond on the pixel grid": [(10, 3), (17, 10), (10, 17), (3, 10)],
    "sliver": [(3.2, 3.2), (16.8, 15.9), (16.7, 16.1)],
    "within one pixel": [(7.2, 7.3), (7.9, 7.4), (7.5, 7.8)],
    "arrow, not convex": [(4, 4), (16.5, 10.2), (4.4, 16.3), (9.1, 10)],
    "nearly level edge": [(3, 5), (16, 5.000001), (9, 15)],
    "over the left border": [(-6.5, 8), (7.3, 2.2), (5.1, 14.9)],
    "over two borders": [(12.3, 11.2), (25.1, 14.9), (16.6, 26.2)],
    "over every border": [(-9, -8), (31, -7), (30, 33), (-8, 32)],
    "twice the same corner": [(4, 4), (15, 6), (15, 6), (7, 16)],
}
# Discs by (x, y), radius.
DISCS = {
    "middle": (10.0, 10.0, 6.0),
    "between pixels": (9.3, 10.8, 4.7),
    "small": (9.37, 7.61, 0.4),
    "within four pixels": (10.0, 10.0, 0.7),
    "over the left border": (1.4, 9.2, 5.1),
    "over two borders": (18.2, 19.1, 4.4),
    "tangent to pixel lines": (8.0, 8.0, 3.0),
}
DTYPES = [torch.float32, torch.float64]


def clipped(polygon, axis, limit, sign):
    """Sutherland and Hodgman 1974: the polygon on one side of a line."""
    kept = []
    for (first, second), inner in zip(
        zip(polygon, polygon[1:] + polygon[:1], strict=True),
        [sign * (point[axis] - limit) for point in polygon],
        strict=True,
    ):
        after = sign * (second[axis] - limit)
        if inner >= 0:
            kept.append(first)
        if inner * after < 0:
            share = inner / (inner - after)
            kept.append(tuple(a + share * (b - a) for a, b in zip(first, second, strict=True)))
    return kept


def area(polygon):
    """The shoelace formula."""
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def polygon_in_pixels(polygon, size=PIXELS):
    coverage = np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        inside = polygon
        for axis, low in ((0, column), (1, row)):
            inside = clipped(clipped(inside, axis, low, 1), axis, low + 1, -1)
        coverage[row, column] = area(inside)
    return torch.from_numpy(coverage)


def disc_in_pixels(x, y, radius, size=PIXELS, slices=16_000):
    """By upright slices: in each, the disc is an interval."""
    coverage = np.zeros((size, size))
    position = (np.arange(size * slices) + 0.5) / slices
    half = np.sqrt(np.clip(radius**2 - (position - x) ** 2, 0, None))
    for row in range(size):
        length = np.clip(y + half, row, row + 1) - np.clip(y - half, row, row + 1)
        coverage[row] = length.reshape(size, slices).mean(1)
    return torch.from_numpy(coverage)


def drawn_polygon(polygon, dtype=torch.float32, size=PIXELS):
    vertices = torch.tensor([polygon], dtype=dtype)
    middle = (vertices.amin(1) + vertices.amax(1)) / 2
    reach = (vertices - middle[:, None]).norm(dim=-1).amax(1)
    corner, side = render.windows_for(middle, reach, (size, size))
    windows = render.polygons(vertices, corner, side)
    return render.scatter(windows, corner, torch.tensor([0]), (size, size), 1)[0]


def drawn_disc(x, y, radius, dtype=torch.float32, size=PIXELS):
    centre, reach = torch.tensor([[x, y]], dtype=dtype), torch.tensor([radius], dtype=dtype)
    corner, side = render.windows_for(centre, reach, (size, size))
    windows = render.discs(centre, reach, corner, side)
    return render.scatter(windows, corner, torch.tensor([0]), (size, size), 1)[0]


def regular(sides, x, y, reach, angle):
    turns = [angle + 2 * math.pi * i / sides for i in range(sides)]
    return [(x + reach * math.cos(t), y + reach * math.sin(t)) for t in turns]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", POLYGONS)
def test_a_polygon_covers_of_every_pixel_the_area_that_clipping_leaves(name, dtype):
    drawn = drawn_polygon(POLYGONS[name], dtype)
    torch.testing.assert_close(
        drawn.double(), polygon_in_pixels(POLYGONS[name]), rtol=0, atol=ROUNDING[dtype]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DISCS)
def test_a_disc_covers_of_every_pixel_the_area_that_its_slices_have(name, dtype):
    drawn = drawn_disc(*DISCS[name], dtype)
    atol = 1e-5 if dtype == torch.float32 else 1e-6
    torch.testing.assert_close(drawn.double(), disc_in_pixels(*DISCS[name]), rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sides", [3, 4, 5, 6])
@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 2.0])
def test_a_polygon_s_coverage_sums_to_its_area(dtype, sides, angle):
    outline = regular(sides, 9.7, 10.4, 7.3, angle)
    total = float(drawn_polygon(outline, dtype).double().sum())
    assert total == pytest.approx(
        sides / 2 * 7.3**2 * math.sin(2 * math.pi / sides), rel=ROUNDING[dtype]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("radius", [0.3, 1.0, 2.5, 6.2, 9.0])
def test_a_disc_s_coverage_sums_to_its_area(dtype, radius):
    total = float(drawn_disc(9.6, 10.1, radius, dtype).double().sum())
    rel = 1e-5 if dtype == torch.float32 else 1e-12
    assert total == pytest.approx(math.pi * radius**2, rel=rel)


@pytest.mark.parametrize("sides", [3, 4, 5])
def test_a_turn_by_ninety_degrees_turns_the_picture(sides):
    here = drawn_polygon(regular(sides, 10, 10, 7.1, 0.4), torch.float64)
    turned = drawn_polygon(regular(sides, 10, 10, 7.1, 0.4 + math.pi / 2), torch.float64)
    # y grows downward, so a growing angle turns clockwise on the screen.
    torch.testing.assert_close(turned, here.rot90(-1), rtol=0, atol=1e-12)


def test_either_way_around_is_the_same_polygon():
    outline = POLYGONS["arrow, not convex"]
    torch.testing.assert_close(
        drawn_polygon(outline), drawn_polygon(outline[::-1]), rtol=0, atol=2e-5
    )


def test_moved_by_whole_pixels_a_shape_is_the_same_elsewhere():
    outline = POLYGONS["triangle"]
    for drawn, here, there in (
        (drawn_polygon, [outline], [[(x + 2, y + 3) for x, y in outline]]),
        (drawn_disc, DISCS["between pixels"], (11.3, 13.8, 4.7)),
    ):
        first, second = drawn(*here, torch.float64), drawn(*there, torch.float64)
        torch.testing.assert_close(first[:-3, :-2], second[3:, 2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [64, 512])
@pytest.mark.parametrize("sides", [3, 4, 5])
def test_pixels_outside_are_zero_and_pixels_inside_are_one_at_any_size(size, sides):
    middle, reach = size / 2 + 0.3, 0.48 * size
    outline = regular(sides, middle, middle, reach, 0.2)
    drawn = drawn_polygon(outline, size=size).double()
    centre = torch.arange(size, dtype=torch.float64) + 0.5
    # The signed distance of each pixel's centre to each edge.
    points = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1)
    start = torch.tensor(outline, dtype=torch.float64)
    along = start.roll(-1, 0) - start
    along = along / along.norm(dim=1, keepdim=True)
    offset = points[:, :, None] - start
    distance = (along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0]).amin(-1)
    assert bool((drawn[distance < -1] == 0).all())
    torch.testing.assert_close(
        drawn[distance > 1], torch.ones_like(drawn[distance > 1]), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_halves_of_a_polygon_cover_what_the_whole_does(dtype):
    whole = POLYGONS["diamond on the pixel grid"]
    first = [whole[0], whole[1], whole[2]]
    second = [whole[2], whole[3], whole[0]]
    both = drawn_polygon(first, dtype) + drawn_polygon(second, dtype)
    torch.testing.assert_close(both, drawn_polygon(whole, dtype), rtol=0, atol=2 * ROUNDING[dtype])


def test_shapes_are_drawn_the_same_alone_and_together(generator):
    centres = 3 + 14 * torch.rand(40, 2, generator=generator)
    radii = 0.5 + 5 * torch.rand(40, generator=generator)
    corners = centres[:, None] + radii[:, None, None] * torch.randn(40, 4, 2, generator=generator)

    def drawn(which):
        middle, reach, outline = centres[which], radii[which], corners[which]
        # Corners lie anywhere, so polygons get windows as wide as the picture.
        wide = torch.zeros(len(middle), 2, dtype=torch.long)
        corner, side = render.windows_for(middle, reach, (PIXELS, PIXELS))
        plane = torch.arange(len(middle))
        discs = render.discs(middle, reach, corner, side)
        return torch.stack(
            [
                render.scatter(discs, corner, plane, (PIXELS, PIXELS), len(middle)),
                render.polygons(outline, wide, PIXELS),
            ],
            1,
        )

    together = drawn(torch.arange(40))
    for index in range(40):
        assert torch.equal(drawn(torch.tensor([index]))[0], together[index])


def test_scatter_adds_windows_of_one_plane_and_cuts_off_what_lies_outside():
    windows = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    corner = torch.tensor([[1, 0], [2, 1]])
    together = render.scatter(windows, corner, torch.tensor([0, 0]), (2, 3), 1)
    assert together.tolist() == [[[0, 1, 2], [0, 3, 9]]]
    apart = render.scatter(windows, corner, torch.tensor([1, 0]), (2, 3), 3)
    assert apart.tolist() == [
        [[0, 0, 0], [0, 0, 5]],
        [[0, 1, 2], [0, 3, 4]],
        [[0, 0, 0], [0, 0, 0]],
    ]


def test_nothing_to_draw_is_an_empty_picture():
    nothing = torch.zeros(0, 2)
    corner, side = render.windows_for(nothing, nothing[:, 0], (4, 5))
    windows = render.discs(nothing, nothing[:, 0], corner, side)
    planes = render.scatter(windows, corner, torch.zeros(0, dtype=torch.long), (4, 5), 2)
    assert planes.shape == (2, 4, 5)
    assert not planes.any()
