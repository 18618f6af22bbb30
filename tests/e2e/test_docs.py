"""The how-to pages do what they say: their files are written and their commands run."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.follow.notebooks import BRIEF
from scripts.follow.steps import BLOCK

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("add-a*.md")), ROOT / "docs" / "sweep.md"]


@pytest.fixture
def run(run_module: Callable) -> Callable:
    """A line of a page, `python -m ...`, with the package from `path`."""

    def run(line: str, folder: Path, path: Path = ROOT) -> None:
        python, _, module, *words = shlex.split(line.replace("\\\n", " "))
        assert python == "python", line
        run_module(folder, module, *words, path=path, cold=module == "pytest")

    return run


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("xai_exp", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_newcomer_can_follow_the_page(page: Path, copy: Path, run: Callable) -> None:
    commands = 0
    for language, place, text in BLOCK.findall(page.read_text()):
        if place:
            (copy / place).write_text(text)
        elif language == "bash":
            commands += 1
            run(text, copy, path=copy)
    assert commands > 0


@pytest.mark.slow
def test_the_python_page_is_a_script_that_runs(tmp_path: Path, begun: Callable) -> None:
    code = written("python")
    (tmp_path / "page.py").write_text("\n".join(code))
    script(begun, tmp_path / "page.py")
    assert len(code) > 4
    assert (tmp_path / "heatmaps.npz").is_file()


@pytest.mark.slow
def test_users_of_other_libraries_can_follow_their_page(
    tmp_path: Path, run: Callable, begun: Callable
) -> None:
    pages = sorted((ROOT / "docs").glob("from-*.md"))
    commands = []
    for page in pages:
        blocks = BLOCK.findall(page.read_text())
        code = [text for language, place, text in blocks if language == "python" and not place]
        commands += [text for language, _, text in blocks if language == "bash"]
        assert len(code) > 2
        (tmp_path / page.name).write_text("\n".join(code))
    alone = "exec(compile(open(page).read(), page, 'exec'), {'__name__': page})"
    each = f"import sys\nfor page in sys.argv[1:]: {alone}\n"
    (tmp_path / "pages.py").write_text(each)
    names = [page.name for page in pages]
    script(begun, tmp_path / "pages.py", *names)
    for command in commands:
        run(command, tmp_path)
    assert len(pages) == 3
    assert commands


def written(page: str) -> list[str]:
    """The Python of a page."""
    blocks = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text())
    return [text for language, place, text in blocks if language == "python" and not place]


@pytest.mark.slow
def test_the_tutorials_run_from_top_to_bottom(tmp_path: Path, begun: Callable) -> None:
    notebooks = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    assert [path.stem for path in notebooks] == sorted(BRIEF)
    code = f"import json, sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nimport tutorials\n"
    for path in notebooks:
        code += f"told = json.load(open({str(path)!r}))\n"
        code += f"made = tutorials.executed(told, {BRIEF[path.stem]!r})\n"
        code += "print(sum(len(cell.get('outputs', ())) for cell in told['cells']))\n"
    code += "\n".join(written("exact-truth"))
    told = begun(tmp_path, code=code)
    out, err = told.communicate()
    assert told.returncode == 0, out[-3000:] + err[-3000:]
    assert [int(line) > 3 for line in re.findall(r"^\d+$", out, re.M)] == [True] * len(notebooks)
    assert list((tmp_path / "my_images").rglob("*.png"))


def script(begun: Callable, path: Path, *words: str) -> None:
    process = begun(path.parent, *words, script=str(path))
    out, err = process.communicate()
    assert process.returncode == 0, out[-3000:] + err[-3000:]
