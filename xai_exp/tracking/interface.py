"""What tracking keeps and answers, and the choice to keep nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from torch import nn

from xai_exp.config import configured
from xai_exp.types import Images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Number = int | float  # told apart by run-time type checks, so both are named
Export = Callable[[nn.Module, Images, Path], None]  # writes a network, which takes such images


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """An array that is never in memory as a whole.

    Attributes:
        rows: how many it has.
        made: its rows in order, some at a time; made anew whenever they are asked for.
    """

    rows: int
    made: Callable[[], Iterator[np.ndarray]]


Arrays = Mapping[str, np.ndarray | Blocks]


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a trained model is tracked: its run of type `train` and the logged model."""

    run: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished run of type `explain`: its id and its scores, a row an image and metric."""

    run: str
    scores: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a finished run of type `explain` holds.

    Attributes:
        run: Its id.
        tags: Dataset, model, explainer, seed, model_key ...
        params: The configuration, flat, as text.
        scores: A row an image and metric.
        accuracy: Of the explained model on the test split, in 0..1.
        seconds: For one heatmap.
        arrays: Reads heatmaps.npz: the heatmaps, and images and masks in bytes.
    """

    run: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    scores: pd.DataFrame
    accuracy: float
    seconds: float
    arrays: Callable[[], Mapping[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a run.

    Attributes:
        name: Of the dataset.
        digest: A hash of everything that decides them.
        source: What makes or reads them.
        context: What they are for, such as training.
        profile: Numbers of them, such as how many images there are.
    """

    name: str
    digest: str
    source: str
    context: str
    profile: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run of any type has.

    Attributes:
        key: A hash of everything that decides the content of the run.
        name: The run's name in the UI.
        tags: Tags beside `type` and the key; those that are None are left out.
        params: The configuration, nested or flat; nested keys are joined by dots.
        metrics: Numbers by name. A mapping stands for an estimate: its `mean` is recorded under the
            name itself and the rest as NAME.low, NAME.high, NAME.n. NaN is not recorded.
        figures: What draws the plots, by name; each becomes NAME.png where pictures are kept.
        seconds: How long the work took before it was recorded; the run is dated back by it.
        exports: What writes the network in other formats, by the name of the file beside the model.
        note: What the run says, in Markdown, for its page.
        links: Ids of runs that it hangs together with, by what they are called.
        texts: What writes further files, by name, such as the resolved configuration.
        data: What it was made of.
    """

    key: str
    name: str
    tags: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Number | Mapping[str, Number]] = field(default_factory=dict)
    figures: "Mapping[str, Callable[[], Figure]]" = field(default_factory=dict)
    seconds: Number = 0.0
    exports: Mapping[str, Export] = field(default_factory=dict)
    note: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    data: Data | None = None


@runtime_checkable
class Tracker(Protocol):
    """What the pipeline asks of tracking."""

    def record_training(
        self,
        record: Record,
        *,
        network: nn.Module,
        example: Images,
        history: Sequence[Mapping[str, Number]],
    ) -> Link | None:
        """Record a trained model, or find the finished run with its key.

        Args:
            record: The key is the model's key, kept as the tag `model_key`.
            network: The trained network.
            example: At least two images, from which the shape of its input is read.
            history: A row an epoch; its `epoch` is the step of its other numbers.
        """
        ...

    def explained(self, key: str) -> Found | None:
        """The finished run of type `explain` with this key, if there is one."""
        ...

    def record_explanation(
        self,
        record: Record,
        *,
        link: Link | None,
        heatmaps: Arrays,
        scores: pd.DataFrame,
        anew: bool = False,
    ) -> str | None:
        """Record one explainer on one model, or find the finished run, and return the run's id.

        Args:
            record: The key is kept as the tag `explain_key`.
            link: Where the model is tracked; it becomes an input of the run.
            heatmaps: Arrays by name, kept as heatmaps.npz.
            scores: A row an image and metric, kept as scores.parquet.
            anew: Whether a finished run with this key is left aside.
        """
        ...

    def record_report(
        self,
        record: Record,
        *,
        pages: Mapping[str, str],
        tables: Mapping[str, pd.DataFrame],
    ) -> str | None:
        """Record a study's report and return the run's id.

        Args:
            record: The key is kept as the tag `report_key`.
            pages: HTML by name, kept as NAME.html.
            tables: Tables by name, kept as NAME.parquet and NAME.csv.
        """
        ...

    def attach(self, run: str, record: Record, tables: Mapping[str, pd.DataFrame]) -> None:
        """Add pictures, tables and numbers to a finished run; those of the same name are replaced.

        Args:
            run: its id.
            record: its name is that of the folder of artifacts.
            tables: by name, kept as NAME.csv.
        """
        ...

    def reported(self, key: str) -> str | None:
        """The id of the finished run of type `report` with this key, if there is one."""
        ...

    def kept(self, runs: Iterable[str] | None = None, condition: str = "") -> list[Kept]:
        """Finished explanations: the newest run of each key.

        Args:
            runs: Their ids; None: all that fulfil the condition.
            condition: A filter as MLflow's search has it, such as tags.study = 'mine'.
        """
        ...

    def of_model(self, model: str, keys: Iterable[str]) -> Mapping[str, Kept]:
        """Finished explanations of one network by their keys, those that there are."""
        ...

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        """Add tags to finished runs: what is reused belongs to several studies."""
        ...

    def ui_command(self, runs: Iterable[str] = ()) -> str:
        """What the user types to see these runs (all if none are named), or an empty string."""
        ...

    def address(self, runs: Iterable[str] = ()) -> str:
        """The address of the runs table with these runs (all if none are named), or nothing."""
        ...


@runtime_checkable
class Tracking(Protocol):
    """A choice of where results are kept."""

    def open(self) -> Tracker:
        """Make it ready for recording."""
        ...


@configured
class Off:
    """No tracking: everything is forgotten.

    Args:
        figures: none are drawn; what experiments say of them is understood.
    """

    figures: Literal[False] = False

    def open(self) -> Tracker:
        """A tracker that records nothing and finds nothing."""
        return Nowhere()


class Nowhere:
    """Records nothing and finds nothing."""

    def record_training(self, *_: object, **__: object) -> Link | None:
        return None

    def explained(self, *_: object, **__: object) -> Found | None:
        return None

    def record_explanation(self, *_: object, **__: object) -> str | None:
        return None

    def record_report(self, *_: object, **__: object) -> str | None:
        return None

    def attach(self, *_: object, **__: object) -> None:
        return None

    def reported(self, *_: object, **__: object) -> str | None:
        return None

    def kept(self, *_: object, **__: object) -> list[Kept]:
        return []

    def of_model(self, *_: object, **__: object) -> dict[str, Kept]:
        return {}

    def tag(self, *_: object, **__: object) -> None:
        return None

    def ui_command(self, *_: object, **__: object) -> str:
        return ""

    def address(self, *_: object, **__: object) -> str:
        return ""
