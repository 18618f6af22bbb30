"""Build a release into dist/: `make release`.

One version stands in pyproject.toml, xai_exp/__init__.py, CITATION.cff, codemeta.json (which this
script writes) and as the newest heading of CHANGELOG.md. Source and wheel are built, checked by
twine and summed; the newest section of the changelog becomes dist/notes.md. Nothing is uploaded.
What can be done without, such as a public address,
is named. `--check` only says what does not fit together; `--metadata` only writes codemeta.json.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
META = ROOT / "codemeta.json"
_RELATIVE = re.compile(r"\]\((?!https?:|#)[^)]+\)")
HEADING = re.compile(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", re.MULTILINE)


def main() -> int:
    """Check, or build."""
    if "--metadata" in sys.argv:
        META.write_text(codemeta(), "utf-8")
        return 0
    faults = disagreements()
    for fault in faults:
        print(f"error: {fault}")
    if told := lacking():
        print(f"lacking: {told}")
    if faults or "--check" in sys.argv:
        return int(bool(faults))
    return build()


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def disagreements() -> list[str]:
    """Where the version, or what is written from it, differs."""
    version = project()["version"]
    found = {
        "xai_exp/__init__.py": _first(r'__version__ = "(.+)"', "xai_exp/__init__.py"),
        "CITATION.cff": _first(r"(?m)^version: (.+)$", "CITATION.cff"),
        "CITATION.cff (preferred)": _first(r"(?m)^  version: (.+)$", "CITATION.cff"),
        "CHANGELOG.md": _first(HEADING.pattern, "CHANGELOG.md"),
    }
    wrong = [
        f"{name}: got version {said}; allowed: {version}, as in pyproject.toml"
        for name, said in found.items()
        if said != version
    ]
    if not META.is_file() or META.read_text("utf-8") != codemeta():
        wrong.append("codemeta.json: got another text; allowed: scripts/release.py --metadata")
    return wrong


def lacking() -> str | None:
    """What a release can do without, and what that costs whoever finds it; None if nothing is."""
    absent = [
        name
        for name, there in {
            "[project.urls] in pyproject.toml": "urls" in project(),
            "repository-code in CITATION.cff": _first(
                r"(?m)^repository-code: (.+)$", "CITATION.cff"
            ),
            "doi in CITATION.cff": _first(r"(?m)^doi: (.+)$", "CITATION.cff"),
        }.items()
        if not there
    ]
    if not absent:
        return None
    links = _RELATIVE.findall((ROOT / "README.md").read_text("utf-8"))
    return (
        f"{', '.join(absent)}: the public address is not known; outside of the repository "
        f"{len(links)} links and pictures of README.md lead nowhere"
    )


def _first(pattern: str, name: str) -> str | None:
    found = re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)
    return found[1] if found else None


def codemeta() -> str:
    """The project in the words of CodeMeta 3.0 (codemeta.github.io)."""
    told = project()
    public = told.get("urls", {}).get("Repository")
    words = {
        "@context": "https://w3id.org/codemeta/3.0",
        "@type": "SoftwareSourceCode",
        "name": told["name"],
        "description": told["description"],
        "version": told["version"],
        "license": f"https://spdx.org/licenses/{told['license']}",
        "programmingLanguage": {"@type": "ComputerLanguage", "name": "Python"},
        "runtimePlatform": f"Python {told['requires-python']}",
        "operatingSystem": "Linux",
        "developmentStatus": "active",
        "keywords": told["keywords"],
        "author": [{"@type": "Organization", "name": one["name"]} for one in told["authors"]],
        "softwareRequirements": told["dependencies"],
        "readme": "README.md",
        "softwareHelp": "docs",
        **({"codeRepository": public} if public else {}),
        "dateModified": _first(r"(?m)^date-released: (.+)$", "CITATION.cff"),
    }
    return json.dumps(words, indent=2, ensure_ascii=False) + "\n"


def notes(changelog: str) -> str:
    r"""The newest section of a changelog.

    >>> notes("# Changelog\\n\\n## 2.0 (unreleased)\\n\\n- b\\n\\n## 1.0 (2026-01-01)\\n\\n- a\\n")
    '## 2.0 (unreleased)\\n\\n- b\\n'
    """
    places = [one.start() for one in HEADING.finditer(changelog)]
    end = places[1] if len(places) > 1 else len(changelog)
    return changelog[places[0] : end].strip() + "\n"


def build() -> int:
    """Build, check, sum, and write the notes."""
    shutil.rmtree(DIST, ignore_errors=True)
    run = [sys.executable, "-m"]
    subprocess.run([*run, "build", "--outdir", str(DIST), str(ROOT)], check=True)
    made = sorted(DIST.iterdir())
    subprocess.run([*run, "twine", "check", "--strict", *map(str, made)], check=True)
    sums = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}" for one in made]
    (DIST / "SHA256SUMS").write_text("\n".join(sums) + "\n", "utf-8")
    (DIST / "notes.md").write_text(notes((ROOT / "CHANGELOG.md").read_text("utf-8")), "utf-8")
    print(f"built and checked: {', '.join(one.name for one in made)}; notes in dist/notes.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
