"""Write docs/equals.md: every statement of docs/aliases.md that two methods are equal, measured.

`make docs` runs it. Each row whose library is installed is computed anew and stored in
scripts/equals.json, the others are as they were when it was: `make equals` runs it in an
environment of its own that has them all. What iNNvestigate and DeepExplain made is read from
tests/golden, as explainer_table.py measured it. `--page` measures nothing.
"""

import json
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "measured.json"
PAGE, STORED = ROOT / "docs" / "equals.md", ROOT / "scripts" / "equals.json"
PACKAGES = ("captum", "zennit", "lxt", "grad-cam", "shap", "saliency", "lime")
HEAD = """# Equal to what others call by the name

Written by `scripts/equals_table.py` from what it measures; what the names mean stands in
[aliases](aliases.md). *apart* is the largest difference as a share of the largest value, over six
images, in float64. The network is that of tests/golden (two convolutions with max pooling, two
linear layers, large biases); where a row names another one it is the same with that change.
pytorch-grad-cam gives heatmaps in float32, stretched to 0..1: each of ours is laid over its one by
a factor and a sum first. Where either draws, its draws are in the number.

Measured with {versions};
`make equals` measures all of them again.

| ours | theirs | apart | |
| --- | --- | ---: | --- |
"""


def rows() -> list[Any]:
    """Every statement that can be measured with the library installed."""
    from equals import cam_rows, captum_rows, lxt_rows, other_rows, shap_rows, zennit_rows

    modules = (captum_rows, zennit_rows, lxt_rows, cam_rows, shap_rows, other_rows)
    return [row for module in modules for row in module.rows()]


def measured(known: dict[str, Any], *, missing: bool = False) -> dict[str, Any]:
    """How far each row is apart: anew where that can be, or what is missing; else as it was.

    It is stored row by row, so that a run that was stopped can go on with what is missing.
    """
    import torch

    torch.set_num_threads(1)
    before, every = known.get("apart", {}), rows()
    found = {row.key: before.get(row.key) for row in every}
    versions = known.get("versions", {}) | _versions()
    for row in every:
        if not row.installed or (missing and found[row.key] is not None):
            continue
        with warnings.catch_warnings(action="ignore"):
            found[row.key] = float(f"{row.apart():.0e}")
        print(f"{row.ours}, {row.theirs}: {found[row.key]:.0e}", file=sys.stderr, flush=True)
        STORED.write_text(json.dumps({"apart": found, "versions": versions}, indent=1) + "\n")
    return {"apart": found, "versions": versions}


def _versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    here = {one.name.lower() for one in metadata.distributions() if one.name}
    return {name: metadata.version(name) for name in PACKAGES if name in here}


def line(key: str, apart: float) -> str:
    """One row of the table."""
    ours, theirs, change, note = key.split(" | ")
    said = "; ".join(one for one in (change, note) if one)
    return f"| {ours} | {theirs} | {number(apart)} | {said} |"


def number(apart: float) -> str:
    """A share in one digit.

    >>> number(0.0), number(0.0123)
    ('0', '1e-02')
    """
    return f"{apart:.0e}" if apart else "0"


def golden(found: dict[str, Any]) -> list[str]:
    """The rows of heatmaps that the original libraries made: in float32, against ours."""
    row = "| {} | {} | {} | golden heatmaps, float32 |"
    return [
        row.format(name, label.replace(": ", " ").replace("|", ", "), number(error))
        for name, one in sorted(found.items())
        for label, error in sorted(one["errors"].items())
    ]


def page(found: dict[str, Any], read: list[str]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {one}" for name, one in found["versions"].items())
    lines = [line(key, apart) for key, apart in found["apart"].items() if apart is not None]
    return HEAD.format(versions=versions) + "\n".join([*lines, *read]) + "\n"


def main(options: list[str]) -> int:
    """Write the page; with --missing only what was not measured before is."""
    found = json.loads(STORED.read_text()) if STORED.exists() else {}
    if "--page" not in options:
        found = measured(found, missing="--missing" in options)
    read = golden(json.loads(GOLDEN.read_text()))
    PAGE.write_text(page(found, read), "utf-8")
    print(f"{PAGE.name}: {len(found['apart'])} rows measured and {len(read)} read")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
