"""Laws of scenes and their images, for any scene."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xai_exp.data.counting import Counting
from xai_exp.data.scenes.polygons import DISC
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.triangles_squares import TrianglesSquares

SIZE = 24


@st.composite
def scenes(draw, kinds=(DISC, 3, 4, 5, 7), border=8.0):
    """One to four scenes of one object, whole in the image."""
    count = draw(st.integers(1, 4))

    def number(low, high):
        values = st.floats(low, high, width=32)
        return torch.tensor([[draw(values)] for _ in range(count)])

    return Scene(
        sides=torch.tensor([[draw(st.sampled_from(kinds))] for _ in range(count)]),
        centres=torch.stack([number(border, SIZE - border), number(border, SIZE - border)], -1),
        radii=number(0.5, 5.0),
        angles=number(-10, 10),
        levels=number(0, 1),
        background=number(0, 1)[:, 0],
        size=(SIZE, SIZE),
    )


@given(scenes())
def test_an_object_covers_the_area_of_its_disc(scene):
    area = scene.parts().double().flatten(2).sum(2)
    torch.testing.assert_close(area, math.pi * scene.radii.double() ** 2, rtol=1e-4, atol=1e-4)


@given(scenes())
def test_coverage_is_a_share(scene):
    for division in scene.divisions:
        parts = scene.divided(division).parts()
        assert float(parts.min()) >= 0
        assert float(parts.max()) <= 1
        assert float(parts.sum(1).max()) <= 1 + 1e-4


@given(scenes())
def test_an_image_is_linear_in_what_is_kept(scene):
    for division in scene.divisions:
        divided = scene.divided(division)
        some = torch.arange(divided.present.shape[1]) % 2 == 0
        some = some.expand_as(divided.present)
        nothing, everything = torch.zeros_like(some), torch.ones_like(some)
        first, second = divided.render(some), divided.render(~some)
        both = divided.render(everything) + divided.render(nothing)
        torch.testing.assert_close(first + second, both, rtol=0, atol=1e-5)


@given(scenes())
def test_an_image_lies_between_its_two_levels(scene):
    images = scene.render()[:, 0].flatten(1)
    low = torch.minimum(scene.levels[:, 0], scene.background)
    high = torch.maximum(scene.levels[:, 0], scene.background)
    assert bool((images >= low[:, None] - 1e-6).all())
    assert bool((images <= high[:, None] + 1e-6).all())


@given(scenes(kinds=(3, 4, 5, 7)), st.floats(0.05, 0.5))
def test_anatomy_fills_a_polygon(scene, depth):
    deep = dataclasses.replace(scene, depth=depth)
    whole = deep.parts()[:, 0]
    torch.testing.assert_close(deep.divided("anatomy").parts().sum(1), whole, rtol=0, atol=4e-4)


@given(scenes(), st.integers(-3, 3), st.integers(-3, 3))
def test_a_scene_that_moves_by_whole_pixels_moves_its_image(scene, right, down):
    step = torch.tensor([right, down], dtype=torch.float32)
    moved = dataclasses.replace(scene, centres=scene.centres + step)
    here, there = scene.parts(), moved.parts()
    if float((scene.radii * 1.6).max()) < 5:  # else it could leave the image
        rolled = here.roll((down, right), (2, 3))
        torch.testing.assert_close(there, rolled, rtol=0, atol=1e-4)


@given(scenes())
def test_a_mirrored_scene_has_the_mirrored_image(scene):
    flip = torch.tensor([SIZE, 0.0]), torch.tensor([-1.0, 1.0])
    mirrored = dataclasses.replace(
        scene, centres=flip[0] + flip[1] * scene.centres, angles=math.pi - scene.angles
    )
    torch.testing.assert_close(mirrored.parts(), scene.parts().flip(3), rtol=0, atol=1e-4)


@given(scenes(border=1.0))
def test_scenes_are_the_same_alone_and_together_bit_for_bit(scene):
    for division in scene.divisions:
        divided = scene.divided(division)
        images, parts = divided.render(), divided.parts()
        for index in range(len(scene)):
            alone = divided[index : index + 1]
            assert torch.equal(alone.render()[0], images[index])
            there = alone.present[0]
            named = [n for n, t in zip(alone.part_names, there.tolist(), strict=True) if t]
            places = [divided.part_names.index(name) for name in named]
            assert torch.equal(alone.parts()[0, there], parts[index, places])


@pytest.mark.parametrize("shape", ["disc", "mixed"])
@given(
    seed=st.integers(0, 10**6),
    most=st.integers(1, 6),
    pixels=st.integers(40, 72),
    gap=st.floats(1.5, 4),
)
def test_counting_draws_as_many_objects_as_it_says_and_none_of_them_touch(
    shape, seed, most, pixels, gap
):
    data = Counting(
        count=40,
        pixels=pixels,
        shape=shape,
        max_objects=most,
        min_radius=1.5,
        max_radius=3.0,
        gap=gap,
        seed=seed,
    )
    index = torch.arange(len(data.train))
    parts = data.train.parts(index)
    assert torch.equal((parts.flatten(2).sum(2) > 0).sum(1), data.train.labels)
    assert float(parts.sum(1).max()) <= 1 + 1e-5


@given(
    seed=st.integers(0, 10**6),
    pixels=st.integers(16, 64),
    share=st.floats(0.15, 0.3),
    move=st.booleans(),
)
def test_triangles_and_squares_lie_whole_in_images_of_any_size(seed, pixels, share, move):
    data = TrianglesSquares(
        count=40, pixels=pixels, min_radius=1.0, max_radius=share * pixels, move=move, seed=seed
    )
    index = torch.arange(len(data.train))
    area = data.train.parts(index).double().flatten(1).sum(1)
    radii = data.train.everything.radii[:, 0].double()
    torch.testing.assert_close(area, math.pi * radii**2, rtol=1e-4, atol=1e-4)
