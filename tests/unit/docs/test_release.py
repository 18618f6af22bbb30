"""One version everywhere, and a release's notes are the newest section of the changelog."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def release(script):
    return script("release")


def test_metadata_agree(release):
    assert release.disagreements() == []


def test_a_version_that_differs_is_named(release, monkeypatch):
    told = release.project()
    monkeypatch.setattr(release, "project", lambda: told | {"version": "9.9"})
    assert len(release.disagreements()) == 5


def test_what_is_lacking_is_said_in_one_line_until_it_is_there(release, monkeypatch):
    said = release.lacking()
    assert said.startswith("[project.urls] in pyproject.toml, repository-code in CITATION.cff")
    assert "links and pictures of README.md lead nowhere" in said
    assert "\n" not in said
    told = release.project() | {"urls": {"Repository": "https://example.org/xai_exp"}}
    monkeypatch.setattr(release, "project", lambda: told)
    monkeypatch.setattr(release, "_first", lambda *_: "there")
    assert release.lacking() is None
    assert '"codeRepository": "https://example.org/xai_exp"' in release.codemeta()


def test_notes_are_the_newest_section(release):
    text = release.notes(
        "# Changelog\n\n## 2.0 (unreleased)\n\n- b\n\n## 1.0 (2026-01-01)\n\n- a\n"
    )
    assert text == "## 2.0 (unreleased)\n\n- b\n"


def test_the_version_is_ours():
    done = subprocess.run(
        [sys.executable, "-m", "xai_exp", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.startswith("xai_exp 0.1.0 (Python ")
    assert done.returncode == 0
