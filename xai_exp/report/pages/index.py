"""One page that links all studies of a folder with their answers: reports/index.html."""

import html
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from xai_exp.files import locked, write_whole
from xai_exp.report.pages import document

STUDIES = (
    *("lrp_vs_sensitivity", "human_strategy", "stability", "metric_validity", "adoption"),
    *("certified", "edge_filter"),
)
REPLICATIONS = ("samek2017", "sixt2020", "bluecher2024", "xaitris", "nlesc2020")
_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
_NAME = "index.html"
_TITLE = "Which explanation of an image classifier can be trusted?"
_SUMMARY = "Each study with its answer; its page has the numbers, plots and how to repeat it."


class Entry(NamedTuple):
    """What the index says of a page.

    Attributes:
        file: its name.
        title: its question.
        headline: the answer in one sentence.
        claims: each claim's answer and text.
        day: of its making; empty if it does not say.
        picture: a small one, as a data URI; empty if it has none.
    """

    file: str
    title: str
    headline: str
    claims: Sequence[tuple[str, str]]
    day: str = ""
    picture: str = ""


def lock(folder: Path) -> AbstractContextManager[None]:
    """Held by whoever writes pages into the folder: the index reads them all."""
    return locked(folder / ".lock", f"writes pages in {folder}")


def write(folder: Path) -> Path | None:
    """Write FOLDER/index.html anew; None if there is no page to link."""
    if not folder.is_dir():
        return None
    with lock(folder):
        found = entries(folder)
        if not found:
            return None
        text = document.filled(
            _NAME, escaped=True, title=_TITLE, summary=_SUMMARY, groups=_grouped(found)
        )
        path = folder / _NAME
        write_whole(path, text)
        return path


def entries(folder: Path) -> list[Entry]:
    """Every page of the folder: the named studies first, then the replications, then others."""
    order = {name: place for place, name in enumerate((*STUDIES, *REPLICATIONS))}
    paths = [path for path in sorted(folder.glob("*.html")) if path.name != _NAME]
    paths.sort(key=lambda path: order.get(path.stem, len(order)))
    return [_read(path) for path in paths]


def _grouped(found: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    groups: dict[str, list[Entry]] = {"Studies": [], "Replications": [], "Other reports": []}
    for one in found:
        name = Path(one.file).stem
        kind = "Studies" if name in STUDIES else "Other reports"
        groups["Replications" if name in REPLICATIONS else kind].append(one)
    return [(name, members) for name, members in groups.items() if members]


def _read(path: Path) -> Entry:
    parser = _Head()
    parser.feed(path.read_text("utf-8").partition("</head>")[0])
    title = parser.title or path.stem
    return Entry(path.name, title, parser.headline, parser.claims, parser.day, parser.picture)


class _Head(HTMLParser):
    """The title of a page and what its meta elements say of the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.title = self.headline = self.day = self.picture = ""
        self.claims: list[tuple[str, str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a meta element."""
        self._inside = tag == "title"
        given = dict(attrs)
        content = given.get("content") or ""
        if tag == "meta" and given.get("name") == "description":
            self.headline = content
        if tag == "meta" and given.get("name") == "thumbnail" and _PICTURE.fullmatch(content):
            self.picture = content
        if tag == "meta" and given.get("name") == "date":
            self.day = content
        if tag == "meta" and given.get("name") == "answer":
            answer, _, text = content.partition(": ")
            self.claims.append((answer, text))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        """The title has ended."""
        self._inside = False

    def handle_data(self, data: str) -> None:
        """Read the title."""
        if self._inside:
            self.title += html.unescape(data)
