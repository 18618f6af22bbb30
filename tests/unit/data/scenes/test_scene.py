"""Scenes: what parts are, and that an image without a part is drawn, not painted over."""

import dataclasses
import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.scenes import render, scene
from xai_exp.data.scenes.polygons import DISC, circumradius, divide, regular_polygon
from xai_exp.data.scenes.scene import DIVISIONS, Scene
from xai_exp.types import Scenes

ROUNDING = 4e-5


def polygons(count=6, size=(24, 26), sides=None, tagged=False, dtype=torch.float32):
    """Scenes of one polygon; the tag is a small disc in the corner."""
    source = torch.Generator().manual_seed(1)

    def drawn(low, high):
        return low + (high - low) * torch.rand(count, 1, generator=source, dtype=dtype)

    kinds = torch.tensor(sides or [3, 4] * (count // 2))[:, None]
    made = Scene(
        sides=kinds,
        centres=torch.stack([drawn(11, 15), drawn(11, 13)], -1),
        radii=drawn(5, 7),
        angles=drawn(0, 2 * math.pi),
        levels=drawn(0, 0.4),
        background=drawn(0.5, 1)[:, 0],
        size=size,
        tagged=tagged,
    )
    if not tagged:
        return made
    corner = torch.full((count, 1, 2), 2.5, dtype=dtype)
    more = {
        "sides": torch.full((count, 1), DISC),
        "centres": corner,
        "radii": torch.full((count, 1), 1.5, dtype=dtype),
        "angles": torch.zeros(count, 1, dtype=dtype),
        "levels": torch.ones(count, 1, dtype=dtype),
    }
    return dataclasses.replace(
        made, **{name: torch.cat([getattr(made, name), value], 1) for name, value in more.items()}
    )


def several():
    """Three scenes of up to three objects of several kinds that do not overlap."""
    return Scene(
        sides=torch.tensor([[1, 3, 4], [1, 0, 1], [0, 0, 0]]),
        centres=torch.tensor([[[6.2, 6.1], [17.5, 6.4], [10.3, 18.6]]]).repeat(3, 1, 1),
        radii=torch.tensor([[3.3, 3.1, 3.7], [4.0, 2.0, 2.2], [3.0, 3.0, 3.0]]),
        angles=torch.tensor([[0.0, 0.4, 1.1]]).repeat(3, 1),
        levels=torch.tensor([[0.2, 0.2, 0.2], [0.9, 0.9, 0.9], [0.5, 0.5, 0.5]]),
        background=torch.tensor([0.7, 0.1, 0.3]),
        size=(24, 24),
    )


def plane_of(outline, size):
    """One polygon's coverage in a window as wide as the image."""
    corner = torch.zeros(1, 2, dtype=torch.long)
    return render.polygons(outline[None], corner, max(size))[0, : size[0], : size[1]]


def test_a_scene_is_what_the_protocol_says():
    assert isinstance(several(), Scenes)


@pytest.mark.parametrize("sides", [DISC, 3, 4, 5, 9])
def test_all_kinds_of_one_radius_have_one_area(sides):
    radius = 3.7
    drawn = Scene(
        sides=torch.tensor([[sides]]),
        centres=torch.tensor([[[10.2, 9.9]]]),
        radii=torch.tensor([[radius]]),
        angles=torch.tensor([[0.7]]),
        levels=torch.tensor([[1.0]]),
        background=torch.tensor([0.0]),
        size=(20, 20),
    )
    assert float(drawn.parts().sum()) == pytest.approx(math.pi * radius**2, rel=1e-5)


def test_a_pixel_is_the_mixture_of_background_and_object_by_coverage():
    made = several()
    parts = made.parts()
    contrast = made.levels - made.background[:, None]
    wanted = made.background[:, None, None] + (parts * contrast[..., None, None]).sum(1)
    torch.testing.assert_close(made.render()[:, 0], wanted, rtol=0, atol=1e-6)
    empty = made.render()[2]
    assert bool((empty == 0.3).all())


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("sides", [3, 4])
def test_without_a_corner_a_polygon_ends_at_the_chord(sides, corner):
    if corner >= sides:
        pytest.skip("a triangle has three corners")
    made = polygons(1, sides=[sides]).divided("corners")
    keep = made.present.clone()
    keep[0, corner] = False
    outline = regular_polygon(
        made.centres[:, 0], made.radii[:, 0] * circumradius(sides), made.angles[:, 0], sides
    )[0]
    before, here, after = (outline[(corner + step) % sides] for step in (-1, 0, 1))
    chord = [here + made.depth * (before - here), here + made.depth * (after - here)]
    cut = torch.stack([*outline[:corner], *chord, *outline[corner + 1 :]])
    coverage = plane_of(cut, made.size)
    wanted = made.background + coverage * (made.levels - made.background)[0]
    torch.testing.assert_close(made.render(keep)[0, 0], wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("tagged", [False, True])
def test_an_image_is_its_base_and_the_layers_of_what_is_kept(division, tagged, generator):
    made = polygons(tagged=tagged).divided(division)
    base, layers = made.layers()
    torch.testing.assert_close(base + layers.sum(1), made.render(), rtol=0, atol=1e-6)
    for _ in range(4):
        keep = torch.rand(layers.shape[:2], generator=generator) < 0.5
        wanted = base + (keep[..., None, None, None] * layers).sum(1)
        torch.testing.assert_close(made.render(keep), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("division", DIVISIONS)
def test_all_kept_is_the_image_and_what_is_absent_can_be_kept_or_not(division):
    made = polygons().divided(division)
    everything = torch.ones_like(made.present)
    torch.testing.assert_close(made.render(everything), made.render(), rtol=0, atol=1e-6)
    assert torch.equal(made.render(everything), made.render(made.present))


def test_without_an_object_the_image_is_that_of_a_scene_that_never_had_it():
    made = several()
    for which in range(3):
        keep = torch.ones(3, 3, dtype=torch.bool)
        keep[:, which] = False
        sides = made.sides.clone()
        sides[:, which] = 0
        never = dataclasses.replace(made, sides=sides)
        torch.testing.assert_close(made.render(keep), never.render(), rtol=0, atol=1e-6)


def test_without_all_objects_only_background_is_left():
    made = several()
    empty = made.render(torch.zeros(3, 3, dtype=torch.bool))
    wanted = made.background[:, None, None, None].expand_as(empty)
    assert torch.equal(empty, wanted)


@pytest.mark.parametrize("depth", [0.1, 0.3, 0.5])
def test_anatomy_fills_the_object_and_nothing_else(depth):
    made = dataclasses.replace(polygons(), depth=depth)
    parts = made.divided("anatomy").parts()
    torch.testing.assert_close(parts.sum(1), made.parts()[:, 0], rtol=0, atol=5 * ROUNDING)


@pytest.mark.parametrize("division", DIVISIONS[1:])
@pytest.mark.parametrize("sides", [3, 4, 5])
def test_parts_of_a_polygon_are_disjoint(division, sides):
    eight, twelve = (torch.full((1,), value, dtype=torch.float64) for value in (8, 12))
    outline = regular_polygon(torch.stack([twelve, twelve], 1), eight, 0 * eight, sides)
    pieces = divide(outline, division, 0.3)
    planes = torch.stack([plane_of(piece[0], (24, 24)) for piece in pieces.values()])
    assert float(planes.sum(0).max()) <= 1 + 1e-4
    areas = {name: float(plane.sum()) for name, plane in zip(pieces, planes, strict=True)}
    whole = sides / 2 * 64 * math.sin(2 * math.pi / sides)
    one = {
        # a triangle of two sides scaled by 0.3, of the whole's corner triangle
        "corner 1": 0.09
        * 64
        * 4
        * math.sin(math.pi / sides) ** 2
        / 2
        * math.sin(math.pi - 2 * math.pi / sides),
        "side 1": (1 - 0.7**2) * whole / sides,
    }
    for name, wanted in one.items():
        if name in areas:
            assert areas[name] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("tagged", [False, True])
def test_absent_parts_are_zero_and_present_ones_are_not(division, tagged):
    made = polygons(tagged=tagged).divided(division)
    parts = made.parts()
    assert parts.shape == (6, len(made.part_names), *made.size)
    assert made.present.shape == parts.shape[:2]
    assert torch.equal(parts.flatten(2).sum(2) > 0, made.present)
    names = torch.tensor([name.endswith("4") for name in made.part_names])
    assert bool((made.present[made.sides[:, 0] == 4]).all())
    assert torch.equal(made.present[made.sides[:, 0] == 3][0], ~names)


def test_absent_objects_are_zero_and_not_present():
    made = several()
    assert made.present.tolist() == [[True] * 3, [True, False, True], [False] * 3]
    assert torch.equal(made.parts().flatten(2).sum(2) > 0, made.present)


def test_part_names_say_what_the_parts_are():
    made = polygons(tagged=True)
    assert made.part_names == ("object 1", "tag")
    corners = tuple(f"corner {i}" for i in range(1, 5))
    edges = tuple(f"edge {i}" for i in range(1, 5))
    assert made.divided("corners").part_names == (*corners, "tag")
    assert made.divided("anatomy").part_names == (*corners, *edges, "interior", "tag")


def test_the_tag_is_a_part_in_every_division():
    made = polygons(tagged=True)
    tag = made.parts()[:, -1]
    assert float(tag[0].sum()) == pytest.approx(math.pi * 1.5**2, rel=1e-5)
    for division in DIVISIONS:
        divided = made.divided(division)
        assert torch.equal(divided.parts()[:, -1], tag)
        keep = torch.ones_like(divided.present)
        keep[:, -1] = False
        without = divided.render(keep)[:, 0]
        shown = divided.render()[:, 0] - without
        contrast = (made.levels[:, -1] - made.background)[:, None, None]
        torch.testing.assert_close(shown, tag * contrast, rtol=0, atol=1e-6)


def test_a_division_that_scenes_do_not_have_is_refused():
    assert several().divisions == ("objects", "grid", "pixels")
    with pytest.raises(InputError, match=r"got 'corners'; allowed: objects, grid, pixels$"):
        several().divided("corners")
    with pytest.raises(InputError, match="allowed: objects, corners, sides, anatomy"):
        polygons().divided("corner")
    discs = dataclasses.replace(polygons(), sides=torch.tensor([3, 4, 3, 4, 3, DISC])[:, None])
    assert discs.divisions == ("objects", "grid", "pixels")


@pytest.mark.parametrize("depth", [0.0, -0.1, 0.51, float("nan")])
def test_parts_so_deep_that_they_overlap_are_refused(depth):
    assert polygons().divided("corners", depth=0.2).depth == 0.2
    with pytest.raises(InputError, match=r"allowed: > 0 and <= 0\.5"):
        polygons().divided("corners", depth=depth)


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("tagged", [False, True])
def test_a_scene_is_drawn_the_same_alone_and_in_a_batch_bit_for_bit(division, tagged):
    made = polygons(8, tagged=tagged).divided(division)
    images, parts = made.render(), made.parts()
    keep = torch.arange(parts.shape[1]).expand(8, -1) % 2 == 0
    kept = made.render(keep)
    for index in range(8):
        alone = made[index : index + 1]
        assert torch.equal(alone.render()[0], images[index])
        mine = torch.tensor([name in alone.part_names for name in made.part_names])
        assert torch.equal(alone.parts()[0], parts[index][mine])
        assert torch.equal(alone.render(keep[:1, mine])[0], kept[index])


@pytest.mark.parametrize(
    "index", [slice(1, 3), torch.tensor([2, 0, 2]), torch.tensor([True, False, True])]
)
def test_scenes_are_indexed_by_slices_positions_and_masks(index):
    made = several()
    chosen = made[index]
    assert torch.equal(chosen.render(), made.render()[index])
    assert torch.equal(chosen.parts(), made.parts()[index])
    assert len(chosen) == len(made.sides[index])


def test_no_scenes_are_no_images():
    nothing = several()[:0]
    assert nothing.render().shape == (0, 1, 24, 24)
    assert nothing.parts().shape == (0, 3, 24, 24)


def test_scenes_move_to_a_device_whole():
    moved = polygons(tagged=True).divided("corners").to("meta")
    assert moved.division == "corners"
    assert moved.tagged
    assert {getattr(moved, name).device.type for name in ("sides", "centres", "levels")} == {"meta"}


def test_scenes_in_float64_are_drawn_in_float64():
    exact, rough = polygons(dtype=torch.float64), polygons(dtype=torch.float64)
    rough = dataclasses.replace(
        rough,
        **{
            name: getattr(rough, name).float()
            for name in ("centres", "radii", "angles", "levels", "background")
        },
    )
    for division in DIVISIONS:
        fine = exact.divided(division).parts()
        assert fine.dtype == torch.float64
        torch.testing.assert_close(
            rough.divided(division).parts().double(), fine, rtol=0, atol=ROUNDING
        )


def test_a_turn_by_ninety_degrees_turns_image_and_parts():
    made = dataclasses.replace(
        polygons(size=(24, 24)), centres=torch.full((6, 1, 2), 12.0), angles=torch.full((6, 1), 0.3)
    )
    turned = dataclasses.replace(made, angles=made.angles + math.pi / 2)
    for division in ("objects", "corners", "anatomy"):
        first, second = made.divided(division).parts(), turned.divided(division).parts()
        torch.testing.assert_close(second, first.rot90(-1, (2, 3)), rtol=0, atol=5 * ROUNDING)
    assert scene.DIVISIONS == ("objects", "corners", "sides", "anatomy")
