"""The base of trackers beside MLflow: what they get of a run, without what none of them keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from xai_exp.tracking.interface import Arrays, Link, Nowhere, Number, Record
from xai_exp.types import Images


@dataclass(frozen=True, kw_only=True)
class Writing(Nowhere, ABC):
    """Writes runs into a folder and finds none; a run's id is its key."""

    folder: Path

    @abstractmethod
    def _trained(self, record: Record, history: Sequence[Mapping[str, Number]]) -> None:
        """Write a run of type `train`."""

    @abstractmethod
    def _explained(self, record: Record, scores: pd.DataFrame) -> None:
        """Write a run of type `explain`."""

    @abstractmethod
    def _reported(
        self, record: Record, pages: Mapping[str, str], tables: Mapping[str, pd.DataFrame]
    ) -> None:
        """Write a run of type `report`."""

    def record_training(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        record: Record,
        *,
        network: nn.Module,  # noqa: ARG002
        example: Images,  # noqa: ARG002
        history: Sequence[Mapping[str, Number]],
    ) -> Link | None:
        """A run of type `train`, and its history."""
        self._trained(record, history)
        return Link(run=record.key, model="")

    def record_explanation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        record: Record,
        *,
        link: Link | None,  # noqa: ARG002
        heatmaps: Arrays,  # noqa: ARG002
        scores: pd.DataFrame,
        anew: bool = False,  # noqa: ARG002
    ) -> str | None:
        """A run of type `explain`, and its scores."""
        self._explained(record, scores)
        return record.key

    def record_report(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, record: Record, *, pages: Mapping[str, str], tables: Mapping[str, pd.DataFrame]
    ) -> str | None:
        """A run of type `report`, with its pages and tables."""
        self._reported(record, pages, tables)
        return record.key
