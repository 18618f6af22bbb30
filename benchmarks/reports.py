"""python -m benchmarks.reports [--runs 100 500 2000].

CPU seconds of `python -m xai_exp.report` on a store of as many explanations. One network is trained
and explained by ten methods with eight metrics on 48 images; the others are its explanations,
recorded again through the tracker as those of networks with other seeds, with scores that differ
by chance, so that tables, tests and pictures have as much to do as in a study.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.kept import cpu_seconds, keep
from xai_exp.tracking import Kept, MLflow, Record, Tracker

RUNS = (100, 500, 2000)
EXPLAINERS = (
    *("gradient", "sensitivity", "input_x_gradient", "lrp_epsilon", "lrp_z_plus", "deconvnet"),
    *("guided_backprop", "exact_mask", "inverted_mask", "random"),
)
METRICS = (
    *("relevance_mass", "relevance_rank", "pointing_game", "sparseness", "complexity"),
    *("pixel_flipping", "part_skill", "part_outside"),
)
_TRAINING = ("dataset=counting_small", "trainer.samples=3000", "images=48", "device=cpu")


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, nargs="*", default=RUNS)
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = [f"explainer=[{','.join(EXPLAINERS)}]", f"metric=[{','.join(METRICS)}]"]
        cpu_seconds(["-m", "xai_exp", *_TRAINING, *chosen], folder)
        tracker = MLflow(root=str(Path(folder) / "mlruns")).open()
        first, made = tracker.kept(condition=""), len(EXPLAINERS)
        for runs in sorted(parser.parse_args().runs):
            while made < runs:
                one = first[made % len(first)]
                _record(tracker, one, made // len(first))
                made += 1
            taken = cpu_seconds(["-m", "xai_exp.report", "--name", f"of_{runs}"], folder)
            rows[f"{runs} explanations, CPU s"] = taken
            print(f"{runs:6} explanations: {taken:6.1f} CPU s", flush=True)
    keep("reports", rows)


def _record(tracker: Tracker, kept: Kept, seed: int) -> None:
    """The explanation again, as that of a network with another seed."""
    noise = np.random.default_rng([seed, len(kept.scores)]).normal(0, 0.02, len(kept.scores))
    scores = kept.scores.assign(score=kept.scores["score"] + noise)
    tags = {name: kept.tags[name] for name in ("dataset", "model", "explainer")}
    known = {"accuracy": kept.accuracy, "explain_seconds_per_image": kept.seconds}
    means = {
        str(name): float(np.mean(np.asarray(rows["score"], float)))
        for name, rows in scores.groupby("metric")
    }
    record = Record(
        key=f"{kept.tags['explainer']}-{seed}",
        name=f"{kept.tags['explainer']} · seed {seed}",
        tags={**tags, "seed": seed, "model_key": f"{seed:016x}"},
        params=dict(kept.params) | {"seed": seed},
        metrics=known | means,
    )
    tracker.record_explanation(record, link=None, heatmaps=dict(kept.arrays()), scores=scores)


if __name__ == "__main__":
    main()
