"""What is said of other tools is what was measured, and the page is made from it."""

from pathlib import Path

import pytest

from xai_exp.studies import tools_report as told

ROOT = Path(__file__).resolve().parents[3]
GOOD = {"network": "cnn", "method": "one", "stops": "", "wrong": [], "seconds": 0.1}
GOOD |= {"megabytes": 1.0, "apart": 1e-6}
STOPS = {"network": "vit", "method": "one", "stops": "ValueError: no", "wrong": []}
WRONG = {**GOOD, "network": "functional", "method": "two", "wrong": ["another heatmap"]}
MADE = {
    "captum": {
        "installs": True, "pinned": "captum==1", "released": "2026-01", "offered": 2,
        "script": {"lines": 2, "problem": ""}, "trials": [GOOD, STOPS, WRONG],
        "truth": {"one": 0.25, "two": 0.5},
    },
    "lucid": {"installs": False, "pinned": "lucid==1", "released": None, "problem": "no wheel"},
}  # fmt: skip


def test_a_trial_is_called_what_it_is():
    unchecked = {key: value for key, value in GOOD.items() if key != "apart"}
    names = [told.outcome(one) for one in (GOOD, STOPS, WRONG, unchecked)]
    assert names == ["works", "stops", "**WRONG**", "answers"]


def test_the_answer_counts_tools_stops_and_what_is_silently_wrong():
    text = told.answer(MADE)
    assert "Of 2 tools 1 install on Python 3.11 (Lucid do not)" in text
    assert "Of 3 trials of a method on a network 1 stop" in text
    assert "**1 of the 2 that answer are silently wrong**" in text
    assert "Captum's two (skill 0.50)" in text
    assert "right on a plain cnn of modules: one; check what it says of functional; " in (
        told.advice(MADE)
    )
    assert list(told.words(MADE)) == [
        "- Captum one on vit: ValueError: no", "- Captum two on functional: another heatmap",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def page(script):
    return script("tools_page")


def test_the_page_is_what_was_measured(page):
    assert page.PAGE.read_text("utf-8") == page.page(told.kept()), "scripts/tools_table.py --page"


def test_the_lines_that_a_user_writes_are_those_of_the_script():
    for name, one in told.kept().items():
        path = ROOT / "scripts" / "tools" / "heatmaps" / f"one_{name}.py"
        if "script" in one and path.exists():
            lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
            assert one["script"]["lines"] == sum("from given" not in line for line in lines), name


@pytest.fixture(scope="module")
def table(script):
    return script("tools_table")


def test_make_tools_goes_on_with_what_is_missing_or_was_stopped(table, monkeypatch):
    stopped = {"installs": True, "problem": "the measurement ended with -9: "}
    failed = {"installs": False, "problem": "no wheel"}
    kept = {tool.name: {"installs": True} for tool in table.TOOLS} | {"lime": stopped}
    kept |= {"lucid": failed}
    del kept["shap"]
    monkeypatch.setattr(told, "kept", lambda: kept)
    assert [tool.name for tool in table.wanted([])] == ["shap", "lime"]
    assert [tool.name for tool in table.wanted(["lucid"])] == ["lucid"]


def test_a_tool_that_there_is_not_is_refused(table, capsys):
    assert table.main(["limes"]) == 1
    assert "tools: got 'limes'; allowed: --page, xai_exp, captum" in capsys.readouterr().err


def test_what_was_tried_on_which_python_is_told_once(monkeypatch):
    monkeypatch.setattr(told, "pythons", lambda: {"lucid": {"3.13": "no wheel", "3.12": ""}})
    assert told.installs("lucid", MADE["lucid"]) == "3.12; not 3.11, 3.13"
    assert told.installs("captum", MADE["captum"]) == "3.11"
