"""Write the tables of docs/findings.md from what the studies left.

python scripts/findings.py [--reports FOLDER] [NAME ...]

Between `<!-- begin: NAME -->` and `<!-- end: NAME -->` stands what a study's scores say:

- exact_truth: skill of every explainer by dataset, grain, value and reference, with intervals that
  hold together within a table, then the verdicts;
- lrp_vs_sensitivity: the verdicts, and the area between curves by dataset;
- metric_validity: the validity of every metric;
- white_boxes: skill, false relevance and error on mechanisms that are known in closed form;
- granularity: skill of the same heatmaps by what counts as a part, then the verdicts;
- depth: skill by architecture, then the verdicts;
- settlements: skill in known and in new cities, then the verdicts;
- certified: how often each explainer's heatmaps tell the mechanism of a network.

Without a name, every study whose reports/NAME.parquet is there.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from findings_table import table
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from xai_exp.report.tables import words
from xai_exp.statistics import evened
from xai_exp.statistics.together import Held, simultaneous
from xai_exp.studies.validity import validity
from xai_exp.verdicts import claims, verdict
from xai_exp.verdicts.audit import audit

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
GRAINS = {"part_skill": "objects", "grid_skill": "patches of a 4 x 4 grid"}


def main() -> int:
    """Write the tables of the studies that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args()
    for name in options.names or [
        one for one in BLOCKS if (options.reports / f"{one}.parquet").is_file()
    ]:
        if name not in BLOCKS:
            sys.exit(f"error: got {name}; allowed: {', '.join(BLOCKS)}")
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = compose("config", [f"experiment={name}"], return_hydra_config=True)
        scores = pd.read_parquet(options.reports / f"{name}.parquet")
        beside = options.reports / f"{name}.identified.csv"
        if beside.is_file():
            scores.attrs["identified"] = pd.read_csv(beside)
        written(name, BLOCKS[name](scores, config))
        print(f"{name}: {PAGE.name} is written")
    return 0


def written(name: str, text: str) -> None:
    """Put a text between the marks of its name."""
    page = PAGE.read_text()
    first, last = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    if first not in page or last not in page:
        sys.exit(f"error: {PAGE.name} has no {first.strip()} ... {last}")
    before, _, rest = page.partition(first)
    PAGE.write_text(f"{before}{first}\n{text.strip()}\n\n{last}{rest.partition(last)[2]}")


