"""Write the numbers of README.md: `python scripts/readme.py`.

The answer at its top is from the tables of skill over objects in docs/findings.md, which
scripts/findings.py wrote; what setting up takes is as `python -m scripts.follow --first` measured
it. `--check` only says whether both are as they would be written.
"""

import json
import re
import sys
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
README, FINDINGS = ROOT / "README.md", ROOT / "docs" / "findings.md"
FIRST = ROOT / "scripts" / "follow" / "first.json"
COLUMN = "centred, border"  # the value and the reference that are shown
SHOWN = (
    *("deeplift", "integrated gradients", "lrp", "grad cam", "sensitivity", "input x gradient"),
    *("guided backprop", "sobel", "random"),
)
CONTROLS = {"sobel": "an edge filter", "random": "noise"}
TABLE = re.compile(
    r"^`(\w+)`, objects: skill of (\d+) networks with (\d+) images each.*?\n\n((?:\|.*\n)+)", re.M
)
CELL = re.compile(r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]")


_WHICH = (
    "**Which should I use?** {able}, where objects on a plain background differ in worth: of the "
    "methods below only these are better than equal shares of all objects, which know no network, "
    "on both datasets. Not shown to be: {rest}."
)
_TOLD = (
    "Skill against exact truth (1: the truth, 0: equal shares), {networks} networks with {images} "
    "images a dataset, 95 % intervals that hold together; the centred logit, from the image's "
    "border. Other questions have other answers: [docs/findings.md](docs/findings.md). For a "
    "network and pictures of your own: [experiment=mine](docs/mine.md)."
)


class Skill(NamedTuple):
    """A mean and its interval."""

    mean: float
    low: float
    high: float


def main() -> int:
    """Write the answer, or compare it."""
    old = README.read_text("utf-8")
    new = written(old, FINDINGS.read_text("utf-8"), FIRST.read_text("utf-8"))
    if "--check" in sys.argv:
        return int(old != new)
    README.write_text(new, "utf-8")
    return 0


def written(page: str, findings: str, first: str) -> str:
    """The page with all of its numbers."""
    page = filled(page, "answer", answer(findings))
    return filled(page, "set-up", set_up(json.loads(first)))


def set_up(measured: dict[str, Any]) -> str:
    """What two commands take on a new machine."""
    seconds = measured["seconds"]
    minutes = [max(1, round(seconds[name] / 60)) for name in ("set-up", "make run")]
    return fill(
        f"On {measured['cores']} cores setting up took {minutes[0]} min and `make run` "
        f"{minutes[1]} min more; the environment fills {measured['environment_gb']} GB, most of it "
        "CUDA's libraries.",
        100,
    )


def filled(page: str, name: str, text: str) -> str:
    """The page with a text between its marks."""
    first, last = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    before, _, rest = page.partition(first)
    return f"{before}{first}{text}\n{last}{rest.partition(last)[2]}"


def answer(findings: str) -> str:
    """What each method's skill is, and who is better than equal shares everywhere."""
    tables = {name: read(rows) for name, _, _, rows in TABLE.findall(findings)}
    networks, images = TABLE.findall(findings)[0][1:3]
    names = [name for name in SHOWN if all(name in table for table in tables.values())]
    able = [name for name in names if all(table[name].low > 0 for table in tables.values())]
    rest = [name for name in names if name not in able]
    heads = ["explainer", *(f"`{name}`" for name in tables)]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name in names:
        each = (table[name] for table in tables.values())
        cells = (f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in each)
        told = f"{name} ({CONTROLS[name]})" if name in CONTROLS else name
        lines.append(f"| {'**' + told + '**' if name in able else told} | {' | '.join(cells)} |")
    return "\n".join(
        [
            _paragraph(_WHICH, able=_listed(able), rest=_listed(rest)),
            "",
            *lines,
            "",
            _paragraph(_TOLD, networks=networks, images=images),
        ]
    )


def read(rows: str) -> dict[str, Skill]:
    """A table's column."""
    lines = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows.splitlines()]
    place = lines[0].index(COLUMN)
    found = {line[0]: CELL.fullmatch(line[place]) for line in lines[2:]}
    return {name: Skill(*map(float, one.groups())) for name, one in found.items() if one}


def _paragraph(text: str, **values: str) -> str:
    return fill(text.format(**values), 100, break_long_words=False, break_on_hyphens=False)


def _listed(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


if __name__ == "__main__":
    sys.exit(main())
