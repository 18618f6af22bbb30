"""Data in which parts differ in worth: labels, coalitions, textures, overlaps, what is redrawn."""

import dataclasses
import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.data.cue_conflict import CueConflict
from xai_exp.data.kinds import evenly
from xai_exp.data.logic import OneOfEach, ParityPairs
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.data.worths import TypedCounting, WeightedCounting

RGB = {"by": "color", "color": "rgb"}
DATA = {
    "typed": TypedCounting(count=400, pixels=48, max_counted=3, max_ignored=2),
    "weighted": WeightedCounting(count=400, pixels=48, max_objects=4, **RGB),
    "both": OneOfEach(count=400, pixels=40),
    "parity": ParityPairs(count=400, pixels=40, **RGB),
}
SIDES = {0: -1, 1: 0, 4: 1, 3: 2}


def kinds_of(data, scenes):
    if data.by == "color":
        return data.kinds_of(scenes)
    return torch.tensor([[SIDES[side] for side in row] for row in scenes.sides.tolist()])


def label(name, kinds):
    """The label of one image, written down again."""
    count = [sum(kind == one for kind in kinds) for one in range(4)]
    total = 2 * count[0] + count[1] - count[3]
    return {
        "typed": count[0],
        "weighted": min(max(total, -2), 6) + 2,
        "both": int(count[0] > 0 and count[1] > 0),
        "parity": (count[0] + count[1]) % 2,
    }[name]


@pytest.mark.parametrize("name", DATA)
def test_the_label_is_what_the_objects_make_it(name):
    data = DATA[name]
    kinds = kinds_of(data, data.train.everything)
    assert [label(name, row) for row in kinds.tolist()] == data.train.labels.tolist()
    assert (kinds < 0).all(1).any()  # images without any object


@pytest.mark.parametrize("name", DATA)
def test_every_subset_of_an_image_s_objects_is_an_image_that_is_drawn(name):
    data = DATA[name]
    table, chances = data.mixtures()
    possible = {tuple(row) for row in table.tolist()}
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)
    for row in possible:
        for kind, number in enumerate(row):
            if number:
                assert (*row[:kind], number - 1, *row[kind + 1 :]) in possible
    scenes = data.test.scenes(torch.arange(10))
    assert scenes.drawable(torch.zeros_like(scenes.present)).all()


def test_two_classes_are_equally_frequent():
    for data in (OneOfEach(), ParityPairs(max_each=3)):
        numbers, chances = data.mixtures()
        positive = float(chances[data.labelled(numbers) == 1].sum())
        assert positive == pytest.approx(0.5, abs=1e-6)


def test_evenly_is_multinomial():
    numbers, chances = evenly(3, 2)
    for row, chance in zip(numbers.tolist(), chances.tolist(), strict=True):
        assert chance == pytest.approx(math.comb(sum(row), row[0]) / 2 ** sum(row) / 4, abs=1e-6)


@pytest.mark.parametrize("texture", ["none", "stripes", "noise"])
@pytest.mark.parametrize("by", [{}, RGB, {"color": "rgb"}])
def test_an_image_is_affine_in_its_parts_whatever_lies_behind(texture, by, generator):
    data = TypedCounting(count=60, pixels=48, max_counted=3, texture=texture, **by)
    scenes = data.train.scenes(torch.arange(8))
    base, layers = scenes.layers()
    keep = torch.rand(scenes.present.shape, generator=generator) < 0.5
    wanted = base + (keep[..., None, None, None] * layers).sum(1)
    torch.testing.assert_close(scenes.render(keep), wanted, rtol=0, atol=1e-6)
    assert base.shape[1] == data.channels
    assert bool((base.flatten(2).std(2) > 0.01).all()) is (texture != "none")


@pytest.mark.parametrize("texture", ["none", "stripes"])
def test_objects_that_overlap_hide_those_before_them(texture, generator):
    data = TypedCounting(count=60, pixels=40, overlap=0.5, max_counted=5, texture=texture)
    scenes = data.train.scenes(torch.arange(12))
    alone, seen = scenes._alone(), scenes.parts()
    assert float(alone.sum(1).max()) > 1.5  # they do overlap
    assert float(seen.sum(1).max()) <= 1 + 1e-5
    base, _ = dataclasses.replace(scenes, stacked=False).layers()
    keep = torch.rand(scenes.present.shape, generator=generator) < 0.7
    wanted = base.clone()
    for part in range(alone.shape[1]):  # painted one after the other, image by image
        for row in range(12):
            if keep[row, part]:
                cover = alone[row, part]
                wanted[row, 0] = (1 - cover) * wanted[row, 0] + cover * scenes.levels[row, part]
    torch.testing.assert_close(scenes.render(keep), wanted, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="got objects that hide one another"):
        scenes.layers()
    assert torch.equal(scenes.render(), scenes.drawing().whole())


def test_counting_keeps_its_number_where_discs_overlap():
    data = Counting(count=200, overlap=0.4, max_objects=6)
    there = (data.train.everything.sides > 0).sum(1)
    assert torch.equal(there, data.train.labels)
    levels = data.train.everything.levels - data.train.everything.background[:, None]
    assert float(levels.abs().min()) >= 0.1 - 1e-6


