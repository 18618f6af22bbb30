"""Write docs/architecture.md and its picture of the floors from the real imports: `make docs`.

`--check` only says whether both are as they would be written.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "xai_exp"
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "floors.svg"
WORDS = ROOT / "docs" / "architecture-words.md"
_ROW, _WIDE, _HIGH, _GAP, _LEFT = 74, 128, 40, 14, 70


def main() -> int:
    """Write the page and the picture, or compare them."""
    made = {PAGE: page(), PICTURE: picture()}
    if "--check" in sys.argv[1:]:
        return int(any(path.read_text("utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
    return 0


def floors() -> list[list[str]]:
    """The rooms of each floor, from the top down, as the import contract has them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = told["tool"]["importlinter"]["contracts"][0]["layers"]
    return [["__main__"], *([room.strip(" ()") for room in one.split("|")] for one in layers)]


def imports() -> dict[tuple[str, str], int]:
    """How many modules of one room import another room."""
    found: dict[tuple[str, str], set[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "__init__.py":
            continue  # names the API for those who read types, and imports it when asked
        here = _room(path.relative_to(PACKAGE).with_suffix("").parts)
        for there in _imported(path):
            if there != here:
                found.setdefault((here, there), set()).add(path)
    return {pair: len(paths) for pair, paths in found.items()}


def _room(parts: tuple[str, ...]) -> str:
    return parts[0]


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("xai_exp"):
            continue
        _, *inner = str(node.module).split(".")
        yield from [inner[0]] if inner else [alias.name for alias in node.names]


def picture() -> str:
    """Rooms as boxes on their floors; a line for each import, always downward."""
    levels = floors()
    width = 2 * _LEFT + max(len(one) for one in levels) * (_WIDE + _GAP)
    places = {
        room: (width / 2 + (i - (len(one) - 1) / 2) * (_WIDE + _GAP), 40 + level * _ROW)
        for level, one in enumerate(levels)
        for i, room in enumerate(one)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {len(levels) * _ROW}" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f'<rect width="{width:.0f}" height="{len(levels) * _ROW}" fill="#ffffff"/>',
    ]
    lines += list(_arrows(imports(), places))
    for room, (x, y) in places.items():
        sort = "#eef3fb" if (PACKAGE / room).is_dir() else "#fbf6e9"
        lines.append(
            f'<rect x="{x - _WIDE / 2:.0f}" y="{y - _HIGH / 2:.0f}" width="{_WIDE}" '
            f'height="{_HIGH}" rx="6" fill="{sort}" stroke="#44546a"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="#1b2430">'
            f"{escape(room + ('/' if (PACKAGE / room).is_dir() else '.py'))}</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _arrows(
    counted: Mapping[tuple[str, str], int], places: Mapping[str, tuple[float, float]]
) -> Iterator[str]:
    for (here, there), count in sorted(counted.items()):
        if here not in places or there not in places or there in _EVERYWHERE:
            continue
        (x, y), (to, down) = places[here], places[there]
        start, end = y + _HIGH / 2, down - _HIGH / 2
        middle = (start + end) / 2
        yield (
            f'<path d="M{x:.0f} {start:.0f} C{x:.0f} {middle:.0f} {to:.0f} {middle:.0f} '
            f'{to:.0f} {end:.0f}" fill="none" stroke="#5b7db1" stroke-opacity="0.45" '
            f'stroke-width="{min(1 + count / 4, 5):.1f}"><title>{here} imports {there}: '
            f"{count} modules</title></path>"
        )


_EVERYWHERE = frozenset({"config", "types", "errors"})


def page() -> str:
    """The page: the written words, with what lives where from the packages' own docstrings."""
    rows = ["| room | what lives there |", "| --- | --- |"]
    for room in (room for level in floors() for room in level):
        path = PACKAGE / room / "__init__.py"
        path = path if path.is_file() else PACKAGE / f"{room}.py"
        if path.is_file():
            name = f"`{room}/`" if path.name == "__init__.py" else f"`{room}.py`"
            rows.append(f"| {name} | {_first_sentence(path)} |")
    head = "<!-- made by scripts/architecture.py from architecture-words.md: change that -->\n"
    return head + WORDS.read_text("utf-8").replace("{rooms}", "\n".join(rows))


def _first_sentence(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(told.split("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
