"""What relevance propagation says of its own work is stored with its run."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from xai_exp import records, scoring
from xai_exp.compute.values import Question
from xai_exp.explainers.backward.guards import distance, lost
from xai_exp.explainers.gradients.gradients import Gradient
from xai_exp.explainers.lrp.deep_taylor import DeepTaylor
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.report.figures import gallery


def scored(case, explainer):
    sample = scoring.Sample(images=case.images, labels=case.targets, scenes=None, parts=None)
    asked = Question(target="label", value="logit")
    return sample, scoring.score(explainer, {}, case.model, sample, asked=asked, seed=0)


@pytest.mark.parametrize("explainer", [LRP(), DeepTaylor()])
def test_a_run_of_relevance_propagation_holds_its_guards(make_case, explainer):
    case = make_case()
    sample, found = scored(case, explainer)
    names = [name.removeprefix("guard/") for name in records.arrays(sample, found)]
    assert {"conservation_error", "distance_to_input_x_gradient"} < set(names)
    assert [n[:21] for n in names if "error/" in n] == [
        "conservation_error/01",
        "conservation_error/00",
    ]
    assert all(
        rows.shape == ((1,) if name.startswith("evenness/") else (6,))
        for name, rows in found.diagnostics.items()
    )
    expected = explainer.diagnostics(case.model, case.images, case.targets)
    for name, rows in expected.items():
        assert torch.equal(found.diagnostics[name], rows)


def test_other_explainers_have_none(make_case):
    sample, found = scored(make_case(), Gradient())
    assert not found.diagnostics
    assert not any(name.startswith("guard") for name in records.arrays(sample, found))


def test_a_record_holds_the_median_which_one_bad_image_does_not_spoil(make_case):
    rows = torch.tensor([0.1, 0.2, torch.inf])
    _, found = scored(make_case(), Gradient())
    medians = records._medians(replace(found, diagnostics={"conservation_error": rows}))
    assert medians == {"guard/conservation_error": pytest.approx(0.2)}


def test_the_distance_is_zero_for_equal_maps_and_one_for_opposite_ones():
    one = torch.rand(3, 2, 4, 4)
    one[2] = 0
    torch.testing.assert_close(distance(one, one), torch.zeros(3))
    torch.testing.assert_close(distance(one, -one), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(distance(one, 3 * one), torch.tensor([0.5, 0.5, 0.0]))


def test_relevance_from_nothing_is_an_infinite_error():
    found = lost(torch.tensor([0.0, 0.0, -4.0]), torch.tensor([0.0, 1.0, -3.0]))
    assert found.tolist() == [0.0, torch.inf, 0.25]


def test_a_broken_promise_is_at_the_foot_of_the_gallery(make_case, monkeypatch):
    sample, found = scored(make_case(), Gradient())
    seen = {}
    monkeypatch.setattr(gallery, "gallery", lambda *_, **given: seen.update(given))
    spoilt = replace(found, diagnostics={"completeness_gap": torch.tensor([0.5, 0.0])})
    data = SimpleNamespace(dataset=SimpleNamespace(classes=("a", "b", "c"), test=None))
    inspect.unwrap(records._gallery)(data, sample, {"ig": spoilt}, overlay=False, skipped=["cam"])
    assert seen["note"] == (
        "skipped, as they can't explain this network: cam; "
        "ig: sum off by up to 50 % (bound 1 %) on 1 of 2 images"
    )
