"""Write docs/reliability.md from its words and the numbers of `make chaos` and `make fuzz`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.reliability.reference import BOUND

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_NUMBERS = Path(__file__).resolve().parent
_UNKNOWN = "Not measured yet."
_TOLD = 12  # ways of ending that a table has room for


def main() -> None:
    """Write the page."""
    (_DOCS / "reliability.md").write_text(page(), "utf-8")


def page() -> str:
    """The page's text."""
    words = (_DOCS / "reliability-words.md").read_text("utf-8")
    made = {"chaos": _UNKNOWN, "lines": _UNKNOWN, "files": _UNKNOWN, "wrong": ""}
    made |= {"threads": _threads(_numbers("threads") or []), "bound": f"{BOUND:g}"}
    made["cluster"] = _cluster(_numbers("cluster") or [])
    if killed := _numbers("chaos"):
        made["chaos"] = _chaos(killed)
    if tried := _numbers("fuzz"):
        lines, files = tried["lines"], tried["files"]
        kinds = files["ended"].items()
        counted = {name: {"tried": sum(one.values()), "ended": one} for name, one in kinds}
        made |= {"lines": _ended({"command lines": lines}), "files": _ended(counted)}
        made["wrong"] = _wrong([*lines["wrong"], *files["wrong"]])
    for name, text in made.items():
        words = words.replace(f"{{{name}}}", text)
    return (
        "<!-- made by scripts/reliability/page.py from reliability-words.md: change that -->\n"
        + words
    )


def _numbers(name: str) -> Any:  # noqa: ANN401
    """What a run of `make chaos` or `make fuzz` has left; None if there was none."""
    path = _NUMBERS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _chaos(told: Mapping[str, Any]) -> str:
    heads = "command | its seconds | killed | ended before the kill | equal bit for bit | lost"
    rows = [
        [
            *(one[name] for name in ("command", "seconds", "kills", "ended before", "equal")),
            len(one["lost"]),
        ]
        for one in told["commands"]
    ]
    return _table(heads.split(" | "), rows)


def _threads(told: Sequence[Mapping[str, Any]]) -> str:
    if not told:
        return _UNKNOWN
    heads = ["deterministic", "threads", "seconds", "largest difference from one thread"]
    names = ("deterministic", "threads", "seconds")
    rows = [[*(str(one[n]).lower() for n in names), f"{one['apart']:.1g}"] for one in told]
    return _table(heads, rows)


def _cluster(told: Sequence[Mapping[str, Any]]) -> str:
    if not told:
        return _UNKNOWN
    heads = ["fault", "nodes", "files", "seconds", "failed and said", "queued again"]
    heads += ["equal to one machine alone", "lost, doubled or silent"]
    keys = ("fault", "nodes", "files", "seconds", "failed and said")
    rows = [
        [
            *(one[name] for name in keys),
            one["queued again"],
            "yes" if one["compared"] and not one["wrong"] else "not compared",
            "; ".join(one["wrong"]) or "0",
        ]
        for one in told
    ]
    return _table(heads, rows)


def _ended(told: Mapping[str, Mapping[str, Any]]) -> str:
    ways = sorted({way for one in told.values() for way in one["ended"]})[:_TOLD]
    ways.sort(key=lambda way: {"ends well": 0, "one line": 1}.get(way, 2))
    rows = [
        [name, one["tried"], *(one["ended"].get(w, 0) for w in ways)] for name, one in told.items()
    ]
    return _table(["what", "tried", *ways], rows)


def _wrong(lines: list[str]) -> str:
    if not lines:
        return "None of them ended otherwise."
    return "Those that ended otherwise:\n\n" + "\n".join(f"- `{one}`" for one in lines)


def _table(heads: Sequence[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main()
