"""How MLflow is reached: imported quietly, given up on soon, spoken of without passwords."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def mlflow() -> Any:  # noqa: ANN401
    """The mlflow module, imported quietly and without telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow as module

    logging.getLogger("alembic").setLevel(logging.WARNING)
    return module


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


def public(text: str) -> str:
    """A text whose addresses have lost the name and password that they may carry."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def gist(error: Exception) -> str:
    """The gist of an error in one line."""
    return " ".join(public(str(error)).split())[:200]