def truth(scores: pd.DataFrame, config: DictConfig) -> str:
    """Skill by dataset and grain, then the verdicts."""
    parts = []
    for dataset, mine in scores.groupby("dataset", sort=False):
        networks, images = mine["model"].nunique(), mine["image"].nunique()
        for metric, grain in GRAINS.items():
            found = pd.DataFrame(mine[mine["metric"] == metric])
            table, detectable = skills(found)
            parts += [
                f"`{dataset}`, {grain}: skill of {networks} networks with {images} images each. "
                f"Intervals hold together over the table; a skill of {detectable:.2f} is found "
                "with a probability of 80 % in half of its cells.",
                table,
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
    columns = sorted(set(scores[list(by)].astype(str).itertuples(index=False, name=None)))
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
    means = {e: np.nanmean([found[e, c].difference for c in columns]) for e in explainers}
    body = [
        [words(name), *(estimate(found[name, c]) for c in columns)]
        for name in sorted(explainers, key=lambda one: -means[one])
    ]
    known = [one.detectable for one in found.values() if np.isfinite(one.detectable)]
    heads = ["explainer", *(", ".join([words(one[0]), *one[1:]]) for one in columns)]
    return table(heads, body), float(np.median(known))


def _by_network(wide: pd.DataFrame, explainer: str, column: Sequence[str], apart: bool) -> Any:  # noqa: ANN401
    """(networks, images) of one cell; NaN where a network has no score."""
    if (explainer, *column) not in wide:
        return np.full((1, 1), np.nan)
    mine = wide[explainer, *column].unstack("image")
    return np.asarray(mine.dropna(how="all") if apart else mine, float)


def estimate(found: Held) -> str:
    """A mean and its interval."""
    if np.isnan(found.difference):
        return "undefined"
    if np.isnan(found.low):
        return f"{found.difference:.2f}"
    return f"{found.difference:.2f} [{found.low:.2f}, {found.high:.2f}]"


def verdicts(scores: pd.DataFrame, config: DictConfig) -> str:
    """Each claim of the study with what became of it."""
    report: Any = OmegaConf.to_container(config.hydra.callbacks.report, resolve=False)
    asked = [claims.made(one) for one in report["claims"]]
    found = verdict.answers(asked, scores, audit(scores, report["truths"]))
    return "\n".join(f"- {one.claim.text}: {verdict.sentence(one)}" for one in found)


def removal(scores: pd.DataFrame, config: DictConfig) -> str:
    """Verdicts, then the area between the curves by dataset, over values and references."""
    mine = pd.DataFrame(scores[scores["metric"] == "region_perturbation_area"])
    lines = []
    for dataset, rows in mine.groupby("dataset", sort=False):
        table, _ = skills(pd.DataFrame(rows))
        lines += [f"`{dataset}`, {rows['model'].nunique()} networks:", table]
    return "\n\n".join([verdicts(scores, config), *lines])


def valid(scores: pd.DataFrame, config: DictConfig) -> str:
    """The validity of every metric."""
    report = config.hydra.callbacks.report
    up = dict(zip(scores["metric"], scores["higher_is_better"].astype(bool), strict=True))
    found = validity(scores, up, truth=report.truth, grains=list(report.grains))
    heads = (
        "metric",
        "within an image",
        "over explainers' means",
        "cost of known damage",
        "hangs on",
        "stands",
    )
    body = []
    for row in found.to_dict("records"):
        ends = [
            [row[f"{kind}{end}"] for end in ("", "_low", "_high")]
            for kind in ("within", "means", "doses")
        ]
        cells = [_signed(*one) for one in ends]
        others = f"{len(row['hangs_on'].split(';'))} of {row['levels']}" if row["hangs_on"] else ""
        stands = "yes" if row["stands"] else "no"
        body.append([words(row["metric"]), *cells, others, stands])
    return table(heads, body)


def _signed(mean: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "undefined"
    return f"{mean:+.2f}" if np.isnan(low) else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def mechanisms(scores: pd.DataFrame, config: DictConfig) -> str:  # noqa: ARG001
    """Means over images by mechanism and reference: one network each, so there is no interval."""
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


def granular(scores: pd.DataFrame, config: DictConfig) -> str:
    """Skill by what counts as a part, then the verdicts."""
    truths = list(config.hydra.callbacks.report.truths)
    found, _ = skills(pd.DataFrame(scores[scores["metric"].isin(truths)]), ["metric"])
    return f"{_networks(scores)}\n\n{found}\n\n{verdicts(scores, config)}"


def deep(scores: pd.DataFrame, config: DictConfig) -> str:
    """Skill by architecture, then the verdicts."""
    mine = pd.DataFrame(scores[scores["metric"] == "part_skill"])
    found, _ = skills(mine, ["architecture"], apart=True)
    return f"{_networks(scores)}\n\n{found}\n\n{verdicts(scores, config)}"


def cities(scores: pd.DataFrame, config: DictConfig) -> str:
    """Skill in known and in new cities, then the verdicts."""
    mine = pd.DataFrame(scores[scores["metric"] == "part_skill"])
    mine["setting"] = mine["setting"].str.rpartition("test_city=")[2]
    found, _ = skills(mine, ["setting"])
    return f"{_networks(scores)}\n\n{found}\n\n{verdicts(scores, config)}"


def blind(scores: pd.DataFrame, config: DictConfig) -> str:  # noqa: ARG001
    """How often a heatmap, and all of a network's together, tell its mechanism, and bits."""
    found = scores.attrs["identified"]
    body = [
        [
            words(row["explainer"]),
            _share(row, "rate"),
            f"{row['networks']:.0%}",
            f"{row['bits_mean']:.2f}",
        ]
        for row in found.to_dict("records")
    ]
    chance = float(found["chance"].iloc[0])
    lead = f"{int(found['of_networks'].iloc[0])} networks; chance is {chance:.0%}."
    heads = ["explainer", "of heatmaps", "of networks", "bits a heatmap"]
    return f"{lead}\n\n{table(heads, body)}"


def _share(row: dict[str, Any], name: str) -> str:
    mean, low, high = (row[f"{name}_{end}"] for end in ("mean", "low", "high"))
    return f"{mean:.0%}" if np.isnan(low) else f"{mean:.0%} [{low:.0%}, {high:.0%}]"


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
BLOCKS: dict[str, Callable[[pd.DataFrame, DictConfig], str]] = {
    "exact_truth": truth,
    "lrp_vs_sensitivity": removal,
    "metric_validity": valid,
    "white_boxes": mechanisms,
    "granularity": granular,
    "depth": deep,
    "settlements": cities,
    "certified": blind,
}


if __name__ == "__main__":
    sys.exit(main())
