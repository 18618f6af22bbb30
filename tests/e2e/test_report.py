"""A study from the command line to its page."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xai_exp.statistics import crossed_interval

Run = Callable[..., subprocess.CompletedProcess[str]]
STUDY = [
    "experiment=exact_truth",
    "dataset=counting_small",
    "value=centred",
    "reference=black",
    "tracking.figures=true",
    "seed=0,1",
    "explainer=[exact_mask,inverted_mask,lrp,sensitivity,deconvnet,random]",
    "dataset.count=2000",
    "trainer=quick",
    "trainer.samples=3000",
    "images=6",
    "least_accuracy=0",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, run_module: Run) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("study")
    done = run_module(folder, "xai_exp", *STUDY)
    assert "UserWarning" not in done.stderr
    return folder, done.stdout


def test_every_claim_ends_in_a_verdict_on_the_page_and_on_the_terminal(
    study: tuple[Path, str],
) -> None:
    folder, printed = study
    assert "job 2 of 2" in printed
    page = (folder / "reports" / "exact_truth.html").read_text()
    answers = re.findall(r'class="badge">(\w+)', page)
    assert len(answers) == 8
    assert set(answers) <= {"Supported", "Refuted", "Undecided", "Depends", "Alike", "Not"}
    assert answers[2:7] == ["Not"] * 5  # neither their explainers nor their controls were asked for
    for answer in answers:
        assert answer in printed
    index = (folder / "reports" / "index.html").read_text()
    assert '<a href="exact_truth.html">' in index
    assert "Of 8 claims" in index


def test_the_page_loads_nothing_from_elsewhere(study: tuple[Path, str]) -> None:
    page = (study[0] / "reports" / "exact_truth.html").read_text()
    for source in re.findall(r'src="([^"]+)"', page):
        assert source.startswith("data:")
    for link in re.findall(r'href="([^"]+)"', page):
        assert link.startswith(("#", "data:")) or (study[0] / "reports" / link).is_file()
    assert not re.search(r"https?://", page)


def test_a_published_number_follows_from_the_scores_by_hand(study: tuple[Path, str]) -> None:
    folder, _ = study
    page = (folder / "reports" / "exact_truth.html").read_text()
    scores = pd.read_parquet(folder / "reports" / "exact_truth.parquet")
    assert scores["model"].nunique() == 2
    mine = scores.query("explainer == 'lrp' and metric == 'part_shapley'")
    table = np.stack([rows["score"].to_numpy() for _, rows in mine.groupby("model")])
    found = crossed_interval(table)
    shown = f'{found.mean:.3g}<br><small class="soft">{found.low:.3g} .. {found.high:.3g}<'
    assert shown in page


def test_the_browser_holds_every_heatmap(study: tuple[Path, str]) -> None:
    page = (study[0] / "reports" / "exact_truth.html").read_text()
    held = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert held
    (setting,) = json.loads(held.group(1))
    assert setting["size"] == [64, 64]
    assert len(setting["captions"]) == 6
    assert {len(model["heatmaps"]) for model in setting["models"]} == {6}


def test_run_again_it_trains_nothing_and_changes_nothing(
    study: tuple[Path, str], run_module: Run
) -> None:
    folder, _ = study
    files = {path: path.read_bytes() for path in (folder / "reports").glob("exact_truth.*")}
    assert len(files) == 3
    printed = run_module(folder, "xai_exp", *STUDY).stdout
    assert "model trained" not in printed
    for path, content in files.items():
        assert path.read_bytes() == content


def test_a_report_on_what_a_filter_finds(study: tuple[Path, str], run_module: Run) -> None:
    folder, _ = study
    chosen = "tags.explainer = 'lrp'"
    done = run_module(folder, "xai_exp.report", "--filter", chosen, "--name", "only_lrp")
    assert "UserWarning" not in done.stderr
    scores = pd.read_parquet(folder / "reports" / "only_lrp.parquet")
    assert scores["explainer"].unique().tolist() == ["lrp"]
    none = ["--filter", "tags.explainer = 'none'"]
    done = run_module(folder, "xai_exp.report", *none, code=1)
    assert done.stderr.strip().splitlines()[-1].startswith("error: report: got 0 explanations")


def test_a_claim_about_what_was_not_scored_is_not_judged_and_costs_no_report(
    study: tuple[Path, str], run_module: Run
) -> None:
    folder, _ = study
    change = "++hydra.callbacks.report.claims=[{text: t, better: lpr, worse: lrp, metrics: [x]}]"
    done = run_module(folder, "xai_exp", *STUDY, change)
    assert "Not judged: got explainer lpr; allowed: one of" in done.stdout


def test_a_claim_of_no_kind_ends_with_one_line(study: tuple[Path, str], run_module: Run) -> None:
    change = "++hydra.callbacks.report.claims=[{text: t, better: lrp}]"
    done = run_module(study[0], "xai_exp", *STUDY, change, code=1)
    assert done.stderr.strip().splitlines()[-1].startswith("error: claim 't': got the fields text")
    assert "Traceback" not in done.stderr
