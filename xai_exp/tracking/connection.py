"""How MLflow is reached: imported quietly, given up on soon, spoken of without passwords."""

import importlib.util
import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from xai_exp.compute.loading import undisturbed
from xai_exp.config import InputError
from xai_exp.files import whole

_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def mlflow() -> Any:  # noqa: ANN401
    """The mlflow module, imported quietly and without telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    with undisturbed():
        import mlflow as module

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return module


def make_database(database: Path) -> None:
    """Make a database where there is none: whole, as one that a kill left half-made is no use.

    MLflow takes seconds over an empty one, so it is made once for each version and copied.
    """
    if database.is_file() and database.stat().st_size:
        return
    blank = _cache() / f"blank-{mlflow().__version__}.db"
    with suppress(OSError):  # without a place to keep one each is made anew
        if not blank.is_file():
            blank.parent.mkdir(parents=True, exist_ok=True)
            with whole(blank) as part:
                _empty(part)
    with whole(database) as part:
        if not _copied(blank, part, database.parent / "artifacts"):
            part.unlink(missing_ok=True)
            _empty(part)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xai_exp"


def _empty(path: Path) -> None:
    mlflow().MlflowClient(f"sqlite:///{path}").search_experiments()


def _copied(blank: Path, path: Path, artifacts: Path) -> bool:
    """Copy the empty database and give its one experiment a place here; False if it is broken."""
    try:
        shutil.copyfile(blank, path)
        with closing(sqlite3.connect(path)) as found:
            (state,) = found.execute("PRAGMA quick_check").fetchone()
            place = "UPDATE experiments SET artifact_location = ?"
            moved = found.execute(place, (str(artifacts),)).rowcount
            found.commit()
    except (OSError, sqlite3.Error):
        return False
    return state == "ok" and moved == 1


@contextmanager
def quickly() -> Iterator[None]:
    """An unreachable server is reported in seconds; MLflow by itself tries for minutes."""
    own = {name: value for name, value in _QUICK.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def is_server(uri: str) -> bool:
    """Whether an address is that of a server, not of a file."""
    return urlsplit(uri).scheme in ("http", "https")


def refuse_no_boto3(place: str) -> None:
    """Refuse an S3-compatible store that this process is to reach by itself and can't.

    Raises:
        InputError: where boto3 is not installed.
    """
    if place.startswith("s3:") and importlib.util.find_spec("boto3") is None:
        raise InputError(
            f"tracking.uri: got a server that leaves files in {place} to its clients, which needs "
            "boto3; allowed: pip install 'xai-exp[s3]', or mlflow server --serve-artifacts"
        )


def public(text: str) -> str:
    """A text whose addresses have lost the name and password that they may carry."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def gist(error: Exception) -> str:
    """The gist of an error in one line."""
    return " ".join(public(str(error)).split())[:200]
