"""A heatmap that is no number is never a result in silence."""

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.scoring import refuse_not_finite


def test_a_method_without_any_finite_heatmap_is_refused_in_one_line():
    heatmaps = torch.zeros(3, 2, 2)
    heatmaps[:, 0, 1] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    with pytest.raises(InputError, match=r"in each of 3 heatmaps; allowed: ") as error:
        refuse_not_finite(heatmaps)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [0, 2])
def test_a_few_that_are_not_finite_leave_the_others_their_scores(bad):
    heatmaps = torch.zeros(3, 2, 2)
    heatmaps[:bad, 0, 0] = torch.nan
    refuse_not_finite(heatmaps)
