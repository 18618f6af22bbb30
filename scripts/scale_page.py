"""What a study costs, and what becomes of the store: writes docs/scale.md from scale-words.md.

`python -m scripts.scale_page --measure` measures first (minutes on one core): the seconds of every
explainer and metric on images of 64x64, and a database of as many runs as a large study has.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate

from benchmarks.metrics import metrics, tiny_case
from xai_exp.config import InputError
from xai_exp.notebook.composing import composed
from xai_exp.types import Case

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "scripts" / "scale.json"
NETWORKS, EXPLAINERS, METRICS, IMAGES = 1000, 30, 30, 10_000
FEW = 8  # images to measure by
SHOWN = ("gradient", "lrp", "deeplift", "grad_cam", "integrated_gradients", "occlusion", "rise")
SCORED = ("sparseness", "pointing_game", "pixel_flipping", "road", "infidelity", "max_sensitivity")
_RUN = (
    *("dataset=counting_small", "dataset.count=400", "trainer.max_epochs=1", "images=8"),
    *("explainer=lrp", "metric=quick", "tracking.figures=false"),
)


def main() -> None:
    """Measure if asked to, and write the page."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--measure", action="store_true")
    if words.parse_args().measure:
        torch.set_num_threads(1)
        told = {"store": _store(), "seconds": _seconds()}
        STORED.write_text(json.dumps(told, indent=1) + "\n")
    (ROOT / "docs" / "scale.md").write_text(page(json.loads(STORED.read_text())), "utf-8")


def _seconds() -> dict[str, dict[str, Any]]:
    """Of each explainer and metric, the processor's seconds an image, one thread."""
    case = tiny_case(FEW, torch.device("cpu"))
    node = composed("explainer=all", "tracking=off").explainer
    explainers: dict[str, Any] = {}
    for name in map(str, node):
        one = instantiate(node[name], _convert_="all")
        try:
            explainers[name] = _spent(lambda: one(case.model, case.images, case.targets))  # noqa: B023
        except (InputError, TypeError, AttributeError):
            continue  # needs data, parts or another network
    found: dict[str, Any] = {}
    for name, metric in metrics(["all"]).items():
        if metric.needs <= {"parts"}:
            found[name] = _scored(metric, case)
    return {"explainers": explainers, "metrics": found}


