"""Forward passes and explanations that the docstrings promise, counted; more are in other files."""

from dataclasses import replace

import pytest
import torch

from xai_exp.metrics.axioms import Completeness, NonSensitivity
from xai_exp.metrics.complexity import Complexity, EffectiveComplexity, Sparseness
from xai_exp.metrics.faithfulness.infidelity import Infidelity
from xai_exp.metrics.faithfulness.road import ROAD
from xai_exp.metrics.faithfulness.sufficiency import Sufficiency
from xai_exp.metrics.faithfulness.superpixels import IROF, SymmetricRelevanceGain
from xai_exp.metrics.localisation.focus import Focus
from xai_exp.metrics.localisation.masks import PointingGame, RelevanceMass, RelevanceRank
from xai_exp.metrics.localisation.overlap import AUC, AttributionLocalisation, TopKIntersection
from xai_exp.metrics.robustness.equivariance import Equivariance
from xai_exp.metrics.robustness.invariance import InputInvariance
from xai_exp.removal.imputers import Constant, Noise

FIXED, RANDOM = Constant(), Noise()
PASSES = [  # (metric, passes an image beside the clean one, passes of single images)
    (Completeness(), 0, 1),
    (NonSensitivity(imputer=FIXED, region=5, repeats=2), 9, 0),
    (NonSensitivity(imputer=RANDOM, region=5, repeats=2), 9 * 2, 0),
    (EffectiveComplexity(imputer=FIXED, steps=8, repeats=2), 8, 0),
    (EffectiveComplexity(imputer=RANDOM, steps=8, repeats=2), 8 * 2, 0),
    (Infidelity(imputer=RANDOM, samples=5, repeats=2, perturbation="noise"), 5, 0),
    (InputInvariance(), 1, 1),
    (ROAD(steps=4), 4, 0),
    (ROAD(steps=4, order="both", repeats=2), 4 * 2 * 2, 0),
    (Sufficiency(imputer=FIXED), 1, 0),
    (Sufficiency(imputer=RANDOM), 16, 0),
    (Sufficiency(imputer=RANDOM, applies_if="close"), 0, 0),
    (IROF(imputer=RANDOM, count=9, repeats=2), 9 * 2, 0),
    (SymmetricRelevanceGain(imputer=RANDOM, count=9, repeats=2), 2 * 9 * 2, 0),
]
FREE = [
    *(Sparseness(), Complexity(), EffectiveComplexity(imputer=RANDOM, score_by="threshold")),
    *(RelevanceMass(), RelevanceRank(), PointingGame(), Focus(), Equivariance()),
    *(TopKIntersection(), AttributionLocalisation(), AUC()),
]


def passes(case, metric):
    seen = []
    handle = case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    metric(case)
    handle.remove()
    return sum(seen)


@pytest.mark.parametrize(("metric", "each", "single"), PASSES, ids=repr)
def test_forward_passes_are_those_of_the_docstring(make_case, metric, each, single):
    assert passes(make_case(), metric) == 6 * (each + 1) + single


@pytest.mark.parametrize("metric", FREE, ids=repr)
def test_what_asks_no_model_costs_no_forward_pass(make_case, metric):
    assert passes(make_case(parts=torch.ones(6, 1, 12, 12)), metric) == 0


@pytest.mark.parametrize(
    ("metric", "number"),
    [(Focus(mosaics=3), 3), (Equivariance(), 9), (InputInvariance(), 1)],
    ids=repr,
)
def test_explanations_are_those_of_the_docstring(make_case, metric, number):
    seen = []

    def explain(model, images, targets):  # noqa: ARG001
        seen.append(len(images))
        return images.sum(1)

    metric(replace(make_case(), explain=explain))
    assert sum(seen) == 6 * number
