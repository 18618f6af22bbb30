"""Runs for Weights & Biases, kept on this machine until they are sent."""

import io
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from xai_exp.config import InputError, configured, refuse_empty
from xai_exp.tracking.beside.once import facts, library, made, numbers, once
from xai_exp.tracking.beside.writing import Writing
from xai_exp.tracking.interface import Number, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

_NOT_IN_NAMES = frozenset("/\\#?%:")
Mode = Literal["offline", "online"]


@configured
class WandB:
    """Runs for Weights & Biases under `root`; nothing is found again.

    Args:
        root: the folder that they are written into.
        project: the name under which they are listed.
        mode: offline (`wandb sync ROOT/wandb/offline-run-*` sends them later) or online (after
            `wandb login`).
        figures: whether each run has its pictures.
    """

    root: str = "mlruns/wandb"
    project: str = "xai_exp"
    mode: Mode = "offline"
    figures: bool = True

    def __post_init__(self) -> None:
        """An empty name would mean the current folder; wandb would refuse some after training."""
        refuse_empty("tracking.root", self.root)
        refuse_empty("tracking.project", self.project)
        if found := _NOT_IN_NAMES.intersection(self.project):
            raise InputError(
                f"tracking.project: got {self.project!r}; allowed: a name without "
                f"{' '.join(sorted(found))}"
            )

    def open(self) -> "Sent":
        """A tracker that writes into the folder, and sends from there if it is online."""
        library("wandb", "wandb")
        return Sent(
            folder=made(self.root),
            project=self.project,
            mode=self.mode,
            figures=self.figures,
        )


@dataclass(frozen=True, kw_only=True)
class Sent(Writing):
    """Writes runs by wandb, whose ids are their types and keys."""

    project: str
    mode: Mode
    figures: bool = True

    def _trained(self, record: Record, history: Sequence[Mapping[str, Number]]) -> None:
        """With its history by epoch."""
        with self._written("train", record) as run:
            for row in history if run else ():
                run.log({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))

    def _explained(self, record: Record, scores: pd.DataFrame) -> None:
        """With the table of its scores."""
        with self._written("explain", record) as run:
            if run:
                import wandb

                run.log({"scores": wandb.Table(dataframe=scores)})

    def _reported(
        self, record: Record, pages: Mapping[str, str], tables: Mapping[str, pd.DataFrame]
    ) -> None:
        with self._written("report", record) as run:
            if run:
                import wandb

                told = {name: wandb.Html(page) for name, page in pages.items()}
                run.log({**told, **{k: wandb.Table(dataframe=one) for k, one in tables.items()}})

    def ui_command(self, runs: Iterable[str] = ()) -> str:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """What sends what was written, unless that is done already."""
        return f"wandb sync {self.folder}/wandb/offline-run-*" if self.mode == "offline" else ""

    @contextmanager
    def _written(self, kind: str, record: Record) -> Iterator[Any]:
        """A run that has what runs of all types have; None where it is written already."""
        with once(self.folder, kind, record.key) as new:
            if not new:
                yield None
                return
            import wandb

            name = f"{kind}-{record.key[:12]}"
            for half in (self.folder / "wandb").glob(f"offline-run-*-{name}"):
                shutil.rmtree(half)  # of a process that was killed
            try:
                run = self._begun(kind, name, record)
            except wandb.Error as error:
                raise InputError(
                    f"tracking=wandb: {' '.join(str(error).split())}; allowed: tracking.mode="
                    "offline, or what wandb asks for"
                ) from error
            with run:
                run.summary.update({k: v for k, v in numbers(record).items() if v == v})
                for name, draw in record.figures.items() if self.figures else ():
                    run.log({name: wandb.Image(_picture(draw()))})
                yield run

    def _begun(self, kind: str, name: str, record: Record) -> Any:  # noqa: ANN401
        import wandb

        return wandb.init(
            project=self.project,
            id=name,
            name=record.name,
            job_type=kind,
            notes=record.note,
            config=facts(record),
            dir=str(self.folder),
            mode=self.mode,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )


def _picture(figure: "Figure") -> "Image.Image":
    """A figure as pixels; wandb takes figures of pyplot only, which is not used here."""
    from PIL import Image

    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return Image.open(stream)