def _scored(metric: Any, case: Case) -> dict[str, float]:  # noqa: ANN401
    """A metric's seconds an image, and how often it has an image explained anew."""
    seen: list[int] = []

    def explain(model: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> Any:  # noqa: ANN401, ARG001
        seen.append(len(images))
        return images.sum(1)

    seconds = _spent(lambda: metric(replace(case, explain=explain)))
    return {"seconds": seconds, "explained": sum(seen) / 2 / FEW}


def _spent(work: Callable[[], object]) -> float:
    """The processor's seconds an image, the second of two times."""
    work()
    start = time.process_time()
    work()
    return (time.process_time() - start) / FEW


def _store() -> dict[str, float]:
    """A real run's rows, as often as a large study has them, in one database."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "xai_exp", *_RUN]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        root = Path(folder) / "mlruns"
        told = _files(root)
        path = root / "mlflow.db"
        with closing(sqlite3.connect(path)) as there:
            told |= _filled(there)
        told["bytes"] = path.stat().st_size
        code = (
            "import sys, time; from xai_exp.tracking import MLflow; s = MLflow().open()\n"
            "for key in ('k17', 'none'):\n"
            "    t = time.perf_counter(); s.explained(key); print(time.perf_counter() - t)"
        )
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        told["seconds of a look"] = max(map(float, said.stdout.split()))
        return told


def _files(root: Path) -> dict[str, Any]:
    """Bytes of heatmaps an image and of scores a row, files of a run."""
    (maps,) = root.rglob("heatmaps.npz")
    scores = pd.read_parquet(maps.with_name("scores.parquet"))
    many = pd.concat([scores] * (100_000 // len(scores)), ignore_index=True)
    many["score"] = np.random.default_rng(0).random(len(many))
    large = root / "many.parquet"
    many.to_parquet(large, index=False)
    return {
        "bytes a heatmap": maps.stat().st_size / scores["image"].nunique(),
        "bytes a score": large.stat().st_size / len(many),
        "files a run": len([p for p in maps.parent.rglob("*") if p.is_file()]),
    }


def _filled(there: sqlite3.Connection) -> dict[str, float]:
    """Copy the run of an explanation with all its rows until there are enough of them."""
    count = NETWORKS * EXPLAINERS
    (run,) = there.execute("SELECT run_uuid FROM tags WHERE key = 'explain_key'").fetchone()
    there.execute("CREATE TEMP TABLE new (n INTEGER PRIMARY KEY, id TEXT)")
    there.executemany("INSERT INTO new VALUES (?, ?)", [(n, f"{n:032x}") for n in range(count)])
    rows = 0
    for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
        names = [one[1] for one in there.execute(f"PRAGMA table_info({table})")]
        asked = ["new.id" if name == "run_uuid" else f"{table}.{name}" for name in names]
        made = there.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(asked)} "
            f"FROM {table}, new WHERE {table}.run_uuid = ?",
            (run,),
        )
        rows += made.rowcount
    key = "'k' || (SELECT n FROM new WHERE id = run_uuid)"
    there.execute(
        f"UPDATE tags SET value = {key} WHERE key = 'explain_key' AND run_uuid != ?", (run,)
    )
    there.commit()
    (own,) = there.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (run,)).fetchone()
    return {"rows": rows, "runs": count, "metric rows of a run": own}


def page(told: dict[str, Any]) -> str:
    """The page's text."""
    store, seconds = told["store"], told["seconds"]
    explainers, scored = seconds["explainers"], seconds["metrics"]
    chosen = sorted(explainers, key=explainers.__getitem__)[:EXPLAINERS]
    measured = sorted(scored, key=lambda name: scored[name]["seconds"])[:METRICS]
    an_image = sum(explainers[e] + _each(explainers[e], scored, measured) for e in chosen)
    hours = NETWORKS * IMAGES * an_image / 3600
    runs = NETWORKS * EXPLAINERS
    numbers = {
        "table": _table(explainers, scored),
        "runs": f"{runs:,}",
        "scores": f"{runs * METRICS * IMAGES:,}",
        "score_bytes": _size(runs * METRICS * IMAGES * store["bytes a score"]),
        "map_bytes": _size(runs * IMAGES * store["bytes a heatmap"]),
        "files": f"{round(runs * store['files a run']):,}",
        "rows": f"{store['rows']:,}",
        "database": _size(store["bytes"]),
        "look": f"{store['seconds of a look']:.2g}",
        "looks": f"{store['seconds of a look'] * runs / 3600:.2g}",
        "image_seconds": f"{an_image:.3g}",
        "hours": f"{hours:,.0f}",
        "years": f"{hours / 8766:.2g}",
        "cores": f"{hours / (7 * 24):,.0f}",
        "middle": f"{1e3 * median(explainers.values()):.2g}",
    }
    words = (ROOT / "docs" / "scale-words.md").read_text("utf-8")
    for name, text in numbers.items():
        words = words.replace(f"{{{name}}}", text)
    return f"<!-- made by scripts/scale_page.py from scale-words.md: change that -->\n{words}"


def _each(explained: float, scored: dict[str, Any], names: list[str]) -> float:
    """The seconds of one explainer's scores by these metrics, an image."""
    return sum(scored[m]["seconds"] + scored[m]["explained"] * explained for m in names)


def _table(explainers: dict[str, float], scored: dict[str, Any]) -> str:
    """Milliseconds an image of each explainer with each metric."""
    names = [name for name in SCORED if name in scored]
    lines = [["explainer", "heatmap", *names], ["---"] * (len(names) + 2)]
    for name in (one for one in SHOWN if one in explainers):
        own = explainers[name]
        cells = [own, *(own + _each(own, scored, [m]) for m in names)]
        lines.append([name, *(f"{1e3 * cell:.3g}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(amount: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount / 1e3:.3g} kB"


if __name__ == "__main__":
    main()
