"""Which heatmap may I trust on my network? A callback of Hydra that asks three witnesses."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from xai_exp.config import InputError
from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    import numpy as np

    from xai_exp.report.pages.page import Section
    from xai_exp.witnesses.answer import Answer
    from xai_exp.witnesses.borrowed import Lender
    from xai_exp.witnesses.trial import Subject, Trial


NAMES = ("stripes", "solid", "colour", "own")  # of looks, where torch is not loaded yet


class Mine(Report):
    """Ask planted truth, borrowed truth and measures of perturbation, and write the answer.

    Trials of planted truth are kept beside the networks as soon as they are made, so that a report
    that was killed goes on there.

    Args:
        title: the question.
        looks: of the plants; those that the pictures allow are taken.
        seeds: of each look and design, 1 or more.
        planted_images: how many planted pictures are explained in each trial.
        steps: of training in each trial, at most.
        others: as `Report` has them.
    """

    def __init__(
        self,
        title: str,
        looks: Sequence[str],
        seeds: int,
        planted_images: int,
        steps: int,
        **others: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(title, **others)
        for name, value, least in (
            ("seeds", seeds, 1),
            ("planted_images", planted_images, 2),
            ("steps", steps, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise InputError(f"report.{name}: got {value}; allowed: {least} or more")
        if (unknown := sorted(set(looks) - set(NAMES))) or not looks:
            got = ", ".join(unknown) or "none"
            raise InputError(f"report.looks: got {got}; allowed: any of {', '.join(NAMES)}")
        self.looks, self.seeds = looks, seeds
        self.planted_images, self.steps = planted_images, steps
        self.silent: list[str] = []

    def _report(self, config: DictConfig) -> None:
        if config.hydra.runtime.choices.get("size") == "tiny":
            self.looks, self.seeds = self.looks[:1], 1
        if len(self.jobs) > 1:
            raise InputError(
                f"experiment=mine: got {len(self.jobs)} runs; allowed: one network and its pictures"
            )
        self._say_certificates(self.judged)
        super()._report(config)
        sys.stdout.write(f"{self.answer()}\n")

    def answer(self) -> str:
        """Which explainer to use, and what is known of the others."""
        from xai_exp.report import tables

        if not self.judged.explainers:
            return ""
        reference = self.jobs[0].settings.reference
        words = {name: tables.words(name) for name in self.judged.explainers}
        return self.judged.sentence(words, "" if reference == "own" else f" from the {reference}")

    def extras(self) -> "Sequence[Section]":
        """Pictures first, then what each witness says, and what none of them can."""
        from xai_exp.studies import mine_page

        if not self.judged.explainers:
            return []
        return mine_page.sections(
            self.judged, self.studied, self._measures(), self._seen(), self.silent
        )

    @cached_property
    def judged(self) -> "Answer":
        """What the witnesses say."""
        from xai_exp.verdicts.answer import is_control
        from xai_exp.witnesses.answer import Answer
        from xai_exp.witnesses.borrowed import Library, described, library

        left, known = (self.left[0] if self.left else {}), self.jobs[0].explainers
        names = [name for name in left if not is_control(known[name])]
        features = described(self._subject.network, self._first_images())
        return Answer(
            explainers=names,
            trials=self.trials,
            features=features,
            library=Library(lenders=self._lenders(features), rates=library().rates),
        )

    def _lenders(self, features: "Mapping[str, float]") -> "list[Lender]":
        """Networks of known truth: those of the package, and the one that follows the user's."""
        from xai_exp.witnesses.borrowed import library
        from xai_exp.witnesses.matched import lent

        packaged = library().lenders if self._lent() else []
        return [*packaged, *lent(self.studied, features)]

    def _lent(self) -> bool:
        """Whether what is borrowed was asked the same question."""
        from xai_exp.witnesses.borrowed import QUESTION

        settings = self.jobs[0].settings
        asked = {"reference": settings.reference, "value": settings.value}
        other = [f"{key}={asked[key]}" for key in QUESTION if asked[key] != QUESTION[key]]
        if other:
            known = ", ".join(f"{key}={value}" for key, value in QUESTION.items())
            self.silent.append(f"borrowed truth: it is known for {known}; got {', '.join(other)}")
        return not other

    @property
    def trials(self) -> "list[Trial]":
        """Of planted truth; empty, and why said, where there can be none."""
        return self._trials[0]

    @property
    def studied(self) -> "list[Trial]":
        """Of the rendered study that follows the user's pictures; empty where there can be none."""
        return self._trials[1]

    @cached_property
    def _trials(self) -> "tuple[list[Trial], list[Trial]]":
        """Plants and the matched study, several at a time, each kept as soon as it is made."""
        from tqdm import tqdm

        from xai_exp import pipeline
        from xai_exp.compute import machine
        from xai_exp.training.store import ModelStore, model_key
        from xai_exp.witnesses import matched
        from xai_exp.witnesses.side_by_side import all_kept, workers_for

        job, mine = self.jobs[0], self._subject
        store = ModelStore(root=Path(job.settings.models))
        key = model_key({"model": pipeline.stored_key(job, store), "data": job.data_key})
        folder = Path(job.settings.models).parent / "witnesses"
        workers = workers_for(machine.device(job.settings.device))
        groups = {
            "planted truth": (mine, mine.asked(self.looks, range(self.seeds))),
            "matched study": (matched.matched(mine), matched.ASKED),
        }
        total = sum(len(asked) for _, asked in groups.values())
        with tqdm(
            total=total, desc="planted truth", unit="trial", leave=False, disable=None
        ) as bar:
            found = all_kept(
                list(groups.values()), folder, key, workers=workers, done=lambda _: bar.update()
            )
        told: list[list[Trial]] = []
        for what, one in zip(groups, found, strict=True):
            if isinstance(one, InputError):
                self.silent.append(f"{what}: {one}")
            told.append([] if isinstance(one, InputError) else one)
        return told[0], told[1]

    @cached_property
    def _subject(self) -> "Subject":
        from xai_exp import pipeline
        from xai_exp.compute import machine
        from xai_exp.models.look import look
        from xai_exp.witnesses.trial import Subject
        from xai_exp.witnesses.tuning import Pace

        job = self.jobs[0]
        device = machine.device(job.settings.device)
        network = pipeline.trained_network(job, device)
        return Subject(
            network=look(network, self._first_images()).network,
            data=job.dataset,
            explainers={name: job.explainers[name] for name in (self.left[0] if self.left else {})},
            images=self.planted_images,
            reference=job.settings.reference,
            pace=Pace(steps=self.steps),
        )

    def _first_images(self) -> Any:  # noqa: ANN401
        import torch

        from xai_exp.compute import machine

        job = self.jobs[0]
        test = job.dataset.test
        device = machine.device(job.settings.device)
        return test.images(torch.arange(min(job.settings.images, len(test)), device=device))

    def _say_certificates(self, judged: "Answer") -> None:
        """What is known of the plants, before anything is concluded from them."""
        for one in judged.trials:
            what = one.certificate.fault or "certified"
            sys.stdout.write(f"plants of {one.asked.name}: {what}\n")
        for one in self.studied:
            what = one.certificate.fault or "certified"
            sys.stdout.write(f"matched scenes of {one.asked.name}: {what}\n")
        for line in self.silent:
            sys.stdout.write(f"no {line}\n")

    def _measures(self) -> "Mapping[str, tuple[bool, Mapping[str, Sequence[float]]]]":
        """Of each metric the direction and every explainer's scores, image by image."""
        found: dict[str, tuple[bool, dict[str, list[float]]]] = {}
        for name, kept in self.left[0].items():
            for metric, rows in kept.scores.groupby("metric", sort=False):
                up = bool(rows["higher_is_better"].iloc[0])
                mine = rows.sort_values("image")["score"]
                found.setdefault(str(metric), (up, {}))[1][name] = [float(one) for one in mine]
        return found

    def _seen(self) -> "Mapping[str, tuple[np.ndarray, np.ndarray]]":
        """Of each explainer the pictures and its heatmaps."""
        arrays = {name: kept.arrays() for name, kept in self.left[0].items()}
        return {
            name: (mine["images"], mine["heatmaps"])
            for name, mine in arrays.items()
            if "images" in mine
        }
