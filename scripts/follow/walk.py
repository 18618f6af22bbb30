"""One page, from its first step to its last."""

import re
import shlex
import sys
import time
from collections import Counter
from pathlib import Path

from scripts.follow import steps
from scripts.follow.compare import difference
from scripts.follow.place import ROOT, Came, Place
from scripts.follow.rules import ADD, LOOK, SERVE, SKIP, Way, way
from scripts.follow.steps import Step

_ENOUGH = 3000  # characters of what went wrong
_MODULE = re.compile(r"python -m ((?:benchmarks|scripts|xai_exp)[\w.]*)$")


class Walk:
    """A reader of one page.

    Args:
        page: its path within the checkout.
        pages: the folder of the pages' clones.
        python: of the environment.
        brief: whether jobs hardly train.
        minutes: that a command may take.

    Attributes:
        count: of what was done.
        why: reasons why commands were not run as they stand.
        waited: seconds that each command took.
    """

    def __init__(
        self, page: str, pages: Path, python: Path, *, brief: bool, minutes: float
    ) -> None:
        self.page, self.brief = page, brief
        folder = pages / re.sub(r"\W+", "-", page.removesuffix(".md"))
        self.place = Place(folder, python, 60 * minutes)
        self.count: Counter[str] = Counter()
        self.why: Counter[str] = Counter()
        self.waited: dict[str, float] = {}
        self._words: dict[str, str] = {}

    def to_its_end(self) -> str | None:
        """What went wrong first, beginning with its line; None if nothing did."""
        try:
            for step in steps.steps(ROOT / self.page):
                if fault := self._stepped(step):
                    return f"{step.line}: {fault}"
        finally:
            self.place.close()
        return None

    def _stepped(self, step: Step) -> str | None:
        if step.kind == steps.FILE:
            (self.place.folder / step.place).write_text(step.text, "utf-8")
            self.count["files written"] += 1
            return None
        if step.kind == steps.OUTPUT:
            return self._quoted(step)
        if step.kind == steps.NOTEBOOK:
            return self._notebook(step)
        how = way(self.page, step, brief=self.brief)
        if how.how == SKIP:
            return self._left(how, "left out")
        if step.kind == steps.PYTHON:
            self.count["blocks of Python run"] += 1
            return _fault("Python", self.place.python_block(step.text, f"{self.page}:{step.line}"))
        if how.how == LOOK:
            return self._looked(step.text, how)
        return self._ran(step, how)

    def _ran(self, step: Step, how: Way) -> str | None:
        self._bring(step.text)
        if how.before and how.before not in self.waited:
            self.waited[how.before] = 0.0
            if fault := _fault(how.before, self.place.run(how.before)):
                return fault
        begun = time.monotonic()
        command = f"{step.text} {how.words}" if how.how == ADD else step.text
        serve = how.how == SERVE
        came = self.place.serve(command) if serve else self.place.run(command)
        took = time.monotonic() - begun
        self.waited[step.text], self._words[step.text] = took, came.text
        print(f"  {took:6.1f} s  {command}", flush=True)
        self.count["commands run"] += 1
        if how.how == ADD:
            self.count["of these in brief"] += 1
            self.why[f"{how.reason} ({how.words})"] += 1
        return _fault(command, came)

    def _bring(self, command: str) -> None:
        """In a process of its own, with the environment's packages."""
        code = (
            "import sys, pathlib; from scripts.follow.brought import bring; "
            "bring(sys.argv[1], pathlib.Path(sys.argv[2]))"
        )
        words = [str(self.place.python), "-c", code, command, str(self.place.folder)]
        came = self.place.run(shlex.join(words))
        if came.code:
            sys.exit(f"what the reader brings: {came.text[-_ENOUGH:]}")

    def _looked(self, command: str, how: Way) -> str | None:
        test = _test(command, self.place.folder)
        if test is None:
            return self._left(how, "left out")
        self._left(how, "looked at only")
        if test == "":
            return f"{command}: there is no such script or module"
        self._bring(command)
        return _fault(f"{command}, looked at by: {test}", self.place.run(test))

    def _left(self, how: Way, what: str) -> None:
        self.count[what] += 1
        self.why[how.reason] += 1

    def _quoted(self, step: Step) -> str | None:
        if self.brief or step.command.startswith("make "):
            return self._left(Way(reason="an output of a run in full"), "outputs left out")
        if step.command not in self._words:
            came = self.place.run(step.command)
            if fault := _fault(step.command, came):
                return fault
            self._words[step.command] = came.text
        self.count["outputs compared"] += 1
        if differs := difference(step.text, self._words[step.command]):
            return f"{step.command}: {differs}"
        return None

    def _notebook(self, step: Step) -> str | None:
        how = "brief" if self.brief else "full"
        words = [str(self.place.python), "-m", "scripts.follow.notebooks", step.text, how]
        self.count["notebooks run"] += 1
        return _fault(self.page, self.place.run(shlex.join(words)))


def _test(command: str, folder: Path) -> str | None:
    """A command that looks at another; nothing where a script is missing, None if there is none."""
    bare = re.sub(r" -m(?= )", "", command.removeprefix("python -m xai_exp"), count=1)
    if command.startswith("make"):
        return command.replace("make", "make -n", 1) + " > /dev/null"
    if found := re.match(r"python (scripts/\S+\.py)", command):
        return "true" if (folder / found[1]).is_file() else ""
    if re.match(r"python -m xai_exp(?: -m)?(?: [\w./@+']+=.*)$", command):
        return f"python -m xai_exp {bare} --cfg job > /dev/null"
    if found := re.match(r"(?:python -m xai_exp|xai-exp) ([a-z]+)", command):
        return f"python -m xai_exp {found[1]} --help > /dev/null"
    if found := _MODULE.match(" ".join(command.split()[:3])):
        place = folder / found[1].replace(".", "/")
        return "true" if place.with_suffix(".py").is_file() or place.is_dir() else ""
    return None


def _fault(command: str, came: Came) -> str | None:
    if came.code == 0:
        return None
    end = "it took too long" if came.code is None else f"exit code {came.code}"
    return f"{command}: {end}\n{came.text[-_ENOUGH:]}"
