"""How far a study's matrix of runs has come: one bar for all of it, and what was skipped.

Who does the work asks `current()`, which is None outside a study. Nothing heavy is imported before
a matrix begins.
"""

import time
from typing import Any, NamedTuple

_SLOWLY = 0.5  # seconds between two words on what goes on within a step


class Skipped(NamedTuple):
    """An explainer that a network did not get."""

    explainer: str
    where: str
    reason: str


class Matrix:
    """A bar over all steps of all jobs: a job's steps are its network and each of its explainers.

    On a terminal the bar stays below everything that is printed by `console`; in a file or a pipe
    there is a line a job.

    Args:
        jobs: their number.
        joint: whether the jobs are no study's: their scores end in one table.
    """

    def __init__(self, jobs: int, *, joint: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        self.jobs, self.job, self.done, self.total = jobs, 0, 0, 0
        self.joint = joint
        self.kept: list[Any] = []  # what each job of a joint table leaves, for xai_exp.show.joint
        self.skipped: list[Skipped] = []
        self.console = Console()
        self.started, self._said, self._ends = time.monotonic(), 0.0, 0
        self._where = ""
        self._bar = Progress(
            TextColumn("job {task.fields[job]} of {task.fields[jobs]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.description}", table_column=Column(no_wrap=True)),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, job=0, jobs=jobs, left="")

    @property
    def as_bar(self) -> bool:
        """Whether there is a bar, so that others show none."""
        return self.console.is_terminal

    def begin(self, where: str, steps: int) -> None:
        """The next job begins: what it is, and of how many steps it consists."""
        self.done = max(self.done, self._ends)  # what the last job left out
        self.job, self._where, self._ends = self.job + 1, where, self.done + steps
        self.total = self.done + steps * (self.jobs - self.job + 1)
        if not self.as_bar:
            left = remaining(self.done, self.total, time.monotonic() - self.started)
            title = f"job {self.job} of {self.jobs}"
            self.console.rule(f"{title}, about {left} left" if left else title)
        self._show(where)
        self._bar.start()

    def step(self, words: str = "") -> None:
        """One step further; `words` say what comes next."""
        self.done += 1
        self._show(words)

    def say(self, words: str) -> None:
        """What goes on within a step."""
        if time.monotonic() - self._said > _SLOWLY:
            self._show(words)

    def skip(self, explainer: str, reason: str) -> None:
        """An explainer can't be had on the present job's network."""
        self.skipped.append(Skipped(explainer, self._where, reason))

    def end(self) -> None:
        """All is done, or something went wrong: the terminal is given back."""
        self._bar.stop()
        if self.kept:
            from xai_exp.show import joint

            kept, self.kept = self.kept, []
            joint.printed(self.console, kept)

    def _show(self, words: str) -> None:
        self._said = time.monotonic()
        left = remaining(self.done, self.total, self._said - self.started)
        self._bar.update(
            self._task,
            description=words or self._where,
            total=self.total,
            completed=self.done,
            job=self.job,
            left=f"{left} left" if left else "",
        )


def remaining(done: int, total: int, seconds: float) -> str:
    """How long the rest may take if it goes on like this; empty while nothing is known.

    >>> remaining(2, 6, 60.0), remaining(30, 40, 3600.0), remaining(0, 6, 9.0)
    ('2 min', '20 min', '')
    """
    if not done or done >= total:
        return ""
    left = seconds / done * (total - done)
    return f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"


_present: list[Matrix] = []


def current() -> Matrix | None:
    """The matrix that is under way."""
    return _present[-1] if _present else None


def start(jobs: int, *, joint: bool = False) -> Matrix:
    """A matrix of this many jobs is under way from now on."""
    _present[:] = [Matrix(jobs, joint=joint)]
    return _present[0]


def stop() -> None:
    """No matrix is under way any more."""
    for one in _present:
        one.end()
    _present.clear()
