"""The last section of docs/aliases.md: every bridge beside our method of the same name, measured.

    bridges_table.py            measures what scripts/bridges.json lacks, then writes the section
    bridges_table.py captum     measures this one anew
    bridges_table.py --page     only writes

Each library is measured in the environment that scripts/tools_table.py makes for it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tools_table import HOME, ROOT, TOOLS, Tool, environment, last_line

from xai_exp.studies.tools_report import TITLES

KEPT = ROOT / "scripts" / "bridges.json"
PAGE = ROOT / "docs" / "aliases.md"
LIBRARIES = ("captum", "zennit", "shap", "grad_cam", "lime", "dianna", "xplique", "quantus")
EQUAL = 1e-5
UNEXPLAINED = "nobody knows why yet"
HEAD = f"""## Bridges beside our methods

Written by `scripts/bridges_table.py` from what it measures, each library in the environment of
[tools](tools.md). Network and images are those of [equals](equals.md); *apart* is the largest
difference as a share of the largest value over six images (of DIANNA one), in double precision
where the library can (pytorch-grad-cam, DIANNA, Xplique and Quantus can't). **Equal** is
{EQUAL:.0e} or less. Measured with {{versions}}.

| library | theirs, by its bridge | ours | apart | |
| --- | --- | --- | ---: | --- |
"""


def main(words: list[str]) -> int:
    """Measure, and write the section."""
    found = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    if "--page" not in words:
        for tool in TOOLS:
            if tool.name in words or (
                not words and tool.name in LIBRARIES and tool.name not in found
            ):
                found[tool.name] = measured(tool)
                KEPT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
    before = PAGE.read_text("utf-8").split(HEAD.splitlines()[0])[0]
    PAGE.write_text(before + section(found), "utf-8")
    unexplained = section(found).count(UNEXPLAINED)
    print(f"{PAGE.name}: {unexplained} differences without a reason", file=sys.stderr)
    return min(unexplained, 1)


def measured(tool: Tool) -> dict[str, Any]:
    """What the library's rows say in its own environment."""
    python = ROOT / ".venv" / "bin" / "python"
    if tool.name not in ("captum", "zennit"):
        python = HOME / tool.name / "bin" / "python"
        if not python.exists():
            python, problem = environment(tool)
            if problem:
                raise SystemExit(f"{tool.pinned}: {problem}")
    command = [python, ROOT / "scripts" / "bridges" / "measure.py", tool.name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    _, start, told = done.stdout.rpartition('{"version"')
    if done.returncode or not start:
        raise SystemExit(f"{tool.name}: ended with {done.returncode}: {last_line(done.stdout)}")
    return json.loads(start + told)


def section(found: Mapping[str, Any]) -> str:
    """The section with its table."""
    known = {name: found[name] for name in LIBRARIES if name in found}
    versions = ", ".join(f"{TITLES[name]} {one['version']}" for name, one in known.items())
    rows = [line for name, one in known.items() for line in lines(TITLES[name], one["rows"])]
    return HEAD.format(versions=versions) + "\n".join(rows) + "\n"


def lines(library: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """A library's rows of the table."""
    for row in rows:
        apart = f"{row['apart']:.0e}" if row.get("apart") else "0" if "apart" in row else ""
        cells = [library, f"`{row['theirs']}`", f"`{row['ours']}`", apart, verdict(row)]
        yield f"| {' | '.join(cells)} |"


def verdict(row: Mapping[str, Any]) -> str:
    """Equal, or differs and why.

    >>> verdict({"apart": 2e-7, "change": "tanh", "why": ""})
    'equal (tanh)'
    >>> verdict({"apart": 0.1, "change": "", "why": "both draw"})
    'differs: both draw'
    """
    change = f" ({row['change']})" if row["change"] else ""
    if "stops" in row:
        return f"it stops{change}: {row['why']}"
    if row["apart"] <= EQUAL:
        return f"equal{change}"
    return f"differs{change}: {row['why'] or UNEXPLAINED}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
