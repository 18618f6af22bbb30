"""docs/metrics.md is what the docstrings say today."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", ROOT / "scripts" / "metric_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
