"""Give families of explainers equally many trials, and judge what was found on other networks.

python scripts/tuning.py [--trials N] [--networks N] [--folder FOLDER] [--reports FOLDER]

Each family of conf/sweep/tune is tuned on one network and its images, for the skill against exact
Shapley values of objects. Then it is judged, as tuned and as it comes, on other networks (seeds 1
to N) of other images (dataset.seed=1). What is finished is found again, so that the script goes on
where it was stopped. The scores go to REPORTS/tuning.parquet, with `tuned` or `default` as their
setting, and what was chosen to REPORTS/tuning.chosen.csv; `scripts/findings.py tuning` writes the
page.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd

ROOT = Path(__file__).parents[1]
DATA = (
    "dataset=weighted_counting_small",
    "dataset.count=8000",
    "dataset.pixels=40",
    "trainer.samples=60000",
    "images=64",
    "tracking.figures=false",
)
CONTROLS = ("equal_shares", "noise_x_difference", "sobel")


def main() -> None:
    """Tune, judge and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("mlruns"))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    where = [f"tracking.root={options.folder}", f"hydra.sweep.dir={options.folder}"]
    chosen = {}
    families = sorted(path.stem for path in (ROOT / "conf" / "sweep" / "tune").glob("*.yaml"))
    for family in families:
        words = [f"sweep=tune/{family}", f"study=tune_{family}", *DATA]
        run([*words, f"hydra.sweeper.trials={options.trials}", *where])
        chosen[family] = best(options.folder, f"tune_{family}", options.trials)
    explainers = [next(iter(one)).split(".")[1] for one, _ in chosen.values()]
    seeds = f"seed={','.join(str(one + 1) for one in range(options.networks))}"
    asked = [*DATA, "dataset.seed=1", "imputer=known_background", "reference=border", seeds]
    asked += ["metric=part_skill", *where]
    settings = [f"{key}={word(value)}" for one, _ in chosen.values() for key, value in one.items()]
    every = ",".join([*explainers, *CONTROLS])
    run(["-m", "study=tuning_tuned", f"explainer=[{every}]", *settings, *asked])
    plain = ["lrp" if name == "lrp_composed" else name for name in explainers]
    run(["-m", "study=tuning_default", f"explainer=[{','.join(plain)}]", *asked])
    keep(options.folder, options.reports, chosen)


def run(words: Sequence[str]) -> None:
    """One command of the project; its failure is this script's."""
    print("python -m xai_exp", *words, flush=True)
    subprocess.run([sys.executable, "-m", "xai_exp", *words], check=True, cwd=ROOT)


def best(folder: Path, study: str, trials: int) -> tuple[dict[str, object], float]:
    """The settings of the best of the first trials, and its skill."""
    storage = f"sqlite:///{(ROOT / folder).resolve() / 'optuna.db'}"
    found = optuna.load_study(study_name=study, storage=storage).trials
    done = [one for one in found if one.state == optuna.trial.TrialState.COMPLETE][:trials]
    top = max(done, key=lambda one: one.values[0])
    return dict(top.params), top.values[0]


def word(value: object) -> str:
    """A value as the command line has it."""
    return value if isinstance(value, str) else json.dumps(value)


def keep(folder: Path, reports: Path, chosen: dict[str, tuple[dict[str, object], float]]) -> None:
    """Write the scores of both studies, and what was chosen."""
    from xai_exp.tracking import MLflow, collect

    tracker = MLflow(root=str(ROOT / folder)).open()
    parts = []
    for setting in ("tuned", "default"):
        there = tracker.kept(condition=f"tags.`study.tuning_{setting}` LIKE '%'")
        parts.append(collect.tidy(there).assign(setting=setting))
    reports.mkdir(parents=True, exist_ok=True)
    pd.concat(parts).to_parquet(reports / "tuning.parquet", index=False)
    rows = [
        (family, ", ".join(f"{key.split('.')[-1]} {value}" for key, value in one.items()), skill)
        for family, (one, skill) in chosen.items()
    ]
    table = pd.DataFrame(rows, columns=["family", "chosen", "skill"])
    table.to_csv(reports / "tuning.chosen.csv", index=False)


if __name__ == "__main__":
    main()
