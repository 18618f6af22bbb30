"""The simulation behind docs/coverage.md, with fewer draws: intervals hold as often as it says."""

import re
from pathlib import Path

import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parents[3]
DRAWS = 80


@pytest.fixture(scope="module")
def coverage(script):
    return script("coverage")


def too_narrow(share, due=0.95):
    """Whether so few would hold by chance once in a thousand."""
    return stats.binom.cdf(round(share * DRAWS), DRAWS, due) < 1e-3


@pytest.mark.parametrize("networks", [3, 10])
def test_all_intervals_hold_together(coverage, networks):
    assert not too_narrow(coverage.all_held(networks, 0.0, DRAWS))


@pytest.mark.parametrize("kind", ["within", "means"])
def test_the_interval_of_a_validity_holds_where_networks_differ_little(coverage, kind):
    assert not too_narrow(coverage.validity_held(5, kind, 0.15, DRAWS))


def test_the_stored_table_says_what_is_too_narrow(coverage):
    rows = re.findall(r"^\| ([^|]+) \|((?: [\d.]+ \|){4})$", coverage.PAGE.read_text(), re.M)
    table = {name: [float(one) for one in numbers.split("|")[:-1]] for name, numbers in rows}
    assert len(table) == len(coverage.SPREADS) + 6
    for name, numbers in table.items():
        if not (name.startswith("validity") and "differ most" in name):
            assert min(numbers) > 91.5, name
