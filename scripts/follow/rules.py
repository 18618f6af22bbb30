"""Which commands are not run as they stand: the rules of rules.yaml."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scripts.follow.steps import INLINE, PYTHON, Step

RUN, SKIP, LOOK, SERVE, ADD = "run", "skip", "look", "serve", "add"
_FILE = Path(__file__).with_name("rules.yaml")
_WORDS = {
    "no-run": "the page says that it needs what it can't bring (no-run)",
    "": "",
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step is gone.

    Attributes:
        how: run, skip, look, serve, or add.
        reason: why it is not just run.
        words: what is added to the command.
        before: a command that has to be run before, if the page has not.
    """

    how: str = RUN
    reason: str = ""
    words: str = ""
    before: str = ""


def way(page: str, step: Step, *, brief: bool) -> Way:
    """By the first rule that matches; a command within the text is only looked at."""
    if step.place and step.kind == PYTHON and step.place != "no-run":
        return Way(how=SKIP, reason=f"{step.place}'s own call, shown beside ours")
    if step.place == "no-run":
        return Way(how=SKIP, reason=_WORDS["no-run"])
    if step.kind == PYTHON:
        return Way()
    found = _ruled(page, step.text, brief=brief)
    if step.kind == INLINE and found.how in {RUN, ADD, SERVE}:
        return Way(how=LOOK, reason="named within the text")
    if brief and found.how == RUN and (words := _briefly(step.text)):
        return Way(how=ADD, reason="in brief, as asked for", words=words)
    return found


def _ruled(page: str, command: str, *, brief: bool) -> Way:
    for rule in _rules():
        meant = rule.get("brief", brief) == brief
        if meant and re.search(rule.get("pages", ""), page) and re.search(rule["command"], command):
            told = {name: rule[name] for name in ("reason", "words", "before") if name in rule}
            return Way(how=rule["how"], **told)
    return Way()


@cache
def _rules() -> list[dict[str, Any]]:
    return yaml.safe_load(_FILE.read_text("utf-8"))


def _briefly(command: str) -> str:
    """What makes a job short, if it trains."""
    if not re.match(
        r"python -m xai_exp (?!(?:explain|view|survey|export|doctor|sync) |--)", command
    ):
        return ""
    told = [] if "trainer=" in command else ["trainer=quick"]
    return " ".join([*told, *([] if "images=" in command else ["images=8"])])
