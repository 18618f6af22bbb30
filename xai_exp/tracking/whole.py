"""Whether the files of a run are those that it was finished with."""

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from xai_exp.files import digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SUMS = "SHA256SUMS"  # the artifact, as sha256sum writes and checks it
TAG = "sha256"  # of that artifact
_EXPECTED = {"explain": ("scores.parquet", "heatmaps.npz")}  # of runs from before there were sums


class Unreachable(Exception):  # noqa: N818 # of files that may well be whole
    """The place where a server keeps its files does not answer."""


def sums(folder: Path) -> str:
    """A line for each file: its digest and its name."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    return "".join(f"{digest(path)}  {path.name}\n" for path in paths)


def fault(client: "MlflowClient", run: "Run") -> str:
    """What is wrong with the artifacts of a finished run, by name; empty if they are whole.

    Raises:
        Unreachable: when that can't be known now.
    """
    try:
        with artifact(client, run) as folder:
            return _fault(folder, run.data.tags)
    except Unreachable:
        raise
    except Exception as error:
        return f"its artifacts can't be read ({type(error).__name__})"


def _fault(folder: Path, tags: Mapping[str, str]) -> str:
    if TAG not in tags:
        return _former(folder, tags.get("type", ""))
    if not (folder / SUMS).is_file():
        return f"{SUMS} is lost"
    if digest(folder / SUMS) != tags[TAG]:
        return f"{SUMS} is not the one that it was finished with"
    for line in (folder / SUMS).read_text().splitlines():
        known, _, name = line.partition("  ")
        if not (folder / name).is_file():
            return f"{name} is lost"
        if digest(folder / name) != known:
            return f"{name} is not the one that it was finished with"
    return ""


def _former(folder: Path, kind: str) -> str:
    """Of a run without sums: its files are there, and archives have the content that they say."""
    for name in _EXPECTED.get(kind, ()):
        if not (folder / name).is_file():
            return f"{name} is lost"
        if name.endswith(".npz"):
            try:
                with zipfile.ZipFile(folder / name) as archive:
                    bad = archive.testzip()
            except zipfile.BadZipFile:
                bad = name
            if bad:
                return f"{name} is broken"
    return ""


@contextmanager
def artifact(client: "MlflowClient", run: "Run", name: str = "") -> Iterator[Path]:
    """A file of a run, or the folder of all: their own on this machine, a copy of a server's.

    Raises:
        Unreachable: when the server's files can't be asked for.
    """
    place = str(run.info.artifact_uri)
    if place.startswith("/"):
        yield Path(place) / name  # as it is: a # or % belongs to a folder's name
        return
    if place.startswith("file:"):
        yield Path(unquote(urlsplit(place).path)) / name
        return
    with tempfile.TemporaryDirectory() as folder:
        yield _downloaded(client, run, name, folder)


def _downloaded(client: "MlflowClient", run: "Run", name: str, folder: str) -> Path:
    """A copy; MLflow says the same of a file that is not there and of a store that is away."""
    try:
        return Path(client.download_artifacts(run.info.run_id, name, folder))
    except Exception:
        try:
            client.list_artifacts(run.info.run_id)
        except Exception as error:
            raise Unreachable(f"{run.info.artifact_uri}: {' '.join(str(error).split())}") from error
        raise


def told(run: "Run") -> str:
    """A run in words: what it is of and the beginning of its id."""
    return (
        json.dumps(run.info.run_name or "", ensure_ascii=False)[1:-1] + f" ({run.info.run_id[:8]})"
    )
