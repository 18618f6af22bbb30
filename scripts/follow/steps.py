"""What a page tells its reader to do, step by step."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMMAND, PYTHON, FILE, OUTPUT, INLINE, NOTEBOOK = (
    "command",
    "python",
    "file",
    "output",
    "inline",
    "notebook",
)
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SHELLS = {"sh", "bash", "console"}
_BEGINS = r"(?:python -m|python scripts/|xai-exp|make|pip|uv|optuna-dashboard)"
_TOLD = re.compile(rf"^{_BEGINS}\b", re.MULTILINE)
_INLINE = re.compile(rf"(?<!`)`({_BEGINS}(?: [^`]*)?)`(?!`)")
_TABLE = "┏"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that a page says to do, or says that comes of it.

    Attributes:
        kind: a command, Python, a file to write, the output of a command, a command that is only
            named within the text, or a notebook.
        line: where it stands.
        text: the command, the code, the file's content, the output.
        place: of a file its path; of a block that says `no-run`, or names a library, that word.
        command: of an output, what gives it.
    """

    kind: str
    line: int
    text: str
    place: str = ""
    command: str = ""


def steps(page: Path) -> list[Step]:
    """All steps of a page, in its order."""
    if page.suffix == ".ipynb":
        return [Step(kind=NOTEBOOK, line=1, text=str(page))]
    found: list[Step] = []
    text, end = page.read_text("utf-8"), 0
    for block in BLOCK.finditer(text):
        found += _named(text, end, block.start())
        line = 2 + text.count("\n", 0, block.start())
        found += _block(block[1], block[2] or "", block[3], line, found)
        end = block.end()
    return [*found, *_named(text, end, len(text))]


def _named(text: str, start: int, end: int) -> Iterator[Step]:
    for found in _INLINE.finditer(text, start, end):
        line = 1 + text.count("\n", 0, found.start())
        yield Step(kind=INLINE, line=line, text=" ".join(found[1].split()))


def _block(language: str, place: str, text: str, line: int, before: list[Step]) -> Iterator[Step]:
    shell = language in _SHELLS or (language == "text" and _TOLD.search(text))
    if place and ("." in place or "/" in place):
        yield Step(kind=FILE, line=line, text=text, place=place)
    elif shell:
        for offset, command in commands(text):
            yield Step(kind=COMMAND, line=line + offset, text=command, place=place)
    elif language == "python":
        yield Step(kind=PYTHON, line=line, text=text, place=place)
    elif text.startswith(_TABLE):
        command = next(one.text for one in reversed(before) if one.kind in {COMMAND, INLINE})
        yield Step(kind=OUTPUT, line=line, text=text, command=command)


def commands(text: str) -> Iterator[tuple[int, str]]:
    r"""The commands of a block, each with the number of its first line, comments cut off.

    >>> list(commands("make run   # trains\na \\\n  b\n"))
    [(0, 'make run'), (1, 'a b')]
    """
    held, start = "", 0
    for number, line in enumerate(text.splitlines()):
        bare = re.sub(r"(^|\s+)#\s.*$", "", line).rstrip()
        if not held:
            start = number
        held += " " * bool(held) + bare.removesuffix("\\").strip()
        if not bare.endswith("\\"):
            if held:
                yield start, held
            held = ""
