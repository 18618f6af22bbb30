"""Stability of a study: what its runs left, compared, drawn and recorded; a callback of Hydra."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from xai_exp.studies.callbacks import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from xai_exp.tracking import Kept, Tracker


class Stability(Progress):
    """Compare the heatmaps of all models of the study once its runs are finished.

    Args:
        least_accuracy: models below it on the test split are left out, in 0..1.
    """

    def __init__(self, least_accuracy: float = 0.95) -> None:
        self.least_accuracy = least_accuracy
        self.job: DictConfig | None = None

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Remember where the runs are tracked."""
        self.job = config

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Report; also on a study that was finished before."""
        from hydra.utils import instantiate
        from rich.console import Console

        from xai_exp import trust
        from xai_exp.config import InputError

        self.finished()
        job = self.job if self.job is not None else config
        if job.get("study") is None:
            return
        try:
            tracker = instantiate(trust.checked(job.tracking, "tracking")).open()
            report(tracker, job.study, self.least_accuracy, Path("reports"))
        except InputError as error:
            Console().print(f"no stability report: {error}", highlight=False, markup=False)


def of_study(tracker: "Tracker", study: str) -> "list[Kept]":
    """Every finished explanation that belongs to the study, reused ones included."""
    return tracker.kept(condition=f"tags.`study.{study}` LIKE '%'")


def report(
    tracker: "Tracker", study: str, least_accuracy: float, folder: Path | None = None
) -> str | None:
    """Compare, print, record; the run's id. The page is also written to FOLDER/STUDY.html.

    Raises:
        InputError: when fewer than two models are good enough.
    """
    from rich.console import Console

    from xai_exp.report.figures import stability as plots
    from xai_exp.report.pages import stability as page
    from xai_exp.show import stability as shown
    from xai_exp.stability import tables
    from xai_exp.stability.maps import gathered
    from xai_exp.studies.publish import write, write_table
    from xai_exp.tracking import Record
    from xai_exp.training.store import model_key

    console = Console()
    maps = gathered(of_study(tracker, study), least_accuracy)
    found = tables.compared(maps)
    console.print(
        f"stability of {study}: {len(maps.models)} models of at least {least_accuracy:g} accuracy, "
        f"{maps.left_out} left out, {maps.models['architecture'].nunique()} architectures",
        highlight=False,
    )
    console.print(shown.printed(found), highlight=False)
    if (lines := shown.tracked(found)) is not None:
        console.print(lines, highlight=False)
    figures = {name: partial(_drawn, one) for name, one in plots.figures(maps, found).items()}
    record = Record(
        key=model_key(
            {"stability": sorted(maps.runs), "least": least_accuracy, "tables": tables.VERSION}
        ),
        name=f"stability of {len(maps.models)} models: {study}",
        tags={"study": study},
        params={
            "models": len(maps.models),
            "left_out_for_accuracy": maps.left_out,
            "least_accuracy": least_accuracy,
            "images": len(maps.images),
        },
        metrics=tables.numbers(found),
        figures=figures,
    )
    text = page.render(study, maps, found)
    told = {key: one for key, one in found.tables().items() if len(one)}
    if folder is not None:
        path = write(folder, study, text)
        for key, one in told.items():
            write_table(folder, study, key, one)
        console.print(f"report: {path}", highlight=False, soft_wrap=True)
    run = tracker.reported(record.key) or tracker.record_report(
        record,
        pages={"stability": text},
        tables=told,
    )
    if run:
        console.print(f"report run {run}", highlight=False)
    return run


def _drawn(figure: "Figure") -> "Figure":
    return figure
