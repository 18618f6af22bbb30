"""Keep what studies left in docs/results, and write the tables of docs/findings.md from it.

python scripts/findings.py [--reports FOLDER] [NAME ...]

A study's scores (FOLDER/NAME.parquet) and the tables of its page (FOLDER/NAME.TABLE.csv) are copied
to docs/results, without columns that no table needs; what stands between `<!-- begin: NAME -->` and
`<!-- end: NAME -->` in docs/findings.md is written from these copies alone, so that anybody can do
it again. Without a name: every study that is kept, none of them copied anew.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from findings_blocks import BLOCKS, Results
from hydra import compose, initialize_config_dir

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
KEPT = ROOT / "docs" / "results"
UNUSED = ("label", "prediction", "target", "reason", "seconds", "run")


def main() -> int:
    """Keep the studies that are named, and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args()
    for name in options.names:
        if name not in BLOCKS:
            sys.exit(f"error: got {name}; allowed: {', '.join(BLOCKS)}")
        keep(options.reports, name)
    for name in options.names or kept():
        write(name, block(name))
        print(f"{name}: {PAGE.name} is written")
    return 0


def keep(reports: Path, name: str) -> None:
    """Copy what a study left to docs/results."""
    scores, tables = reports / f"{name}.parquet", sorted(reports.glob(f"{name}.*.csv"))
    if not scores.is_file() and not tables:
        sys.exit(
            f"error: {reports} has no {name}.parquet; python -m xai_exp experiment={name} does"
        )
    KEPT.mkdir(exist_ok=True)
    if scores.is_file():
        whole = pd.read_parquet(scores)
        small = whole.drop(columns=[one for one in UNUSED if one in whole])
        small.to_parquet(KEPT / scores.name, index=False, compression="zstd")
    for path in tables:
        (KEPT / path.name).write_bytes(path.read_bytes())


def kept() -> list[str]:
    """The names of the studies that are kept."""
    there = {path.name.split(".")[0] for path in KEPT.iterdir()}
    return [name for name in BLOCKS if name in there]


def block(name: str) -> str:
    """What a study's kept results say."""
    there = (ROOT / "conf" / "experiment" / f"{name}.yaml").is_file()  # tuning is a script
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        words = [f"experiment={name}"] if there else []
        config = compose("config", words, return_hydra_config=True)
    path = KEPT / f"{name}.parquet"
    scores = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
    tables = {one.name.split(".")[1]: pd.read_csv(one) for one in KEPT.glob(f"{name}.*.csv")}
    return BLOCKS[name](Results(scores, tables), config).strip()


def written(name: str) -> str:
    """What docs/findings.md has between the marks of a name."""
    return _around(name)[1].strip()


def write(name: str, text: str) -> None:
    """Put a text between the marks of its name."""
    before, _, after = _around(name)
    PAGE.write_text(f"{before}\n{text}\n\n{after}")


def _around(name: str) -> tuple[str, str, str]:
    page = PAGE.read_text()
    first, last = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    if first not in page or last not in page:
        sys.exit(f"error: {PAGE.name} has no {first.strip()} ... {last}")
    before, _, rest = page.partition(first)
    inside, _, after = rest.partition(last)
    return before + first, inside, last + after


if __name__ == "__main__":
    sys.exit(main())
