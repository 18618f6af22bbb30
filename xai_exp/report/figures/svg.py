"""A figure as SVG within a page: its words are words, and its colours those of the page's style."""

import hashlib
import html
import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from xai_exp.report.figures.ink import VARIABLES

_FIXED: Any = {"svg.fonttype": "none", "svg.hashsalt": "xai_exp"}  # the same names every time
_POWER = ("$\\mathdefault",)  # as axes write powers of ten
_NEVER_SEEN = re.compile(
    r"^.*?(?=<svg)|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->"
    r'|\n\s*(?=<|$)| transform="rotate\(-?0 [^"]*"',
    re.DOTALL,
)
_COLOUR = re.compile(r"(?<=: )#[0-9a-f]{6}")
_FAMILY = re.compile(r"'DejaVu Sans'[^;\"]*")
_PATH = re.compile(r' d="[^"]*"')
_NAME = re.compile(r' id="([^"]+)"')
_USE = re.compile(r'(?:href="|url\()#([\w-]+)')


def svg(figure: Figure, alt: str) -> str:
    """The same figure is always the same text; `alt` says what it shows."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().startswith(_POWER):
            text.set_parse_math(False)  # a $ in a name is a $
    buffer = io.StringIO()
    with rc_context(_FIXED):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03)
    text = _NEVER_SEEN.sub("", buffer.getvalue())
    text = _COLOUR.sub(_variable, _FAMILY.sub("system-ui, sans-serif", text))
    text = _PATH.sub(_shorter, text).replace("xlink:href", "href")
    (box,) = re.findall(r'viewBox="[^"]+"', text)
    start = f'<svg {box} role="img" aria-label="{html.escape(alt)}"'
    return _own(re.sub(r"^<svg[^>]*", start, text))


def _variable(colour: re.Match[str]) -> str:
    name = VARIABLES.get(colour[0])
    return f"var({name})" if name else colour[0]


def _shorter(path: re.Match[str]) -> str:
    """A hundredth of a point is finer than any screen."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0].replace("\n", ""))


def _own(text: str) -> str:
    """Names that no other figure of the page has, and only where something refers to them."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(_USE.findall(text))
    text = _NAME.sub(lambda name: f' id="{name[1]}-{mark}"' if name[1] in used else "", text)
    return _USE.sub(rf"\g<0>-{mark}", text)
