"""docs/architecture.md and its picture are what the imports say today."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def drawn(script):
    return script("architecture")


def test_the_page_and_the_picture_are_up_to_date(drawn):
    assert drawn.PAGE.read_text("utf-8") == drawn.page(), "run `make docs`"
    assert drawn.PICTURE.read_text("utf-8") == drawn.picture(), "run `make docs`"


def test_no_import_runs_upward_or_to_the_side(drawn):
    level = {room: place for place, one in enumerate(drawn.floors()) for room in one}
    wrong = {pair for pair in drawn.imports() if not level[pair[0]] < level[pair[1]]}
    assert not wrong


def test_the_listing_shows_the_design():
    package = ROOT / "xai_exp"
    assert sum(path.is_file() for path in package.iterdir()) <= 12
    for folder in {path.parent for path in package.rglob("*.py")} - {package}:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 12, folder.name
        told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        assert told, folder.name
        assert len(told.split()) > 20, folder.name
