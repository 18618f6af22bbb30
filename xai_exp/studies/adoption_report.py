"""What it takes to use each method: a report on time, memory and refusals; a callback of Hydra."""

import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from xai_exp.studies.callbacks import Report

if TYPE_CHECKING:
    import pandas as pd

    from xai_exp.build import Experiment
    from xai_exp.report.pages.page import Section
    from xai_exp.studies.adoption import Trial

_GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "measured.json"
_MARKS = {"works": "works", "refused": "refused", "broken": "BROKEN"}
_COUNTED = {"works": "work", "refused": "are refused in one line", "broken": "are broken"}


class Adoption(Report):
    """Try every method of the study on every network of it, and write down what it takes.

    Each trial is kept in FOLDER/STUDY.trials.jsonl as soon as it is made, so that a report that was
    killed goes on there, and one that is made again says the same.
    """

    _found: "pd.DataFrame | None" = None

    def answer(self) -> str:
        """How many trials work, and the cheapest and the dearest method."""
        return answer(self._tried())

    def _tried(self) -> "pd.DataFrame":
        import pandas as pd

        if self._found is None:
            self._found = pd.DataFrame(self._trials())
            self.beside("trials", self._found)
        return self._found

    def extras(self) -> "Sequence[Section]":
        """Two tables: what methods cost, and where they work."""
        from xai_exp.report.pages.page import Section

        trials = self._tried()
        return [
            Section("What each method costs", costs(trials)),
            Section("Where each method works", support(trials)),
        ]

    def _trials(self) -> "list[Trial]":
        from tqdm import tqdm

        from xai_exp.studies.adoption import Trial

        path = Path(self.folder) / f"{self.jobs[0].settings.study or 'adoption'}.trials.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        # The last line of a process that was killed may be half a line.
        known = {one[0]: Trial(*one[1]) for line in lines if (one := _parsed(line))}
        found = []
        for job in self.jobs:
            prepared = _Prepared(job)
            bar = tqdm(prepared.keys(), desc="try", unit="method", leave=False, disable=None)
            for key, name in bar:
                if key not in known:
                    known[key] = prepared.tried(name)
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps([key, list(known[key])]) + "\n")
                found.append(known[key])
        return found


class _Prepared:
    """One job's trained network and images, loaded once something is to be tried on them."""

    def __init__(self, experiment: "Experiment") -> None:
        self.experiment = experiment
        self._loaded: Any = None

    def keys(self) -> Iterator[tuple[str, str]]:
        """A key of what decides a trial, and the explainer's name."""
        from xai_exp.config import identity
        from xai_exp.training.store import model_key

        whole = {"model": self.experiment.model_key, "images": self.experiment.settings.images}
        for name, explainer in self.experiment.explainers.items():
            yield model_key({**whole, "tried": {name: identity(explainer)}}), name

    def tried(self, name: str) -> "Trial":
        """Try one method."""
        from xai_exp import scoring
        from xai_exp.config import InputError
        from xai_exp.studies import adoption

        network, sample, targets = self._load()
        architecture = type(self.experiment.architecture).__name__
        explainer = self.experiment.explainers[name]
        try:
            explainer = scoring.bound(explainer, network, self.experiment.dataset, sample)
        except InputError as error:
            nothing = float("nan")
            problem = str(error)
            return adoption.Trial(name, architecture, "refused", problem, *[nothing] * 3)
        return adoption.tried(name, architecture, explainer, network, sample.images, targets)

    def _load(self) -> Any:  # noqa: ANN401
        from xai_exp import pipeline, scoring
        from xai_exp.compute import machine, ops

        if self._loaded is None:
            settings, data = self.experiment.settings, self.experiment.dataset
            device = machine.device(settings.device)
            network = pipeline.trained_network(self.experiment, device)
            sample = scoring.sample(data, settings.images, device)
            with ops.evaluating(network):
                targets = ops.logits(network, sample.images).argmax(1)
            self._loaded = network, sample, targets
        return self._loaded


def answer(trials: "pd.DataFrame") -> str:
    """The finding in one sentence."""
    counts = trials["outcome"].value_counts()
    words = (
        f"Of {len(trials)} trials of {trials['explainer'].nunique()} methods on "
        f"{trials['architecture'].nunique()} architectures, "
        + ", ".join(f"{counts.get(key, 0)} {word}" for key, word in _COUNTED.items())
    )
    costly = trials[trials["over_cost"] > 0]  # not the controls, which ask nothing of a network
    times = {str(n): median(t) for n, t in costly.groupby("explainer")["seconds"]}
    if len(times) < 2:
        return f"{words}."
    first, last = min(times, key=lambda n: times[n]), max(times, key=lambda n: times[n])
    ends = [
        f"{1000 * times[name]:.{2 if times[name] < 0.01 else 0}f} ms ({name.replace('_', ' ')})"
        for name in (first, last)
    ]
    return f"{words}; a heatmap takes from {ends[0]} to {ends[1]} in the median over networks."


def costs(trials: "pd.DataFrame") -> str:
    """A row a method: seconds and memory on each network, and its error against the original."""
    from xai_exp.report import tables

    networks = list(trials["architecture"].unique())
    golden = json.loads(_GOLDEN.read_text("utf-8")) if _GOLDEN.exists() else {}
    heads = ["explainer", "error against the original", "time over stated cost"]
    heads += [f"ms on {name}" for name in networks] + [f"MB on {name}" for name in networks]
    body = []
    for name, rows in trials.groupby("explainer", sort=False):
        by = rows.set_index("architecture").to_dict("index")
        errors = golden.get(str(name), {}).get("errors", {})
        words = ", ".join(f"{library} {error:.0e}" for library, error in errors.items())
        cells = [tables.cell(tables.words(name)), tables.cell(words, kind="words")]
        cells.append(_number(float(rows["over_cost"].to_frame().median().iloc[0]), 1))
        cells += [_number(1000 * by[one]["seconds"], 1) for one in networks]
        cells += [_number(by[one]["megabytes"], 1) for one in networks]
        body.append(cells)
    words = (
        "<p>For one heatmap: milliseconds and the most memory that tensors take up at once, an "
        "image. Time over stated cost is the median over networks of the measured time over that "
        "of the forward passes the method says it needs. The error is the largest deviation from "
        "heatmaps that the original library made, over their largest value.</p>"
    )
    return words + tables.table(heads, body, name="costs")


def support(trials: "pd.DataFrame") -> str:
    """A row a method: whether it works on each network, and what it says if not."""
    from xai_exp.report import tables

    networks = list(trials["architecture"].unique())
    body = []
    for name, rows in trials.groupby("explainer", sort=False):
        by = rows.set_index("architecture")["outcome"].to_dict()
        problems = list(dict.fromkeys(problem for problem in rows["problem"] if problem))
        cells = [tables.cell(tables.words(name))]
        cells += [tables.cell(_MARKS[by[one]], kind="text") for one in networks]
        body.append([*cells, tables.cell("; ".join(problems), kind="words")])
    counts = trials["outcome"].value_counts()
    summary = ", ".join(f"{counts.get(key, 0)} {word}" for key, word in _COUNTED.items())
    return f"<p>Of {len(trials)} trials: {html.escape(summary)}.</p>" + tables.table(
        ["explainer", *networks, "what it says"], body, name="support"
    )


def _number(value: float, digits: int) -> str:
    from xai_exp.report import tables

    return tables.cell("" if value != value else f"{value:.{digits}f}", value)


def _parsed(line: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
