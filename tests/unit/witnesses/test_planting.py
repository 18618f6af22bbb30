"""Planted pictures: exactly the picture plus a layer for each plant, and worth what they should."""

import itertools

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.types import Scenes
from xai_exp.witnesses.looks import KINDS, LOOKS, cut, pasted
from xai_exp.witnesses.planting import DESIGNS, Planted, planted, side_of, value_due

SIDE = side_of((24, 28))


def cuts():
    picture, mask = torch.rand(3, 24, 28), torch.zeros(24, 28)
    mask[3:15, 4:10] = 1
    one = cut(picture, mask, SIDE)
    return torch.stack([one[0]] * KINDS), torch.stack([one[1]] * KINDS)


def scenes(look="stripes", design="worth", *, telling=False, seed=0, count=6) -> Planted:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 24, 28, generator=generator)
    kinds = pasted(look, SIDE, cuts() if look == "own" else None)
    return planted(pictures, kinds, design, (1, 2, 0), generator, telling=telling)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("design", DESIGNS)
def test_an_image_is_the_picture_and_a_layer_for_each_plant(look, design):
    mine = scenes(look, design)
    assert isinstance(mine, Scenes)
    base, layers = mine.layers()
    assert base.equal(mine.pictures)
    count = mine.roles.shape[1]
    for kept in itertools.product([False, True], repeat=count):
        keep = torch.tensor(kept).expand(len(mine), -1)
        weights = (keep & mine.present).float()
        expected = base + (layers * weights[..., None, None, None]).sum(1)
        torch.testing.assert_close(mine.render(keep), expected, atol=1e-6, rtol=0)
    images = mine.render()
    assert 0 <= images.min() <= images.max() <= 1
    assert images.equal(mine.to("cpu")[torch.arange(len(mine))].render())


@pytest.mark.parametrize("look", LOOKS)
def test_parts_are_the_pixels_that_change_and_never_meet(look):
    mine = scenes(look)
    layers, parts = mine.layers()[1], mine.parts()
    changed = layers.abs().amax(2) > 0
    assert not (changed & (parts == 0)).any()
    assert (parts.sum(1) <= 1).all()
    assert ((parts.flatten(2).sum(2) > 0) == mine.present).all()


def test_every_kind_is_seen_on_any_picture():
    for look, level in itertools.product(("stripes", "solid", "colour"), (0.0, 0.5, 1.0)):
        kinds = pasted(look, SIDE)
        square = torch.full((1, 3, SIDE, SIDE), level)
        made = [kinds(square, kind) for kind in range(KINDS)]
        for one in made:
            assert (one - square).abs().max() >= 0.3
        for one, two in itertools.combinations(made, 2):
            assert (one - two).abs().max() >= 0.3


def test_stripes_differ_in_direction_alone():
    square = torch.full((1, 1, 8, 8), 0.5)
    upright, level, _ = (pasted("stripes", 8)(square, kind) for kind in range(KINDS))
    assert upright.mT.equal(level)
    assert upright.mean() == pytest.approx(0.5)


def test_the_value_due_is_the_sum_of_worths():
    mine = scenes(design="worth", count=200)
    a, b, c = ((mine.roles == role).sum(1) for role in range(3))
    torch.testing.assert_close(value_due(mine, "worth"), (2.0 * a + b - 3) / 1.5)
    assert {int(one) for one in a} == {int(one) for one in b} == {0, 1, 2}
    assert {int(one) for one in c} == {0, 1}
    plain = scenes(design="distract", count=200)
    assert value_due(plain, "distract").equal((plain.roles == 0).any(1).float())
    assert (plain.roles != 2).all()


def test_what_tells_has_an_a_and_something_else():
    for design in DESIGNS:
        mine = scenes(design=design, telling=True, count=100)
        assert (mine.roles == 0).any(1).all()
        assert (mine.roles == 1).any(1).all()


def test_a_kind_is_a_role_by_the_order():
    mine = scenes(count=50)
    rows = (mine.roles[:, 0] == 0).nonzero()[:, 0]  # A is played by kind 1: level stripes
    row = int(rows[0])
    top, left = (int(one) for one in mine.corners[row, 0])
    box = (slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
    expected = mine.pasted(mine.pictures[row][box][None], 1)[0]
    assert mine.render()[row][box].equal(expected)


def test_small_pictures_and_other_divisions_are_refused():
    with pytest.raises(InputError, match="at least 20 on a side"):
        side_of((19, 40))
    with pytest.raises(InputError, match="got 'grid'; allowed: objects"):
        scenes().divided("grid")


def test_a_cut_is_the_object_in_its_box():
    picture, mask = torch.zeros(1, 10, 10), torch.zeros(10, 10)
    picture[:, 2:6, 4:8], mask[2:6, 4:8] = 0.75, 1
    found, covered = cut(picture, mask, 4)
    assert found.shape == (1, 4, 4)
    assert (found == 0.75).all()
    assert (covered == 1).all()
