"""A clone to work in, as a reader has it: one for each page, all with one environment."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_LISTENS, _WIDTH = re.compile(r"https?://\S+"), "100"
_INTERPRETER = """
import ast, json, os, sys, traceback
out, space = os.fdopen(int(sys.argv[1]), "w"), {"__name__": "__main__"}
for line in sys.stdin:
    told = json.loads(line)
    try:
        exec(compile(told["code"], told["name"], "exec"), space)
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    print(code, file=out, flush=True)
"""


class Came(NamedTuple):
    """What came of a command: its exit code (None: out of time) and its words."""

    code: int | None
    text: str


class Place:
    """A working copy with an environment of its own, which no command can reach beyond.

    Args:
        folder: to be made.
        python: of the environment whose packages it sees, `.../bin/python`.
        limit: seconds that one command may take.
    """

    def __init__(self, folder: Path, python: Path, limit: float) -> None:
        self.folder, self.limit, self.scripts = folder, limit, python.parent
        self.python = folder / ".venv" / "bin" / "python"
        self.log = folder.with_name(f"{folder.name}.log")
        self._page: Any = None
        if not folder.exists():
            clone(folder)
            over(folder / ".venv", python)

    def run(self, command: str, within: float | None = None) -> Came:
        """A line of bash."""
        with self.log.open("a+b") as kept:
            kept.write(f"\n$ {command}\n".encode())
            kept.flush()
            start = kept.tell()
            process = self._begun(["bash", "-c", f"set -o pipefail; {command}"], kept)
            code = _ended(process, within or self.limit)
            return Came(code, _since(self.log, start))

    def serve(self, command: str) -> Came:
        """A server: well once it says where it listens, then ended."""
        with self.log.open("a+b") as kept:
            start = kept.seek(0, 2)
            process = self._begun(["bash", "-c", f"exec {command}"], kept)
            end = time.monotonic() + self.limit
            while process.poll() is None and time.monotonic() < end:
                if _LISTENS.search(_since(self.log, start)):
                    _killed(process)
                    return Came(0, _since(self.log, start))
                time.sleep(0.5)
            _killed(process)
            return Came(process.returncode or 1, _since(self.log, start))

    def python_block(self, code: str, name: str) -> Came:
        """In one interpreter for all blocks of the page."""
        with self.log.open("a+b") as kept:
            start = kept.seek(0, 2)
            if self._page is None:
                self._page = self._interpreter()
            process, answers = self._page
            process.stdin.write((json.dumps({"code": code, "name": name}) + "\n").encode())
            process.stdin.flush()
            said = answers.readline()
            return Came(int(said) if said else 1, _since(self.log, start))

    def close(self) -> None:
        """End the interpreter."""
        if self._page is not None:
            process, answers = self._page
            process.stdin.close()
            process.wait()
            answers.close()
            self._page = None

    def _interpreter(self) -> Any:  # noqa: ANN401
        ours, theirs = os.pipe()
        with self.log.open("ab") as kept:
            process = subprocess.Popen(
                [str(self.python), "-c", _INTERPRETER, str(theirs)],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.PIPE,
                stdout=kept,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
            )
        os.close(theirs)
        return process, os.fdopen(ours)

    def _begun(self, command: list[str], kept: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=kept,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def environment(self) -> dict[str, str]:
        """The reader's, with the environment first on the path and the clone's own package."""
        return {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(self.python.parent), str(self.scripts), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(self.folder),
            "COLUMNS": _WIDTH,
            "MPLBACKEND": "Agg",
        }


def clone(folder: Path) -> None:
    """What is committed, as `git clone` gives it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)


def over(folder: Path, python: Path) -> None:
    """An environment over another: it sees its packages, and what is installed stays within it."""
    subprocess.run([str(python), "-m", "venv", "--without-pip", str(folder)], check=True)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    here, there = (
        subprocess.run([str(one), "-c", asked], check=True, capture_output=True, text=True).stdout
        for one in (folder / "bin" / "python", python)
    )
    (Path(here.strip()) / "packages.pth").write_text(there)
    (folder / ".installed").touch()


def removed(folder: Path) -> None:
    """A clone and its results."""
    shutil.rmtree(folder, ignore_errors=True)


def _ended(process: subprocess.Popen[bytes], limit: float) -> int | None:
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        _killed(process)
        return None


def _killed(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _since(log: Path, start: int) -> str:
    with log.open("rb") as kept:
        kept.seek(start)
        return kept.read().decode("utf-8", "replace")


def set_up(folder: Path, cpu: str | None) -> Path:
    """Clone, set up by the clone's own Makefile, and say which Python it made.

    Raises:
        SystemExit: when set-up fails.
    """
    if not folder.exists():
        clone(folder)
    words = [f"CPU={cpu}"] if cpu else []
    code = subprocess.run(["make", "setup", *words], cwd=folder, check=False).returncode
    if code:
        sys.exit(f"make setup: exit code {code}")
    return folder / ".venv" / "bin" / "python"
