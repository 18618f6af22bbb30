"""Follow README and the pages of docs/ from a clean clone, and stop at the first difference.

python -m scripts.follow [--python PYTHON] [--folder FOLDER] [--from PAGE] [--only PAGE ...]
    [--brief] [--minutes 30] [--out FILE]     (`make follow`)

What is not run as it stands, and why, is in scripts/follow/rules.yaml. Each page has a clone of its
own in FOLDER/pages, which is kept where a step failed; all words of its commands stand beside it.
"""

import argparse
import json
import platform
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from scripts.follow import place, walk
from scripts.follow.place import ROOT
from xai_exp.files import write_whole

_MADE_OF = "-words.md"  # what generated pages are made of
_FIRST = "make run"


def main(words: list[str]) -> int:
    """Set up, follow, count."""
    told = _told(words)
    folder = Path(told.folder or tempfile.mkdtemp(prefix="xai_exp_follow_"))
    begun, python = time.monotonic(), told.python and Path(told.python).absolute()
    if python is None:
        if not (folder / "clone").exists():
            place.clone(folder / "clone")
        python = place.main_python(folder / "clone", f"CPU={told.cpu}" if told.cpu else "")
    setup = time.monotonic() - begun
    pages = _chosen(told)
    count: Counter[str] = Counter()
    why: Counter[str] = Counter()
    waited: dict[str, float] = {}
    for page in pages:
        print(f"== {page}", flush=True)
        one = walk.Walk(page, folder / "pages", python, brief=told.brief, minutes=told.minutes)
        fault = one.to_its_end()
        count.update(one.count)
        why.update(one.why)
        waited.update(one.waited)
        if fault:
            print(f"{page}:{fault}\nwords: {one.place.log}\ngo on: --folder {folder} --from {page}")
            return 1
        place.removed(one.place.folder)
    _said(count, why)
    if told.out and told.python is None and not told.brief and _FIRST in waited:
        _written(Path(told.out), setup, waited[_FIRST], count)
    return 0


def _told(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.follow", description=__doc__)
    parser.add_argument("--python", help="an environment that is there, instead of make setup")
    parser.add_argument("--folder", help="where to work, a new one unless said")
    parser.add_argument("--from", dest="first", help="the page to begin with")
    parser.add_argument("--only", nargs="+", default=[], help="these pages")
    parser.add_argument("--brief", action="store_true", help="train hardly at all")
    parser.add_argument("--minutes", type=float, default=30, help="that a command may take")
    parser.add_argument("--cpu", help="set up by make setup CPU=...")
    parser.add_argument("--out", help="a JSON for the time to the first heatmap")
    return parser.parse_args(words)


def _chosen(told: argparse.Namespace) -> list[str]:
    docs = [one for one in sorted((ROOT / "docs").rglob("*.md")) if _MADE_OF not in one.name]
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs]
    paths += sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    names = [str(one.relative_to(ROOT)) for one in paths]
    for name in [*told.only, *([told.first] if told.first else [])]:
        if name not in names:
            sys.exit(f"error: page: got {name}; allowed: {', '.join(names)}")
    if told.only:
        return [name for name in names if name in told.only]
    return names[names.index(told.first) :] if told.first else names


def _said(count: Counter[str], why: Counter[str]) -> None:
    print(", ".join(f"{many} {what}" for what, many in count.items()))
    for reason, many in why.most_common():
        print(f"  {many:3d} {reason}")


def _written(path: Path, setup: float, first: float, count: Counter[str]) -> None:
    """What a newcomer waited for."""
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()}, {platform.processor() or platform.machine()}",
        "setup_seconds": round(setup, 1),
        "first_heatmap_seconds": round(first, 1),
        "steps": dict(count),
        "command": shlex.join(["make", "follow"]),
    }
    write_whole(path, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
