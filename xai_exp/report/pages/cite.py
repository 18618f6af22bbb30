"""What a page says of itself: when and of what it was made, where its tables are, how to cite it.

It is put in once the page's key is known: a page that is made again tomorrow is the same page.
"""

import html
from datetime import date
from typing import NamedTuple

_TINY = "Made with size=tiny, to try the study out: these numbers answer nothing."
_SMALLER = "Made of fewer networks or images than {name}.html, which stands beside it."


class Made(NamedTuple):
    """When and of what a page was made.

    Attributes:
        name: of its file, without ending.
        title: its question.
        version: of xai_exp.
        commit: of the code; empty if unknown.
        day: of the making.
    """

    name: str
    title: str
    version: str
    commit: str
    day: date


def filled(page: str, made: Made) -> str:
    """The page with its date, its banner if it needs one, its tables and its citation."""
    stamp = f'<meta name="date" content="{made.day.isoformat()}">'
    page = page.replace("<!-- date -->", stamp, 1)
    page = page.replace("<!-- banner -->", _banner(made.name), 1)
    return page.replace("<!-- cite -->", _cite(made), 1)


def _banner(name: str) -> str:
    said = ""
    if name.endswith("-tiny"):
        said = _TINY
    elif name.endswith("-smaller"):
        said = _SMALLER.format(name=html.escape(name.removesuffix("-smaller")))
    return f'<p class="banner">{said}</p>' if said else ""


def _cite(made: Made) -> str:
    name = html.escape(made.name)
    code = f", code at commit {html.escape(made.commit[:12])}" if made.commit else ""
    return (
        '<h2 id="cite">Cite as</h2>\n'
        f"<p>The xai_exp developers, {made.day.isoformat()}; xai_exp {html.escape(made.version)}"
        f'{code}. All scores: <a href="{name}.csv">CSV</a>, <a href="{name}.parquet">Parquet</a>.'
        f"</p>\n<pre>{html.escape(bibtex(made))}</pre>"
    )


def bibtex(made: Made) -> str:
    """The entry; its DOI is given by whoever archives the page."""
    title = made.title.replace("{", "").replace("}", "")
    commit = f", commit {made.commit[:12]}" if made.commit else ""
    lines = [
        f"@misc{{xai_exp_{made.name.replace('-', '_')},",
        "  author = {{The xai_exp developers}},",
        f"  title = {{{title}}},",
        f"  year = {{{made.day.year}}},",
        f"  note = {{xai\\_exp {made.version}{commit}}},",
        "  doi = {}",
        "}",
    ]
    return "\n".join(lines)
