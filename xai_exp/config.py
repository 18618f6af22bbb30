"""What every configured thing shares: frozen fields, checked types and ranges, one-line errors.

A configured thing is a class under `@configured`; its fields are the YAML's keys. Ranges stand in
the annotation, so a field says what it allows where it is declared:

>>> @configured
... class Rule:
...     epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
...     name: Literal["z", "epsilon"] = "z"
>>> Rule(epsilon=-1.0)
Traceback (most recent call last):
    ...
xai_exp.config.InputError: Rule.epsilon: got -1.0; allowed: a number > 0
"""

import hashlib
import importlib
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")


class InputError(ValueError):
    """What the user gave can't be used; the message is the one line that the user sees.

    Write it as: what was wrong, what it got, what is allowed.
    """


@dataclass(frozen=True)
class Range:
    """The numbers (or lengths of a list: the range holds for each member) that a field allows."""

    low: float | int | None = None
    high: float | int | None = None
    exclusive_low: bool = False
    exclusive_high: bool = False

    def holds(self, value: float | int) -> bool:
        """Whether `value` is inside and finite; only a bound that is infinite admits infinity."""
        if math.isnan(value) or (math.isinf(value) and value not in (self.low, self.high)):
            return False
        low_ok = self.low is None or (value > self.low if self.exclusive_low else value >= self.low)
        high_ok = self.high is None or (
            value < self.high if self.exclusive_high else value <= self.high
        )
        return low_ok and high_ok

    def __str__(self) -> str:
        parts = []
        if self.low is not None:
            parts.append(f"{'>' if self.exclusive_low else '>='} {self.low:g}")
        if self.high is not None:
            parts.append(f"{'<' if self.exclusive_high else '<='} {self.high:g}")
        return " and ".join(parts)


_NAME = re.compile(r"[\w+=,][\w .+=,@-]{0,99}")


