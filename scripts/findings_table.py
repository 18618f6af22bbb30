"""Write a study's means as a table for docs/findings.md.

python scripts/findings_table.py reports/STUDY.parquet [--dataset NAME] [--metrics NAME ...]

Rows are explainers, the best first by the first metric; cells are the mean over models and images
and its 95 % interval over both (statistics.crossed_interval), all architectures together.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from xai_exp.report.tables import means, words


def main() -> None:
    """Print one table for each dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--dataset", nargs="*")
    parser.add_argument("--metrics", nargs="*")
    options = parser.parse_args()
    scores = pd.read_parquet(options.table)
    known = list(scores["dataset"].unique())
    if unknown := set(options.dataset or ()) - set(known):
        sys.exit(f"error: dataset: got {', '.join(unknown)}; allowed: {', '.join(known)}")
    for dataset in options.dataset or known:
        mine = pd.DataFrame(scores[scores["dataset"] == dataset]).assign(setting=dataset)
        there = list(mine["metric"].unique())
        names = [name for name in options.metrics or there if name in there]
        print(f"\n{dataset}: {mine['model'].nunique()} networks\n")
        print(markdown(pd.DataFrame(mine[mine["metric"].isin(names)]), names))


def markdown(scores: pd.DataFrame, metrics: list[str]) -> str:
    """The table of these metrics."""
    found = {(row["explainer"], row["metric"]): row for row in means(scores).to_dict("records")}
    upward = {metric: bool(row["higher_is_better"]) for (_, metric), row in found.items()}
    sign = -1 if upward[metrics[0]] else 1
    ranked = {name: sign * row["mean"] for (name, m), row in found.items() if m == metrics[0]}
    order = sorted(ranked, key=lambda name: ranked[name])
    heads = [f"{words(name)} ({'higher' if upward[name] else 'lower'})" for name in metrics]
    body = [
        [words(explainer), *(_cell(found.get((explainer, name))) for name in metrics)]
        for explainer in order
    ]
    return table(["explainer", *heads], body)


def table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    rows = ["| " + " | ".join(row) + " |" for row in (heads, *body)]
    return "\n".join([rows[0], "| --- " * len(heads) + "|", *rows[1:]])


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["mean"] != row["mean"]:
        return "undefined"
    digits = 1 if abs(row["mean"]) >= 3 else 3
    return f"{row['mean']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


if __name__ == "__main__":
    main()
