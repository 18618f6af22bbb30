"""Every name that aliases.md says is equal has a row with its measured difference."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = {
    "iNNvestigate": "iNNvestigate",
    "iNNvestigate (version 1)": "iNNvestigate 1",
    "DeepExplain": "DeepExplain",
    "captum": "captum",
    "zennit": "zennit",
    "shap": "shap",
    "DIANNA": "DIANNA",
    "pytorch-grad-cam": "pytorch-grad-cam",
    "tf-explain": "tf-explain",
    "saliency (PAIR)": "saliency (PAIR)",
}

# tests/golden compares these, too: rules that no YAML names, so they have no line of their own.
IN_GOLDEN = {"rule=alpha_beta bias=both", "rule=z_plus_fast"}


def table_rows(text):
    """Each row of the tables as a dictionary by the names of its columns."""
    header = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells or cells[0].startswith("---"):
            header = header if cells else []
        elif not header:
            header = cells
        else:
            yield dict(zip(header, cells, strict=True))


def promised():
    """(ours, library) of each name that is not in italics."""
    for row in table_rows((ROOT / "docs" / "aliases.md").read_text()):
        if "here" not in row:  # the bridges' own table, which is measured
            continue
        ours = re.findall(r"`(?:explainer=)?([^`]+)`", row["here"])
        if IN_GOLDEN & set(ours):
            continue
        for column, cell in row.items():
            named = re.sub(r"\*[^*]+\*|\([^)]*\)", "", cell).strip(", ;")
            if column == "elsewhere" and named:
                yield ours, cell.replace("(AttnLRP)", "").split("(")[0].split(":")[0].strip()
            elif column in LIBRARIES and named:
                yield ours, LIBRARIES[column]


def measured():
    for row in table_rows((ROOT / "docs" / "equals.md").read_text()):
        if "theirs" in row:
            yield row["ours"].replace("`", ""), row["theirs"], row["apart"]


@pytest.mark.parametrize(("ours", "library"), list(promised()), ids=str)
def test_what_is_said_to_be_equal_is_measured(ours, library):
    found = [
        apart
        for name, theirs, apart in measured()
        if theirs.startswith(library) and any(same(name, one) for one in ours)
    ]
    assert found
    assert all(re.fullmatch(r"0|\de-\d\d|\de\+\d\d", apart) for apart in found)


def same(name, alias):
    """Whether a row's name is an alias with fields: `lrp_z_ib` is `rule=z bias=ignore`."""
    alias = alias.removeprefix("explainer=")
    plain = alias.replace("rule=", "lrp_")
    first = alias.split()[0]
    return name.split()[0] in (first, plain.split()[0])


def test_the_page_says_what_was_stored():
    stored = json.loads((ROOT / "scripts" / "equals.json").read_text())
    rows = {(ours, theirs) for ours, theirs, _ in measured()}
    for key, apart in stored["apart"].items():
        ours, theirs, *_ = key.split(" | ")
        assert apart is None or (ours.replace("`", ""), theirs) in rows
