"""Land from above: laws of drawing and removal, what classes show, confounds, cities, cues."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data import loading
from xai_exp.data.land import ground, kinds, placing
from xai_exp.data.land.kinds import CUES, INFORMAL, PLANNED, UNBUILT
from xai_exp.data.land.settlements import Settlements
from xai_exp.truth import games
from xai_exp.truth.factors import cue_worth
from xai_exp.truth.manifold import on_manifold
from xai_exp.types import Scenes, Varied

FEW = torch.arange(8)
DATA = {
    "plain": Settlements(count=60, pixels=64),
    "stamp": Settlements(count=60, pixels=48, confound="stamp", agreement=0.5),
}


def land(name="plain"):
    return DATA[name].train.everything[FEW]


@pytest.mark.parametrize("name", DATA)
def test_an_image_is_affine_in_its_parts_and_removal_is_drawing_again(name, generator):
    scenes = land(name)
    assert isinstance(scenes, Scenes)
    base, layers = scenes.layers()
    for share in (0.2, 0.8):
        keep = torch.rand(scenes.present.shape, generator=generator) < share
        wanted = base + (keep[..., None, None, None] * layers).sum(1)
        torch.testing.assert_close(scenes.render(keep), wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(scenes.render(), base + layers.sum(1), rtol=0, atol=1e-6)
    assert float(layers[~scenes.present].abs().max()) == 0
    assert len(scenes.part_names) == layers.shape[1] == 12


def test_a_part_changes_its_own_pixels_alone_and_only_a_cloud_lies_on_others():
    scenes = land()
    _, layers = scenes.layers()
    parts = scenes.parts()
    assert float((layers.abs().amax(2) * (parts == 0)).max()) == 0
    assert float(parts[:, :-1].sum(1).max()) <= 1 + 1e-5
    assert torch.equal((parts.flatten(2) > 0).any(2), scenes.present)


def test_nothing_but_ground_lies_where_a_stamp_can_be():
    parts = land("stamp").parts()
    assert float(parts[:, :-1, :8, :8].max()) == 0
    assert land("stamp").part_names[-1] == "tag"


def test_an_image_is_the_same_alone_and_in_a_batch():
    assert torch.equal(land()[3:4].render(), land().render()[3:4])


def keys(count):
    return torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(2))


def shown(count, kind):
    return torch.full((count, len(CUES)), kind)


@pytest.mark.parametrize("kind", [PLANNED, INFORMAL, UNBUILT])
def test_classes_have_the_numbers_and_sizes_of_the_table(kind):
    table = kinds.KINDS[kind]
    placed = placing.placed(keys(60), shown(60, kind), 96)
    area = placed.extents.prod(2)
    number = (area > 0).sum(1)
    low, high = table.roofs
    assert int(number.max()) <= high
    assert int(number.min()) >= low - 1  # hardly ever one has no room at all
    assert float(number.float().mean()) == pytest.approx((low + high) / 2, abs=1.5)
    logs = area[area > 0].log()
    assert float(logs.median().exp()) == pytest.approx(table.area, rel=0.15)
    spread = math.sqrt(math.log(1 + table.spread**2))
    assert float(logs.std()) == pytest.approx(spread, rel=0.25)


def test_roofs_are_a_gap_apart_and_off_the_roads():
    kind = shown(40, INFORMAL)
    placed = placing.placed(keys(40), kind, 96)
    radii = placed.extents.norm(dim=2) / 2
    there = radii > 0
    apart = torch.cdist(placed.centres, placed.centres) - radii[:, :, None] - radii[:, None]
    pairs = there[:, :, None] & there[:, None] & ~torch.eye(there.shape[1], dtype=torch.bool)
    assert float(apart[pairs].min()) >= placing.GAP - 1e-3
    net = placing.roads(keys(40), kind[:, 3], 96)
    x, y = (placed.centres - 48).unbind(2)
    room = net.across(x, y, 0).abs() - radii - net.widths[:, :1] / 2
    assert float(room[there & net.there[:, :1]].min()) >= placing.GAP - 1e-3


@pytest.mark.parametrize(("kappa", "mean"), [(50.0, 0.98995), (1.0, 0.44640)])
def test_angles_follow_von_mises(kappa, mean):
    """The mean of cos x is I_1(kappa) / I_0(kappa), here from tables of Bessel functions."""
    uniform = (torch.arange(20_000)[None] + 0.5) / 20_000
    angles = kinds.von_mises(torch.tensor([kappa]), uniform)
    assert float(angles.cos().mean()) == pytest.approx(mean, abs=2e-4)
    assert float(angles.mean()) == pytest.approx(0, abs=1e-3)


def test_plants_cover_the_share_of_the_table():
    scenes = dataclasses.replace(land(), shown=shown(8, UNBUILT))
    cover = scenes.parts()[:, -2].mean((1, 2))
    torch.testing.assert_close(cover, scenes._share, rtol=0.12, atol=0.02)


MANY = 4000
INFORMAL_OR_NOT = torch.arange(MANY) % 3 == INFORMAL


def states(generator, which=loading.TEST, **asked):
    data = Settlements(count=60, pixels=48, confound="stamp", agreement=0.8, **asked)
    return data._states(INFORMAL_OR_NOT, which, generator)


def test_a_confound_agrees_with_the_class_as_often_as_said(generator):
    agrees = (states(generator) == INFORMAL_OR_NOT).float().mean()
    assert float(agrees) == pytest.approx(0.8, abs=0.026)  # four standard errors
    assert torch.equal(states(generator, test_confound="aligned"), INFORMAL_OR_NOT)
    assert torch.equal(states(generator, test_confound="flipped"), ~INFORMAL_OR_NOT)
    assert not states(generator, test_confound="absent").any()
    trained = states(generator, loading.TRAIN, test_confound="absent")
    assert float((trained == INFORMAL_OR_NOT).float().mean()) == pytest.approx(0.8, abs=0.026)


@pytest.mark.parametrize(("name", "place"), [("tint", 6), ("stamp", 2)])
def test_a_confound_is_where_it_should_be_and_nowhere_else(name, place):
    data = Settlements(count=60, pixels=48, confound=name, agreement=1.0)
    land, informal = data.validation.everything, data.validation.labels == INFORMAL
    there = land.sky[:, place] if name == "stamp" else land.shown[:, place] == INFORMAL
    assert torch.equal(there, informal)
    assert bool(land.sky[:, 2].any()) is (name == "stamp")
    assert not (land.sky[:, 1] & land.sky[:, 2]).any()


@pytest.mark.parametrize("only", [None, "size"])
def test_the_cues_that_tell_of_the_class_do_and_no_other_does(only, generator):
    labels = torch.arange(MANY) % 2
    data = Settlements(count=60, pixels=48, unbuilt=False, only=only)
    same = (data._shown(labels, loading.TRAIN, generator) == labels[:, None]).float().mean(0)
    telling = {only} if only else set(CUES[:6])
    for cue, share in zip(CUES, same.tolist(), strict=True):
        assert share == pytest.approx(1 if cue in telling else 0.5, abs=0.032), cue


def test_new_cities_and_conflicts_are_of_the_test_split_alone():
    known = Settlements(count=60, pixels=48)
    new = Settlements(count=60, pixels=48, test_city="new", conflict="density")
    assert torch.equal(known.train.images(FEW), new.train.images(FEW))
    assert set(known.train.everything.city.tolist()) <= set(range(ground.KNOWN))
    assert int(new.test.everything.city.min()) >= ground.KNOWN
    place = CUES.index("density")
    other = torch.tensor(kinds.OTHER)[new.test.labels]
    assert torch.equal(new.test.everything.shown[:, place], other)
    assert float((ground.palettes()[0] - ground.palettes()[-1]).abs().max()) > 0.02


def test_all_coalitions_are_drawn_in_training_unless_none_is():
    assert float(on_manifold(land()).min()) == pytest.approx(1)
    whole = Settlements(count=60, pixels=48, coalitions=None).train.everything[FEW]
    parts, cloud = whole.present.sum(1).double(), whole.present[:, -1]
    wanted = 1 / (2 * parts) + cloud / parts**2  # the whole image, and without its cloud
    alone = parts > 1  # of a cloud alone the empty image is drawn
    torch.testing.assert_close(on_manifold(whole)[alone], wanted[alone])
    assert not torch.equal(DATA["plain"].train.images(FEW), land().render())


class TintReader(nn.Module):
    """Knows the tint by the blue and red of bare ground in the corner of the stamp."""

    def forward(self, images):
        red, blue = (images[:, channel, :8, :8].mean((1, 2)) for channel in (0, 2))
        return torch.stack([blue / red, -blue / red], 1)


def test_the_factor_game_gives_a_tint_reader_tint_alone_and_shares_out_everything():
    scenes = land("stamp")[:1]
    scenes = dataclasses.replace(scenes, sky=torch.zeros_like(scenes.sky))
    assert isinstance(scenes, Varied)
    worth = cue_worth(TintReader(), scenes, torch.zeros(1, dtype=torch.long))
    place = CUES.index("tint")
    others = [one for one in range(len(CUES)) if one != place]
    assert float(worth.shapley[:, others].abs().max()) < 1e-6
    assert float(worth.shapley[:, place].abs().min()) > 0.05
    torch.testing.assert_close(worth.shapley.sum(1), worth.whole - worth.empty)


def test_each_cue_changes_the_picture_and_all_own_cues_are_the_picture():
    scenes = land()[:1]
    same = torch.ones(1, len(CUES), dtype=torch.bool)
    assert torch.equal(scenes.varied(same).render(), scenes.render())
    planned = dataclasses.replace(scenes, shown=torch.zeros_like(scenes.shown)).varied(same)
    for place, cue in enumerate(CUES):
        own = same.clone()
        own[:, place] = False
        assert float((planned.varied(own).render() - planned.render()).abs().max()) > 0.02, cue


def test_exact_truth_of_land_is_efficient():
    scenes = land()[:2]
    network = nn.Sequential(nn.Conv2d(3, 3, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    network(scenes.render())
    truth = games.attribute(network, scenes, torch.tensor([0, 1]))
    torch.testing.assert_close(
        truth.shapley.sum(1), truth.whole - truth.empty, rtol=1e-6, atol=1e-6
    )


def test_what_contradicts_itself_is_refused():
    with pytest.raises(InputError, match="got size with unbuilt=true"):
        Settlements(only="size")
    with pytest.raises(InputError, match="got absent without a confound"):
        Settlements(test_confound="absent")
    with pytest.raises(InputError, match="also the cue of only or conflict"):
        Settlements(confound="tint", conflict="tint")


def test_data_of_all_cues_can_show_the_same_images_each_with_its_own_labels():
    size, roads = (
        Settlements(count=60, pixels=48, unbuilt=False, alike=True, only=only).test
        for only in ("size", "roads")
    )
    index = torch.arange(len(size))
    assert torch.equal(size.images(index), roads.images(index))
    for split, cue in ((size, "size"), (roads, "roads")):
        assert torch.equal(split.labels, split.scenes(index).shown[:, CUES.index(cue)])
    with pytest.raises(InputError, match="would change the images"):
        Settlements(alike=True)
