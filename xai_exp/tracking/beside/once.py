"""What trackers beside MLflow have in common: each run is written once, under a mark of its own."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from xai_exp.config import InputError
from xai_exp.files import locked, write_whole
from xai_exp.tracking.entries import flat
from xai_exp.tracking.interface import Number, Record
from xai_exp.tracking.told import provenance


def made(root: str) -> Path:
    """The folder that runs are written into, there before work begins."""
    folder = Path(root).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def once(folder: Path, kind: str, key: str) -> Iterator[bool]:
    """Whether a run is still to be written; it counts as written once this ends well."""
    mark = folder / "written" / f"{kind}-{key}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    with locked(mark.parent / f".{mark.name}.lock", f"writes {mark.name}"):
        new = not mark.exists()
        yield new
        if new:
            write_whole(mark, "")


def library(name: str, module: str) -> ModuleType:
    """A library that only this choice of tracking needs.

    Raises:
        InputError: with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"tracking={name}: got no library {name}; allowed: pip install 'xai-exp[{name}]' first"
        ) from error


def facts(record: Record) -> dict[str, str]:
    """Tags and the configuration of a run, flat and as text."""
    tags = {**record.tags, **provenance.tags()}
    told = {str(name): str(value) for name, value in tags.items() if value is not None}
    return {**told, **dict(flat(record.params))}


def numbers(record: Record) -> dict[str, Number]:
    """The metrics of a run, an estimate's ends as NAME.low, NAME.high, NAME.n."""
    found: dict[str, Number] = {}
    for name, value in record.metrics.items():
        ends = value if isinstance(value, Mapping) else {"mean": value}
        for part, number in ends.items():
            found[name if part == "mean" else f"{name}.{part}"] = number
    return found
