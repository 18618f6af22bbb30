"""A blank heatmap has no robustness, and the unit of a heatmap changes none."""

import pytest
import torch

from xai_exp.metrics.robustness.continuity import Continuity, LocalLipschitz, Sensitivity
from xai_exp.metrics.robustness.equivariance import Equivariance
from xai_exp.metrics.robustness.invariance import InputInvariance
from xai_exp.metrics.robustness.relative_stability import RelativeStability

EVERY = [
    Sensitivity(samples=3),
    Sensitivity(samples=3, score_by="mean"),
    LocalLipschitz(samples=3),
    Continuity(pixels=2),
    Equivariance(),
    InputInvariance(),
    *(RelativeStability(samples=3, against=a) for a in ("input", "representation", "output")),
]


def case(make_case, factor):
    def explain(model, images, targets):  # noqa: ARG001
        return factor * (images.sum(1) - 0.5 + 0.1 * model(images).sum(1)[:, None, None])

    plain = make_case()
    given = (plain.model, plain.images, plain.targets)
    return make_case(explain=explain, heatmaps=explain(*given).detach())


@pytest.mark.parametrize("metric", EVERY, ids=lambda one: type(one).__name__)
def test_a_blank_heatmap_has_no_score(make_case, metric):
    assert metric(case(make_case, 0.0)).isnan().all()


@pytest.mark.parametrize("metric", EVERY, ids=lambda one: type(one).__name__)
def test_a_tiny_unit_changes_nothing(make_case, metric):
    plain, tiny = metric(case(make_case, 1.0)), metric(case(make_case, 1e-21))
    assert plain.isfinite().any()
    torch.testing.assert_close(tiny, plain, rtol=1e-4, atol=1e-9, equal_nan=True)
