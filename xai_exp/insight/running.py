"""All insights that were asked for: each is made, shown and kept; what can't be is one line."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from xai_exp.config import InputError
from xai_exp.errors import in_a_line
from xai_exp.insight import Finding, Insight, Subject

Chosen = Mapping[str, Mapping[str, Insight]]
_LINE = 300  # characters of an error that are shown
Keep = Callable[[str, str, Finding], None]


def look_into(
    chosen: Chosen,
    subject: Subject,
    keep: Keep,
    console: Console,
    trace: Callable[[str], Path],
    *,
    quiet: bool = False,
) -> None:
    """Ask every insight; one that is refused or fails costs its own line only.

    Args:
        chosen: by group and name.
        subject: the network.
        keep: is given group, name and finding.
        console: where lines go.
        trace: keeps the trace of the error under way, and says where.
        quiet: whether there is a bar already, so that none is shown here.

    Raises:
        InputError: when insights were asked for and none could be had.
    """
    asked = [(group, name) for group, members in chosen.items() for name in members]
    bar = tqdm(asked, desc="look into", unit="insight", leave=False, disable=quiet or None)
    refused = []
    for group, name in bar:
        bar.set_postfix_str(name)
        started = time.perf_counter()
        try:
            found = chosen[group][name](subject)
            keep(group, name, found)
        except InputError as error:
            refused.append(f"{group} {name} is skipped: {' '.join(str(error).split())}")
            _say(console, refused[-1])
            continue
        except Exception as error:
            line = in_a_line(error)[:_LINE]
            where = trace(f"{group}-{name}")
            refused.append(f"{group} {name} failed: {line}; the trace is in {where}")
            _say(console, refused[-1])
            continue
        _say(console, f"{group} {name} ({time.perf_counter() - started:.1f} s)")
        for line in found.lines:
            _say(console, f"  {line}")
    if asked and len(refused) == len(asked):
        raise InputError(refused[-1] if len(asked) == 1 else "no insight could be had, as said")


def _say(console: Console, words: str) -> None:
    console.print(words, highlight=False, markup=False, soft_wrap=True)
