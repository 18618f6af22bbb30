"""The bridges' table in aliases.md says what was measured, and each difference has a reason."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def table(script):
    return script("bridges_table")


@pytest.fixture(scope="module")
def found(table):
    return json.loads(table.KEPT.read_text("utf-8"))


def test_the_section_is_up_to_date(table, found):
    assert table.PAGE.read_text("utf-8").endswith(table.section(found))


def test_every_library_was_measured_in_the_version_that_its_bridge_names(table, found):
    assert set(found) == set(table.LIBRARIES)
    pinned = {tool.name: tool.pinned.partition("==")[2] for tool in table.TOOLS}
    assert {name: one["version"] for name, one in found.items()} == {n: pinned[n] for n in found}


def test_what_differs_has_a_reason_and_most_is_equal(table, found):
    told = [table.verdict(row) for one in found.values() for row in one["rows"]]
    assert not any(table.UNEXPLAINED in one for one in told)
    assert sum(one.startswith("equal") for one in told) > len(told) / 2
