"""Run the notebooks of docs/tutorials from top to bottom and store what their cells give.

python scripts/tutorials.py [NAME.ipynb ...]

No kernel is needed: cells are plain Python and share one namespace. A cell that fails ends it all,
with nothing written.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
SETTINGS = "parameters"  # the tag of the cell that says how long it all takes


def main(names: list[str]) -> None:
    """Run in an empty folder each, then write."""
    for path in sorted(FOLDER / name for name in names) or sorted(FOLDER.glob("*.ipynb")):
        told = json.loads(path.read_text("utf-8"))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            executed(told)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(path.name)


def executed(told: dict[str, Any], given: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Run all code cells in the current folder; `given` takes the place of the settings' values.

    Returns:
        The names that the cells have made.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(one for one in told["cells"] if one["cell_type"] == "code"):
        cell["outputs"] = list(_outputs("".join(cell["source"]), space, number + 1))
        cell["execution_count"] = number + 1
        if SETTINGS in cell["metadata"].get("tags", ()):
            assert set(given or ()) <= set(space), "a setting that the notebook does not have"
            space.update(given or {})
    return space


def _outputs(source: str, space: dict[str, Any], number: int) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    said, value = io.StringIO(), None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, f"cell {number}", "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
    found: list[dict[str, Any]] = []
    if said.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": said.getvalue()})
    if value is not None:
        shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
        found.append(shown | {"data": _shown(value)})
    return found


def _shown(value: Any) -> dict[str, str]:  # noqa: ANN401
    if isinstance(value, Figure):
        drawn = io.BytesIO()
        value.savefig(drawn, format="png", dpi=90)
        picture = base64.b64encode(drawn.getvalue()).decode()
        return {"text/plain": "a figure", "image/png": picture}
    html = getattr(type(value), "_repr_html_", None)
    plain = {"text/plain": repr(value)}
    return plain | {"text/html": html(value)} if html else plain


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    main(sys.argv[1:])
