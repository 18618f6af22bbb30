"""A network is looked at before it is used: what depends on chance or company is named."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from xai_exp.config import InputError
from xai_exp.models.asked import Asked, Preprocessing
from xai_exp.models.look import look


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def network(*last, outputs=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs)
        return nn.Sequential(*body, *last)


@pytest.fixture
def images(generator):
    return torch.rand(5, 3, 8, 8, generator=generator)


def test_a_good_network_is_given_back_itself(images):
    mine = network()
    looked = look(mine, images)
    assert looked.network is mine
    assert looked.notes == ()


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (
            Calls(functional.dropout),
            r"module '4' \(Calls\) answers .* when it is asked",
        ),
        (
            nn.BatchNorm1d(3, track_running_stats=False),
            r"the module '4' \(BatchNorm1d\) keeps no statistics",
        ),
        (
            Calls(lambda x: x - x.mean(0)),
            r"module '4' \(Calls\) answers .* alone and in",
        ),
        (Calls(lambda x: (x, x)), "got an output of type tuple"),
        (Calls(lambda x: {"out": x}), "got an output of type dict"),
        (Calls(lambda x: x * torch.nan), "outputs that are not finite for 4 of 4"),
        (Calls(lambda x: x.exp() / x.exp().sum(1, True)), "outputs that are probabilities"),
    ],
)
def test_what_makes_heatmaps_wrong_is_refused_by_name(images, last, words):
    with pytest.raises(InputError, match=words):
        look(network(last), images)


@pytest.mark.parametrize(
    ("last", "end"),
    [
        (nn.Softmax(1), "softmax"),
        (Calls(lambda x: functional.softmax(x, 1)), "softmax"),
        (Calls(lambda x: torch.softmax(x, 1)), "softmax"),
        (Calls(lambda x: x.log_softmax(1)), "log-softmax"),
        (nn.Sigmoid(), "sigmoid"),
    ],
)
def test_a_softmax_or_sigmoid_at_the_end_is_cut_and_said(images, last, end):
    looked = look(network(last), images)
    assert torch.allclose(looked.network(images), network()(images), atol=1e-6)
    assert f"ends in a {end}, which is cut" in looked.notes[0]


def test_a_softmax_inside_stays(images):
    mine = network(nn.Softmax(1), nn.Linear(3, 3))
    assert look(mine, images).network is mine


@pytest.mark.parametrize(
    "last", [(), (nn.Flatten(0),), (Calls(lambda x: x[:, 0]),), (nn.Sigmoid(),)]
)
def test_one_logit_is_a_binary_question_with_the_network_s_own_probabilities(images, last):
    looked = look(network(*last, outputs=1), images)
    logits = network(outputs=1)(images)
    found = looked.network(images)
    assert found.shape == (5, 2)
    assert torch.allclose(found.softmax(1)[:, 1], logits.sigmoid()[:, 0], atol=1e-6)
    assert "binary question" in looked.notes[-1]


def test_a_copy_in_double_precision_calculates_in_it(images):
    double = Asked(Preprocessing(mean=0.5, std=0.1).module(3), network()).double()
    assert double(images.double()).dtype == torch.float64
