"""The table of scores can be read in a terminal of a hundred columns, however many metrics."""

import inspect
import re
from io import StringIO
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from rich.console import Console

from xai_exp.metrics.complexity import Complexity, Sparseness
from xai_exp.show import terminal as show


class Shown:
    def __init__(self, count):
        self.metrics = {
            f"{name}_of_{i}": kind
            for i in range(count)
            for name, kind in (("sparseness", Sparseness()), ("complexity", Complexity()))
        }


def printed(
    count,
    explainers=("lrp", "gradient", "deconvnet", "random"),
    width=100,
    terminal=False,
    guards=None,
):
    experiment = Shown(count)
    tables = {
        explainer: pd.DataFrame(
            [
                {"metric": name, "score": 10 * i + image / 8}
                for name in experiment.metrics
                for image in range(4)
            ]
        )
        for i, explainer in enumerate(explainers)
    }
    console = Console(width=width, file=StringIO(), force_terminal=terminal)
    inspect.unwrap(show.results)(console, experiment, RESULT, tables, guards)
    return console.file.getvalue().splitlines(), experiment


RESULT = SimpleNamespace(accuracy=0.5)


@pytest.mark.parametrize("count", [1, 20])
def test_no_line_is_wider_than_the_terminal_and_every_metric_is_there(count):
    lines, experiment = printed(count)
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    for name in experiment.metrics:
        assert name.split("_")[0] in text
    assert sum("lrp" in line for line in lines) == 1
    if count == 20:
        rows = [line for line in lines if "complexity of" in line]
        assert len(rows) == count
        assert all(all(f"{10 * i + 0.188:.3f}" in row for i in range(4)) for row in rows)


@pytest.mark.parametrize("count", [1, 20])
def test_a_terminal_of_ten_columns_gets_a_whole_table(count):
    lines, _ = printed(count, width=10)
    text = "\n".join(lines)
    for explainer in ("lrp", "gradient", "deconvnet", "random"):
        assert f" {explainer} ┃" in text
    assert "0.188" in text


def bold(lines):
    """What stands in bold in the rows of metrics."""
    rows = [line for line in lines if re.match("│ (spars|compl)", line)]
    return [re.findall("\x1b\\[1m([\\d.]+)\x1b\\[0m", row) for row in rows]


def test_where_the_table_is_split_the_best_of_all_explainers_is_bold_once():
    names = ("lrp", "gradient", "deconvnet", "random", "sobel", "image")
    lines, experiment = printed(20, names, width=80, terminal=True)
    assert sum("metric" in line and "better" in line for line in lines) > 1
    found = bold(lines)
    assert len(found) > len(experiment.metrics)
    shown = [number for row in found for number in row]
    # Sparseness is better higher, complexity lower: the last and the first explainer.
    assert sorted(shown) == ["0.188"] * 20 + ["50.188"] * 20


def test_a_lone_explainer_is_never_bold():
    lines, _ = printed(20, ("lrp",), width=80, terminal=True)
    assert [number for row in bold(lines) for number in row] == []


@pytest.mark.parametrize("count", [1, 20])
def test_a_broken_promise_is_a_line_under_the_table(count):
    gaps = {"completeness_gap": torch.tensor([0.0, 0.2341, 0.05]), "distance": torch.ones(3)}
    good = {"completeness_gap": torch.zeros(3)}
    lines, _ = printed(count, guards={"lrp": gaps, "random": {}, "gradient": good})
    assert lines[-2] == "lrp: sum off by up to 23 % (bound 1 %) on 2 of 3 images"
    assert sum("sum off" in line for line in lines) == 1


NAN = float("nan")


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.5, 0.25, 0.75), "+0.50\n[dim]+0.25 .. +0.75[/]"),
        ((-0.5, NAN, NAN), "-0.50"),
        ((NAN, NAN, NAN), "undefined"),
    ],
)
def test_a_number_stands_over_its_interval_if_both_are_defined(numbers, shown):
    assert show.signed(*numbers) == shown


def test_pictures_from_files_are_captioned_by_their_names():
    told = torch.tensor([0, 1])
    words = show.captions(told, 1 - told, told, ("a", "$b_"), ["a/1.png", "b/2.png"])
    assert words[0] == "a/1.png\ntarget a\npredicted $b_, is a"
    assert show.captions(told, told, told, ("a", "b"))[1] == "target b\npredicted b"
