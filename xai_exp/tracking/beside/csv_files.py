"""Runs as CSV: runs.csv with a line a fact, scores-KEY.csv with a line an image and metric."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from xai_exp.config import configured, refuse_empty
from xai_exp.files import locked, whole
from xai_exp.tracking.beside.once import made, numbers
from xai_exp.tracking.beside.writing import Writing
from xai_exp.tracking.entries import flat
from xai_exp.tracking.interface import Number, Record
from xai_exp.tracking.told import provenance

_HEADS = ("run", "type", "what", "name", "value")


@configured
class Csv:
    """Runs as CSV files under `root`, for spreadsheets; nothing is found again.

    Args:
        root: the folder, made if need be.
        figures: none are drawn; what experiments say of them is understood.
    """

    root: str = "mlruns/csv"
    figures: Literal[False] = False

    def __post_init__(self) -> None:
        """An empty name would mean the current folder."""
        refuse_empty("tracking.root", self.root)

    def open(self) -> "Files":
        """A tracker that writes into the folder."""
        return Files(folder=made(self.root))


@dataclass(frozen=True, kw_only=True)
class Files(Writing):
    """Writes runs as lines of files."""

    def _trained(self, record: Record, history: Sequence[Mapping[str, Number]]) -> None:
        self._add("train", record)
        self._table(f"history-{record.key}", pd.DataFrame(list(history)))

    def _explained(self, record: Record, scores: pd.DataFrame) -> None:
        self._add("explain", record)
        self._table(f"scores-{record.key}", scores)

    def _reported(
        self,
        record: Record,
        pages: Mapping[str, str],  # noqa: ARG002
        tables: Mapping[str, pd.DataFrame],
    ) -> None:
        self._add("report", record)
        for name, table in tables.items():
            self._table(f"{name}-{record.key}", table)

    def _table(self, name: str, table: pd.DataFrame) -> None:
        with whole(self.folder / f"{name}.csv") as part:
            table.to_csv(part, index=False)

    def _add(self, kind: str, record: Record) -> None:
        """The facts of a run that is not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "runs.csv"
        with locked(self.folder / ".lock", f"writes {path}"):
            rows = []
            if path.is_file():
                with path.open(newline="", encoding="utf-8") as file:
                    rows = list(csv.reader(file))[1:]
            if any(row[:2] == [record.key, kind] for row in rows):
                return
            rows += [[record.key, kind, *fact] for fact in _facts(record)]
            with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([list(_HEADS), *rows])


def _facts(record: Record) -> Iterator[tuple[str, str, str]]:
    yield "name", "name", record.name
    for name, value in {**record.tags, **provenance.tags()}.items():
        if value is not None:
            yield "tag", str(name), str(value)
    for name, value in flat(record.params):
        yield "param", name, value
    for name, number in numbers(record).items():
        yield "metric", name, str(number)
