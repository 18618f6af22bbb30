"""What each study's results say, as text and tables for docs/findings.md.

A block gets what a study left (`Results`) and its configuration, and returns Markdown. Skill: 1 is
the truth, 0 is equal shares of all parts, which know no network.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from findings_table import table
from omegaconf import DictConfig, OmegaConf

from xai_exp.report.tables import means, words
from xai_exp.statistics import evened
from xai_exp.statistics.together import simultaneous
from xai_exp.studies.validity import validity
from xai_exp.verdicts import claims, verdict
from xai_exp.verdicts.audit import audit

_RARE = 0.05
GRAINS = {"part_skill": "objects", "grid_skill": "patches of a 4 x 4 grid"}


@dataclass(frozen=True)
class Results:
    """What a study left.

    Attributes:
        scores: a row an image, explainer and metric; without rows where a study has none.
        tables: what its page lists besides, by name.
    """

    scores: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]


def truth(found: Results, config: DictConfig) -> str:
    """Skill by dataset and grain, then the verdicts."""
    scores = found.scores
    parts = []
    for dataset, mine in scores.groupby("dataset", sort=False):
        networks, images = mine["model"].nunique(), mine["image"].nunique()
        for metric, grain in GRAINS.items():
            rows, detectable = skills(pd.DataFrame(mine[mine["metric"] == metric]))
            parts += [
                f"`{dataset}`, {grain}: skill of {networks} networks with {images} images each. "
                f"Intervals hold together over the table; a skill of {detectable:.2f} is found "
                "with a probability of 80 % in half of its cells.",
                rows,
            ]
    return "\n\n".join([*parts, verdicts(scores, config)])


def skills(
    scores: pd.DataFrame, by: Sequence[str] = ("value", "reference"), apart: bool = False
) -> tuple[str, float]:
    """Explainers by value and reference, the best first; the median detectable skill.

    Args:
        scores: of one metric, or of several if `by` has them apart.
        by: the columns whose values are columns of the table.
        apart: whether each column has networks of its own.
    """
    found_in = set(scores[list(by)].astype(str).itertuples(index=False, name=None))
    columns = sorted(found_in, key=lambda one: [_natural(part) for part in one])
    explainers = sorted(set(scores["explainer"]))
    cells = [(explainer, column) for explainer in explainers for column in columns]
    columns_of = ["explainer", *by]
    even = scores.assign(score=evened(scores, by=["model", *columns_of]))
    wide = even.pivot_table(
        index=["model", "image"], columns=columns_of, values="score", dropna=False
    )
    tables = [_by_network(wide, explainer, column, apart) for explainer, column in cells]
    groups = [column if apart else () for _, column in cells]
    found = dict(zip(cells, simultaneous(tables, groups), strict=True))
    averages = {e: np.nanmean([found[e, c].difference for c in columns]) for e in explainers}
    body = [
        [words(name), *(between(*found[name, c][:3]) for c in columns)]
        for name in sorted(explainers, key=lambda one: -averages[one])
    ]
    known = [one.detectable for one in found.values() if np.isfinite(one.detectable)]
    heads = ["explainer", *(", ".join([words(one[0]), *one[1:]]) for one in columns)]
    return table(heads, body), float(np.median(known))


def _natural(name: str) -> list[tuple[str, float]]:
    """A key by which blocks_2 is before blocks_10."""
    parts = re.findall(r"(\D*)(\d*\.?\d*)", name)
    return [(words_of, float(number or 0)) for words_of, number in parts]


def _by_network(wide: pd.DataFrame, explainer: str, column: Sequence[str], apart: bool) -> Any:  # noqa: ANN401
    """(networks, images) of one cell; NaN where a network has no score."""
    if (explainer, *column) not in wide:
        return np.full((1, 1), np.nan)
    mine = wide[explainer, *column].unstack("image")
    return np.asarray(mine.dropna(how="all") if apart else mine, float)


def between(mean: float, low: float, high: float, form: str = ".2f") -> str:
    """A mean and its interval, which is left out where it is not known."""
    if np.isnan(mean):
        return "undefined"
    whole = format(mean, form)
    return whole if np.isnan(low) else f"{whole} [{format(low, form)}, {format(high, form)}]"


def verdicts(scores: pd.DataFrame, config: DictConfig) -> str:
    """Each claim of the study with what became of it."""
    report: Any = OmegaConf.to_container(config.hydra.callbacks.report, resolve=False)
    asked = [claims.made(one) for one in report["claims"]]
    found = verdict.answers(asked, scores, audit(scores, report.get("truths", ())))
    return "\n".join(f"- {one.claim.text}: {verdict.sentence(one)}" for one in found)


def removal(found: Results, config: DictConfig) -> str:
    """Verdicts, then the area between the curves by dataset, over values and references."""
    scores = found.scores
    mine = pd.DataFrame(scores[scores["metric"] == "region_perturbation_area"])
    lines = []
    for dataset, rows in mine.groupby("dataset", sort=False):
        table, _ = skills(pd.DataFrame(rows))
        lines += [f"`{dataset}`, {rows['model'].nunique()} networks:", table]
    return "\n\n".join([verdicts(scores, config), *lines])


def valid(found: Results, config: DictConfig) -> str:
    """The validity of every metric."""
    report = config.hydra.callbacks.report
    scores = found.scores
    up = dict(zip(scores["metric"], scores["higher_is_better"].astype(bool), strict=True))
    valid_ones = validity(scores, up, truth=report.truth, grains=list(report.grains))
    heads = (
        "metric",
        "within an image",
        "over explainers' means",
        "cost of known damage",
        "hangs on",
        "stands",
    )
    body = []
    for row in valid_ones.to_dict("records"):
        ends = [
            [row[f"{kind}{end}"] for end in ("", "_low", "_high")]
            for kind in ("within", "means", "doses")
        ]
        cells = [between(*one, form="+.2f") for one in ends]
        others = f"{len(row['hangs_on'].split(';'))} of {row['levels']}" if row["hangs_on"] else ""
        stands = "yes" if row["stands"] else "no"
        body.append([words(row["metric"]), *cells, others, stands])
    return table(heads, body)


def mechanisms(found: Results, config: DictConfig) -> str:  # noqa: ARG001
    """Means over images by mechanism and reference: one network each, so there is no interval."""
    scores = found.scores
    parts = []
    for metric, title in MECHANISM.items():
        mine = pd.DataFrame(scores[scores["metric"] == metric])
        where = ["dataset", "reference"]
        even = mine.assign(score=evened(mine, by=["model", "explainer", *where]))
        known = even.groupby(["explainer", *where])["score"].agg(["mean", "count"])
        enough = pd.DataFrame(known[known["count"] >= _ENOUGH])["mean"].unstack(where)
        wide = enough.dropna(axis=1, how="all").dropna(how="all").sort_index(axis=1)
        order = wide.mean(axis=1).sort_values(ascending=metric != "part_skill").index
        heads = [f"{dataset}, {reference}" for dataset, reference in wide.columns]
        body = [
            [words(name), *("undefined" if np.isnan(v) else f"{v:.2f}" for v in wide.loc[name])]
            for name in order
        ]
        silent = sorted(words(one) for one in set(mine["explainer"]) - set(wide.index))
        parts += [
            f"{title}; where fewer than {_ENOUGH} images have a score, undefined:",
            table(["explainer", *heads], body),
        ]
        parts += [f"Undefined everywhere: {', '.join(silent)}."] if silent else []
    return "\n\n".join(parts)


def granular(found: Results, config: DictConfig) -> str:
    """Skill by what counts as a part, then the verdicts."""
    scores = found.scores
    truths = list(config.hydra.callbacks.report.truths)
    rows, _ = skills(pd.DataFrame(scores[scores["metric"].isin(truths)]), ["metric"])
    return f"{_networks(scores)}\n\n{rows}\n\n{verdicts(scores, config)}"


def deep(found: Results, config: DictConfig) -> str:
    """Skill by architecture, then the verdicts."""
    scores = found.scores
    mine = pd.DataFrame(scores[scores["metric"] == "part_skill"])
    rows, _ = skills(mine, ["architecture"], apart=True)
    return f"{_networks(scores)}\n\n{rows}\n\n{verdicts(scores, config)}"


def cities(found: Results, config: DictConfig) -> str:
    """Skill in known and in new cities, whether wrong answers are foretold, then the verdicts."""
    scores = found.scores
    mine = pd.DataFrame(scores[scores["metric"] == "part_skill"])
    mine["setting"] = mine["setting"].str.rpartition("test_city=")[2]
    rows, _ = skills(mine, ["setting"])
    parts = [_networks(scores), rows]
    if "foretold" in found.tables:
        parts += [
            "AUROC with which a low share on what a person would use foretells a wrong answer, "
            "beside the network's confidence (1/2 is chance):",
            _foretold(found.tables["foretold"]),
        ]
    return "\n\n".join([*parts, verdicts(scores, config)])


def _foretold(rows: pd.DataFrame) -> str:
    settings = list(rows["setting"].unique())
    by = {(row["score"], row["setting"]): row for row in rows.to_dict("records")}
    body = [
        [words(score), *(between(*_ends(by[score, one], "auroc")) for one in settings)]
        for score in rows["score"].unique()
    ]
    return table(["score", *settings], body)


def _ends(row: Mapping[Any, Any], name: str) -> tuple[float, float, float]:
    return row[f"{name}_mean"], row[f"{name}_low"], row[f"{name}_high"]


def blind(found: Results, config: DictConfig) -> str:  # noqa: ARG001
    """How often a heatmap, and all of a network's together, tell its mechanism, and bits."""
    rows = found.tables["identified"]
    body = [
        [
            words(row["explainer"]),
            between(*_ends(row, "rate"), form=".0%"),
            f"{row['networks']:.0%}",
            f"{row['bits_mean']:.2f}",
        ]
        for row in rows.to_dict("records")
    ]
    chance = float(rows["chance"].iloc[0])
    lead = f"{int(rows['of_networks'].iloc[0])} networks; chance is {chance:.0%}."
    heads = ["explainer", "of heatmaps", "of networks", "bits a heatmap"]
    return f"{lead}\n\n{table(heads, body)}"


