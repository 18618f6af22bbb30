"""The how-to pages do what they say: their files are written and their commands run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").glob("add-a*.md")), ROOT / "docs" / "sweep.md"]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("xai_exp", "conf", "hydra_plugins", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_newcomer_can_follow_the_page(page: Path, copy: Path) -> None:
    commands = 0
    for language, place, text in BLOCK.findall(page.read_text()):
        if place:
            (copy / place).write_text(text)
        elif language == "bash":
            commands += 1
            run(text.replace("python ", f"{sys.executable} ", 1), copy)
    assert commands > 0


@pytest.mark.slow
def test_the_python_page_is_a_script_that_runs(tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text())
    code = [text for language, place, text in blocks if language == "python" and not place]
    (tmp_path / "page.py").write_text("\n".join(code))
    run(f"PYTHONPATH={ROOT} {sys.executable} page.py", tmp_path)
    assert len(code) > 4
    assert (tmp_path / "heatmaps.npz").is_file()


@pytest.mark.slow
def test_users_of_other_libraries_can_follow_their_page(tmp_path: Path) -> None:
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
    names = " ".join(page.name for page in pages)
    run(f"PYTHONPATH={ROOT} {sys.executable} pages.py {names}", tmp_path)
    for command in commands:
        run(command.replace("python ", f"PYTHONPATH={ROOT} {sys.executable} ", 1), tmp_path)
    assert len(pages) == 3
    assert commands


def run(command: str, folder: Path) -> None:
    settings = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
