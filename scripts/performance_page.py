"""Write docs/performance.md from performance-words.md and the newest of each benchmark's results.

`make bench` measures, keeps the results in benchmarks/results, and calls this.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts.findings_table import table

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
FIRST = ROOT / "scripts" / "follow" / "first.json"
SCHEDULE = ROOT / "scripts" / "schedule.json"
MADE = "<!-- made by scripts/performance_page.py from performance-words.md: change that -->\n"
SHOWN = (
    *("gradient", "lrp.epsilon_plus", "lrp.z_plus", "lrp.alpha_beta", "guided_backprop"),
    *("deeplift", "deeplift.as_captum", "grad_cam", "full_grad", "smoothgrad"),
    *("integrated_gradients", "guided_ig"),
    *("expected_gradients", "occlusion", "lime", "kernel_shap", "rise", "shapley_sampling"),
)
Rows = Mapping[str, float]


def main() -> None:
    """Write the page and its picture."""
    found = {path.stem: json.loads(path.read_text())[-1] for path in RESULTS.glob("*.json")}
    rows: dict[str, Rows] = {name: one["rows"] for name, one in found.items()}
    words = (DOCS / "performance-words.md").read_text("utf-8")
    told = {
        "machine": "; ".join(
            sorted({one["machine"].replace(" 1 threads", " one thread") for one in found.values()})
        ),
        "date": ", ".join(sorted({one["date"] for one in found.values()})),
        "waiting": _table(rows["waiting"], {"CPU s": ".2g", "ratio": ".2g"}, "what"),
        "truth": _table(rows["truth"], {"ms an image": ".2g", "ratio": ".2f"}, "parts"),
        "rendering": _table(
            rows["rendering"],
            {
                "images a second": ",.0f",
                "ratio to writing": ".1f",
                "times faster than a loop": ".0f",
            },
            "dataset",
        ),
        "step": f"{rows['training']['1 threads, ratio']:.2f}",
        "step_ms": f"{rows['training']['1 threads, ms']:.1f}",
        "step_two": f"{rows['training']['2 threads, ratio']:.2f}",
        "step_two_ms": f"{rows['training']['2 threads, ms']:.1f}",
        "schedule": _schedule(),
        "growth": _growth(rows["growth"]),
        **_memory(rows["memory"]),
        **_waiting(rows["waiting"]),
        **_first(),
        **_reports(rows["reports"]),
        "drawn": f"{rows['rendering']['counting, images a second']:,.0f}",
        **_explainers(rows["explainers"]),
        **_metrics(rows["metrics"]),
        "whole": _table(
            rows["whole"],
            {
                "ms an image": ".0f",
                "times faster than tutorials": ".1f",
                "times faster than tuned": ".1f",
            },
            "what",
        ),
        **_passes(rows["passes"]),
    }
    (DOCS / "performance.md").write_text(MADE + words.format(**told), "utf-8")
    draw(series(rows["growth"]))


def _first() -> dict[str, str]:
    """From a clone to the first heatmap, and the studies in the smallest size."""
    found: Mapping[str, Any] = json.loads(FIRST.read_text("utf-8"))
    took = dict(found["seconds"])
    studies = took.pop("make study SIZE=tiny")
    each = ", ".join(f"{name} {_time(many)}" for name, many in took.items())
    first = (
        f"{_time(sum(took.values()))} ({each}), on {found['cores']} cores with {found['load']:.0f} "
        f"processes at work; the environment fills {found['environment_gb']} GB "
        f"({found['date']})"
    )
    return {"first": first, "run": _time(took["make run"]), "studies": _time(studies)}


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(name.rpartition(", ")[0] for name in rows))


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _schedule() -> str:
    """What the default network reached by each way to train it, seed by seed."""
    found: dict[tuple[Any, ...], dict[int, Any]] = {}
    for row in json.loads(SCHEDULE.read_text()):
        way = row["epochs"], row["batch_size"], row["learning_rate"], row.get("turned", False)
        found.setdefault(way, {})[row["seed"]] = row
    body = [
        [
            str(epochs),
            str(size),
            f"{rate:g}",
            "yes" if turned else "",
            *(_percent(each[seed]["accuracy"], 2) for seed in sorted(each)),
        ]
        for (epochs, size, rate, turned), each in found.items()
    ]
    heads = ["epochs", "batch", "learning rate", "turned", "seed 0", "seed 1"]
    return table(heads, body)


def _table(
    rows: Rows, columns: Mapping[str, str], head: str, names: Sequence[str] | None = None
) -> str:
    body = []
    for name in _names(rows) if names is None else names:
        cells = [rows.get(f"{name}, {column}") for column in columns]
        told = zip(cells, columns.values(), strict=True)
        texts = ["" if cell is None else format(cell, form) for cell, form in told]
        body.append([name.replace("_", " "), *texts])
    return table([head, *columns], body)


def _explainers(rows: Rows) -> dict[str, str]:
    ratios = {name: rows[f"{name}, ratio"] for name in _names(rows)}
    gain = "times faster than its peer"
    peers = [value for name, value in rows.items() if name.endswith(gain)]
    over = sorted((name for name in ratios if ratios[name] > 1.2), key=lambda name: -ratios[name])
    columns = {"ms an image": ".2g", "ratio": ".2f", gain: ".2g"}
    return {
        "explainers": _table(rows, columns, "explainer", [one for one in SHOWN if one in ratios]),
        "explainers_count": str(len(ratios)),
        "explainers_median": f"{median(ratios.values()):.2f}",
        "explainers_near": str(len(ratios) - len(over)),
        "explainers_over": ", ".join(f"{n.replace('_', ' ')} {ratios[n]:.2f}" for n in over),
        "peers": str(len(peers)),
        "slowest": f"{min(peers):.2g}",
        "fastest": f"{max(peers):.2g}",
    }


def _metrics(rows: Rows) -> dict[str, str]:
    names = _names(rows)
    asking = [name for name in names if f"{name}, ratio" in rows]
    free = [rows[f"{name}, ms an image"] for name in names if name not in asking]
    asking.sort(key=lambda name: -rows[f"{name}, ratio"])
    return {
        "metrics": _table(rows, {"ms an image": ".2g", "ratio": ".2f"}, "metric", asking),
        "metrics_count": str(len(asking)),
        "metrics_median": f"{median(rows[f'{name}, ratio'] for name in asking):.2f}",
        "metrics_near": str(sum(rows[f"{name}, ratio"] <= 1.1 for name in asking)),
        "free_count": str(len(free)),
        "free_least": f"{min(free):.2g}",
        "free_most": f"{max(free):.2g}",
    }


def _passes(rows: Rows) -> dict[str, str]:
    ways = [name for name in _names(rows) if f"{name}, ratio" in rows]
    compiling = rows["compiling, s"]
    ours, compiled = (rows[f"in fewer steps{way}, ms an image"] for way in ("", ", torch.compile"))
    return {
        "passes": _table(rows, {"ms an image": ".3f", "ratio": ".2f"}, "forward pass", ways),
        "compiling": f"{compiling:.0f} s",
        "speed_pass": f"{rows['the pass, Gflop/s']:.0f}",
        "speed_convolutions": f"{rows['its convolutions, Gflop/s']:.0f}",
        "speed_product": f"{rows['a product of matrices, Gflop/s']:.0f}",
        "share_convolutions": _percent(rows["convolutions, share"]),
        "more": f"{rows['a product of matrices, Gflop/s'] / rows['the pass, Gflop/s']:.1f}",
        "worth": f"{round(1e3 * compiling / (ours - compiled), -3):,.0f}",
    }


def _memory(rows: Rows) -> dict[str, str]:
    return {
        "memory_loaded": f"{rows['loaded, MiB']:,.0f}",
        "memory_least": f"{rows['by images, 64, MiB']:,.0f}",
        "memory_most": f"{rows['by images, 3000, MiB']:,.0f}",
        "memory_image": f"{rows['a further image, MiB']:.2f}",
        "memory_ratio": f"{rows['a further image, ratio']:.1f}",
        "memory_two": f"{rows['by explainers, 2, MiB']:,.0f}",
        "memory_eight": f"{rows['by explainers, 8, MiB']:,.0f}",
    }


def _waiting(rows: Rows) -> dict[str, str]:
    job = rows["a job that is found finished, CPU s"]
    floor = job / rows["a job that is found finished, ratio"]
    return {
        "waiting_help": f"{rows['--help, CPU s']:.2f}",
        "waiting_type": f"{rows['a wrong type, CPU s']:.2f}",
        "waiting_job": f"{job:.1f}",
        "waiting_floor": f"{floor:.1f}",
        "waiting_share": f"{job / floor:.2f}",
        "waiting_many": f"{rows['a further job of -m, CPU s']:.2f}",
    }


def _reports(rows: Rows) -> dict[str, str]:
    taken = {name.partition(" ")[0]: seconds for name, seconds in rows.items()}
    return {
        "reports": ", ".join(f"{value:.0f} s for {int(count):,}" for count, value in taken.items()),
        "reports_three": ", ".join(f"{taken[count]:.0f}" for count in ("100", "500", "2000")),
    }


def _growth(rows: Rows) -> str:
    body = []
    for what, found in series(rows).items():
        *_, before, last = sorted(found)
        by = f"power {rows[f'{what}, power']:.2f}"
        if what == "exact truth by parts":
            by = f"times {(found[last] / found[before]) ** (1 / (last - before)):.2f} a part"
        ends = [f"{1e3 * found[one]:.3g} ms at {one}" for one in (min(found), last)]
        body.append([what, *ends, by])
    return table(["what", "few", "many", "grows by"], body)


def series(rows: Rows) -> dict[str, dict[int, float]]:
    """Seconds by number, for each of what grows."""
    found: dict[str, dict[int, float]] = {}
    for name, value in rows.items():
        if name.endswith(", CPU s"):
            what, number, _ = name.rsplit(", ", 2)
            found.setdefault(what, {})[int(number)] = value
    return found


def draw(found: Mapping[str, Mapping[int, float]]) -> None:
    """CPU time over number, on logarithmic axes."""
    with mpl.rc_context({"svg.hashsalt": "growth"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for (what, one), mark in zip(found.items(), "os^vD*", strict=True):
            axes.plot(list(one), [1e3 * value for value in one.values()], marker=mark, label=what)
        axes.set(xscale="log", yscale="log", xlabel="number", ylabel="CPU milliseconds")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
        figure.savefig(DOCS / "images" / "growth.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