def tagged(found: Results, config: DictConfig) -> str:
    """The tag's share by its agreement, how many heatmaps show it, then the verdicts."""
    scores = found.scores.copy()
    scores["setting"] = "p = " + scores["setting"].str.rpartition("tag_agreement=")[2]
    shown = pd.DataFrame(scores[scores["metric"] == "shortcut_shown_use"])
    true = pd.DataFrame(scores[scores["metric"] == "shortcut_true_use"])
    true = pd.DataFrame(true[true["explainer"] == true["explainer"].iloc[0]])  # the same for all
    both = pd.concat([true.assign(explainer="exact truth"), shown])
    rows, _ = skills(both.assign(metric="use"), ["setting"], apart=True)
    networks, images = scores["model"].nunique(), scores["image"].nunique()
    lead = f"{networks} networks with {images} images each: the tag's share in the heatmap."
    report = config.hydra.callbacks.report
    needed = (
        "The fewest heatmaps of a network with which its shortcut is found in 80 % of draws, where "
        f"heatmaps of half of the networks at p = {report.sound} set the threshold for 5 % false "
        "alarms (in brackets: found, false alarms on the other half):"
    )
    return "\n\n".join(
        [lead, rows, needed, _needed(found.tables["needed"]), verdicts(found.scores, config)]
    )