def refuse_unsafe_name(what: str, name: str) -> None:
    """Refuse a name that can't be that of a file and of a run at once.

    Raises:
        InputError: unless it has 1 to 100 letters, digits, spaces and signs among . _ + = , @ -
            and begins with none of space, full stop and dash.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise InputError(
            f"{what}: got {name[:60]!r}; allowed: up to 100 letters, digits, spaces and any of "
            "_ . + = , @ -, a letter or digit first"
        )


def refuse_empty(what: str, name: str | None) -> None:
    """Refuse an empty name of a folder or an address, which would mean the current folder.

    Raises:
        InputError: for nothing but spaces.
    """
    if name is not None and not name.strip():
        raise InputError(f"{what}: got {name!r}; allowed: a name, or leave it out")


_MADE: set[type] = set()  # every class under `@configured`

Count = Annotated[int, Range(1)]  # one or more


@dataclass(frozen=True)
class Added:
    """Marks a field that came later: while it has this value, identities are as if it were not."""

    value: object


@dataclass(frozen=True)
class Content:
    """Marks a field that is a file's path: it counts by what the file holds, not by its place.

    Args:
        files: of a path, all files that belong to it, if it is not one alone.
    """

    files: Callable[[Path], Sequence[Path]] | None = None


@dataclass(frozen=True)
class Folder:
    """Marks a field that is a folder which has to be there; its class refuses any other."""


@dataclass(frozen=True)
class Code:
    """Marks a field `package.module:function`: the code that it names counts by its content."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def configured(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass whose fields are checked when it is made.

    The type checker of the tests leaves `__init__` alone, so that wrong values get these errors.
    Types and ranges come from the annotations (`int`, `float`, `bool`, `str`, `Literal`, unions,
    `tuple[X, ...]`, any class, `Annotated[..., Range(...)]`); a list given for a tuple is made one.
    A `__post_init__`, the class's own or inherited, runs after the check, for rules between fields.

    What the class computes has a `version`, 1 unless it says otherwise: a class variable to raise
    with every change of its results, since finished work is found again by it (`identity`).

    Raises:
        InputError: when a value has the wrong type or is out of its range.
    """
    if "version" not in dir(cls):
        cls.version = 1  # pyright: ignore[reportAttributeAccessIssue]
    own = getattr(cls, "__post_init__", None)
    own = getattr(own, "rule", own)  # a parent's, without the parent's check of the fields

    def __post_init__(self: Any) -> None:  # noqa: ANN401, N807
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            wrong, value = problem(hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            if wrong:
                name = f"{type(self).__name__}.{field.name}"
                raise InputError(f"{name}: got {value!r}; allowed: {wrong}")
        if own is not None:
            own(self)

    __post_init__.rule = own  # pyright: ignore[reportFunctionMemberAccess]
    cls.__post_init__ = __post_init__  # pyright: ignore[reportAttributeAccessIssue]
    made = dataclass(frozen=True, kw_only=True)(cls)
    made.__init__.__no_type_check__ = True  # pyright: ignore[reportFunctionMemberAccess]
    _MADE.add(made)
    return made


def is_configured(cls: type) -> bool:
    """Whether a class itself, not only a parent, stands under `@configured`."""
    return cls in _MADE


def identity(thing: Any) -> Any:  # noqa: ANN401
    """What decides what a configured thing does, as plain data for a key; not where its code lives.

    Its name (the class's, or its class variable `known_as`), its version and its fields. A field
    that was `Added` with the value that keeps what was before is left out, so that older work is
    still found. The code of a class from outside this package counts by its content.

    >>> @configured
    ... class Rule:
    ...     epsilon: float = 1e-6
    ...     bias: Annotated[bool, Added(True)] = True
    >>> identity(Rule()), identity(Rule(bias=False))
    (('Rule', 1, {'epsilon': 1e-06}), ('Rule', 1, {'epsilon': 1e-06, 'bias': False}))
    """
    if isinstance(thing, Mapping):
        return {str(key): identity(value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        return [identity(value) for value in thing]
    if not is_dataclass(thing) or isinstance(thing, type):
        return thing if isinstance(thing, bool | int | float | str | None) else str(thing)
    kind, told = type(thing), {field.name: getattr(thing, field.name) for field in fields(thing)}
    hints = get_type_hints(kind, include_extras=True)
    kept = {
        name: _content(hints.get(name), value) for name, value in without_added(kind, told).items()
    }
    named = (getattr(kind, "known_as", kind.__name__), getattr(kind, "version", 1), kept)
    return named if kind.__module__.startswith("xai_exp.") else (*named, _code(kind))


def without_added(kind: type, told: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configured class without those that came later and change nothing here."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: value for name, value in told.items() if _counts(hints.get(name), value)}


def _counts(hint: Any, value: object) -> bool:  # noqa: ANN401
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return not any(isinstance(mark, Added) and mark.value == value for mark in marks)


def _content(hint: Any, value: Any) -> Any:  # noqa: ANN401
    """A field's value for a key: of files and code what they hold."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    content = next((mark for mark in marks if isinstance(mark, Content)), None)
    if isinstance(value, str) and content is not None:
        path = Path(value).expanduser()
        found = [
            _digest(one, value)
            for one in ([path] if content.files is None else content.files(path))
        ]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
    if isinstance(value, str) and any(isinstance(mark, Code) for mark in marks):
        return [value.partition(":")[2], _of_module(imported(value).__module__)]
    return identity(value)


def _digest(path: Path, value: str) -> str:
    if not path.is_file():
        raise InputError(f"got {value}, which is no file; allowed: a file that can be read")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def imported(path: str) -> Any:  # noqa: ANN401
    """What `package.module:name` names; modules of the working folder are found as well.

    Raises:
        InputError: when there is no such module or name.
    """
    module, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"got {path!r}, which can't be imported ({why}); allowed: package.module:function"
        ) from error
    if not callable(found):
        raise InputError(f"got {path!r}, which is no function; allowed: package.module:function")
    return found


def _code(kind: type) -> str:
    """The content of the code that a class of someone else's consists of."""
    try:
        return _of_module(kind.__module__) or _hashed([Path(inspect.getfile(kind))])
    except (OSError, TypeError):
        return ""  # made in a notebook or a test


def _of_module(name: str) -> str:
    """The content of a module's file and of those of the same owner that it imports from."""
    files: dict[Path, None] = {}
    waiting = [name]
    while waiting:
        module = sys.modules.get(waiting.pop())
        file = Path(getattr(module, "__file__", None) or "")
        if module is None or file.suffix != ".py" or file in files:
            continue
        files[file] = None
        used = {
            value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
            for value in list(vars(module).values())
        }
        waiting += [one for one in used if isinstance(one, str) and _same_owner(one, name)]
    return _hashed(sorted(files)) if files else ""


def _same_owner(one: str, name: str) -> bool:
    """Whether a module is of the same package, or lies beside it outside of installed ones."""
    if one.partition(".")[0] == name.partition(".")[0]:
        return True
    places = [getattr(sys.modules.get(each), "__file__", None) or "" for each in (one, name)]
    return (
        all(places)
        and Path(places[0]).parent == Path(places[1]).parent
        and "site-packages" not in places[0]
        and Path(inspect.__file__).parent != Path(places[0]).parent
    )


def _hashed(files: Sequence[Path]) -> str:
    found = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    if len(found) > 1:
        found = [hashlib.sha256("".join(found).encode()).hexdigest()]
    return found[0][:16]


