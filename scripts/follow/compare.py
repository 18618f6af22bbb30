"""Whether an output is the one that a page quotes, but for numbers, times and names of runs."""

import re

_MASKS = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"[┏┳┓┗┻┛┡╇┩├┼┤└┴┘━─┃│╞╡]+"), " "),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b"), "#"),
    (re.compile(r"\bn = #"), ""),
    (re.compile(r"[-+±]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"), "#"),
    (re.compile(r"(?:# )?(?:#|nan)(?: \.\. (?:#|nan))"), "#"),
    (re.compile(r"(?:n = )?#(?:\s+(?:n = )?#)*"), "#"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" (?=[\])}])|(?<=[\[({]) "), ""),  # arrays fill their numbers up with spaces
)


def masked(text: str) -> str:
    """What is left once numbers, hashes, rules and the width of the terminal are taken away.

    >>> masked("│ lrp │  0.50 │ 21.1 │") == masked("| lrp | 0.61 | 19 |".replace("|", "│"))
    True
    >>> masked("worth: [10.59  7.01  9.2 ]") == masked("worth: [ 8.08 5.97 7.77]")
    True
    """
    for mask, put in _MASKS:
        text = mask.sub(put, text)
    return text.strip()


def difference(quoted: str, got: str) -> str | None:
    r"""The first quoted line whose words did not come, in their order; None if all did.

    >>> difference("of one line", "first\nof one\nline")
    >>> difference("of one line", "of one\nother line")
    'quoted: of one line'
    """
    rest = _lines(got)
    for line in _lines(quoted):
        end = next((end for start in range(len(rest)) if (end := _end(line, rest, start))), 0)
        if not end:
            return f"quoted: {line}"
        rest = rest[end:]
    return None


def _end(line: str, rest: list[str], start: int) -> int:
    """Behind the line that begins at `start`, which a narrower terminal may have broken; else 0."""
    told = ""
    for number in range(start, len(rest)):
        told = f"{told} {rest[number]}".strip()
        if told == line:
            return number + 1
        if not line.startswith(told):
            return 0
    return 0


def _lines(text: str) -> list[str]:
    return [words for line in text.splitlines() if (words := masked(line)) not in {"", "#"}]
