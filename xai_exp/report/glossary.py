"""What each metric of a page is: the first words of its class's docstring."""

import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from inspect import getdoc

from xai_exp.config import config_folder

_TARGET = re.compile(r"_target_: (xai_exp\.[\w.]+)\.(\w+)")
_PARENT = re.compile(r"defaults: \[(\w+), _self_\]")


def base(metric: str) -> str:
    """A metric's name without what tells its variants apart."""
    return metric.partition(" (")[0]


def told(metrics: Iterable[object]) -> list[tuple[str, str]]:
    """Each metric's name and what it is, those that are known."""
    names = dict.fromkeys(base(str(one)) for one in metrics)
    return [(name, words) for name in names if (words := meaning(name))]


@cache
def meaning(metric: str) -> str:
    """What a metric is, in its first sentence; empty for one that has no YAML.

    >>> meaning("sparseness")
    'The Gini index of the absolute relevance: 0 all pixels equal, near 1 one pixel has it all.'
    """
    path = config_folder() / "metric" / f"{metric}.yaml"
    if not re.fullmatch(r"\w+", metric) or not path.is_file():
        return ""
    text = path.read_text("utf-8")
    if found := _TARGET.search(text):
        return _first(getdoc(getattr(import_module(found[1]), found[2])) or "")
    parent = _PARENT.search(text)
    return meaning(parent[1]) if parent else ""


def _first(docstring: str) -> str:
    return " ".join(docstring.partition("\n\n")[0].split())