def config_folder() -> Path:
    """Where the YAML files are: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


def allowed(cls: type) -> dict[str, str]:
    """What each field of a configured class allows, in words.

    >>> @configured
    ... class Rule:
    ...     epsilon: Annotated[float, Range(0, exclusive_low=True)] = 1e-6
    >>> allowed(Rule)
    {'epsilon': 'a number > 0'}
    """
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: _describe(*_split(hints[field.name])) for field in fields(cls)}


def problem(hint: Any, value: Any) -> tuple[str, Any]:  # noqa: ANN401
    """What a field allows, if not this value, else the empty string; and the value as it is kept.

    >>> problem(float, 1), problem(Annotated[int, Range(1)], 0)
    (('', 1.0), ('a whole number >= 1', 0))
    """
    kept = _coerced(hint, value)
    return _problem(hint, kept), kept


def _coerced(hint: Any, value: Any) -> Any:  # noqa: ANN401
    """Lists as YAML gives them become tuples, whole numbers what is due: floats or names."""
    hint, _ = _split(hint)
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, list) or type(value).__name__ == "ListConfig":
        value = tuple(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    bare = [_split(option)[0] for option in options]
    if isinstance(value, tuple):
        return _coerced_members(bare, value)
    if is_whole and get_origin(hint) is Literal and value not in get_args(hint):
        return str(value) if str(value) in get_args(hint) else value
    if is_whole and float in bare and int not in bare:
        return float(value)
    return value


def _coerced_members(options: list[Any], values: tuple[Any, ...]) -> tuple[Any, ...]:
    for option in options:
        members = get_args(option) if get_origin(option) is tuple else ()
        if members[1:] == (Ellipsis,):
            members = members[:1] * len(values)
        if len(members) == len(values):
            return tuple(_coerced(m, value) for m, value in zip(members, values, strict=True))
    return values


def _split(hint: Any) -> tuple[Any, Range | None]:  # noqa: ANN401
    """An annotation as its bare type and its range, if it has one."""
    if get_origin(hint) is Annotated:
        bare, *extras = get_args(hint)
        return bare, next((extra for extra in extras if isinstance(extra, Range)), None)
    return hint, None


def _problem(hint: Any, value: Any) -> str:  # noqa: ANN401
    """What is allowed, if `value` is not; otherwise the empty string."""
    bare, limits = _split(hint)
    if not _fits(bare, value):
        return _describe(bare, limits)
    members = value if isinstance(value, tuple) else (value,)
    numbers = [m for m in members if isinstance(m, int | float) and not isinstance(m, bool)]
    if limits is not None and not all(limits.holds(number) for number in numbers):
        return _describe(bare, limits)
    if limits is None and not all(map(math.isfinite, numbers)):
        return f"{_describe(bare, limits)}, finite"
    return ""


def _fits(hint: Any, value: Any) -> bool:  # noqa: ANN401
    """Whether `value` has the type that `hint` names, a bool never passing for a number."""
    check = _CHECKS.get(get_origin(hint))
    if check is not None:
        return check(hint, value)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if hint in (int, float):
        return type(value) is hint
    kind = get_origin(hint) or hint
    if getattr(kind, "_is_protocol", False):
        return callable(value)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _fits_tuple(hint: Any, value: Any) -> bool:  # noqa: ANN401
    members = get_args(hint)
    if not isinstance(value, tuple):
        return False
    if len(members) == 2 and members[1] is Ellipsis:
        return all(not _problem(members[0], _coerced(members[0], item)) for item in value)
    return len(members) == len(value) and all(
        not _problem(member, _coerced(member, item))
        for member, item in zip(members, value, strict=True)
    )


def _fits_any(hint: Any, value: Any) -> bool:  # noqa: ANN401
    return any(not _problem(option, value) for option in get_args(hint))


_CHECKS: dict[Any, Callable[[Any, Any], bool]] = {
    Literal: lambda hint, value: value in get_args(hint),
    Union: _fits_any,
    types.UnionType: _fits_any,
    tuple: _fits_tuple,
}


def _describe(hint: Any, limits: Range | None) -> str:  # noqa: ANN401
    """An annotation in words."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(option) for option in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        options = (_split(option) for option in get_args(hint))
        return " or ".join(_describe(option, inner or limits) for option, inner in options)
    if get_origin(hint) is tuple:
        members = get_args(hint)
        bare, inner = _split(members[0])
        number = "" if Ellipsis in members else f" of {len(members)}"
        return f"a list{number}, each {_describe(bare, inner or limits)}"
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "null",
    }
    word = names.get(hint) or getattr(hint, "__name__", str(hint))
    return f"{word} {limits}" if limits and hint in (int, float) else word
