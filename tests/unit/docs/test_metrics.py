"""docs/metrics.md is what the docstrings say today."""

import re
from pathlib import Path

import pytest
from hydra.utils import instantiate

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def table(script):
    return script("metric_table")


def test_the_page_of_metrics_is_up_to_date(table):
    assert table.PAGE.read_text() == table.page(), "run `make docs`"


def test_every_metric_has_its_row_and_its_section(table):
    text = table.page()
    for path in (ROOT / "conf" / "metric").glob("*.yaml"):
        if not table.members(path):
            assert f"| [{path.stem}](#{path.stem}) |" in text
            assert f"\n## {path.stem}\n" in text


def test_every_metric_is_in_all_by_its_family(table):
    folder = ROOT / "conf" / "metric"
    named = set()
    for name in table.members(folder / "all.yaml"):
        named |= set(table.members(folder / f"{name}.yaml")) or {name}
    singles = {path.stem for path in folder.glob("*.yaml") if not table.members(path)}
    assert named == singles


STATED = {
    "range": r"\b[Rr]ange\b",
    "cost": r"\bCost: \S",
    "pitfalls": r"\bPitfalls: \S",
    "paper, or that it is ours": r"\b(19|20)\d\d\b|\b[Oo]urs\b",
}


def test_every_metric_states_direction_range_cost_pitfalls_and_paper(table):
    names = [p.stem for p in (ROOT / "conf" / "metric").glob("*.yaml") if not table.members(p)]
    missing = []
    for name, config in table.composed(names).items():
        metric = instantiate(config, _convert_="all")
        text = table.docstring(type(metric))
        direction = rf"\b{'HIGHER' if metric.higher_is_better else 'LOWER'} is\b"
        for what, pattern in {"direction": direction, **STATED}.items():
            if not re.search(pattern, " ".join(text.split())):
                missing.append(f"{name}: {what}")
    assert not missing


def test_every_metric_has_its_row_among_the_names_of_other_libraries_or_is_said_to_be_ours(table):
    text = (ROOT / "docs" / "metric-names.md").read_text()
    named = set(re.findall(r"`(\w+)`", text)) | set(
        table.members(ROOT / "conf" / "metric" / "truth.yaml")
    )
    singles = {p.stem for p in (ROOT / "conf" / "metric").glob("*.yaml") if not table.members(p)}
    assert singles <= named