@pytest.mark.parametrize("name", DATA)
def test_what_is_kept_stays_and_what_is_drawn_anew_could_be_drawn(name, generator):
    data = DATA[name]
    scenes = data.test.scenes(torch.arange(40))
    keep = scenes.present & (torch.rand(scenes.present.shape, generator=generator) < 0.5)
    fresh = scenes.redrawn(keep, generator)
    for field in ("sides", "centres", "radii", "levels"):
        assert torch.equal(getattr(fresh, field)[keep], getattr(scenes, field)[keep])
    assert torch.equal(fresh.background, scenes.background)
    assert bool((fresh.present <= scenes.present).all())
    possible = {tuple(row) for row in data.mixtures()[0].tolist()}
    for row in kinds_of(data, fresh).tolist():
        assert tuple(row.count(kind) for kind in range(data.mixtures()[0].shape[1])) in possible
    parts = fresh.parts()
    assert float(parts.sum(1).max()) <= 1 + 1e-5  # none overlap
    everything = scenes.redrawn(scenes.present, generator)
    assert torch.equal(everything.render(), scenes.render())


def test_numbers_drawn_anew_follow_bayes(generator):
    """One place is known to be empty, one object is kept: simulated by drawing and rejecting."""
    data = TypedCounting(count=60, pixels=64, max_counted=2, max_ignored=1)
    train = TypedCounting(count=20_000, pixels=64, max_counted=2, max_ignored=1, seed=3).train
    kinds = kinds_of(data, train.everything)
    alike = (kinds[:, 0] == 0) & (kinds[:, 2] == -1)  # a disc in the first place, none in the last
    wanted = (kinds[alike][:, 1] + 1).bincount(minlength=4) / alike.sum()
    one = (alike & (kinds[:, 1] >= 0)).nonzero()[:1, 0]
    scene = train.scenes(one)[torch.zeros(4000, dtype=torch.long)]
    keep = torch.zeros(4000, 3, dtype=torch.bool)
    keep[:, 0] = True
    drawn = scene.redrawn(keep, generator)
    found = (kinds_of(data, drawn)[:, 1] + 1).bincount(minlength=4) / 4000
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.04)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (TypedCounting, {"by": "color"}, "TypedCounting.color: got grey with by=color"),
        (TypedCounting, {"max_counted": 20, "pixels": 32}, "so that they fit without overlap"),
        (WeightedCounting, {"worths": (1, 2, 3, 4)}, "WeightedCounting.worths: got 4 by shape"),
        (WeightedCounting, {"worths": (1,), **RGB}, "WeightedCounting.worths: got 1 by color"),
        (OneOfEach, {"min_radius": 7.0}, "OneOfEach.min_radius: got 7"),
        (CueConflict, {"fine": 6.0}, "CueConflict.fine: got periods of 6 and 7 pixels"),
        (Counting, {"overlap": 0.7}, "Counting.overlap: got 0.7"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(kind, wrong, said):
    with pytest.raises(InputError) as caught:
        kind(**wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_textured_scenes_are_not_turned():
    scenes = Counting(count=60, texture="noise").test.scenes(torch.arange(2))
    with pytest.raises(InputError, match="got some with a texture"):
        scenes.turned(0.1)


@pytest.mark.parametrize(("agreement", "share"), [(1.0, 1.0), (0.0, 0.0), (0.8, 0.8)])
def test_stripes_agree_with_the_shape_as_often_as_said(agreement, share):
    data = CueConflict(count=2000, agreement=agreement)
    coarse = (data.train.everything.skin.periods > 5).long()
    found = float((coarse == data.train.labels).float().mean())
    assert found == pytest.approx(share, abs=0.03)
    against = dataclasses.replace(data, test_cue="conflicting").test
    assert bool(((against.everything.skin.periods > 5).long() != against.labels).all())


def test_a_striped_polygon_s_corners_add_up_to_its_image():
    scenes = CueConflict(count=60).test.scenes(torch.arange(4))
    for division in ("objects", "corners", "anatomy"):
        divided = scenes.divided(division)
        torch.testing.assert_close(divided.drawing().whole(), scenes.render(), rtol=0, atol=1e-6)


def test_parts_are_left_out_of_half_of_the_training_images_alone():
    data = TrianglesSquares(count=400, coalitions="corners")
    plain = TrianglesSquares(count=400)
    index = torch.arange(300)
    changed = (data.train.images(index) - plain.train.images(index)).abs().amax((1, 2, 3)) > 1e-4
    # Of the half a fifth (a square) or a fourth (a triangle) keep all their corners.
    assert 0.25 < float(changed.float().mean()) < 0.5
    assert torch.equal(data.train.images(index), data.train.images(index.flip(0)).flip(0))
    for split in ("validation", "test"):
        one, other = getattr(data, split), getattr(plain, split)
        few = torch.arange(len(one))
        assert torch.equal(one.images(few), other.images(few))
