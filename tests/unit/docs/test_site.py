"""The site has every page, its links lead somewhere, its errors and findings are the real ones."""

import importlib.util
import json
import posixpath
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hooks():
    return script("site_hooks")


@pytest.fixture(scope="module")
def pages(hooks):
    """Path and text of each page, as mkdocs reads it."""
    written = {
        str(path.relative_to(DOCS)): path.read_text("utf-8")
        for path in DOCS.rglob("*.md")
        if not path.name.endswith("-words.md")
    }
    return {
        name: hooks.readable(text, name) for name, text in (written | dict(hooks.made())).items()
    }


def test_every_page_is_in_the_menu_once(pages):
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2])
    leaves = [one for part in told for section in part.values() for one in section]
    places = [one if isinstance(one, str) else next(iter(one.values())) for one in leaves]
    assert sorted(places) == sorted(pages)


def test_every_link_leads_to_a_page_or_a_file(pages):
    lost = []
    for name, text in pages.items():
        plain = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
        for where in LINK.findall(plain):
            at = posixpath.normpath(posixpath.join(posixpath.dirname(name), where))
            if at not in pages and not (DOCS / at).is_file():
                lost.append(f"{name}: {where}")
    assert lost == []


def test_only_links_to_what_is_beside_the_pages_are_taken_away(hooks):
    text = "[a](../conf/sweep) [b](nowhere.md) [c](lrp.md#x)\n```python a/b.py\n[d](../conf)\n```\n"
    made = hooks.readable(text, "python.md")
    assert made.startswith("a [b](nowhere.md) [c](lrp.md#x)\n")
    assert '```python title="a/b.py"\n[d](../conf)\n' in made
    assert "```text\nx: got" in hooks.readable("```error\nx: got\n```\n", "troubleshooting.md")
    assert hooks.readable("[n](2.ipynb)", "tutorials/1.md") == "[n](2.md)"


def test_examples_are_blocks_of_code(hooks):
    assert hooks.fenced("a\n\n>>> 1\n1\n\nb") == "a\n\n```pycon\n>>> 1\n1\n```\n\nb"
    assert hooks.fenced("a >>> b") == "a >>> b"


def test_the_reference_has_the_class_of_every_choice(hooks):
    assert "xai_exp.explainers.lrp.LRP" in hooks.targets("explainer")
    told = hooks.targets("metric")
    for path in (ROOT / "conf" / "metric").glob("*.yaml"):
        for found in re.findall(r"^  _target_: (\S+)", path.read_text("utf-8"), re.M)[:1]:
            assert found in told


def test_what_was_found_is_what_the_findings_say():
    explanations = script("explanations")
    findings = (DOCS / "findings.md").read_text("utf-8")
    for name in explanations.PAGES:
        page = (DOCS / name).read_text("utf-8")
        assert "<!-- found: " in page
        assert explanations.filled(page, findings) == page, "run `make docs`"
    with pytest.raises(KeyError):
        explanations.found("no_such_study", findings)


@cache
def sources():
    """All of the package, with a text that goes on in the next line in one piece."""
    paths = sorted((ROOT / "xai_exp").rglob("*.py"))
    text = "\n".join(path.read_text("utf-8") for path in paths)
    return re.sub(r'"\n +f?"', "", text)


def quoted():
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    return re.findall(r"^```error\n(.*)\n```", text, re.M)


@pytest.mark.parametrize("line", quoted()[1:], ids=lambda line: line[:40])
def test_an_error_that_is_told_is_one_of_ours(line):
    """All that is quoted, but for `...`, stands in one message, in this order."""
    pieces = [piece.strip() for piece in line.split("...") if len(piece.strip()) > 1]
    assert pieces
    assert re.search(r"[^\n]*".join(map(re.escape, pieces)), sources())


def test_a_wrong_name_is_answered_as_it_is_told():
    from xai_exp.errors import unknown

    first = quoted()[0].removesuffix("...")
    assert unknown("explainer", "lpr", ["gradient", "lrp"]).startswith(first)


def test_the_tutorials_are_stored_with_what_their_cells_give(hooks):
    notebooks = sorted((DOCS / "tutorials").glob("*.ipynb"))
    assert len(notebooks) == 3
    for path in notebooks:
        told = json.loads(path.read_text("utf-8"))
        cells = [cell for cell in told["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
        assert sum(bool(cell["outputs"]) for cell in cells) > 3
        assert hooks.notebook(told, path.name).count('class="output"') > 3
