from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.metrics import shared
from xai_exp.metrics.localisation.focus import Focus, mosaic, partners


def levels(count):
    """Images of one grey level each, so that a tile says which image it shows."""
    return torch.arange(1, count + 1).float().div(count)[:, None, None, None].expand(-1, 1, 8, 8)


def test_a_mosaic_shows_itself_one_of_its_target_and_two_of_others(make_case):
    case = make_case(images=levels(12))
    for name in ("a", "b"):
        tiles = partners(case, name)
        targets = case.targets[tiles]
        assert torch.equal(tiles[:, 0], torch.arange(12))
        assert (tiles[:, 1] != torch.arange(12)).all()
        assert torch.equal(targets[:, 1], case.targets)
        assert (targets[:, 2:] != case.targets[:, None]).all()
        assert (tiles[:, 2] != tiles[:, 3]).all()
    assert not torch.equal(partners(case, "a"), partners(case, "b"))


def test_tiles_are_averaged_to_half_size_row_by_row():
    images = torch.rand(4, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    made = mosaic(images, torch.tensor([[2, 0, 1, 3]]).expand(4, 4))
    assert made.shape == (4, 2, 6, 8)
    half = torch.stack([images[..., r::2, c::2] for r in (0, 1) for c in (0, 1)]).mean(0)
    for place, tile in enumerate([2, 0, 1, 3]):
        row, column = 3 * (place // 2), 4 * (place % 2)
        assert torch.allclose(made[0, :, row : row + 3, column : column + 4], half[tile])


def test_an_odd_size_stays_as_it_is(make_case):
    case = make_case(size=(11, 13))
    assert mosaic(case.images, torch.arange(4).expand(6, 4)).shape == case.images.shape
    assert Focus()(case).isfinite().all()


def of_level(wanted):
    """An explainer that marks the pixels of the levels that `wanted` accepts for the target."""

    def explain(model, images, targets):  # noqa: ARG001
        shown = (images[:, 0] * 12).round().long() - 1
        return torch.where(wanted(shown % 3, targets[:, None, None]), 2.0, -1.0)

    return explain


@pytest.mark.parametrize(
    ("wanted", "score"),
    [
        (lambda shown, target: shown == target, 1.0),
        (lambda shown, target: shown != target, 0.0),
        (lambda shown, target: shown + 0 * target >= 0, 0.5),
    ],
    ids=["its class", "the others", "everything"],
)
def test_focus_is_the_positive_share_on_the_targets_images(make_case, wanted, score):
    """Image n has level n + 1 and target n % 3; negative relevance does not count."""
    case = make_case(images=levels(12), explain=of_level(wanted))
    assert torch.allclose(Focus()(case), torch.full((12,), score))


@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_focus_equals_its_definition_one_mosaic_at_a_time(make_case, size):
    """Only who is drawn, and where, is asked of the code; images of odd sides lose a line."""

    def explain(model, images, targets):  # noqa: ARG001
        signed = images * torch.tensor([1.0, -2.0, 1.5]).view(1, 3, 1, 1)
        return signed.sum(1) * (targets + 1)[:, None, None]

    targets = torch.tensor([0, 0, 1, 1, 2, 0, 1])
    case = make_case(count=7, channels=3, size=size, targets=targets, explain=explain)
    rows, columns = (-(-side // 2) for side in size)
    small = functional.adaptive_avg_pool2d(case.images, (rows, columns))
    scores = Focus(mosaics=3)(case)
    for row in range(7):
        shares = []
        for number in range(3):
            drawn = partners(case, f"focus partners {number}")[row]
            places = ops.keyed_uniform(shared.keys(case, f"focus {number}"), 4)[row].argsort()
            tiles = drawn[places].tolist()
            grid = [torch.cat([small[a], small[b]], 2) for a, b in (tiles[:2], tiles[2:])]
            whole = torch.cat(grid, 1)[None, :, : size[0], : size[1]]
            heatmap = explain(None, whole, targets[row : row + 1])[0].clamp(min=0)
            quarters = [half.split(columns, 1) for half in heatmap.split(rows)]
            quarters = [float(quarter.sum()) for pair in quarters for quarter in pair]
            of_target = [targets[tile] == targets[row] for tile in tiles]
            on = sum(q for q, mine in zip(quarters, of_target, strict=True) if mine)
            shares.append(on / sum(quarters))
        if targets[row] == 2:
            assert scores[row].isnan()
        else:
            assert float(scores[row]) == pytest.approx(sum(shares) / 3, rel=1e-5)
    assert scores[:4].std() > 0.01


def test_noise_scores_at_chance(make_case):
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    source = torch.Generator().manual_seed(2)

    def noise(model, images, targets):  # noqa: ARG001
        return torch.rand(len(images), 8, 8, generator=source)

    case = make_case(images=images, explain=noise)
    scores = Focus(mosaics=2)(case)
    assert abs(scores.mean() - 0.5) < 4 * scores.std() / 60**0.5


def test_the_order_of_the_sample_does_not_choose_the_partners(make_case):
    case = make_case(count=9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    names = ("images", "targets", "heatmaps")
    mixed = replace(case, **{name: getattr(case, name)[order] for name in names})
    assert torch.allclose(Focus()(mixed), Focus()(case)[order], atol=1e-6)


def test_a_lonely_target_or_too_few_others_have_no_score(make_case):
    case = make_case(targets=torch.tensor([0, 0, 0, 1, 1, 2]))
    assert Focus()(case).isnan().tolist() == [False] * 5 + [True]
    assert Focus()(make_case(targets=torch.tensor([0, 0, 0, 0, 0, 1]))).isnan().all()


def test_a_map_that_is_nowhere_positive_or_knows_only_its_own_images_has_no_score(make_case):
    def negative(model, images, targets):  # noqa: ARG001
        return -images.sum(1)

    assert Focus()(make_case(explain=negative)).isnan().all()

    class Bound:
        only_known_images = True

        def __call__(self, model, images, targets):  # noqa: ARG002
            raise AssertionError("must not be asked")

    assert Focus()(make_case(explain=Bound())).isnan().all()
