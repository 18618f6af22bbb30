"""FORGrad takes away what is above the cut-off and nothing else."""

import math

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.explainers.activation import GradCAM
from xai_exp.explainers.deeplift import DeepLIFTSHAP
from xai_exp.explainers.filtered import FORGrad, low_passed


def test_waves_below_the_cut_off_stay_and_those_above_go():
    x = torch.arange(16) * 2 * math.pi / 16
    slow, fast = torch.cos(2 * x), torch.cos(6 * x)
    mixed = (1 + slow[:, None] + fast)[None]
    found = low_passed(mixed, 0.5)  # up to a quarter of a cycle a pixel: 4 of 16
    assert torch.allclose(found, (1 + slow[:, None]).expand(16, 16)[None], atol=1e-5)
    assert torch.allclose(low_passed(mixed, 1.5), mixed, atol=1e-5)


def test_an_explainer_that_must_be_bound_is_refused():
    FORGrad(explainer=GradCAM())
    with pytest.raises(InputError, match="must be bound to images first"):
        FORGrad(explainer=DeepLIFTSHAP())
