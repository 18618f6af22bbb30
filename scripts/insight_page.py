"""Write docs/insight.md: its words, and what other tools offer beside ours (insight.json).

`--check` only says whether the page is as it would be written.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "insight.md"
WORDS = ROOT / "docs" / "insight-words.md"
ROWS = Path(__file__).with_name("insight.json")
ELI5 = Path(__file__).with_name("insight_eli5.json")
HEAD = "<!-- made by scripts/insight_page.py from insight-words.md and scripts/insight.json -->\n"


def main() -> int:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")
    print(PAGE.relative_to(ROOT))
    return 0


def rows() -> list[tuple[str, str, str, str, str, str]]:
    """Tool, its function, ours, how ours compares, why, the test; a test of tests/."""
    return [tuple(row) for row in json.loads(ROWS.read_text("utf-8"))]


def beside_eli5() -> str:
    """What eli5 and ours say of the same scenes."""
    told = json.loads(ELI5.read_text("utf-8"))
    words = [
        f"{name} {one['ours'][0]:.2f} ± {one['ours'][1]:.2f} (eli5: {one['eli5'][0]:.2f} ± "
        f"{one['eli5'][1]:.2f})"
        for name, one in told["rows"].items()
    ]
    return (
        f"permutation importance on a white box that counts, {told['scenes']} scenes, mean ± "
        f"standard deviation of {told['repeats']} permutations (eli5 {told['eli5']} draws others): "
        f"{', '.join(words)}."
    )


def page() -> str:
    """The whole page."""
    lines = [
        "| tool | theirs | ours | compared | why | tested by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for tool, theirs, ours, compared, why, tested in rows():
        mine = f"`{ours.replace('/', '=', 1).removeprefix('xai_exp.')}`" if ours else ""
        lines.append(f"| {tool} | {theirs} | {mine} | {compared} | {why} | {tested} |")
    return HEAD + WORDS.read_text("utf-8").replace("{rows}", "\n".join(lines)).replace(
        "{eli5}", beside_eli5()
    )


if __name__ == "__main__":
    sys.exit(main())
