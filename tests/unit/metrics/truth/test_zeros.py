"""False relevance on certified zeros, and the share of interactions, by white boxes."""

import pytest
import torch

from xai_exp.data.logic import ParityPairs
from xai_exp.data.worths import TypedCounting, WeightedCounting
from xai_exp.metrics.truth.parts import exact_truth
from xai_exp.metrics.truth.zeros import FalseRelevance, InteractionShare, certified_zeros
from xai_exp.models.whitebox import LinearSum
from xai_exp.models.whitebox.kinds import Parity, WeightedCounter
from xai_exp.types import Case

RGB = {"by": "color", "color": "rgb"}


def case_of(data, network, heatmaps=None, count=16):
    index = torch.arange(count)
    scenes = data.test.scenes(index)
    return Case(
        model=network,
        images=scenes.render(),
        targets=torch.full((count,), len(data.classes) - 1),
        heatmaps=torch.ones(count, *data.size) if heatmaps is None else heatmaps,
        explain=lambda model, images, targets: images.sum(1),  # noqa: ARG005
        scenes=scenes,
        parts=scenes.parts(),
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture(scope="module")
def weighted():
    data = WeightedCounting(
        count=300,
        pixels=48,
        max_objects=4,
        lowest=-6,
        highest=8,
        min_radius=4.0,
        max_radius=4.0,
        **RGB,
    )
    return data, WeightedCounter(lowest=-6).build(3, data.size, 15).eval()


def test_blue_discs_and_no_others_are_certified_zeros(weighted):
    data, network = weighted
    case = case_of(data, network)
    zeros = certified_zeros(exact_truth(case, "objects", None), 0.01)
    kinds = data.kinds_of(case.scenes)
    others = ((kinds == 0) | (kinds == 1) | (kinds == 3)).any(1, keepdim=True)
    assert torch.equal(zeros, (kinds == 2) & others)


def test_a_part_that_cancels_is_no_zero():
    data = ParityPairs(count=300, pixels=48, **RGB)
    network = Parity().build(3, data.size, 2).eval()
    case = case_of(data, network)
    truth = exact_truth(case, "objects", None)
    kinds = data.kinds_of(case.scenes)
    pair = ((kinds == 0) | (kinds == 1)).sum(1) == 2
    assert float(truth.shapley[pair].abs().max()) < 0.01
    zeros = certified_zeros(truth, 0.01)
    assert torch.equal(zeros[pair], kinds[pair] == 2)


def test_relevance_on_zeros_is_a_share_of_all_whatever_its_sign(weighted):
    data, network = weighted
    plain = case_of(data, network)
    kinds, parts = data.kinds_of(plain.scenes), plain.scenes.parts()
    share = (kinds == 2).sum(1) / (kinds >= 0).sum(1)
    signs = torch.where(torch.arange(kinds.shape[1]) % 2 == 0, 1.0, -1.0)
    even = (parts * signs[:, None, None]).sum(1)  # equal shares, of both signs
    only = (parts * (kinds == 2)[..., None, None]).sum(1)
    others = (parts * (kinds != 2)[..., None, None]).sum(1)
    defined = certified_zeros(exact_truth(plain, "objects", None), 0.01).any(1)
    for measure, maps, wanted in (
        ("image", even, share),
        ("parts", even, share),
        ("excess", even, 0 * share),
        ("image", only, 1 + 0 * share),
        ("image", others, 0 * share),
        ("excess", only, 1 - share),
    ):
        found = FalseRelevance(measure=measure)(case_of(data, network, maps))
        assert torch.equal(found.isfinite(), defined)
        torch.testing.assert_close(found[defined], wanted[defined], rtol=0, atol=2e-3)


def test_a_network_that_uses_all_objects_has_no_zeros():
    data = TypedCounting(count=300, pixels=48, max_counted=3)
    network = LinearSum().build(1, data.size, 4).eval()
    assert FalseRelevance()(case_of(data, network)).isnan().all()


def test_interactions_are_nothing_of_a_sum_and_all_of_a_pair_s_parity(weighted):
    data, network = weighted
    found = InteractionShare()(case_of(data, network))
    assert float(found[found.isfinite()].max()) < 0.01
    data = ParityPairs(count=300, pixels=48, **RGB)
    case = case_of(data, Parity().build(3, data.size, 2).eval())
    kinds = data.kinds_of(case.scenes)
    counted = ((kinds == 0) | (kinds == 1)).sum(1)
    found = InteractionShare()(case)
    assert float(found[counted == 2].min()) > 0.99
    alone = (counted == 1) & ((kinds >= 0).sum(1) == 2)
    assert float(found[alone].max()) < 0.01
    assert found[(kinds >= 0).sum(1) < 2].isnan().all()
