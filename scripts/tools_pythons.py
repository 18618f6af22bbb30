"""On which Pythons each tool installs and can be imported: the column of docs/tools.md.

    tools_pythons.py python3.12 /opt/python3.13/bin/python3.13

Each tool of scripts/tools_table.py gets an environment of its own with each of these interpreters
and nothing else in it, and is imported once. What is known already is kept in
scripts/tools_pythons.json, so that a run that was stopped goes on. uv is taken if it is on the PATH
(it keeps what it has downloaded), else pip.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools_table import TOOLS, Tool, last_line, why

from xai_exp.studies import tools_report as told

SECONDS = 1200
VERSION = "import sys; print('.'.join(map(str, sys.version_info[:2])))"


def main(pythons: list[str]) -> int:
    """Measure what is missing."""
    for python in pythons:
        version = said([python, "-c", VERSION])[1].strip()
        for tool in TOOLS:
            if tool.pinned and version not in told.pythons().get(tool.name, {}):
                problem = measured(tool, python)
                found = told.pythons()  # another one may have added to it
                found.setdefault(tool.name, {})[version] = problem
                told.PYTHONS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
                print(tool.name, version, problem or "yes", file=sys.stderr)
    return 0


def measured(tool: Tool, python: str) -> str:
    """Empty where it installs and is imported, else what stood in the way."""
    with tempfile.TemporaryDirectory() as folder:
        said([python, "-m", "venv", folder])
        mine = Path(folder) / "bin" / "python"
        code, _, errors = said([*installer(mine), tool.pinned])
        if code:
            return f"not installed: {why(errors)}"
        code, _, errors = said([str(mine), "-c", f"import {tool.module}"])
        return f"not imported: {last_line(errors)}" if code else ""


def installer(python: Path) -> list[str]:
    """The command that installs into an environment."""
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def said(command: list[str]) -> tuple[int, str, str]:
    """How a command ended and what it wrote."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return 1, "", f"no end within {SECONDS} s"
    return done.returncode, done.stdout, done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
