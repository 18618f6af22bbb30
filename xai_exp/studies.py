"""What a study does once its runs are finished: Hydra's callbacks.

Nothing heavy is imported before that, so that the command line answers at once.
"""

from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.tracking import Record


class MetricValidity(Callback):
    """Grade the metrics against exact truth over all runs of the study.

    What the runs left is asked of tracking, so a study whose runs were finished before is graded
    as well. The table and its plot become a run of type `report`.

    Args:
        truth: the metric that is taken as true; it must be among the study's metrics.
    """

    def __init__(self, truth: str = "part_shapley") -> None:
        self.truth = truth
        self.jobs: list[DictConfig] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ANN401
        """Remember what was run."""
        if job_return.status == JobStatus.COMPLETED:
            self.jobs.append(_without_hydra(config))

    def on_run_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Grade after a single run."""
        self._report()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Grade after several."""
        self._report()

    def _report(self) -> None:
        if self.jobs:
            report_validity(self.jobs, self.truth)


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def report_validity(jobs: list[DictConfig], truth: str) -> "pd.DataFrame | None":
    """Grade the metrics over these runs, print the table and record it; None if nothing is left.

    Raises:
        InputError: when the truth is not among the metrics.
    """
    import pandas as pd
    from rich.console import Console

    from xai_exp import build, pipeline, validity
    from xai_exp.config import InputError

    console = Console()
    experiment = build.experiment(jobs[0])
    tracker = experiment.tracking.open()
    if truth not in experiment.metrics:
        allowed = ", ".join(experiment.metrics)
        raise InputError(f"study: got {truth} as truth; allowed: one of its metrics, {allowed}")
    rows = []
    for job in jobs:
        model, tables = pipeline.finished(job, tracker)
        rows += [table.assign(explainer=name, model=model) for name, table in tables.items()]
    if not rows:
        console.print("no validity of metrics: tracking=off keeps nothing to grade them by")
        return None
    scores = pd.concat(rows, ignore_index=True)
    up = {name: metric.higher_is_better for name, metric in experiment.metrics.items()}
    table = validity.validity(scores, up, truth=truth)
    console.print(_printed(table))
    record = _record(jobs, table, truth)
    run = tracker.reported(record.key) or tracker.record_report(
        record, pages={}, tables={"validity": table, "scores": scores}
    )
    if run:
        console.print(f"report run {run}", highlight=False)
    return table


def _record(jobs: list[DictConfig], table: "pd.DataFrame", truth: str) -> "Record":
    """What tracking keeps of the report."""
    from xai_exp.build import plain
    from xai_exp.report.validity import chart
    from xai_exp.store import model_key
    from xai_exp.tracking import Record

    name = jobs[0].study or "metric_validity"
    rows: Any = table.to_dict("records")
    metrics = {
        f"validity_{kind}.{row['metric']}": {
            "mean": row[kind],
            "low": row[f"{kind}_low"],
            "high": row[f"{kind}_high"],
            "n": row["images"],
        }
        for row in rows
        for kind in ("within", "means")
    }
    return Record(
        key=model_key(
            {"validity": [plain(job) for job in jobs], "truth": truth, "table": table.to_csv()}
        ),
        name=f"validity of {len(table)} metrics",
        tags={"study": name},
        params={
            "truth": truth,
            "models": str(table["models"].max()),
            "explainers": str(table["explainers"].max()),
        },
        metrics=metrics,
        figures={"validity": chart(table, truth=truth)},
    )


def _printed(table: "pd.DataFrame") -> Any:  # noqa: ANN401
    """The table for the terminal."""
    from rich.table import Table

    shown = Table(title="validity: rank correlation with exact truth over explainers")
    shown.add_column("metric", no_wrap=True)
    for name in ("within an image", "explainers' means", "images", "models"):
        shown.add_column(name, justify="right")
    for row in table.to_dict("records"):
        cells = [_cell(row, kind) for kind in ("within", "means")]
        shown.add_row(str(row["metric"]), *cells, str(row["images"]), str(row["models"]))
    return shown


def _cell(row: Any, kind: str) -> str:  # noqa: ANN401
    value, low, high = (row[f"{kind}{end}"] for end in ("", "_low", "_high"))
    if value != value:
        return "undefined"
    return f"{value:+.2f}  [dim]{low:+.2f} .. {high:+.2f}[/]" if low == low else f"{value:+.2f}"
