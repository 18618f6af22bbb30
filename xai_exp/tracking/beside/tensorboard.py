"""Runs for TensorBoard: a folder each, with its scalars, texts and pictures."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd

from xai_exp.config import configured, refuse_empty
from xai_exp.tracking.beside.once import facts, library, made, numbers, once
from xai_exp.tracking.beside.writing import Writing
from xai_exp.tracking.interface import Number, Record


@configured
class TensorBoard:
    """Runs as event files under `root`, for `tensorboard --logdir ROOT`; nothing is found again."""

    root: str = "mlruns/tensorboard"
    figures: bool = True

    def __post_init__(self) -> None:
        """An empty name would mean the current folder."""
        refuse_empty("tracking.root", self.root)

    def open(self) -> "Events":
        """A tracker that writes into the folder."""
        library("tensorboard", "tensorboard")
        return Events(folder=made(self.root), figures=self.figures)


@dataclass(frozen=True, kw_only=True)
class Events(Writing):
    """Writes runs as event files, each in a folder of its own."""

    figures: bool = True

    def _trained(self, record: Record, history: Sequence[Mapping[str, Number]]) -> None:
        """With its history by epoch."""
        with self._written("train", record) as writer:
            for row in history if writer else ():
                for name, value in row.items():
                    if name != "epoch":
                        writer.add_scalar(name, value, int(row["epoch"]))

    def _explained(self, record: Record, scores: pd.DataFrame) -> None:
        """With the scores of its images as a histogram a metric."""
        with self._written("explain", record) as writer:
            for metric, rows in scores.groupby("metric", sort=False) if writer else ():
                values = rows["score"].dropna().to_numpy(float)
                if len(values):
                    writer.add_histogram(f"scores/{metric}", values)

    def _reported(
        self,
        record: Record,
        pages: Mapping[str, str],  # noqa: ARG002
        tables: Mapping[str, pd.DataFrame],  # noqa: ARG002
    ) -> None:
        with self._written("report", record):
            pass

    def ui_command(self, runs: Iterable[str] = ()) -> str:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """What shows what was written."""
        return f"tensorboard --logdir {self.folder}"

    @contextmanager
    def _written(self, kind: str, record: Record) -> Iterator[Any]:
        """A writer that has what runs of all types have; None where the run is written already."""
        with once(self.folder, kind, record.key) as new:
            if not new:
                yield None
                return
            from torch.utils.tensorboard import SummaryWriter

            folder = self.folder / f"{kind}-{record.key[:12]}"
            shutil.rmtree(folder, ignore_errors=True)  # half a run of a process that was killed
            with SummaryWriter(str(folder)) as writer:
                rows = "\n".join(f"| {name} | {value} |" for name, value in facts(record).items())
                writer.add_text("run", f"**{record.name}**\n\n{record.note}")
                writer.add_text("configuration", f"| key | value |\n| --- | --- |\n{rows}")
                for name, value in numbers(record).items():
                    if value == value:
                        writer.add_scalar(name, value)
                for name, draw in record.figures.items() if self.figures else ():
                    writer.add_figure(name, draw())
                yield writer
