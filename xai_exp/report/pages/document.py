"""What every page is made of: one frame (base.html), style and script."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader


def filled(template: str, *, escaped: bool = False, **values: Any) -> str:  # noqa: ANN401
    """A page's template with its values, which are HTML already unless they are to be `escaped`."""
    made = Environment(autoescape=escaped, loader=FunctionLoader(_resource))
    page = made.get_template(template)
    return page.render(style=_resource("style.css"), script=_resource("page.js"), **values)


def _resource(name: str) -> str:
    return resources.files("xai_exp.report").joinpath(name).read_text("utf-8")