def _needed(rows: pd.DataFrame) -> str:
    doses = sorted(rows["dose"].unique())
    by = {(row["explainer"], row["dose"]): row for row in rows.to_dict("records")}
    body = []
    for name in rows["explainer"].unique():
        cells = [by[name, dose] for dose in doses]
        body.append([words(name), *(_needs(one) for one in cells)])
    return table(["explainer", *(f"p = {dose:g}" for dose in doses)], body)


def _needs(row: Mapping[Any, Any]) -> str:
    count = "> 100" if np.isnan(row["heatmaps"]) else f"{row['heatmaps']:.0f}"
    return f"{count} ({row['power']:.0%}, {row['alarms']:.0%})"


def judged(found: Results, config: DictConfig) -> str:
    """The means of what the study's claims are about, by setting, then the verdicts."""
    scores = found.scores
    report: Any = OmegaConf.to_container(config.hydra.callbacks.report, resolve=False)
    asked = dict.fromkeys(m for one in report["claims"] for m in one.get("metrics", ()))
    shown = means(pd.DataFrame(scores[scores["metric"].isin(list(asked))]))
    parts = [
        f"{scores['model'].nunique()} networks with {scores['image'].nunique()} images each; the "
        "interval of each mean by itself, over networks and images."
    ]
    for metric in asked:
        mine = pd.DataFrame(shown[shown["metric"] == metric])
        up = bool(mine["higher_is_better"].iloc[0])
        named = mine.assign(setting=_plainly(list(mine["setting"])))
        if bool((named.groupby("setting")["mean"].nunique() <= 1).all()):  # of the network itself
            named = named[named["explainer"] == named["explainer"].iloc[0]]
            named = named.assign(explainer="any")
        rows = _wide(pd.DataFrame(named), "setting", up)
        parts += [f"{words(metric).capitalize()} ({'higher' if up else 'lower'} is better):", rows]
    if any("at_least" in one or "at_most" in one for one in report["claims"]):
        parts += ["Accuracy, mean and range over networks:", _accuracies(scores)]
    return "\n\n".join([*parts, verdicts(scores, config)])


