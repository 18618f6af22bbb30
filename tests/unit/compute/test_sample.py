"""Images that are drawn when they are asked for are those that would be held, bit for bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from xai_exp import scoring
from xai_exp.compute import sample as sampling
from xai_exp.compute.sample import Drawn, Sample
from xai_exp.compute.values import Question
from xai_exp.data.counting import Counting
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.metrics.faithfulness.superpixels import IROF
from xai_exp.metrics.localisation import RelevanceMass
from xai_exp.removal.imputers import Constant

COUNT, PIECE = 37, 8


@pytest.fixture(scope="module")
def data():
    return Counting(count=400, pixels=24, max_objects=3, min_radius=2, max_radius=3)


@pytest.fixture
def both(data, monkeypatch):
    """The sample held, and drawn in pieces of eight as the held one was."""
    held = scoring.sample(data, COUNT, torch.device("cpu"))
    monkeypatch.setattr(sampling, "PIECE", PIECE)
    monkeypatch.setattr(sampling, "_HELD", PIECE)
    drawn = scoring.sample(data, COUNT, torch.device("cpu"))
    assert isinstance(held, Sample)
    assert isinstance(drawn, Drawn)
    return held, drawn


@pytest.mark.parametrize(
    "rows", [range(COUNT), range(8, 16), range(5, 20), [3, 36, 4, 12, 3], [36]], ids=str
)
def test_what_is_drawn_is_what_would_be_held(both, rows):
    held, drawn = both
    rows = torch.tensor(list(rows))
    for one in (drawn.some(rows), drawn.some(rows)):
        mine = held.some(rows)
        assert torch.equal(one.images, mine.images)
        assert torch.equal(one.parts, mine.parts)
        assert torch.equal(one.labels, mine.labels)
        assert torch.equal(one.at, mine.at)
        assert torch.equal(one.scenes.centres, mine.scenes.centres)
    assert torch.equal(drawn.images, held.images)
    assert torch.equal(drawn.parts, held.parts)
    assert (drawn.count, drawn.truths) == (held.count, held.truths)


def test_several_rows_an_image_are_those_of_the_image(both):
    held, drawn = both
    three = drawn.repeated(3)
    assert torch.equal(three.images, held.repeated(3).images)
    assert three.count == COUNT
    assert three is drawn.repeated(3)


def test_what_was_found_of_rows_is_found_again_and_no_image_is_kept(both):
    _, drawn = both
    rows = torch.arange(8)
    first = drawn.some(rows)
    first.across["truth"] = 1
    again = drawn.some(rows)
    assert again.across == {"truth": 1}
    assert again.scenes is first.scenes
    assert again.images is not first.images
    assert "truth" not in drawn.some(rows + 8).across


@pytest.mark.parametrize("question", [Question(), Question(value="pair")], ids=["centred", "pair"])
def test_scores_of_drawn_images_are_those_of_held_ones(both, make_case, question, monkeypatch):
    monkeypatch.setattr(scoring, "_AT_ONCE", PIECE)
    network = make_case(images=both[0].images).model
    metrics = {"mass": RelevanceMass(), "irof": IROF(imputer=Constant(), count=4)}
    held, drawn = (
        scoring.score(LRP(), metrics, network, one, asked=question, seed=0)
        for one in (replace(both[0], across={}), both[1])
    )
    again = scoring.score(LRP(), metrics, network, both[1], asked=question, seed=0)
    for mine in (drawn, again):
        assert torch.equal(mine.heatmaps, held.heatmaps)
        pd.testing.assert_frame_equal(mine.scores, held.scores, check_exact=True)
        np.testing.assert_array_equal(mine.predictions, held.predictions)
