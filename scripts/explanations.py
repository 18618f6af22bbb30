"""Put what was found into the pages that explain: `python scripts/explanations.py`.

Between `<!-- found: NAME -->` and `<!-- end found -->` comes what docs/findings.md says in short
where that study is, or under the heading whose anchor is NAME. `--check` only compares.
"""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("lrp.md", "faithfulness.md", "exact-truth.md", "pitfalls.md")
_PLACE = re.compile(r"(<!-- found: ([\w-]+) -->\n).*?(<!-- end found -->)", re.S)
_SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
_SHORT = re.compile(r"^\*\*In short\.\*\* (.*?)\n\n", re.M | re.S)


def main() -> int:
    """Write the pages, or compare them."""
    findings = (DOCS / "findings.md").read_text("utf-8")
    old = {name: (DOCS / name).read_text("utf-8") for name in PAGES}
    new = {name: filled(text, findings) for name, text in old.items()}
    if "--check" in sys.argv:
        return int(old != new)
    for name, text in new.items():
        (DOCS / name).write_text(text, "utf-8")
    return 0


def filled(page: str, findings: str) -> str:
    """A page with what was found at each of its places."""
    return _PLACE.sub(lambda m: m[1] + found(m[2], findings) + m[3], page)


def found(name: str, findings: str) -> str:
    """What a study found, in short, as a quotation.

    Raises:
        KeyError: for a study that the findings don't have.
    """
    for title, text in _SECTION.findall(findings):
        anchor = re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-")
        if name == anchor or re.search(rf"<!-- study: {name} ", text):
            short = _SHORT.search(text)
            assert short
            lines = "".join(f"> {line}\n" for line in short[1].splitlines())
            return f"{lines}>\n> [{title}](findings.md#{anchor})\n"
    raise KeyError(name)


if __name__ == "__main__":
    sys.exit(main())
