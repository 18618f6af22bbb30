"""Follow README and the pages of docs/ from a clean clone, and stop at the first difference.

python -m scripts.follow [--python PYTHON] [--folder FOLDER] [--from PAGE] [--only PAGE ...]
    [--brief] [--minutes 30] [--cpu 1]     (`make follow`)
python -m scripts.follow --first

What is not run as it stands, and why, is in scripts/follow/rules.yaml. Each page has a clone of its
own in FOLDER/pages, which is kept where a step failed; all words of its commands stand beside it.
`--first` only measures how long it is from a clone to the first heatmap, and what the studies take
in the smallest size, into first.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scripts.follow import place, walk
from scripts.follow.place import ROOT
from xai_exp.files import write_whole

_MADE_OF = "-words.md"  # what generated pages are made of
_FIRST = Path(__file__).with_name("first.json")


def main(words: list[str]) -> int:
    """Set up, follow, count."""
    told = _told(words)
    folder = Path(told.folder or tempfile.mkdtemp(prefix="xai_exp_follow_"))
    if told.first:
        return _first(folder, told.cpu)
    python = told.python and Path(told.python).absolute()
    if python is None:
        python = place.set_up(folder / "clone", told.cpu)
    count: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for page in _chosen(told):
        print(f"== {page}", flush=True)
        one = walk.Walk(page, folder / "pages", python, brief=told.brief, minutes=told.minutes)
        fault = one.to_its_end()
        count.update(one.count)
        why.update(one.why)
        if fault:
            print(f"{page}:{fault}\nwords: {one.place.log}\ngo on: --folder {folder} --from {page}")
            return 1
        place.removed(one.place.folder)
    print(", ".join(f"{many} {what}" for what, many in count.items()))
    for reason, many in why.most_common():
        print(f"  {many:3d} {reason}")
    if not told.folder:
        place.removed(folder)
    return 0


def _first(folder: Path, cpu: str | None) -> int:
    """A clone, its environment, `make run`, and all studies in the smallest size: their seconds."""
    took, load, clone = {}, os.getloadavg()[0], folder / "clone"
    if clone.exists():
        sys.exit(f"error: --folder: got {folder}, where a clone is; allowed: a new one")
    steps: dict[str, Callable[[], object]] = {
        "clone": lambda: place.clone(clone),
        "set-up": lambda: place.set_up(clone, cpu),
    }
    for command in ("make run", "make study SIZE=tiny"):
        steps[command] = partial(subprocess.run, command.split(), cwd=clone, check=True)
    for name, step in steps.items():
        begun = time.monotonic()
        step()
        took[name] = round(time.monotonic() - begun, 1)
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "load": round(load, 1),
        "cpu": bool(cpu),
        "seconds": took,
        "environment_gb": round(_size(clone / ".venv") / 1e9, 1),
    }
    write_whole(_FIRST, json.dumps(found, indent=1) + "\n")
    place.removed(folder)
    print(json.dumps(found))
    return 0


def _size(folder: Path) -> int:
    return sum(one.lstat().st_blocks * 512 for one in folder.rglob("*") if not one.is_symlink())


def _told(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.follow", description=__doc__)
    parser.add_argument("--python", help="an environment that is there, instead of make setup")
    parser.add_argument("--folder", help="where to work, a new one unless said")
    parser.add_argument("--from", dest="begin", help="the page to begin with")
    parser.add_argument("--first", action="store_true", help="only time the first steps")
    parser.add_argument("--only", nargs="+", default=[], help="these pages")
    parser.add_argument("--brief", action="store_true", help="train hardly at all")
    parser.add_argument("--minutes", type=float, default=30, help="that a command may take")
    parser.add_argument("--cpu", help="set up by make setup CPU=...")
    return parser.parse_args(words)


def _chosen(told: argparse.Namespace) -> list[str]:
    docs = [one for one in sorted((ROOT / "docs").rglob("*.md")) if _MADE_OF not in one.name]
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *docs]
    paths += sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    names = [str(one.relative_to(ROOT)) for one in paths]
    for name in [*told.only, *([told.begin] if told.begin else [])]:
        if name not in names:
            sys.exit(f"error: page: got {name}; allowed: {', '.join(names)}")
    if told.only:
        return [name for name in names if name in told.only]
    return names[names.index(told.begin) :] if told.begin else names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
