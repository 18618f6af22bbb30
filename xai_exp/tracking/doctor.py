"""What is wrong in the runs of a store: broken, left unfinished by dead processes, half logged."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_exp.config import InputError
from xai_exp.files import held
from xai_exp.tracking import reading, whole
from xai_exp.tracking.runs import KEYS, MLflow

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, in words, and what mends it."""

    words: str
    mend: Callable[[], Any]


def faults(root: Path, experiment: str) -> Iterator[Fault]:
    """Of the runs under a folder; those that a living process works on are let be.

    Raises:
        InputError: when the database is damaged, or has lost the runs whose files are there: no run
            of it can be told whole, and nothing here could bring it back.
    """
    path = root / "mlflow.db"
    if (lost := _lost(path, root / "artifacts")) is not None:
        raise InputError(f"{path}: got {lost}; allowed: a copy from before, or another folder")
    if not path.is_file():
        return
    runs = MLflow(root=str(root), experiment=experiment).store(make=False)
    for run in reading.matching(runs.client, runs.experiment, ""):
        tags, name, status = run.data.tags, whole.told(run), run.info.status
        if _worked_on(root, tags):
            continue
        number = run.info.run_id
        if status != "FINISHED":
            words = f"run {name}: left {status} by a process that ended early"
            yield Fault(words=words, mend=partial(runs.client.delete_run, number))
        elif words := whole.fault(runs.client, run):
            mend = partial(runs.client.delete_run, number)
            yield Fault(words=f"run {name}: {words}", mend=mend)
    yield from _models(runs.client, runs.experiment, root)


def _lost(database: Path, artifacts: Path) -> str | None:
    """What is wrong with the database itself, if anything is."""
    runs = 0
    if database.is_file():
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as asked:
            try:
                ((said,),) = asked.execute("PRAGMA integrity_check(1)")
                if said != "ok":
                    return f"a damaged database ({' '.join(said.split())})"
                names = {name for (name,) in asked.execute("SELECT name FROM sqlite_master")}
                if "runs" in names:
                    ((runs,),) = asked.execute("SELECT count(*) FROM runs")
            except sqlite3.DatabaseError as error:
                return f"a damaged database ({error})"
    files = sum(1 for _ in artifacts.glob("*/"))
    return f"no run in it and the files of {files} beside it" if files and not runs else None


def _models(client: "MlflowClient", experiment: str, root: Path) -> Iterator[Fault]:
    token = None
    while True:
        page = client.search_logged_models([experiment], page_token=token)
        for model in page:
            if model.status == "PENDING" and not _worked_on(root, model.tags):
                words = f"logged model {model.name} ({model.model_id[:10]}): never finished"
                yield Fault(words=words, mend=partial(client.delete_logged_model, model.model_id))
        token = page.token
        if not token:
            return


def _worked_on(root: Path, tags: Any) -> bool:  # noqa: ANN401
    """Whether a process holds the lock of what these tags are of."""
    key = tags.get(KEYS.get(tags.get("type", "train"), KEYS["train"]))
    return key is not None and held(root / "locks" / f"{key}.lock")
