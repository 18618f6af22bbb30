"""A run's answer: the best method, and whether it is more than chance, as planted."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

from xai_exp.explainers.controls import ExactMask, Random, Sobel
from xai_exp.explainers.lrp import LRP
from xai_exp.metrics.complexity import Complexity, Sparseness
from xai_exp.show import answer as words
from xai_exp.verdicts.answer import answer

METRICS = {"up": Sparseness(), "down": Complexity()}
KINDS = {"a": LRP(), "b": LRP(), "sobel": Sobel(), "random": Random(), "exact_mask": ExactMask()}


def run(means, images=30, noise=0.5):
    """An answer where these are the means by `up`, and their negatives by `down`."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=images)
    scores = {}
    for name, mean in means.items():
        values = mean + common + noise * rng.normal(size=images)
        rows = [{"metric": "up", "image": i, "score": v} for i, v in enumerate(values)]
        rows += [{"metric": "down", "image": i, "score": -v} for i, v in enumerate(values)]
        scores[name] = pd.DataFrame(rows)
    return answer(scores, {name: KINDS[name] for name in means}, METRICS)


def test_a_planted_difference_is_found_in_both_directions():
    found = run({"a": 1.0, "b": 0.0, "sobel": -1.0, "exact_mask": 9.0})
    assert [(one.metric, one.explainer, one.certain) for one in found.best] == [
        ("up", "a", True),
        ("down", "a", True),
    ]
    assert found.controls == ["sobel"]
    assert found.beaten == {"a": 2, "b": 2}
    assert words.sentences(found) == [
        "best method: a by both metrics, by more than chance",
        "better than what knows nothing of the network (sobel) by more than chance: a by 2 and b "
        "by 2 of 2 metrics",
    ]


def test_one_control_that_is_better_is_enough():
    found = run({"a": 1.0, "b": 0.9, "sobel": 3.0, "random": -5.0})
    assert found.beaten == {"a": 0, "b": 0}
    assert found.lost == {"a": 2, "b": 2}
    assert words.sentences(found)[1] == (
        "not found better than sobel or random by any of 2 metrics, by more than chance: a and b; "
        "even worse by some: a and b"
    )


def test_no_difference_is_called_chance_and_few_images_say_nothing():
    for found in (run({"a": 0.0, "b": 0.0}), run({"a": 9.0, "b": 0.0}, images=2)):
        assert not any(one.certain for one in found.best)
        assert "not by more than chance" in words.sentences(found)[0]


def test_without_a_difference_a_winner_is_called_certain_at_most_as_often_as_agreed():
    rng = np.random.default_rng(1)
    certain = 0
    for _ in range(100):
        scores = {
            name: pd.DataFrame({"metric": "up", "image": range(12), "score": rng.normal(size=12)})
            for name in ("a", "b")
        }
        found = answer(scores, KINDS, {"up": METRICS["up"]})
        certain += found.best[0].certain
    assert certain <= 12  # 5 of 100 expected, 12 exceeded with a chance of 2 in 1,000


def test_a_lone_method_is_never_called_best():
    assert run({"a": 1.0, "sobel": 0.0}).best == []


class Split:
    def __init__(self, labels):
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.labels)


class Data:
    classes = ("x", "y")
    test = Split([0] * 60 + [1] * 40)


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [(0.95, "is good enough"), (0.76, "is weak"), (0.62, "is not good enough")],
)
def test_a_network_is_called_good_enough_weak_or_not(accuracy, said):
    line = inspect.unwrap(words.network)(accuracy, Data())
    assert said in line
    assert "60.0 % by always saying one class" in line
