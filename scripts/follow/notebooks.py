"""Run a notebook, and compare what its cells give with what is stored in it."""

import contextlib
import io
import json
import sys
from pathlib import Path

from scripts.follow.compare import difference

BRIEF = {  # settings that make each of them short
    "1-from-pixels-to-an-answer": {"COUNT": 200, "SAMPLES": 200, "IMAGES": 4},
    "2-my-network-and-pictures": {"EPOCHS": 1, "TILES": 6, "STEPS": 2},
    "3-a-sweep-and-its-stability": {
        **{"TRIALS": 2, "COUNT": 200, "SAMPLES": 200, "IMAGES": 4, "LEAST": 0.0},
    },
}


def main(name: str, how: str) -> None:
    """Run in the current folder; in brief, outputs are other ones and are not compared."""
    from scripts import tutorials

    path = Path(name)
    stored = json.loads(path.read_text("utf-8"))
    told = json.loads(path.read_text("utf-8"))
    with contextlib.redirect_stdout(io.StringIO()):
        tutorials.executed(told, BRIEF[path.stem] if how == "brief" else None)
    cells = 0
    for before, after in zip(stored["cells"], told["cells"], strict=True):
        if before["cell_type"] == "code":
            cells += 1
            one, other = (_text(cell) for cell in (before, after))
            if how != "brief" and (differs := difference(one, other)):
                sys.exit(f"cell {after['execution_count']}: {differs}\ngot:\n{other}")
    print(f"{cells} cells")


def _text(cell: dict) -> str:
    """What a cell says in words: streams, and results that are no pictures."""
    found = []
    for one in cell.get("outputs", ()):
        data = one.get("data", {})
        words = one.get("text") or ("" if "image/png" in data else data.get("text/plain", ""))
        found.append("".join(words))
    return "\n".join(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
