"""The text of an NNEF graph in flat syntax: operations of names, numbers, lists and tuples."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from xai_exp.config import InputError

_DEEPEST, _LONGEST = 8, 64 * 2**20  # levels of lists; bytes of text
_MOST = 50_000  # operations
_TOKEN = re.compile(
    r"\s+|#[^\n]*|(?P<name>[A-Za-z_]\w*)|(?P<number>-?\d+(\.\d+)?([eE][-+]?\d+)?)"
    r"|(?P<text>'[^'\n]*'|\"[^\"\n]*\")|(?P<sign>->|[-+*/<>=(){}\[\],;.])"
)
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class Name:
    """A value's name."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One line: results = op(arguments)."""

    op: str
    results: tuple[str, ...]
    positional: tuple[Any, ...]
    named: dict[str, Any]

    def get(self, name: str, place: int | None = None, otherwise: Any = None) -> Any:  # noqa: ANN401
        """An argument by its name, or by its place."""
        if place is not None and place < len(self.positional):
            return self.positional[place]
        return self.named.get(name, otherwise)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A parsed graph."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


def parse(text: str) -> Text:
    """The graph in a text.

    Raises:
        InputError: with the line that can't be read, or for fragments of one's own.
    """
    if len(text) > _LONGEST:
        raise InputError("nnef: got a text of more than 64 MiB; allowed: less")
    if (many := text.count(";")) > _MOST:
        raise InputError(f"nnef: got {many} operations; allowed: {_MOST}")
    return _Parser(text).graph()


class _Parser:
    """Tokens, read from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.place = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place][:2] if self.place < len(self.tokens) else ("end", "")

    def next(self) -> tuple[str, str]:
        found = self.peek()
        self.place += 1
        return found

    def expect(self, text: str) -> None:
        kind, found = self.next()
        if found != text or kind == "text":
            self.fail(found, repr(text))

    def fail(self, found: str, allowed: str) -> None:
        line = self.tokens[min(self.place, len(self.tokens)) - 1][2] if self.tokens else 1
        raise InputError(f"nnef: line {line}: got {found[:40]!r}; allowed: {allowed}")

    def name(self) -> str:
        kind, found = self.next()
        if kind != "name":
            self.fail(found, "a name")
        return found

    def names(self) -> tuple[str, ...]:
        self.expect("(")
        found = [self.name()]
        while self.peek()[1] == ",":
            self.next()
            found.append(self.name())
        self.expect(")")
        return tuple(found)

    def graph(self) -> Text:
        self.expect("version")
        version = self.next()[1]
        if not version.startswith("1."):
            self.fail(version, "version 1.0")
        self.expect(";")
        if self.peek()[1] != "graph":
            self.fail(self.peek()[1], "a graph, without extensions or fragments of one's own")
        self.next()
        self.name()
        inputs = self.names()
        self.expect("->")
        outputs = self.names()
        self.expect("{")
        operations = []
        while self.peek()[1] != "}":
            operations.append(self.operation())
        self.expect("}")
        return Text(inputs=inputs, outputs=outputs, operations=tuple(operations))

    def operation(self) -> Operation:
        results = self.results()
        self.expect("=")
        op = self.name()
        if self.peek()[1] == "<":
            self.next()
            self.name()
            self.expect(">")
        self.expect("(")
        positional: list[Any] = []
        named: dict[str, Any] = {}
        while self.peek()[1] != ")":
            following = self.tokens[self.place + 1][1] if self.place + 1 < len(self.tokens) else ""
            if self.peek()[0] == "name" and following == "=":
                key = self.name()
                self.next()
                named[key] = self.value(0)
            else:
                positional.append(self.value(0))
            if self.peek()[1] == ",":
                self.next()
            elif self.peek()[1] != ")":
                self.fail(self.peek()[1], "',' or ')'")
        self.expect(")")
        self.expect(";")
        return Operation(op=op, results=results, positional=tuple(positional), named=named)

    def results(self) -> tuple[str, ...]:
        if self.peek()[1] == "(":
            return self.names()
        if self.peek()[1] == "[":
            return tuple(one.text for one in self.value(0) if isinstance(one, Name))
        return (self.name(),)

    def value(self, depth: int) -> Any:  # noqa: ANN401
        kind, found = self.next()
        if kind == "number":
            return float(found) if re.search(r"[.eE]", found) else int(found)
        if kind == "text":
            return found[1:-1]
        if kind == "name":
            return _WORDS.get(found, Name(found))
        if found not in ("[", "(") or depth >= _DEEPEST:
            self.fail(found, "a name, a number, a text, a list or a tuple")
        end, members = {"[": "]", "(": ")"}[found], []
        while self.peek()[1] != end:
            members.append(self.value(depth + 1))
            if self.peek()[1] != end:
                self.expect(",")
        self.expect(end)
        return members


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    place, line = 0, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise InputError(f"nnef: line {line}: got {text[place : place + 20]!r}; allowed: NNEF")
        if found.lastgroup:
            yield found.lastgroup, found.group(found.lastgroup), line
        line += found.group().count("\n")
        place = found.end()
