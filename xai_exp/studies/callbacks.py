"""What a study does once its runs are finished: Hydra's callbacks.

Nothing heavy is imported before that, so that the command line answers at once.
"""

import math
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from xai_exp.show import progress

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.build import Experiment
    from xai_exp.report.pages.page import Section
    from xai_exp.studies.publish import Question
    from xai_exp.tracking import Kept


class Progress(Callback):
    """Says how far the matrix of runs has come."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Count the runs before the first begins."""
        if (total := matrix(config)) > 1:
            progress.start(total)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Say which run of how many this is, and how long the rest may take."""
        if (bar := progress.current()) is not None:
            names = config.hydra.runtime.choices
            where = f"{names.get('dataset')}, {names.get('model')}, seed {config.seed}"
            bar.begin(where, steps=1 + len(config.explainer))

    def finished(self) -> list[tuple[str, str, str]]:
        """The runs are over, the bar gives way to the report; what was skipped, where and why."""
        bar = progress.current()
        if bar is not None:
            bar.step("report")
        progress.stop()
        return [(one.explainer, one.where, one.reason) for one in bar.skipped] if bar else []


class Joint(Progress):
    """Several jobs that are no study: one bar, then one table of all of them with one link."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Count the jobs, unless a study or a sweep does."""
        alone = len(config.hydra.callbacks) == 1
        if alone and (total := matrix(config)) > 1:
            progress.start(total, joint=True)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Say which job of how many this is."""
        bar = progress.current()
        if bar is not None and bar.joint:
            super().on_job_start(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401, ARG002
        """The table."""
        bar = progress.current()
        if bar is not None and bar.joint:
            progress.stop()


class _Study(Progress, ABC):
    """Reports once the matrix of runs is finished."""

    def __init__(self) -> None:
        self.composed: list[DictConfig] = []
        self.skipped: list[tuple[str, str, str]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ANN401
        """Remember what was run."""
        if job_return.status == JobStatus.COMPLETED:
            self.composed.append(config.copy())

    def on_run_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Report after a single run."""
        self._end(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Report after several."""
        self.skipped = self.finished()
        self._end(config)

    def _end(self, config: DictConfig) -> None:
        from xai_exp.config import InputError

        try:
            if self.composed:
                self._report(config)
        except InputError as error:
            # Hydra makes a warning of any other exception here and goes on as if all were well.
            raise SystemExit(f"error: {error}") from error

    @cached_property
    def jobs(self) -> "list[Experiment]":
        """The experiments that were run, made again to be asked."""
        from xai_exp import build

        return [build.experiment(one) for one in self.composed]

    @cached_property
    def left(self) -> "list[Mapping[str, Kept]]":
        """What each of them has left, by explainer; read once for all that is said of it."""
        from xai_exp import pipeline

        return pipeline.left(self.jobs, self.jobs[0].tracking.open())

    @abstractmethod
    def _report(self, config: DictConfig) -> None:
        """Say what the finished runs show."""


class Report(_Study):
    """Judge the study's claims and write its page: reports/STUDY.html, and a run of type `report`.

    Args:
        title: the question that the study answers.
        claims: what to judge, each with the fields of a claim in `xai_exp.verdicts.claims`.
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
        name = self.jobs[0].settings.study or "report"
        task = list(config.hydra.overrides.task)
        from xai_exp.studies.publish import Question
        from xai_exp.verdicts import claims

        report_study(
            self.jobs,
            self.left,
            Question(
                title=self.title,
                name=page_name(str(name), config.hydra.runtime.choices.get("size")),
                claims=[claims.made(one) for one in self.claims],
                commands=[" ".join(["python -m xai_exp", *(shlex.quote(str(w)) for w in task)])],
                folder=Path(self.folder),
                least_accuracy=self.least_accuracy,
                truths=list(self.truths),
                pairs=[(str(first), str(second)) for first, second in self.pairs],
                extras=self.extras(),
                answer=self.answer(),
                skipped=self.skipped,
            ),
        )

    def beside(self, name: str, table: "pd.DataFrame") -> None:
        """Write a table beside the page, FOLDER/STUDY.NAME.csv, for whoever cites it."""
        from xai_exp.studies.publish import write_table

        size = self.composed[0].hydra.runtime.choices.get("size")
        study = page_name(self.jobs[0].settings.study or "report", size)
        write_table(Path(self.folder), study, name, table)

    def answer(self) -> str:
        """The answer in one sentence, where that is more than how many claims hold."""
        return ""

    def extras(self) -> "Sequence[Section]":
        """Further sections of the page, from what the jobs left."""
        return ()


def page_name(study: str, size: object) -> str:
    """A page of its own for each size, so that trying a study out leaves its page alone.

    >>> page_name("exact_truth", None), page_name("exact_truth", "tiny")
    ('exact_truth', 'exact_truth-tiny')
    """
    return study if size in (None, "null", "None") else f"{study}-{size}"


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


def report_study(
    jobs: "list[Experiment]", left: "list[Mapping[str, Kept]]", asked: "Question"
) -> None:
    """Publish what these runs have left, and print the verdicts.

    Raises:
        InputError: when every explainer of every run was skipped.
    """
    from rich.console import Console

    from xai_exp.studies.publish import publish
    from xai_exp.verdicts.verdict import sentence

    refuse_nothing(len(asked.skipped), sum(len(job.explainers) for job in jobs))
    console = Console()
    tracker = jobs[0].tracking.open()
    found = {one.run: one for mine in left for one in mine.values()}
    if not found:
        console.print("no report: tracking=off keeps nothing to report on")
        return
    path, verdicts = publish(list(found.values()), tracker, asked)
    for one in verdicts:
        console.print(f"{one.claim.text}\n  {sentence(one)}", highlight=False)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


def refuse_nothing(skipped: int, planned: int) -> None:
    """A study in which every explanation was skipped has failed.

    Raises:
        InputError: if it was so.
    """
    from xai_exp.config import InputError

    if skipped >= planned:
        raise InputError("nothing was explained: every explainer was skipped, as said above")
