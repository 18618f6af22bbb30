"""The table of scores can be read in a terminal of a hundred columns, however many metrics."""

import inspect
import re
from io import StringIO
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from rich.console import Console

from xai_exp.explainers.controls import Random
from xai_exp.explainers.lrp import LRP
from xai_exp.metrics.complexity import Complexity, Sparseness
from xai_exp.metrics.faithfulness.road import ROAD
from xai_exp.metrics.localisation import RelevanceMass
from xai_exp.show import joint, table
from xai_exp.show import terminal as show
from xai_exp.show.joint import Left
from xai_exp.tracking import Off


class Shown:
    def __init__(self, count, explainers):
        self.explainers = {n: Random() if n == "random" else LRP() for n in explainers}
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
    experiment = Shown(count, explainers)
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
        assert all(all(f"{10 * i + 0.19:.2f}" in row for i in range(4)) for row in rows)


@pytest.mark.parametrize("count", [1, 20])
def test_a_terminal_of_forty_columns_gets_a_list_with_everything(count):
    lines, experiment = printed(count, width=40)
    assert max(map(len, lines)) <= 40
    for words in ("  lrp: 0.19 ± 0.26", "  random (control): 30.19 ± 0.26"):
        assert sum(line.startswith(words) for line in lines) == len(experiment.metrics)


def bold(lines):
    """What stands in bold in the rows of metrics."""
    rows = [line for line in lines if re.match("│ (spars|compl).* of ", line)]
    return [re.findall("\x1b\\[1m([\\d.]+)\x1b\\[0m", row) for row in rows]


def test_where_the_table_is_split_the_best_of_all_explainers_is_bold_once():
    names = ("lrp", "gradient", "deconvnet", "random", "sobel", "image")
    lines, experiment = printed(20, names, width=80, terminal=True)
    assert sum("metric" in line and "better" in line for line in lines) > 1
    found = bold(lines)
    assert len(found) > len(experiment.metrics)
    shown = [number for row in found for number in row]
    # Sparseness is better higher, complexity lower: the last and the first explainer.
    assert sorted(shown) == ["0.19"] * 20 + ["50.19"] * 20


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


def test_a_control_stands_last_and_is_never_the_best():
    lines, _ = printed(20, ("random", "lrp", "gradient"), terminal=True)
    head = next(line for line in lines if "lrp" in line)
    assert head.index("lrp") < head.index("gradient") < head.index("random")
    assert sorted(n for row in bold(lines) for n in row) == ["10.19"] * 20 + ["20.19"] * 20


def test_families_of_metrics_are_headings():
    metrics = {"sparseness": Sparseness(), "road": ROAD(), "complexity": Complexity()}
    scores = pd.DataFrame([{"metric": n, "score": s / 3} for n in metrics for s in range(4)])
    rows = [table.Row(label=n, control=False, scores=scores) for n in ("a", "b")]
    console = Console(width=60, file=StringIO())
    table.printed(console, table.cells(rows, metrics))
    firsts = re.findall(r"(?m)^│ (\w+)", console.file.getvalue())
    assert firsts == ["complexity", "sparseness", "complexity", "faithfulness", "road"] * 2


def test_metrics_that_need_what_the_data_lack_are_one_line():
    console = Console(width=300, file=StringIO())
    metrics = {"a": RelevanceMass(), "b": RelevanceMass(), "c": Sparseness()}
    inspect.unwrap(show.skipped_metrics)(console, metrics, frozenset())
    assert console.file.getvalue() == "metrics skipped for what the data lack: a, b (parts)\n"


def left(words, shift=0.0, accuracy=0.9):
    scores = pd.DataFrame([{"metric": "sparseness", "score": shift + i / 8} for i in range(4)])
    return Left(
        words=words,
        metrics={"sparseness": Sparseness()},
        controls=frozenset(),
        accuracy=accuracy,
        scores={"lrp": scores},
        tracker=Off().open(),
        runs=(),
        reused=0,
    )


def test_several_jobs_end_in_one_table_whose_rows_say_what_differs():
    file = StringIO()
    kept = [left(["seed=0", "images=4"]), left(["seed=1", "images=4"], 1.0, 0.8)]
    joint.printed(Console(width=80, file=file), kept)
    text = file.getvalue()
    assert "lrp seed=0" in text
    assert "lrp seed=1" in text
    assert "images=4" not in text
    assert "test accuracy: seed=0 90.0 %, seed=1 80.0 %" in text
    assert "the best method is bold" in text


def test_jobs_on_other_data_are_not_compared():
    file = StringIO()
    joint.printed(Console(width=80, file=file), [left(["dataset=a"]), left(["dataset=b"], 1.0)])
    assert "the best method is bold" not in file.getvalue()
    assert "do not answer the same question" in file.getvalue()
