"""README's answer is what docs/findings.md says, and its relative links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def readme(script):
    return script("readme")


def test_the_answer_is_that_of_the_findings(readme):
    page, findings = readme.README.read_text("utf-8"), readme.FINDINGS.read_text("utf-8")
    first = readme.FIRST.read_text("utf-8")
    assert readme.written(page, findings, first) == page, "run scripts/readme.py"


def test_the_answer_follows_the_numbers(readme):
    head = "`a`, objects: skill of 9 networks with 8 images each. More.\n\n"
    rows = "| explainer | centred, black | centred, border |\n| --- | --- | --- |\n"
    rows += (
        "| lrp | 0.9 [0.8, 1.0] | 0.50 [0.10, 0.90] |\n| deeplift | 0 [0, 0] | 0.7 [-0.1, 1.5] |\n"
    )
    said = " ".join(readme.answer(head + rows).split())
    assert "**Which should I use?** lrp, where" in said
    assert "Not shown to be: deeplift." in said
    assert "9 networks with 8 images" in said


def test_what_it_links_is_there(readme):
    page = readme.README.read_text("utf-8")
    places = [p for p in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in p]
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []
