"""What there is to choose from: names, their meaning, and what each field allows."""

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from xai_exp.config import InputError, allowed, config_folder
from xai_exp.errors import unknown
from xai_exp.notebook.composing import composed, names

GROUPS = ("explainer", "metric", "dataset", "model", "imputer", "trainer")
_SEVERAL = ("explainer", "metric")
_LINE = 110
_FIELD = re.compile(r"^  (\w+):[ \t]*([^#\n]*)", re.MULTILINE)
_NOTE = re.compile(r"^[ \t]*(\w+):[^#\n]*#[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, repr=False)
class Choice:
    """One name of a group; `str` is its meaning in one line, `repr` all that one can set."""

    group: str
    name: str

    @property
    def meaning(self) -> str:
        """What it is, in one line: the beginning of its YAML's comment."""
        return shorten(self._comment, _LINE, placeholder=" ...")

    @property
    def _path(self) -> Path:
        return config_folder() / self.group / f"{self.name}.yaml"

    @property
    def _comment(self) -> str:
        lines = self._path.read_text("utf-8").splitlines()
        end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        words = (line.removeprefix("#").strip() for line in lines[:end])
        return " ".join(line for line in words if not line.startswith("@package"))

    def help(self) -> str:
        """Its meaning, its fields with their defaults, and what each field allows."""
        node = composed(f"{self.group}={self.name}")[self.group]
        head = f"{self.name} ({self.group}): {self._comment}"
        if self.group in _SEVERAL:
            if len(node) > 1:
                return f"{head}\nA preset of {len(node)}: {', '.join(map(str, node))}"
            node = node[next(iter(node))]
        return "\n".join([head, *self._fields(node)])

    def outline(self) -> str:
        """Its own fields with their defaults, in one line, read as text: they are many files."""
        text = self._path.read_text("utf-8")
        if self.group not in _SEVERAL or text.find("defaults:") >= 0:
            return ""
        found = [(name, value.strip()) for name, value in _FIELD.findall(text)]
        pairs = [f"{name}={_as_text(value)}" for name, value in found if name != "_target_"]
        return f" [{', '.join(pairs)}]" if pairs else ""

    def _fields(self, node: DictConfig) -> Iterator[str]:
        words = allowed(get_object(node["_target_"]))
        notes = dict(_NOTE.findall(self._path.read_text("utf-8")))
        plain: Any = OmegaConf.to_container(node, resolve=False)
        for name, default in plain.items():
            if name != "_target_":
                note = f"  # {notes[name]}" if name in notes else ""
                yield f"  {name} = {_shown(default)}; allowed: {words[name]}{note}"

    def __str__(self) -> str:
        return self.meaning

    def __repr__(self) -> str:
        return self.help()


def _as_text(value: str) -> str:
    """A default as it stands in a YAML file, references and nested things by their names."""
    if value.startswith("${"):
        return f"the call's {value[2:-1]}"
    return value.rpartition(".")[2].rstrip("}") if "_target_" in value else value or "..."


def _shown(default: object) -> str:
    """A default in words: what the call gives, nothing at all, or the value itself."""
    if isinstance(default, str) and default.startswith("${"):
        return f"the call's {default[2:-1]}"
    if isinstance(default, Mapping):
        return str(default.get("_target_", default)).rpartition(".")[2]
    if isinstance(default, float):
        return f"{default:g}"
    return "(none: it must be given)" if default == "???" else str(default)


class Choices(Mapping[str, Choice]):
    """The choices of a group by name; `xe.explainers()["lrp"]` shows what one can set.

    >>> Choices("imputer")["mean"].meaning
    "The image's own mean, channel by channel, in the place of removed pixels."
    """

    def __init__(self, group: str) -> None:
        self._found = {name: Choice(group=group, name=name) for name in names(group)}
        self._group = group

    def __getitem__(self, name: str) -> Choice:
        if name not in self._found:
            raise InputError(unknown(self._group, name, [n for n in self._found if "/" not in n]))
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def outlines(self) -> Iterator[str]:
        """A line a choice: its name, its meaning, and its fields with their defaults."""
        for name, one in self._found.items():
            yield f"{name}: {one.meaning}{one.outline()}"

    def __repr__(self) -> str:
        wide = max(map(len, self._found), default=0)
        return "\n".join(f"{name:{wide}}  {one.meaning}" for name, one in self._found.items())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        rows = (
            f"<tr><td style='text-align:left'><code>{html.escape(name)}</code></td>"
            f"<td style='text-align:left'>{html.escape(one.meaning)}</td></tr>"
            for name, one in self._found.items()
        )
        return f"<table>{''.join(rows)}</table>"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._found)


class Help(str):
    """Text that a prompt shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def described(name: str) -> Help:
    """The help of every choice of this name, whichever groups have it.

    Raises:
        InputError: for a name that no group has.
    """
    groups = [Choices(group) for group in GROUPS]
    found = [choices[name].help() for choices in groups if name in choices]
    if not found:
        raise InputError(unknown("name", name, [one for choices in groups for one in choices]))
    return Help("\n\n".join(found))
