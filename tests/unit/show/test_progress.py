"""The bar over a study's runs: what it says, and that it is there only while a study is."""

import inspect
import io
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from xai_exp import build
from xai_exp.show import progress
from xai_exp.show import terminal as show
from xai_exp.studies.stability_report import Stability


@pytest.fixture
def terminal(monkeypatch):
    """What is shown on a terminal or, if it is none, in a pipe."""

    def made(is_terminal):
        file = io.StringIO()
        console = Console(file=file, force_terminal=is_terminal, width=100)
        monkeypatch.setattr("rich.console.Console", lambda: console)
        return file

    return made


def through(jobs, steps):
    bar = progress.start(jobs)
    for job in range(jobs):
        bar.begin(f"digits, seed {job}", steps)
        for step in range(steps - 1):
            bar.step(f"explain: {step}")
    bar.step("report")
    return bar


def test_in_a_pipe_there_is_a_line_a_run(terminal):
    file = terminal(False)
    through(3, 2)
    lines = file.getvalue().splitlines()
    assert [line.strip("─ ").split(",")[0] for line in lines] == [
        f"job {n} of 3" for n in (1, 2, 3)
    ]
    assert "left" not in lines[0]
    assert all("left" in line for line in lines[1:])
    progress.stop()


def test_on_a_terminal_there_is_one_bar_for_all_runs(terminal):
    file = terminal(True)
    bar = through(2, 3)
    assert bar.as_bar
    assert (bar.done, bar.total) == (6, 6)
    bar.console.print("a line above the bar")
    progress.stop()
    shown = file.getvalue()
    assert "job 2 of 2" in shown
    assert "job 0" not in shown
    assert "100 %" in shown
    assert "report" in shown
    assert "a line above the bar" in shown


def test_steps_that_a_job_leaves_out_are_not_waited_for(terminal):
    terminal(False)
    bar = progress.start(2)
    bar.begin("first", 10)
    bar.step()
    bar.begin("second", 10)
    assert (bar.done, bar.total) == (10, 20)
    progress.stop()


def test_what_was_skipped_is_kept_with_its_place_and_reason(terminal):
    terminal(False)
    bar = progress.start(1)
    bar.begin("digits, mlp", 2)
    bar.skip("grad_cam", "it needs a convolution")
    assert bar.skipped == [("grad_cam", "digits, mlp", "it needs a convolution")]
    progress.stop()


def test_outside_a_study_there_is_none(terminal):
    terminal(False)
    assert progress.current() is None
    bar = progress.start(2)
    assert progress.current() is bar
    progress.stop()
    assert progress.current() is None


def test_a_comparison_over_architectures_has_the_bar_of_any_study(terminal):
    terminal(False)
    sweeper = {"_target_": "x.BasicSweeper", "params": {"seed": "0,1", "model.depth": "1,2,3"}}
    config = OmegaConf.create(
        {"study": None, "hydra": {"sweeper": sweeper, "overrides": {"task": []}}}
    )
    callback = Stability()
    callback.on_multirun_start(config)
    bar = progress.current()
    assert bar is not None
    assert bar.jobs == 6
    callback.on_multirun_end(config)
    assert progress.current() is None


def test_a_run_names_few_explainers_and_counts_many():
    for count, words in ((2, "e0, e1"), (9, "9 explainers")):
        file = io.StringIO()
        explainers = {f"e{place}": {} for place in range(count)}
        experiment = SimpleNamespace(
            names={group: group for group in build.SINGLE},
            explainers=explainers,
            settings=build.Settings(seed=3),
        )
        header = inspect.unwrap(show.header)  # for whom anything with these will do
        header(Console(file=file, width=200), experiment, torch.device("cpu"))
        assert file.getvalue().strip() == f"dataset x model x {words}  seed 3, cpu"