def _plainly(settings: Sequence[str]) -> list[str]:
    """Settings by their values alone, without what all of them have."""
    split = [[part.rpartition("=")[2] for part in one.split(", ")] for one in settings]
    common = set.intersection(*(set(one) for one in split)) if len(set(settings)) > 1 else set()
    return [", ".join(part for part in one if part not in common) for one in split]


def _accuracies(scores: pd.DataFrame) -> str:
    networks = scores.drop_duplicates(["setting", "model"])
    body = [
        [str(name), f"{one.mean():.2%}", f"{one.min():.2%} to {one.max():.2%}", str(len(one))]
        for name, one in networks.groupby("setting", sort=False)["accuracy"]
    ]
    return table(["dataset", "mean", "range", "networks"], body)


def tuned(found: Results, config: DictConfig) -> str:  # noqa: ARG001
    """What was chosen for each family, and its skill as tuned and as it comes on other networks."""
    chosen = found.tables["chosen"]
    body = [
        [words(row["family"]), _rounded(row["chosen"]), f"{row['skill']:.2f}"]
        for row in chosen.sort_values(by="skill", ascending=False).to_dict("records")
    ]
    scores = found.scores.replace({"explainer": {"lrp_composed": "lrp"}})
    rows, _ = skills(scores, ["setting"])
    return "\n\n".join(
        [
            table(["family", "chosen", "skill where it was tuned"], body),
            _networks(found.scores),
            rows,
        ]
    )


def _rounded(chosen: str) -> str:
    """Settings in words, numbers to two digits."""
    return re.sub(r"\d+\.\d{3,}", lambda one: f"{float(one[0]):.2g}", chosen).replace("_", " ")


def adopted(found: Results, config: DictConfig) -> str:  # noqa: ARG001
    """On which networks methods work, and what a heatmap of some of them takes."""
    trials = found.tables["trials"]
    networks = list(trials["architecture"].unique())
    counts: Any = trials.groupby(["architecture", "outcome"]).size().unstack(fill_value=0)
    outcomes = [one for one in ("works", "refused", "broken") if one in counts]
    sums = [[name, *(str(counts.loc[name, one]) for one in outcomes)] for name in networks]
    total = ", ".join(f"{(trials['outcome'] == one).sum()} {one}" for one in outcomes)
    lead = f"{trials['explainer'].nunique()} methods, {len(trials)} trials: {total}."
    by = {(row["explainer"], row["architecture"]): row for row in trials.to_dict("records")}
    body = [
        [words(name), *(_milliseconds(by[name, one]) for one in networks)]
        for name in TIMED
        if (name, networks[0]) in by
    ]
    return "\n\n".join(
        [
            lead,
            table(["network", *outcomes], sums),
            "Milliseconds for a heatmap of 32x32 pixels, the faster of two runs:",
            table(["method", *networks], body),
        ]
    )


def _milliseconds(row: Mapping[Any, Any]) -> str:
    if row["outcome"] != "works":
        return str(row["outcome"])
    spent = 1000 * row["seconds"]
    return f"{spent:.0f}" if spent >= 10 else f"{spent:.2g}"


