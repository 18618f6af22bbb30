"""Which metrics can be trusted, by exact truth: a report; a callback of Hydra."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.build import Experiment
    from xai_exp.report.pages.page import Section
    from xai_exp.tracking import Kept, Record

_KINDS = {
    "within": "within an image",
    "means": "over explainers' means",
    "doses": "cost of known damage",
}
_ENDS = ("", "_low", "_high")


class MetricValidity(Report):
    """Grade the metrics against exact truth over all runs of the study, and write its page.

    What the runs left is asked of tracking, so a study whose runs were finished before is graded
    as well. The table and its plot also become a run of type `report`.

    Args:
        truth: the metric that is taken as true; it must be among the study's metrics.
        grains: others that are the truth at other grains; they must be among the metrics, too.
        given: what a report is given.
    """

    def __init__(
        self,
        truth: str = "part_skill",
        grains: Sequence[str] = (),
        **given: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**{"title": "Which metrics agree with the exact truth?", **given})
        self.truth, self.grains = truth, list(grains)
        self._graded: pd.DataFrame | None = None

    def _table(self) -> "pd.DataFrame | None":
        if self._graded is None:
            self._graded = graded(
                self.jobs, self.left, self.truth, self.grains, self.least_accuracy
            )
        return self._graded

    def answer(self) -> str:
        """The most valid metric, and how many are valid at all."""
        table = self._table()
        return "" if table is None else answer(table)

    def extras(self) -> "Sequence[Section]":
        """The plot and the table."""
        from xai_exp.report.figures import validity
        from xai_exp.report.figures.svg import svg
        from xai_exp.report.pages.page import Section

        table = self._table()
        if table is None:
            return []
        chart = svg(validity.chart(table, truth=self.truth), "Validity of every metric")
        body = _EXPLAINED.format(truth=self.truth.replace("_", " "))
        body += f"<figure>{chart}</figure>"
        return [Section("Validity of the metrics", body + validity.listed(table))]


_EXPLAINED = (
    "<p>Spearman's rank correlation between a metric's scores and the nearness of heatmaps to the "
    "exact truth ({truth}), both over the same explainers: 1 if the metric puts them in the true "
    "order, 0 if it is unrelated, -1 if it misleads. Within an image: the mean over images of the "
    "correlation in each; below it what is left when each explainer is left out once, at least and "
    "at most. Hangs on: explained values, references or grains of the truth for which it is not on "
    "that side of 0. Over explainers' means: the correlation of their means over images. Cost of "
    "known damage: minus the rank correlation of score and dose, where damaged true maps were "
    "scored. Intervals of 95 % allow for networks and for the images that they share; explainers "
    "are given, and a validity stands only if its interval stays on one side of 0 without any one "
    "and for every value, reference and grain that was asked.</p>"
)


def answer(table: "pd.DataFrame") -> str:
    """The most valid metric within an image with its interval, and how many are above 0."""
    known: Any = table[table["within"].notna()]
    if known.empty:
        return "No metric could be graded: the truth is undefined for these images."
    best: Any = known.iloc[0]
    low, high = (known[f"within_{end}"].to_numpy(float) for end in ("low", "high"))
    stands = known["stands"].to_numpy(bool)
    above, below = int((stands & (low > 0)).sum()), int((stands & (high < 0)).sum())
    name = str(best["metric"]).replace("_", " ")
    return (
        f"Of {len(known)} metrics, {above} order explanations of an image by the exact truth "
        f"better than chance and {below} worse, whichever explainer is left out and whatever "
        f"value, reference and grain was asked; the most valid is {name}, with a rank "
        f"correlation of {best['within']:+.2f} (95 % interval {best['within_low']:+.2f} to "
        f"{best['within_high']:+.2f})."
    )


def graded(
    jobs: "list[Experiment]",
    left: "Sequence[Mapping[str, Kept]]",
    truth: str,
    grains: Sequence[str] = (),
    least_accuracy: float = 0.0,
) -> "pd.DataFrame | None":
    """Grade the metrics over these runs, print the table and record it; None if nothing is left.

    Networks below the least accuracy are left out, as they are of the page's other tables.

    Raises:
        InputError: when a truth is not among the metrics.
    """
    import pandas as pd
    from rich.console import Console

    from xai_exp.config import InputError
    from xai_exp.studies import validity

    console = Console()
    experiment = jobs[0]
    tracker = experiment.tracking.open()
    for name in (truth, *grains):
        if name not in experiment.metrics:
            allowed = ", ".join(experiment.metrics)
            raise InputError(f"study: got {name} as truth; allowed: one of its metrics, {allowed}")
    rows = []
    for job, mine in zip(jobs, left, strict=True):
        good = {name: one for name, one in mine.items() if not one.accuracy < least_accuracy}
        asked = {"value": job.question.value, "reference": job.settings.reference}
        rows += [
            one.scores.assign(explainer=name, model=one.tags["model_key"], **asked)
            for name, one in good.items()
        ]
    if not rows:
        console.print("no validity of metrics: nothing was kept of a network that is good enough")
        return None
    scores = pd.concat(rows, ignore_index=True)
    up = {name: metric.higher_is_better for name, metric in experiment.metrics.items()}
    table = validity.validity(scores, up, truth=truth, grains=grains)
    console.print(_printed(table))
    record = _record(jobs, table, truth)
    run = tracker.reported(record.key) or tracker.record_report(
        record, pages={}, tables={"validity": table, "scores": scores}
    )
    if run:
        console.print(f"report run {run}", highlight=False)
    return table


def _record(jobs: "list[Experiment]", table: "pd.DataFrame", truth: str) -> "Record":
    """What tracking keeps of the table."""
    from xai_exp.report.figures.validity import chart
    from xai_exp.tracking import Record
    from xai_exp.training.store import model_key

    name = jobs[0].settings.study or "metric_validity"
    rows: Any = table.to_dict("records")
    metrics = {
        f"validity_{kind}.{row['metric']}": {
            "mean": row[kind],
            "low": row[f"{kind}_low"],
            "high": row[f"{kind}_high"],
            "n": row["images"],
        }
        for row in rows
        for kind in _KINDS
        if row[kind] == row[kind]
    }
    return Record(
        key=model_key(
            {"validity": [job.model_key for job in jobs], "truth": truth, "table": table.to_csv()}
        ),
        name=f"validity of {len(table)} metrics",
        tags={"study": name},
        params={
            "truth": truth,
            "models": str(table["models"].max()),
            "explainers": str(table["explainers"].max()),
        },
        metrics=metrics,
        figures={"validity": partial(chart, table, truth=truth)},
    )


def _printed(table: "pd.DataFrame") -> Any:  # noqa: ANN401
    """The table for the terminal."""
    from rich.table import Table

    from xai_exp.show.terminal import signed

    shown = Table(title="validity: rank correlation with exact truth over explainers")
    shown.add_column("metric", no_wrap=True)
    for name in (*_KINDS.values(), "images", "models"):
        shown.add_column(name, justify="right")
    for row in table.to_dict("records"):
        cells = [signed(*(row[f"{kind}{end}"] for end in _ENDS)) for kind in _KINDS]
        shown.add_row(str(row["metric"]), *cells, str(row["images"]), str(row["models"]))
    return shown
