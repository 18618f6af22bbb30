"""Rendered datasets and digits: splits, labels, levels and what the variants change."""

import dataclasses
import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data import loading
from xai_exp.data.counting import Counting
from xai_exp.data.digits import Digits
from xai_exp.data.loading import grey_levels, sizes, stratified
from xai_exp.data.scenes.placement import Placement
from xai_exp.data.scenes.polygons import DISC, circumradius
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.types import Dataset

SPLITS = ("train", "validation", "test")
COUNTING = Counting(count=2000)
SHAPES = TrianglesSquares(count=2000)
MOVED = TrianglesSquares(count=2000, pixels=64, min_radius=6.0, max_radius=16.0, move=True)
RENDERED = {
    "counting": COUNTING,
    "mixed": Counting(count=2000, shape="mixed", max_objects=5, min_radius=3.0, max_radius=6.0),
    "triangles_squares": SHAPES,
    "triangles_squares_64": MOVED,
}
NAMES = ("sides", "centres", "radii", "angles", "levels", "background")


def everything(split):
    return torch.arange(len(split))


def same_scenes(first, second):
    mine, other = first.everything, second.everything
    return all(torch.equal(getattr(mine, name), getattr(other, name)) for name in NAMES)


def looks(split):
    """Each scene's grey levels: one level alone is one of 2^24 numbers, and many share it."""
    scenes = split.everything
    rows = torch.cat([scenes.background[:, None], scenes.levels], 1)
    return {tuple(row) for row in rows.tolist()}


@pytest.mark.parametrize("name", RENDERED)
def test_a_dataset_is_what_the_protocol_says(name):
    assert isinstance(RENDERED[name], Dataset)


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_gives_the_same_images_bit_for_bit_in_any_chunks(name, split):
    first = getattr(RENDERED[name], split)
    second = getattr(dataclasses.replace(RENDERED[name]), split)
    assert first is not second
    assert torch.equal(first.labels, second.labels)
    index = torch.arange(40)
    images = first.images(index)
    assert torch.equal(second.images(index), images)
    for size in (1, 7):
        chunks = torch.cat([second.images(part) for part in index.split(size)])
        assert torch.equal(chunks, images)
    assert torch.equal(second.images(index.flip(0)), images.flip(0))


@pytest.mark.parametrize("name", RENDERED)
def test_another_seed_gives_other_scenes(name):
    other = dataclasses.replace(RENDERED[name], seed=1)
    for split in SPLITS:
        assert not looks(getattr(RENDERED[name], split)) & looks(getattr(other, split))


@pytest.mark.parametrize("name", RENDERED)
def test_no_scene_is_in_two_splits(name):
    seen: set[tuple[float, ...]] = set()
    for split in SPLITS:
        mine = looks(getattr(RENDERED[name], split))
        assert len(mine) == len(getattr(RENDERED[name], split))
        assert not mine & seen
        seen |= mine
    assert len(seen) == 2000


@pytest.mark.parametrize("name", RENDERED)
def test_splits_of_equal_size_are_not_the_same_scenes(name):
    third = 1 / 3
    data = dataclasses.replace(RENDERED[name], count=90, validation_share=third, test_share=third)
    levels = [getattr(data, split).everything.background for split in SPLITS]
    assert [len(each) for each in levels] == [30, 30, 30]
    assert len(torch.cat(levels).unique()) == 90


@pytest.mark.parametrize("name", RENDERED)
def test_shares_are_as_asked_for(name):
    data = RENDERED[name]
    held = [round(2000 * data.validation_share), round(2000 * data.test_share)]
    assert [len(getattr(data, split)) for split in SPLITS] == [2000 - sum(held), *held]


@pytest.mark.parametrize("name", RENDERED)
def test_classes_come_equally_often(name):
    data = RENDERED[name]
    counts = data.train.labels.bincount(minlength=len(data.classes)).double()
    expected = len(data.train) / len(data.classes)
    # The 99.9 % quantile of the chi-squared distribution, by Wilson and Hilferty.
    freedom = len(data.classes) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert float(((counts - expected) ** 2 / expected).sum()) < limit


