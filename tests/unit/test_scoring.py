"""A heatmap that is no number is never a result in silence, and a batch is no part of a score."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from xai_exp import scoring
from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.explainers.controls import Random
from xai_exp.explainers.gradients.gradients import IntegratedGradients
from xai_exp.explainers.lrp.lrp import LRP
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


CONF = Path(__file__).parents[2] / "conf"
WORDS = ["dataset=counting_small", "dataset.count=40", "imputer=known_background", "metric=all"]


@pytest.fixture(scope="module")
def asked():
    """Every metric, and ten scenes of 40 x 40."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [*WORDS, "dataset.pixels=40", "dataset.max_objects=3"])
    metrics = {str(name): instantiate(one, _convert_="all") for name, one in config.metric.items()}
    data = instantiate(config.dataset, _convert_="all")
    return metrics, scoring.sample(data, 10, torch.device("cpu"))


@pytest.mark.parametrize(
    "explainer", [LRP(), Random(), IntegratedGradients(steps=8)], ids=lambda one: type(one).__name__
)
def test_no_score_knows_how_many_images_were_in_memory_together(
    make_case, asked, explainer, monkeypatch
):
    metrics, sample = asked
    network = make_case(images=sample.images).model

    def scored(at_once):
        monkeypatch.setattr(scoring, "_AT_ONCE", at_once)
        mine = replace(sample, across={})
        return scoring.score(explainer, metrics, network, mine, asked=Question(), seed=0)

    whole, torn = scored(256), scored(4)
    torch.testing.assert_close(torn.heatmaps, whole.heatmaps, rtol=1e-4, atol=1e-6)
    pd.testing.assert_frame_equal(torn.scores, whole.scores, rtol=1e-4, atol=1e-6)
    assert torn.curves.keys() == whole.curves.keys()
    assert torn.parts.keys() == whole.parts.keys()
