"""docs/insight.md is made from its words and rows, and what the rows name is there."""

import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(script):
    return script("insight_page")


def test_the_page_is_up_to_date(made):
    assert made.PAGE.read_text("utf-8") == made.page(), "run `make docs`"


def test_every_function_of_ours_and_every_test_that_is_named_exists(made):
    for tool, theirs, ours, compared, why, tested in made.rows():
        assert tool in ("Skater", "Eli5", "Yellowbrick", "Lucid")
        assert theirs
        assert compared in ("same", "better", "does not apply")
        assert why or compared == "same"
        assert compared == "does not apply" or (ours and tested)
        assert not tested or (ROOT / "tests" / tested).exists(), tested
        if ours.startswith("xai_exp."):
            module, _, name = ours.rpartition(".")
            assert name in vars(importlib.import_module(module)), ours
        elif ours:
            assert (ROOT / "conf" / f"{ours}.yaml").is_file(), ours