@pytest.mark.parametrize("name", RENDERED)
def test_images_have_the_stated_size_and_stay_in_range(name):
    data = RENDERED[name]
    images = data.test.images(everything(data.test))
    assert images.shape == (len(data.test), data.channels, *data.size)
    assert images.dtype == torch.float32
    assert float(images.min()) >= -1e-6
    assert float(images.max()) <= 1 + 1e-6


@pytest.mark.parametrize("name", RENDERED)
def test_objects_lie_within_the_image_whole(name):
    data = RENDERED[name]
    scenes = data.train.everything
    area = data.train.parts(torch.arange(300)).flatten(2).sum(2)
    there = scenes.sides[:300] > 0
    wanted = math.pi * scenes.radii[:300] ** 2 * there
    torch.testing.assert_close(area, wanted, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", RENDERED)
def test_grey_levels_differ_enough_and_either_may_be_the_brighter(name):
    scenes = RENDERED[name].train.everything
    assert bool((scenes.levels == scenes.levels[:, :1]).all())
    contrast = scenes.levels[:, 0] - scenes.background
    assert float(contrast.abs().min()) >= 0.1 - 1e-6
    # Half of them, within four standard deviations.
    brighter = float((contrast > 0).double().mean())
    assert brighter == pytest.approx(0.5, abs=2 / math.sqrt(len(contrast)))


@pytest.mark.parametrize("least", [0.0, 0.1, 0.5, 0.9])
def test_grey_levels_are_uniform_among_the_pairs_that_differ_enough(least, generator):
    level, background = grey_levels(20_000, least, generator)
    contrast = (level - background).abs()
    assert float(contrast.min()) >= least - 1e-6
    assert float(torch.minimum(level, background).min()) >= 0
    assert float(torch.maximum(level, background).max()) <= 1
    # Of uniform pairs at least `least` apart, those at least d apart are ((1 - d) / (1 - least))^2.
    for share in (0.25, 0.5, 0.75):
        apart = least + share * (1 - least)
        found = float((contrast >= apart).double().mean())
        assert found == pytest.approx((1 - share) ** 2, abs=4 * 0.5 / math.sqrt(20_000))
    assert float((level > background).double().mean()) == pytest.approx(0.5, abs=0.015)
    assert float(level.mean()) == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize("shape", ["disc", "square", "triangle", "mixed"])
@pytest.mark.parametrize(("least", "most"), [(0, 9), (1, 3), (4, 4), (0, 1)])
def test_the_label_is_how_many_objects_there_are_beyond_the_least(shape, least, most):
    data = Counting(count=300, shape=shape, min_objects=least, max_objects=most)
    for split in SPLITS:
        mine = getattr(data, split)
        there = (mine.everything.sides > 0).sum(1)
        assert torch.equal(there - least, mine.labels)
        assert torch.equal(mine.everything.present.sum(1), there)
    assert data.classes == tuple(str(k) for k in range(least, most + 1))
    assert int(data.train.labels.max()) == most - least


@pytest.mark.parametrize("gap", [1.5, 4.0])
@pytest.mark.parametrize("shape", ["disc", "triangle", "mixed"])
def test_no_two_objects_come_nearer_than_the_gap(shape, gap):
    data = Counting(count=400, shape=shape, max_objects=6, gap=gap)
    scenes = data.train.everything
    reach = scenes.radii * torch.tensor(
        [[circumradius(max(1, int(kind))) for kind in row] for row in scenes.sides]
    )
    between = torch.cdist(scenes.centres.double(), scenes.centres.double())
    between = between - reach[:, :, None] - reach[:, None, :]
    there = scenes.sides > 0
    pairs = (there[:, :, None] & there[:, None, :]).triu(1)
    assert float(between[pairs].min()) >= gap - 1e-4
    # So no pixel belongs to two objects.
    parts = data.train.parts(torch.arange(200))
    assert float(parts.sum(1).max()) <= 1 + 1e-5
    assert int((parts > 0).sum(1).max()) == 1 or gap < 2


def test_counting_draws_the_shapes_that_it_names():
    kinds = {"disc": {DISC}, "square": {4}, "triangle": {3}, "mixed": {DISC, 3, 4}}
    for shape, wanted in kinds.items():
        scenes = Counting(count=200, shape=shape, max_objects=4).train.everything
        assert set(scenes.sides.unique().tolist()) == {0} | wanted
        assert float(scenes.radii.min()) >= 3
        assert float(scenes.radii.max()) <= 5


def test_one_radius_is_one_radius():
    scenes = Counting(count=60, min_radius=4.0, max_radius=4.0).train.everything
    assert bool((scenes.radii == 4).all())


@pytest.mark.parametrize(
    ("changes", "radii", "kinds"),
    [
        ({"test_shape": "mixed"}, (3, 5), {0, DISC, 3, 4}),
        ({"test_min_radius": 4.5}, (4.5, 5), {0, DISC}),
        ({"test_max_radius": 6.0}, (3, 6), {0, DISC}),
    ],
)
def test_a_test_variant_changes_the_test_split_alone(changes, radii, kinds):
    plain = Counting(count=400, max_objects=4)
    variant = dataclasses.replace(plain, **changes)
    assert set(changes) <= Counting.undeciding
    assert same_scenes(plain.train, variant.train)
    assert same_scenes(plain.validation, variant.validation)
    assert not same_scenes(plain.test, variant.test)
    scenes = variant.test.everything
    assert set(scenes.sides.unique().tolist()) == kinds
    assert radii[0] <= float(scenes.radii.min())
    assert float(scenes.radii.max()) <= radii[1]
    assert float(scenes.radii.max() - scenes.radii.min()) > 0.9 * (radii[1] - radii[0])


@pytest.mark.parametrize(
    "impossible",
    [
        {"max_objects": 40},
        {"max_objects": 2, "min_radius": 20.0, "max_radius": 20.0},
        {"max_objects": 1, "min_radius": 33.0, "max_radius": 33.0},
        {"max_objects": 1, "max_radius": 4.0, "test_max_radius": 200.0, "test_min_radius": 100.0},
        {"max_objects": 100},
        {"min_objects": 20, "max_objects": 25, "pixels": 32},
        {"min_objects": 13, "max_objects": 14, "pixels": 32},
    ],
)
def test_objects_that_do_not_fit_are_refused_at_once_and_in_one_line(impossible, monkeypatch):
    rounds = []
    one_round = Placement._one_round

    def counted(self, outer, *given):
        rounds.append(len(outer))
        return one_round(self, outer, *given)

    monkeypatch.setattr(Placement, "_one_round", counted)
    with pytest.raises(InputError, match="so that they fit without overlap") as caught:
        _ = Counting(count=60_000, **impossible).test
    assert "\n" not in str(caught.value)
    assert sum(rounds) <= 200  # a trial on the fullest scenes, or none


def test_full_scenes_that_do_fit_are_drawn():
    assert len(Counting(count=6000, min_objects=9).train) == 5220


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (Counting, {"min_objects": 5, "max_objects": 4}, "Counting.min_objects: got 5"),
        (Counting, {"min_radius": 6.0}, "Counting.min_radius: got 6"),
        (Counting, {"test_min_radius": 9.0}, "Counting.min_radius: got 9"),
        (Counting, {"gap": 1.0}, "Counting.gap: got 1.0"),
        (Counting, {"shape": "star"}, "Counting.shape: got 'star'; allowed: one of disc, square"),
        (Counting, {"count": 10}, "Counting.count: got 10"),
        (TrianglesSquares, {"min_radius": 9.5}, "TrianglesSquares.min_radius: got 9.5"),
        (TrianglesSquares, {"max_radius": 14.0}, "allowed: at most 10.3, so that a triangle fits"),
        (TrianglesSquares, {"min_contrast": 1.0}, "TrianglesSquares.min_contrast: got 1.0"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(kind, wrong, said):
    with pytest.raises(InputError) as caught:
        kind(**wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_triangles_and_squares_are_what_their_labels_say():
    for data in (SHAPES, MOVED):
        assert data.classes == ("triangle", "square")
        assert torch.equal(data.train.everything.sides[:, 0], data.train.labels + 3)


def test_triangles_and_squares_differ_neither_in_size_nor_in_place_nor_in_levels():
    scenes, labels = MOVED.train.everything, MOVED.train.labels
    for values in (scenes.radii[:, 0], scenes.levels[:, 0], scenes.background):
        first, second = values[labels == 0].double(), values[labels == 1].double()
        # Kolmogorov and Smirnov's distance, at a level of 0.1 %.
        joined = torch.cat([first, second]).sort().values
        shares = [
            torch.searchsorted(each.sort().values, joined, right=True) / len(each)
            for each in (first, second)
        ]
        limit = 1.95 * math.sqrt(1 / len(first) + 1 / len(second))
        assert float((shares[0] - shares[1]).abs().max()) < limit


def test_turning_and_moving_can_be_left_out():
    plain = TrianglesSquares(count=60, rotate=False).train
    scenes = plain.everything
    assert bool((scenes.centres == 16).all())
    assert len(scenes.angles.unique()) == 2
    # A triangle that is not turned points upward: its highest row is a corner.
    triangle = plain.parts((plain.labels == 0).nonzero()[:1, 0])[0, 0]
    rows = (triangle > 0).any(1).nonzero()[:, 0]
    assert float(triangle[rows[0]].sum()) < 2
    assert float(triangle[rows[-1]].sum()) > 10
    # So does a square stand on a side: all its rows but those at the ends are equal.
    square = plain.parts((plain.labels == 1).nonzero()[:1, 0])[0, 0]
    rows = (square > 0).any(1).nonzero()[1:-1, 0]
    torch.testing.assert_close(square[rows], square[rows[:1]].expand(len(rows), -1))
    assert len(SHAPES.train.everything.angles.unique()) > 1000
    assert len(MOVED.train.everything.centres.unique(dim=0)) > 1000


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    theirs = sorted((*row, label) for row, label in zip(pixels.tolist(), labels, strict=True))
    data, ours = Digits(), []
    assert isinstance(data, Dataset)
    for split in SPLITS:
        mine = getattr(data, split)
        images = mine.images(everything(mine))
        assert images.shape[1:] == (1, 8, 8)
        assert float(images.max()) == 1
        assert mine.parts(everything(mine)) is None
        assert mine.scenes(everything(mine)) is None
        rows = (16 * images).flatten(1).tolist()
        ours += [(*row, label) for row, label in zip(rows, mine.labels.tolist(), strict=True)]
    assert sorted(ours) == theirs


def test_stratified_splits_are_disjoint_and_share_every_class(generator):
    labels = torch.randint(5, (1000,), generator=generator)
    pieces = stratified(labels, 0.1, 0.2, 3)
    assert torch.equal(torch.cat(pieces).sort().values, torch.arange(1000))
    for label, total in enumerate(labels.bincount().tolist()):
        found = [int((labels[piece] == label).sum()) for piece in pieces]
        assert found == [
            total - round(0.1 * total) - round(0.2 * total),
            round(0.1 * total),
            round(0.2 * total),
        ]
    again = stratified(labels, 0.1, 0.2, 3)
    assert all(torch.equal(a, b) for a, b in zip(pieces, again, strict=True))
    assert not torch.equal(pieces[0], stratified(labels, 0.1, 0.2, 4)[0])
    # Classes come mixed, so that the first images are of several.
    assert len(labels[pieces[2][:20]].unique()) > 1


def test_data_too_small_for_three_splits_are_refused():
    assert sizes(3, 0.01, 0.01) == (1, 1, 1)
    with pytest.raises(InputError, match="got 2 images"):
        sizes(2, 0.1, 0.1)


def test_scenes_of_a_split_are_those_of_its_images():
    index = torch.tensor([5, 1, 8])
    scenes = COUNTING.test.scenes(index)
    assert torch.equal(scenes.render(), COUNTING.test.images(index))
    assert torch.equal(scenes.parts(), COUNTING.test.parts(index))
    assert loading.TEST == 2
