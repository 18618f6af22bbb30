"""Other tools in environments of their own, measured on the same work: `make tools`.

    tools_table.py            measures what scripts/tools.json lacks, then writes the page
    tools_table.py shap lime  measures these anew
    tools_table.py --page     only writes docs/tools.md

An environment is outputs/tools/NAME: it stands on the project's own .venv, so that torch is not
installed again, and holds the pinned tool. What can't be installed says what pip said.
"""

import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tools_page as page

from xai_exp.studies import tools_report as told

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "outputs" / "tools"
MODELS = HOME / "models"
TRAIN = ("tracking=off", "explainer=gradient", "metric=sparseness", "images=4", "device=cpu")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool.

    Args:
        name: of its bridge and its script.
        pinned: what pip is asked for; empty if it is part of the project's own environment.
        module: as it is imported.
    """

    name: str
    pinned: str
    module: str


TOOLS = [
    Tool(name="xai_exp", pinned="", module="xai_exp"),
    Tool(name="captum", pinned="captum==0.9.0", module="captum"),
    Tool(name="zennit", pinned="zennit==0.5.1", module="zennit"),
    Tool(name="shap", pinned="shap==0.51.0", module="shap"),
    Tool(name="grad_cam", pinned="grad-cam==1.5.7", module="pytorch_grad_cam"),
    Tool(name="lime", pinned="lime==0.2.0.1", module="lime"),
    Tool(name="dianna", pinned="dianna==1.8.1", module="dianna"),
    Tool(name="xplique", pinned="xplique==2.0.2", module="xplique"),
    Tool(name="quantus", pinned="quantus==0.6.0", module="quantus"),
    Tool(name="eli5", pinned="eli5==0.16.0", module="eli5"),
    Tool(name="yellowbrick", pinned="yellowbrick==1.5", module="yellowbrick"),
    Tool(name="innvestigate", pinned="innvestigate==2.1.2", module="innvestigate"),
    Tool(name="skater", pinned="skater==1.1.2", module="skater"),
    Tool(name="lucid", pinned="lucid==0.3.10", module="lucid"),
    Tool(name="deepexplain", pinned="deepexplain", module="deepexplain"),
]


def main(words: list[str]) -> int:
    """Measure, and write the page."""
    names = [tool.name for tool in TOOLS]
    strange = [one for one in words if one not in (*names, "--page")]
    if strange:
        print(f"tools: got {strange[0]!r}; allowed: --page, {', '.join(names)}", file=sys.stderr)
        return 1
    asked = [] if "--page" in words else wanted(words)
    if any(script(tool).exists() for tool in asked):
        trained()
    for tool in asked:
        page.keep(tool.name, measured(tool))
        print(tool.name, file=sys.stderr, flush=True)
    page.write()
    return 0


def wanted(words: list[str]) -> list[Tool]:
    """The tools that are named; if none is, those that are not measured to the end."""
    return [tool for tool in TOOLS if tool.name in words or (not words and unmeasured(tool))]


def script(tool: Tool) -> Path:
    """What a user writes for one heatmap; a tool that makes none has no such script."""
    return ROOT / "scripts" / "tools" / "heatmaps" / f"one_{tool.name}.py"


def unmeasured(tool: Tool) -> bool:
    """Whether it was not measured, or was stopped before the end."""
    found = told.kept().get(tool.name)
    return found is None or bool(found["installs"] and found.get("problem"))


def trained() -> None:
    """The network on which the truth is known, trained if it isn't yet."""
    from tools.networks import TRAINED

    command = [sys.executable, "-m", "xai_exp", *TRAINED, *TRAIN, f"models={MODELS}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr)


def measured(tool: Tool) -> dict[str, Any]:
    """Whether it installs, when it was released, and what it does."""
    python = ROOT / ".venv" / "bin" / "python"
    found: dict[str, Any] = {"pinned": tool.pinned, "released": released(tool.pinned)}
    if tool.pinned and tool.name not in ("captum", "zennit"):
        python, problem = environment(tool)
        found["installs"] = not problem
        if problem:
            return {**found, "problem": problem}
    else:
        found["installs"] = True
    if not script(tool).exists():
        return found
    tools = ROOT / "scripts" / "tools"
    with tempfile.TemporaryDirectory() as folder:
        command = [python, tools / "measure.py", tool.name, MODELS]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    # What a library's own code prints may stand before it on the same line.
    _, start, told = done.stdout.rpartition('{"script"')
    if done.returncode or not start:
        ended = f"the measurement ended with {done.returncode}: "
        return {**found, "problem": ended + last_line(done.stderr)}
    return {**found, **json.loads(start + told)}


def environment(tool: Tool) -> tuple[Path, str]:
    """The environment's Python, and what pip said if it couldn't install the tool."""
    place = HOME / tool.name
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        (there,) = place.glob("lib/python3*/site-packages")
        (mine,) = (ROOT / ".venv").glob("lib/python3*/site-packages")
        (there / "project.pth").write_text(f"{mine.resolve()}\n")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, tool.pinned], capture_output=True, text=True, check=False)
    return python, why(done.stderr) if done.returncode else ""


def why(said: str) -> str:
    r"""What pip's complaint comes down to: what was not found, or what stopped a build.

    >>> why("x\n  ╰─> [2 lines of output]\n      Needs numpy.\n      See there.\nerror: failed")
    'Needs numpy.'
    """
    lines = [one.strip() for one in said.splitlines()]
    errors = [one for one in lines if "Error:" in one or one.startswith("ERROR:")]
    built = [after for one, after in pairwise(lines) if one.endswith("lines of output]")]
    found = [*errors[-1:], *built] or lines[-1:]
    return found[0][:240].removeprefix("ERROR: ") if found else "pip failed without a word"


def released(pinned: str) -> str | None:
    """The month of the newest file in what pip downloads; None if it does not come as a wheel."""
    if not pinned:
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
        ]
        command += ["--only-binary", ":all:", pinned]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            year, month, day = max(one.date_time[:3] for one in archive.infolist())
    # The first of January is what builders write who keep dates out of their wheels.
    return None if (month, day) == (1, 1) else f"{year}-{month:02}"


def last_line(text: str) -> str:
    """The last line that is not empty."""
    lines = [one.strip() for one in text.splitlines() if one.strip()]
    return lines[-1][:240] if lines else "no words"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
