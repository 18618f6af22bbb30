"""Where a run comes from: the code's commit, the command, who gave it, the versions."""

import getpass
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("xai-exp", "torch", "torchvision", "numpy", "scipy", "hydra-core", "mlflow", "captum")
_LONGEST = 4000  # characters of a tag


def tags() -> dict[str, str]:
    """As tags, under MLflow's own names where it has any."""
    known = commit()
    return {
        "mlflow.source.name": "xai_exp",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "command": command(sys.argv)[:_LONGEST],
        "versions": _versions(),
        **({"mlflow.source.git.commit": known} if known else {}),
    }


def command(words: list[str]) -> str:
    """The command line as one can give it again.

    >>> command(["/x/xai_exp/__main__.py", "dataset=digits", "explainer=[lrp,sobel]"])
    "python -m xai_exp dataset=digits 'explainer=[lrp,sobel]'"
    """
    first, *rest = words or [""]
    name = "python -m xai_exp" if Path(first).parent.name == "xai_exp" else Path(first).name
    return " ".join([name, *map(shlex.quote, rest)]).strip()


@cache
def commit() -> str:
    """Of the checkout that this code lies in; empty outside of one."""
    place = Path(__file__).resolve().parents[3]
    if not (place / ".git").exists():
        return ""
    asked = ["git", "-C", str(place), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@cache
def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@cache
def _versions() -> str:
    found = [f"Python {sys.version.split()[0]}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
