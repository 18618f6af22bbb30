"""Blind identification: which mechanism has a network, from heatmaps alone; callbacks of Hydra."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.build import Experiment
    from xai_exp.report.pages.page import Section
    from xai_exp.statistics import Array
    from xai_exp.statistics.identification import Identified
    from xai_exp.tracking import Kept

TRUTH = "exact truth"
_TOLD = (
    "<p>The evaluator sees no name and no network: only which share of the relevance lies on each "
    "of {groups} and on the rest. A logistic regression on these shares, their magnitudes and "
    "products learns from half of the networks and names the mechanism of the others, then the "
    "other way round. All networks explain the same images, so whatever looks at the picture alone "
    "is at chance, 1 of {count}. Bits: a lower bound of what a heatmap tells of the mechanism, "
    "{most:.2f} at most. Networks: named by all of their {images} heatmaps together. The ceiling "
    "is the exact truth, given as shares to the same evaluator. Intervals of 95 % are over "
    "networks within mechanisms. {networks} networks.</p>"
)


class Shown(NamedTuple):
    """What heatmaps of several networks say of the same images.

    Attributes:
        shares: by explainer, exact truth among them: (network, image, group) signed shares of the
            relevance, the last that of the rest.
        mechanisms: the name of each network's.
        groups: what the relevance is summed over.
    """

    shares: "Mapping[str, Array]"
    mechanisms: Sequence[str]
    groups: Sequence[str]


class Certified(Report):
    """Tell the mechanisms of the study's networks blindly, by every explainer, and write its page.

    Args:
        mechanism: the key of the configuration that says which mechanism a network has.
        given: what a report is given.
    """

    def __init__(self, mechanism: str, **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        self.mechanism = mechanism
        self._found: tuple[Shown, dict[str, Identified]] | None = None

    def _identified(self) -> "tuple[Shown, dict[str, Identified]]":
        from omegaconf import OmegaConf

        from xai_exp.statistics.identification import identified

        if self._found is None:
            names = [str(OmegaConf.select(one, self.mechanism)) for one in self.composed]
            shown = gathered(self.jobs, self.left, names, self.least_accuracy)
            kinds = list(dict.fromkeys(shown.mechanisms))
            true = [kinds.index(name) for name in shown.mechanisms]
            found = {name: identified(one, true) for name, one in shown.shares.items()}
            best = sorted(found, key=lambda name: -found[name].rate.mean)
            self._found = shown, {name: found[name] for name in best}
            self.beside("identified", tidy(*self._found))
        return self._found

    def answer(self) -> str:
        """The best explainer, beside the ceiling and chance."""
        return answer(*self._identified())

    def extras(self) -> "Sequence[Section]":
        """The table, and what is taken for what."""
        from xai_exp.report.pages.page import Section

        shown, found = self._identified()
        first = next(name for name in found if name != TRUTH)
        return [
            Section("Which mechanism has this network?", listed(shown, found)),
            Section("What is taken for what", confused(shown, found, (TRUTH, first))),
        ]


def gathered(
    jobs: "Sequence[Experiment]",
    left: "Sequence[Mapping[str, Kept]]",
    names: Sequence[str],
    least_accuracy: float = 0.0,
) -> Shown:
    """The shares that every explainer gives, on the images that all networks explain.

    Explainers that some network did not get are left out, as are networks below the least accuracy.

    Raises:
        InputError: when nothing was kept, exact truth was not asked, networks explained different
            images, or one network was explained several times by one explainer.
    """
    from xai_exp.config import InputError

    shares: dict[str, list[Array]] = {}
    mechanisms: list[str] = []
    pictures, worth, seen, groups = None, np.empty((0, 0)), set(), []
    for job, mine, mechanism in zip(jobs, left, names, strict=True):
        if not mine or next(iter(mine.values())).accuracy < least_accuracy:
            continue
        model = next(iter(mine.values())).tags["model_key"]
        if model in seen:
            raise InputError(
                "certified: got several explanations of one network by one explainer; allowed: one "
                "value, one reference, and mechanisms that are told apart by what is trained"
            )
        seen.add(model)
        mechanisms.append(mechanism)
        sorted_by = _Groups(job)
        groups = sorted_by.names
        for name, kept in mine.items():
            arrays = kept.arrays()
            if "shown/objects" not in arrays:
                raise InputError(
                    "certified: got explanations without exact truth of objects; allowed: "
                    "metric=part_skill among the metrics"
                )
            pictures = arrays["images"] if pictures is None else pictures
            if not np.array_equal(pictures, arrays["images"]):
                raise InputError(
                    "certified: got networks that explain different images; allowed: the same test "
                    "images for all, so that pictures do not tell the mechanism"
                )
            shares.setdefault(name, []).append(sorted_by.summed(arrays["shown/objects"]))
            worth = arrays["worth/objects"]
        truth = np.concatenate([worth, np.zeros_like(worth[:, :1])], 1)
        shares.setdefault(TRUTH, []).append(sorted_by.summed(truth))
    if not mechanisms:
        raise InputError("certified: got no explanation of a network that is accurate enough")
    whole = {name: np.array(one) for name, one in shares.items() if len(one) == len(mechanisms)}
    return Shown(shares=whole, mechanisms=mechanisms, groups=groups)


class _Groups:
    """How the parts of a job's images are summed: by kind, or each by itself where all differ."""

    def __init__(self, job: "Experiment") -> None:
        import torch

        from xai_exp.types import OfKinds

        split = job.dataset.test
        scenes = split.scenes(torch.arange(min(job.settings.images, len(split))))
        assert scenes is not None  # exact truth was asked for
        self.there = scenes.present.any(1).numpy()
        if isinstance(job.dataset, OfKinds):
            self.names = list(job.dataset.kind_names)
            kinds = job.dataset.kinds_of(scenes).numpy()
            self.members = (kinds[..., None] == np.arange(len(self.names))).astype(float)
        else:
            self.names = list(scenes.part_names)
            self.members = np.broadcast_to(
                np.eye(len(self.names)), (len(scenes), *2 * [len(self.names)])
            )

    def summed(self, values: "Array") -> "Array":
        """Relevance on parts and rest (image, part + 1) as shares of groups and rest."""
        inside = np.einsum("ip,ipg->ig", values[:, :-1].astype(float), self.members)
        both = np.concatenate([inside, values[:, -1:]], 1)[self.there]
        total = abs(both).sum(1, keepdims=True)
        return np.where(total > 0, both / np.where(total > 0, total, 1), 0)


