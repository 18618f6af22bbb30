"""docs/explainers.md is what docstrings and measurements say today; aliases name what there is."""

import importlib.util
from pathlib import Path

import pytest
import torch

from xai_exp.explainers.gradients.gradients import Gradient, InputXGradient
from xai_exp.explainers.lrp.lrp import LRP

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "run `make docs`"
PROMISED = 1e-4  # of the largest value, whatever the processor
LAST_BITS = 1e-6  # errors below are how a processor rounds


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    path = ROOT / "scripts" / "explainer_table.py"
    spec = importlib.util.spec_from_file_location("explainer_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_explainers_is_up_to_date(table):
    assert table.PAGE.read_text() == table.page(table.measures.stored()), AGAIN


def test_every_explainer_was_measured_as_it_is_configured(table):
    stored = table.measures.stored()
    assert {name: one["config"] for name, one in stored.items()} == table.composed(table.names()), (
        AGAIN
    )


def test_errors_against_the_original_libraries_are_of_the_order_that_is_stored(table):
    kept = table.measures.stored()
    found = table.measures.compared({name: one["config"] for name, one in kept.items()})
    assert found.keys() == {name for name, one in kept.items() if one["errors"]}
    for name, errors in found.items():
        for heatmap, error in errors.items():
            assert error < PROMISED, heatmap
            told = kept[name]["errors"][heatmap]
            assert 0.1 < max(error, LAST_BITS) / max(told, LAST_BITS) < 10, (heatmap, AGAIN)


def test_every_explainer_has_its_row_and_its_section(table):
    text = table.PAGE.read_text()
    for name in table.names():
        assert f"| [{name}](#{name}) |" in text
        assert f"\n## {name}\n" in text


def test_every_alias_is_of_an_explainer_that_there_is(table):
    assert set(table.aliases()) <= set(table.names())


def test_sums_are_told_apart(table):
    sums_to = table.measures.sums_to
    assert sums_to(Gradient()) == ""
    assert sums_to(InputXGradient()).startswith("f(x) (")
    assert sums_to(InputXGradient()).endswith("), no biases")
    assert sums_to(LRP(rule="w_square")).startswith("f(x) (")


def test_an_explainer_that_is_off_is_not_said_to_sum(table):
    class Off:
        cost = (1, 1)

        def __call__(self, model, images, targets):
            logits = model(images)[torch.arange(len(images)), targets]
            return (1.05 * logits)[:, None, None].expand(-1, 16, 16) / 256

    assert table.measures.sums_to(Off()) == ""


def test_the_first_citation_is_the_paper(table):
    cited = "By Abnar and Zuidema\n    (2020, Quantifying)"
    assert table.paper("none", cited) == "Abnar and Zuidema 2020"
    assert table.paper("iNNvestigate 2.1.2 has 2020 of them") == ""


def test_a_row_of_aliases_names_explainers(table):
    assert table.named("`deconvnet`, `explainer=deep_taylor`") == ["deconvnet", "deep_taylor"]
    assert table.named("`rule=z bias=both` *, `rule=z_box`") == ["lrp_z"]
