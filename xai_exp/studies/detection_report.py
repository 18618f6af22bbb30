"""What heatmaps foretell: a shortcut in the network, a wrong answer; callbacks of Hydra."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.build import Experiment
    from xai_exp.report.pages.page import Section
    from xai_exp.statistics import Array
    from xai_exp.tracking import Kept

TRUTH = "exact truth"
_CONFIDENCE = "confidence"
_NEEDED = (
    "<p>A network is drawn, and n of its heatmaps; the alarm is raised where the mean share that "
    "they give to the tag is above what heatmaps of networks without a shortcut ({sound}) reach in "
    "{alarms:.0%} of such draws. The fewest n with which a network with the shortcut is found in "
    "{power:.0%} of draws, at most {most}; half of the networks without one set the threshold, and "
    "the false alarms are those of the others. Numbers of networks: {networks}.</p>"
)
_FORETOLD = (
    "<p>AUROC: the chance that a wrong answer has a lower score than a right one (1/2 is chance), "
    "of the share of relevance on parts that a person would tell the class by, and of the "
    "network's confidence, its largest probability. Means and intervals of 95 % over networks "
    "({networks}), of {images} images each; {wrong:.0%} of answers are wrong.</p>"
)


class Detection(Report):
    """How many heatmaps show that a network has the shortcut that was planted in its data.

    Args:
        dose: the key of the configuration that says how strong the shortcut is.
        sound: the dose that is none.
        shown: the metric that has what a heatmap shows of it.
        deserved: the metric that has what is true.
        given: what a report is given.
    """

    alarms, power, most = 0.05, 0.8, 100

    def __init__(
        self,
        dose: str,
        sound: float,
        shown: str,
        deserved: str,
        **given: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**given)
        self.dose, self.sound, self.shown, self.deserved = dose, sound, shown, deserved

    def extras(self) -> "Sequence[Section]":
        """The table of what is needed for each dose and explainer."""
        from omegaconf import OmegaConf

        from xai_exp.report.pages.page import Section

        doses = [float(OmegaConf.select(one, self.dose)) for one in self.composed]
        values = self._values(doses)
        counts = {dose: len(one) for dose, one in values.get(TRUTH, {}).items()}
        if counts.get(self.sound, 0) < 2 or len(counts) < 2:
            return []
        needed = needed_by(values, self.sound, self.alarms, self.power, self.most)
        self.beside("needed", needed)
        return [Section("How many heatmaps show the shortcut?", self._listed(needed, counts))]

    def _values(self, doses: Sequence[float]) -> "dict[str, dict[float, Array]]":
        """By explainer and dose: (network, image) what is shown, exact truth among explainers."""
        import pandas as pd

        found: dict[str, dict[float, list[Array]]] = {}
        for mine, dose in zip(self.left, doses, strict=True):
            for place, (name, kept) in enumerate(mine.items()):
                told = [(name, self.shown), *([(TRUTH, self.deserved)] if place == 0 else [])]
                for key, metric in told:
                    rows = pd.DataFrame(kept.scores[kept.scores["metric"] == metric])
                    values = rows.sort_values(by="image")["score"].to_numpy(float)
                    found.setdefault(key, {}).setdefault(dose, []).append(values)
        return {
            name: {dose: np.array(rows) for dose, rows in sorted(by.items())}
            for name, by in found.items()
        }

    def _listed(self, needed: "pd.DataFrame", counts: Mapping[float, int]) -> str:
        from xai_exp.report import tables

        doses = [dose for dose in counts if dose != self.sound]
        body = []
        for name, rows in needed.groupby("explainer", sort=False):
            by = rows.set_index("dose").to_dict("index")
            cells = [tables.cell(tables.words(name))]
            for dose in doses:
                one = by[dose]
                known = one["heatmaps"] == one["heatmaps"]
                words = f"{one['heatmaps']:.0f}" if known else f"> {self.most}"
                words += f" ({one['power']:.0%}, {one['alarms']:.0%})"
                cells.append(tables.cell(words, one["heatmaps"] if known else np.inf))
            body.append(cells)
        heads = ["explainer", *(f"{dose:g}: heatmaps (found, false alarms)" for dose in doses)]
        words = _NEEDED.format(
            sound=f"{self.sound:g}",
            alarms=self.alarms,
            power=self.power,
            most=self.most,
            networks=", ".join(f"{count} at {dose:g}" for dose, count in counts.items()),
        )
        return words + tables.table(heads, body, name="needed")


def needed_by(
    values: "Mapping[str, Mapping[float, Array]]",
    sound: float,
    alarms: float,
    power: float,
    most: int,
) -> "pd.DataFrame":
    """A row an explainer and dose: heatmaps (NaN: more than `most`), power and false alarms.

    Those that need fewest at the strongest dose come first.
    """
    import pandas as pd

    from xai_exp.statistics.detection import heatmaps_needed

    rows = []
    for name, by in values.items():
        for dose in (one for one in by if one != sound):
            found = heatmaps_needed(by[sound], by[dose], alarms=alarms, power=power, most=most)
            heatmaps = np.nan if found.heatmaps is None else found.heatmaps
            rows.append((name, dose, heatmaps, found.power, found.alarms))
    table = pd.DataFrame(rows, columns=["explainer", "dose", "heatmaps", "power", "alarms"])
    last = table[table["dose"] == table["dose"].max()].set_index("explainer")
    order = last.sort_values(["heatmaps", "power"], ascending=[True, False]).index
    return table.set_index("explainer").loc[order].reset_index()


class Foretelling(Report):
    """Whether heatmaps foretell wrong answers, beside the network's confidence.

    The score of a heatmap is the share of its relevance, signs dropped once it is summed over each
    part, that lies on parts a person would tell the class by.
    """

    def extras(self) -> "Sequence[Section]":
        """The table of AUROC by explainer, once for each setting of the test images."""
        import pandas as pd

        from xai_exp.report.pages.page import Section

        groups: dict[str, list[int]] = {}
        for place, job in enumerate(self.jobs):
            groups.setdefault(str(job.data_key), []).append(place)
        found, rows = [], []
        for places in groups.values():
            jobs, left = [self.jobs[p] for p in places], [self.left[p] for p in places]
            setting = str(jobs[0].described["dataset"].get("test_city", jobs[0].names["dataset"]))
            title = f"Do heatmaps foretell wrong answers? ({setting})"
            told = told_wrong(jobs, left, self.least_accuracy)
            found.append(Section(title, foretold(told)))
            rows.append(told.table().assign(setting=setting))
        self.beside("foretold", pd.concat(rows))
        return found


@dataclass(frozen=True)
class Told:
    """How far scores tell wrong answers of several networks.

    Attributes:
        auroc: by score, the network's confidence among them: (network) AUROC, NaN where all
            answers are right or all are wrong.
        images: how many each network answered.
        wrong: the share of answers that are wrong, 0..1.
    """

    auroc: "Mapping[str, Array]"
    images: int
    wrong: float

    def table(self) -> "pd.DataFrame":
        """A row a score, the best first: AUROC and what it is above confidence's, with intervals.

        Without rows where there is nothing to tell.
        """
        import pandas as pd

        from xai_exp.statistics import mean_interval

        heads = [*itertools.product(("auroc", "more"), ("mean", "low", "high"))]
        columns = ["score", *("_".join(one) for one in heads), "networks"]
        beside = self.auroc[_CONFIDENCE]
        if not len(beside) or np.isnan(beside).all():
            return pd.DataFrame(columns=columns)
        order = sorted(self.auroc, key=lambda name: -float(np.nanmean(self.auroc[name])))
        rows = []
        for name in order:
            one, more = mean_interval(self.auroc[name]), mean_interval(self.auroc[name] - beside)
            ends = (max(one.low, 0.0), min(one.high, 1.0))
            rows.append((name, one.mean, *ends, *more[:3], len(beside)))
        return pd.DataFrame(rows, columns=columns)


def told_wrong(
    jobs: "Sequence[Experiment]", left: "Sequence[Mapping[str, Kept]]", least_accuracy: float = 0.0
) -> Told:
    """AUROC of every explainer and of confidence, of networks that are good enough."""
    from xai_exp.statistics.detection import auroc

    found: dict[str, list[float]] = {_CONFIDENCE: []}
    wrong_ones, images = [], 0
    for job, mine in zip(jobs, left, strict=True):
        if not mine or next(iter(mine.values())).accuracy < least_accuracy:
            continue
        owned, allowed, confident, wrong = _asked(job)
        wrong_ones.append(wrong)
        images = len(wrong)
        found[_CONFIDENCE].append(auroc(confident, wrong))
        for name, kept in mine.items():
            heatmaps = kept.arrays()["heatmaps"].astype(float)
            inside = np.einsum("nphw,nhw->np", owned, heatmaps)
            rest = (heatmaps * (1 - owned.sum(1)).clip(0)).sum((1, 2))
            total = abs(inside).sum(1) + abs(rest)
            share = abs(inside[:, allowed]).sum(1) / np.where(total > 0, total, 1)
            found.setdefault(name, []).append(auroc(share, wrong))
    whole = {name: np.array(one) for name, one in found.items()}
    share = float(np.mean(wrong_ones)) if wrong_ones else float("nan")
    return Told(auroc=whole, images=images, wrong=share)


def foretold(told: Told) -> str:
    """The table of AUROC over networks, for a page."""
    from xai_exp.report import tables

    rows = told.table().to_dict("records")
    if not rows:
        return "<p>No network gives right and wrong answers here: there is nothing to foretell.</p>"
    body = []
    for row in rows:
        cells = []
        for name in ("auroc", "more"):
            mean, low, high = (float(row[f"{name}_{end}"]) for end in ("mean", "low", "high"))
            cells.append(tables.cell(f"{mean:.2f}{tables.between(low, high)}", mean))
        body.append([tables.cell(tables.words(row["score"])), *cells])
    words = _FORETOLD.format(networks=rows[0]["networks"], images=told.images, wrong=told.wrong)
    heads = ["score", "AUROC", "more than confidence"]
    return words + tables.table(heads, body, name="foretold")


def _asked(job: "Experiment") -> "tuple[Array, Array, Array, Array]":
    """Of the explained images: parts, which a person would use, confidence, what is wrong."""
    import torch

    from xai_exp import pipeline, scoring
    from xai_exp.compute import machine, ops
    from xai_exp.metrics.truth.parts import grown
    from xai_exp.metrics.truth.people import by_person

    device = machine.device(job.settings.device)
    network = pipeline.trained_network(job, device)
    sample = scoring.sample(job.dataset, job.settings.images, device)
    with ops.evaluating(network), torch.no_grad():
        chances = ops.logits(network, sample.images).softmax(1)
    assert sample.scenes is not None  # of rendered data
    owned = grown(sample.scenes.parts(), 2)
    confident, said = chances.max(1)
    return (
        owned.double().cpu().numpy(),
        by_person(sample.scenes).cpu().numpy(),
        confident.double().cpu().numpy(),
        (said != sample.labels).cpu().numpy(),
    )