def answer(shown: Shown, found: "Mapping[str, Identified]") -> str:
    """The finding in one sentence."""
    best = next(name for name in found if name != TRUTH)
    one, top, count = found[best], found[TRUTH], len(set(shown.mechanisms))
    return (
        f"One heatmap of {best.replace('_', ' ')} tells which of {count} mechanisms a network has "
        f"in {_per_cent(one.rate.mean)} of cases ({one.bits.mean:.2f} bits), exact truth in "
        f"{_per_cent(top.rate.mean)} ({top.bits.mean:.2f} bits), chance is {_per_cent(1 / count)}."
    )


def tidy(shown: Shown, found: "Mapping[str, Identified]") -> "pd.DataFrame":
    """A row an explainer: rate and bits with their intervals, and the share of networks."""
    import pandas as pd

    heads = [*itertools.product(("rate", "bits"), ("mean", "low", "high"))]
    columns = ["explainer", *("_".join(one) for one in heads), "networks", "of_networks", "chance"]
    count = len(shown.mechanisms)
    chance = 1 / len(set(shown.mechanisms))
    rows = [
        (name, *one.rate[:3], *one.bits[:3], one.networks, count, chance)
        for name, one in found.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def listed(shown: Shown, found: "Mapping[str, Identified]") -> str:
    """The table of identification, the best explainer first."""
    from xai_exp.report import tables

    count, images = len(set(shown.mechanisms)), next(iter(shown.shares.values())).shape[1]
    body = [
        [
            tables.cell(tables.words(name)),
            *(
                tables.cell(
                    f"{100 * one.mean:.0f} %" + tables.between(100 * one.low, 100 * one.high, ".0f")
                    if share
                    else f"{one.mean:.2f}{tables.between(one.low, one.high)}",
                    one.mean,
                )
                for one, share in ((told.rate, True), (told.bits, False))
            ),
            tables.cell(_per_cent(told.networks), told.networks),
        ]
        for name, told in found.items()
    ]
    words = _TOLD.format(
        groups=", ".join(shown.groups),
        count=count,
        most=np.log2(count),
        images=images,
        networks=len(shown.mechanisms),
    )
    heads = ["explainer", "heatmaps named rightly", "bits a heatmap", "networks named rightly"]
    return words + tables.table(heads, body, name="identification")


def confused(shown: Shown, found: "Mapping[str, Identified]", names: Sequence[str]) -> str:
    """For some explainers, the share of heatmaps of each mechanism that is taken for each."""
    from xai_exp.report import tables

    kinds = list(Counter(shown.mechanisms))
    made = []
    for name in names:
        shares = found[name].confusion
        body = [
            [tables.cell(kind), *(tables.cell(_per_cent(one), float(one)) for one in row)]
            for kind, row in zip(kinds, shares, strict=True)
        ]
        table = tables.table(["of", *kinds], body, name=f"taken for {name}")
        made.append(f"<h3>{tables.words(name)}</h3>{table}")
    return "<p>Rows: the true mechanism; columns: the one that is named.</p>" + "".join(made)


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %"
