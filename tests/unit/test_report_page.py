"""A study's page from scores that are known."""

import numpy as np
import pandas as pd
import pytest

from xai_exp.config import InputError
from xai_exp.report import plots
from xai_exp.report.page import Study, render


def scored(models=3, images=4):
    rows = [
        {
            "setting": "s",
            "model": f"m{model}",
            "architecture": "cnn",
            "seed": model,
            "accuracy": 1.0,
            "explainer": name,
            "image": image,
            "metric": metric,
            "higher_is_better": True,
            "reason": "",
            "score": float(model * factor + image),
        }
        for model in range(models)
        for name, factor in (("one", 1), ("other", 2))
        for image in range(images)
        for metric in ("true_use", "shown_use")
    ]
    return pd.DataFrame(rows)


def test_a_pair_of_metrics_is_drawn_with_a_point_a_model():
    x = {"one": np.array([2.0, 1.0, 3.0]), "other": np.array([0.0, 1.0, 2.0])}
    y = {"one": np.array([5.0, 4.0, 6.0]), "other": np.array([1.0, 1.0, 1.0])}
    (axes,) = plots.against(x, y, names=("true_use", "shown_use")).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["equal"] == [[0, 0], [3, 3]]
    assert lines["one"] == [[1, 4], [2, 5], [3, 6]]
    assert lines["other"] == [[0, 1], [1, 1], [2, 1]]


def test_the_page_has_the_pair_and_refuses_a_metric_that_was_not_scored():
    page = render(Study(title="t", scores=scored(), pairs=[("true_use", "shown_use")]))
    assert 'alt="shown use against true use"' in page
    assert 'href="#pairs"' in page
    assert 'id="pairs"' not in render(Study(title="t", scores=scored()))
    with pytest.raises(InputError, match="got metric none; allowed: one of true_use, shown_use"):
        render(Study(title="t", scores=scored(), pairs=[("none", "shown_use")]))
