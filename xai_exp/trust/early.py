"""Values of a wrong type or out of range, refused before torch is imported.

The full check (`xai_exp.config.configured`) is that of the classes themselves, and to import them
takes seconds. Here annotations are read from this package's source instead. What can't be read so
(a type of another package, a rule between fields) is left to the full check, which always comes.
"""

import ast
import collections.abc
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from xai_exp import config as fields
from xai_exp.config import Folder, InputError, problem

SINGLE = ("dataset", "model", "trainer", "imputer", "tracking")  # groups of one object each
SEVERAL = ("explainer", "metric")  # and of objects by name
_PACKAGE = Path(__file__).resolve().parent.parent
_SETTINGS = "xai_exp.build.Settings"
_MARKS = ("Range", "Added", "Content", "Code", "Count", "Folder")
_KNOWN: Mapping[str, object] = {
    **{name: vars(typing)[name] for name in ("Annotated", "Literal", "Any", "Union", "Optional")},
    **{name: vars(collections.abc)[name] for name in ("Sequence", "Mapping")},
    **{
        name: vars(fields)[name]
        for name in ("Range", "Added", "Content", "Code", "Count", "Folder")
    },
    **{kind.__name__: kind for kind in (int, float, bool, str, tuple, list, dict)},
}


class _Unknown(Exception):  # noqa: N818 - no error: it is then for the full check
    """An annotation that can't be read from the source."""


def refuse(config: DictConfig) -> None:
    """Refuse the first value that its field can't have, in the order of the full check.

    Raises:
        InputError: with the line of the full check.
    """
    apart = {*SINGLE, *SEVERAL, "hydra", "formats"}
    top = {str(key): config[key] for key in config if str(key) not in apart}
    _check(_SETTINGS, top, "")
    for group in SINGLE:
        _check_node(config.get(group), f"{group}: ")
    for group in SEVERAL:
        node = config.get(group)
        for name in node if isinstance(node, DictConfig) else ():
            _check_node(node[name], f"{group}.{name}: ")


def _check_node(node: Any, where: str) -> None:  # noqa: ANN401
    if isinstance(node, DictConfig) and isinstance(node.get("_target_"), str):
        _check(node["_target_"], {str(key): node[key] for key in node}, where)


def _check(target: str, given: Mapping[str, Any], where: str) -> None:
    found = _annotations(target)
    kind = target.rpartition(".")[2]
    named = f"{where}{kind}." if where else ""
    for name in (name for name in found if name in given):
        value = given[name]
        if isinstance(value, DictConfig):
            continue
        plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
        wrong, seen = problem(found[name], plain)
        if wrong:
            raise InputError(f"{named}{name}: got {seen!r}; allowed: {wrong}")
    for name, hint in found.items():
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        path = given.get(name)
        if Folder() in marks and isinstance(path, str) and path.isascii():
            place = Path(path).expanduser()
            if not place.is_dir():
                raise InputError(f"{named}{name}: got {place}; allowed: a folder that exists")


@cache
def _annotations(target: str) -> dict[str, Any]:
    """The fields of a class of this package whose annotations can be read, in their order."""
    module, _, name = target.rpartition(".")
    try:
        home, found = _found(module, name)
    except _Unknown:
        return {}
    hints: dict[str, Any] = {}
    if not isinstance(found, ast.ClassDef):
        return hints
    for base in reversed(found.bases):  # as dataclasses have their fields
        if isinstance(base, ast.Name):
            hints |= _of_base(home, base.id)
    for line in found.body if found.decorator_list else ():  # else they are no fields
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            try:
                hints[line.target.id] = _read(line.annotation, home)
            except _Unknown:
                hints.pop(line.target.id, None)
    return hints


def _of_base(module: str, name: str) -> dict[str, Any]:
    try:
        home, found = _found(module, name)
    except _Unknown:
        return {}
    return _annotations(f"{home}.{name}") if isinstance(found, ast.ClassDef) else {}


def _found(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a name of a module is defined, and how; imports are followed within this package."""
    for line in _source(module).body:
        for known, origin in _names(line):
            if known == name:
                return _found(*origin) if origin else (module, line)
    raise _Unknown(name)


def _names(line: ast.stmt) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """The names that a line of a module defines, and where those that it imports are from."""
    if isinstance(line, ast.ClassDef):
        yield line.name, None
    elif isinstance(line, ast.Assign):
        yield from ((one.id, None) for one in line.targets if isinstance(one, ast.Name))
    elif isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
        yield line.target.id, None
    elif isinstance(line, ast.ImportFrom):
        yield from ((one.asname or one.name, (line.module or "", one.name)) for one in line.names)


@cache
def _source(module: str) -> ast.Module:
    package, _, rest = module.partition(".")
    path = _PACKAGE.joinpath(*rest.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if package != "xai_exp" or not path.is_file():
        raise _Unknown(module)
    return ast.parse(path.read_text("utf-8"))


def _read(node: ast.expr, module: str) -> Any:  # noqa: ANN401
    """What an annotation says, without importing the module that it stands in."""
    try:
        return eval(
            compile(ast.Expression(node), module, "eval"), {"__builtins__": {}}, _Names(module)
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise _Unknown(ast.unparse(node)) from error


class _Names(dict[str, Any]):
    """The names of a module, each read from its source when it is asked for."""

    def __init__(self, module: str) -> None:
        super().__init__(_KNOWN)
        self._module = module

    def __missing__(self, name: str) -> Any:  # noqa: ANN401
        home, line = _found(self._module, name)
        if isinstance(line, ast.Assign):
            return _read(line.value, home)
        if isinstance(line, ast.AnnAssign) and line.value is not None:
            return _read(line.value, home)
        raise _Unknown(name)
