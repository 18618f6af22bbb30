"""What a study does once its runs are finished: Hydra's callbacks.

Nothing heavy is imported before that, so that the command line answers at once.
"""

import math
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.publish import Question
    from xai_exp.report.page import Section
    from xai_exp.tracking import Record


class _Study(Callback, ABC):
    """Says how far the matrix of runs has come, and reports once it is finished."""

    def __init__(self) -> None:
        self.jobs: list[DictConfig] = []
        self.total = 0
        self.started = 0.0

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Count the runs before the first begins."""
        self.total = matrix(config)
        self.started = time.monotonic()

    def on_job_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Say which run of how many this is, and how long the rest may take."""
        if self.total > 1:
            from rich.console import Console

            Console().rule(progress(len(self.jobs), self.total, time.monotonic() - self.started))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ANN401
        """Remember what was run."""
        if job_return.status == JobStatus.COMPLETED:
            self.jobs.append(_without_hydra(config))

    def on_run_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Report after a single run."""
        self._end(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Report after several."""
        self._end(config)

    def _end(self, config: DictConfig) -> None:
        from xai_exp.config import InputError

        try:
            if self.jobs:
                self._report(config)
        except InputError as error:
            # Hydra makes a warning of any other exception here and goes on as if all were well.
            raise SystemExit(f"error: {error}") from error

    @abstractmethod
    def _report(self, config: DictConfig) -> None:
        """Say what the finished runs show."""


class MetricValidity(_Study):
    """Grade the metrics against exact truth over all runs of the study.

    What the runs left is asked of tracking, so a study whose runs were finished before is graded
    as well. The table and its plot become a run of type `report`.

    Args:
        truth: the metric that is taken as true; it must be among the study's metrics.
    """

    def __init__(self, truth: str = "part_shapley") -> None:
        super().__init__()
        self.truth = truth

    def _report(self, config: DictConfig) -> None:  # noqa: ARG002
        report_validity(self.jobs, self.truth)


class Report(_Study):
    """Judge the study's claims and write its page: reports/STUDY.html, and a run of type `report`.

    Args:
        title: the question that the study answers.
        claims: what to judge, each with the fields of a claim in `xai_exp.claims`.
        least_accuracy: models below it are left out, in 0..1.
        folder: where the page and its tables go.
        truths: metrics that compare with exact truth and need no audit.
        pairs: metrics to draw one against the other, such as true use and shown use.
    """

    def __init__(
        self,
        title: str,
        claims: Sequence[Mapping[str, Any]] = (),
        least_accuracy: float = 0.0,
        folder: str = "reports",
        truths: Sequence[str] = (),
        pairs: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__()
        self.title, self.claims = title, claims
        self.least_accuracy, self.folder, self.truths = least_accuracy, folder, truths
        self.pairs = pairs

    def _report(self, config: DictConfig) -> None:
        name = self.jobs[0].study or "report"
        task = list(config.hydra.overrides.task)
        from xai_exp import claims
        from xai_exp.publish import Question

        report_study(
            self.jobs,
            Question(
                title=self.title,
                name=str(name),
                claims=[claims.made(one) for one in self.claims],
                commands=[" ".join(["python -m xai_exp", *(shlex.quote(str(w)) for w in task)])],
                folder=Path(self.folder),
                least_accuracy=self.least_accuracy,
                truths=list(self.truths),
                pairs=[(str(first), str(second)) for first, second in self.pairs],
                extras=self.extras(),
            ),
        )

    def extras(self) -> "Sequence[Section]":
        """Further sections of the page, from what the jobs left."""
        return ()


def matrix(config: DictConfig) -> int:
    """How many runs a sweep has; 0 if its sweeper does not say beforehand.

    Counts the choices of hydra.sweeper.params and of the command line, which win.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_", "")).endswith("BasicSweeper"):
        return 0
    lines = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    lines += [str(line) for line in config.hydra.overrides.task]
    sizes: dict[str, int] = {}
    for override in OverridesParser.create().parse_overrides(lines):
        swept = override.is_sweep_override()
        sizes[override.get_key_element()] = len(list(override.sweep_iterator())) if swept else 1
    return math.prod(sizes.values())


def progress(done: int, total: int, seconds: float) -> str:
    """Where a matrix of runs stands.

    >>> progress(2, 6, 60.0)
    'run 3 of 6, about 2 min left'
    >>> progress(0, 6, 0.0)
    'run 1 of 6'
    """
    if not done:
        return f"run {done + 1} of {total}"
    left = seconds / done * (total - done)
    words = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    return f"run {done + 1} of {total}, about {words} left"


def report_study(jobs: list[DictConfig], asked: "Question") -> None:
    """Publish what these runs have left, and print the verdicts."""
    from rich.console import Console

    from xai_exp import build, pipeline
    from xai_exp.publish import publish
    from xai_exp.verdict import sentence

    console = Console()
    tracker = build.experiment(jobs[0]).tracking.open()
    found = [one.run for job in jobs for one in pipeline.finished(job, tracker)[1].values()]
    if not found:
        console.print("no report: tracking=off keeps nothing to report on")
        return
    path, verdicts = publish(tracker.kept(list(dict.fromkeys(found))), tracker, asked)
    for one in verdicts:
        console.print(f"{one.claim.text}\n  {sentence(one)}", highlight=False)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


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
        model, left = pipeline.finished(job, tracker)
        rows += [found.scores.assign(explainer=name, model=model) for name, found in left.items()]
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