def stable(found: Results, config: DictConfig) -> str:  # noqa: ARG001
    """Likeness of heatmaps, and whether they follow the network."""
    likeness = found.tables["similarity"]
    mine = pd.DataFrame(likeness[likeness["measure"] == "spearman"])
    parts = [
        "Spearman correlation of heatmaps of the same image:",
        _wide(mine, "kind"),
    ]
    tracking = found.tables["tracking"]
    for distance, rows in tracking.groupby("distance", sort=False):
        body = [
            [
                words(row["explainer"]),
                *(
                    between(*(row[f"{one}{end}"] for end in ("", "_low", "_high")))
                    for one in ("intercept", "slope")
                ),
            ]
            for row in rows.sort_values(by="intercept").to_dict("records")
        ]
        parts += [
            f"Distance of two heatmaps ({distance}) over that of the networks' exact worths of "
            "parts: what is left at 0 is the explainer's own; slope 1 follows the networks fully.",
            table(["explainer", "left at 0", "slope"], body),
        ]
    order = found.tables["order"]
    parts += [
        "Agreement of networks on the order of the explainers (Kendall's W; 1: all have the same):",
        table(
            ["by", "W"],
            [
                [words(row["metric"]), between(row["w"], row["low"], row["high"])]
                for row in order.to_dict("records")
            ],
        ),
        "Share of the variance of heatmaps that goes with a choice, in brackets what chance gives; "
        "bold where permutations give as much in less than one of 20:",
        _causes(found.tables["variance"]),
    ]
    return "\n\n".join(parts)


def _causes(rows: pd.DataFrame) -> str:
    """The share of variance that each choice explains, by explainer."""
    choices = list(dict.fromkeys(rows["choice"]))
    by = {(row["explainer"], row["choice"]): row for row in rows.to_dict("records")}

    def cell(row: Mapping[Any, Any]) -> str:
        mark = "**" if row["p"] < _RARE else ""
        return f"{mark}{row['share']:.0%}{mark} ({row['expected']:.0%})"

    body = [
        [words(name), *(cell(by[name, one]) for one in choices)]
        for name in sorted(set(rows["explainer"]))
    ]
    return table(["explainer", *choices], body)


def _wide(rows: pd.DataFrame, column: str, up: bool = True) -> str:
    """Means with their intervals by explainer and column, the best on average first."""
    columns = sorted(rows[column].unique(), key=_natural)
    by = {(row["explainer"], row[column]): row for row in rows.to_dict("records")}
    means_of: Any = rows.groupby("explainer")["mean"].mean()
    order = means_of.sort_values(ascending=not up).index
    body = [[words(name), *(_cell(by.get((name, one))) for one in columns)] for name in order]
    return table(["explainer", *columns], body)


def _cell(row: Mapping[Any, Any] | None) -> str:
    return "undefined" if row is None else between(row["mean"], row["low"], row["high"])


def _networks(scores: pd.DataFrame) -> str:
    networks, images = scores["model"].nunique(), scores["image"].nunique()
    return (
        f"{networks} networks with {images} images each; intervals hold together over the table "
        "(skill: 1 is the truth, 0 is equal shares)."
    )


_ENOUGH = 8  # images
MECHANISM = {
    "part_skill": "Skill",
    "false_relevance": "False relevance, the share on parts that surely do not count (0 is best)",
}
TIMED = (
    "gradient",
    "lrp",
    "deeplift",
    "grad_cam",
    "attn_lrp",
    "smoothgrad",
    "integrated_gradients",
    "occlusion",
    "lime",
    "kernel_shap",
    "rise",
    "extremal_perturbation",
)
BLOCKS: dict[str, Callable[[Results, DictConfig], str]] = {
    "exact_truth": truth,
    "lrp_vs_sensitivity": removal,
    "metric_validity": valid,
    "white_boxes": mechanisms,
    "granularity": granular,
    "depth": deep,
    "settlements": cities,
    "certified": blind,
    "certified_white": blind,
    "certified_tags": blind,
    "settlements_blind": blind,
    "shortcut": tagged,
    "human_strategy": judged,
    "xaitris": judged,
    "samek2017": judged,
    "sixt2020": judged,
    "bluecher2024": judged,
    "edge_filter": judged,
    "nlesc2020": judged,
    "stability": stable,
    "stability_counting": stable,
    "tuning": tuned,
    "adoption": adopted,
}
