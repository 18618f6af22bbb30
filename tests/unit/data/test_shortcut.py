"""Planted shortcuts: a tag agrees with the class as often as asked for; nothing else tells."""

import dataclasses
import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.data.scenes.polygons import circumradius
from xai_exp.data.shortcut import CountingShortcut, TrianglesSquaresShortcut
from xai_exp.data.triangles_squares import TrianglesSquares

MOVED = {"pixels": 64, "min_radius": 6.0, "max_radius": 16.0, "move": True}
SHORTCUTS = {
    "counting": CountingShortcut(count=3000),
    "odd": CountingShortcut(count=3000, tag_rule="odd", max_objects=4, tag_agreement=0.7),
    "triangles_squares": TrianglesSquaresShortcut(count=3000),
    "moved": TrianglesSquaresShortcut(count=3000, **MOVED),
}
WITHOUT = {
    "triangles_squares": TrianglesSquares(count=3000),
    "moved": TrianglesSquares(count=3000, **MOVED),
}


def positive(name, split):
    """For which images the tag speaks, from the scenes themselves."""
    sides = split.everything.sides[:, :-1]
    count = (sides > 0).sum(1)
    if name == "counting":
        return count >= 5
    return count % 2 == 1 if name == "odd" else sides[:, 0] == 4


def there(split):
    return split.everything.present[:, -1]


@pytest.mark.parametrize("name", SHORTCUTS)
def test_the_tag_agrees_with_the_class_as_often_as_asked_for(name):
    data = SHORTCUTS[name]
    for split in (data.train, data.validation, data.test):
        agree = (positive(name, split) == there(split)).double()
        spread = math.sqrt(data.tag_agreement * (1 - data.tag_agreement) / len(split))
        assert float(agree.mean()) == pytest.approx(data.tag_agreement, abs=4 * spread)
    # In either class alike.
    for side in (True, False):
        mine = positive(name, data.train) == side
        agree = (there(data.train)[mine] == side).double()
        assert float(agree.mean()) == pytest.approx(data.tag_agreement, abs=0.05)


@pytest.mark.parametrize("name", SHORTCUTS)
def test_test_splits_are_aligned_conflicting_or_without_tags(name):
    data = SHORTCUTS[name]
    aligned, conflicting, absent = (
        dataclasses.replace(data, test_tag=tag) for tag in ("aligned", "conflicting", "absent")
    )
    assert torch.equal(there(aligned.test), positive(name, aligned.test))
    assert torch.equal(there(conflicting.test), ~positive(name, conflicting.test))
    assert not there(absent.test).any()
    for other in (aligned, conflicting, absent):
        index = torch.arange(50)
        assert torch.equal(other.train.images(index), data.train.images(index))
        assert torch.equal(other.test.labels, data.test.labels)
        untagged = data.test.everything.present.clone()
        untagged[:, -1] = False
        bare = other.test.scenes(index).render(untagged[index])
        assert torch.equal(bare, data.test.scenes(index).render(untagged[index]))
    assert "test_tag" in data.undeciding


@pytest.mark.parametrize("name", WITHOUT)
def test_without_its_tag_a_scene_is_that_of_the_dataset_without_shortcut(name):
    tagged, plain = SHORTCUTS[name].train, WITHOUT[name].train
    assert torch.equal(tagged.labels, plain.labels)
    mine, other = tagged.everything, plain.everything
    for field in ("sides", "radii", "angles", "levels"):
        assert torch.equal(getattr(mine, field)[:, :1], getattr(other, field))
    same = (mine.centres[:, 0] == other.centres[:, 0]).all(1)
    turned = (mine.centres[:, 0] == tagged.everything.size[0] - other.centres[:, 0]).all(1)
    assert bool((same | turned).all())
    assert float(same.double().mean()) > (0.8 if name == "moved" else 0.999)


@pytest.mark.parametrize("name", SHORTCUTS)
def test_no_object_comes_near_the_tags_place_whether_it_is_there_or_not(name):
    for split in (SHORTCUTS[name].train, SHORTCUTS[name].test):
        scene = split.everything
        outer = scene.radii * torch.tensor(
            [[circumradius(max(1, int(kind))) for kind in row] for row in scene.sides]
        )
        apart = (scene.centres[:, :-1] - scene.centres[:, -1:]).norm(dim=2)
        apart = apart - outer[:, :-1] - 4 / math.sqrt(2)
        assert float(apart[scene.sides[:, :-1] > 0].min()) >= 1.5 - 1e-4
        reach = outer[:, :-1][scene.sides[:, :-1] > 0]
        inside = scene.centres[:, :-1][scene.sides[:, :-1] > 0]
        assert bool(((inside - reach[:, None]) >= -1e-4).all())
        assert bool(((inside + reach[:, None]) <= scene.size[0] + 1e-4).all())


@pytest.mark.parametrize("name", SHORTCUTS)
def test_the_tag_is_a_square_of_whole_pixels_in_the_objects_grey(name):
    split = SHORTCUTS[name].train
    index = there(split).nonzero()[:20, 0]
    parts = split.parts(index)[:, -1]
    wanted = torch.zeros(split.everything.size)
    wanted[1:5, 1:5] = 1
    torch.testing.assert_close(parts, wanted.expand_as(parts), rtol=0, atol=1e-5)
    scene = split.scenes(index)
    assert torch.equal(scene.levels[:, -1], scene.levels[:, 0])
    assert scene.part_names[-1] == "tag"
    window = split.images(index)[:, 0, 1:5, 1:5]
    torch.testing.assert_close(
        window, scene.levels[:, -1, None, None].expand_as(window), rtol=0, atol=1e-4
    )


def test_untagged_datasets_place_objects_freely():
    data = Counting(count=600)
    assert float(data.train.everything.centres.min()) < 6
    near = data.train.everything.centres.norm(dim=2)[data.train.everything.sides > 0]
    assert float(near.min()) < 8


def test_what_can_not_be_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"tag_agreement: got 0\.4; allowed: a number >= 0\.5"):
        CountingShortcut(tag_agreement=0.4)
    with pytest.raises(InputError, match="got 8 beside triangles of radius 9 in 32 pixels"):
        TrianglesSquaresShortcut(tag_size=8)
    with pytest.raises(InputError, match="min_objects: got 5; allowed: at most"):
        CountingShortcut(min_objects=5, max_objects=3)
    with pytest.raises(InputError, match="test_tag: got 'gone'; allowed"):
        TrianglesSquaresShortcut(test_tag="gone")
