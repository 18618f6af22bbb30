"""What every page is made of: one frame (base.html), style and script, and pictures within it."""

import base64
import io
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader
from matplotlib.figure import Figure


def filled(template: str, *, escaped: bool = False, **values: Any) -> str:  # noqa: ANN401
    """A page's template with its values, which are HTML already unless they are to be `escaped`."""
    made = Environment(autoescape=escaped, loader=FunctionLoader(_resource))
    page = made.get_template(template)
    return page.render(style=_resource("style.css"), script=_resource("page.js"), **values)


def picture(figure: Figure, *, cut: bool = True) -> str:
    """A figure as the address of an image within the page; `cut`: without its empty margins."""
    buffer = io.BytesIO()
    margins = {"bbox_inches": "tight", "pad_inches": 0.1} if cut else {}
    figure.savefig(buffer, format="png", facecolor="white", **margins)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _resource(name: str) -> str:
    return resources.files("xai_exp.report").joinpath(name).read_text("utf-8")
