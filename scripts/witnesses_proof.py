"""Measure how far the witnesses of experiment=mine can be believed, where truth is known.

`make witnesses` trains networks on rendered scenes (several tasks, with and without colour, five
architectures), finds the exact skill of every explainer on each, and asks all witnesses as if
nothing were known: plants in the rendered images taken as plain pictures, the exact truth of the
OTHER families of tasks, a study of scenes matched to the images, the measures of perturbation. It
writes xai_exp/witnesses/library.json (what is borrowed, and how often each kind of verdict is
opposite to exact truth) and docs/mine.md's tables. Each network's results are kept in
reports/witnesses, so that work that was stopped goes on.

    python scripts/witnesses_proof.py [--only NAME ...] [--page]
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import witnesses_page
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from xai_exp import build, pipeline, scoring
from xai_exp.compute import machine, ops
from xai_exp.compute.values import valued
from xai_exp.config import config_folder
from xai_exp.files import write_whole
from xai_exp.metrics.truth.measures import PartSkill
from xai_exp.types import Case
from xai_exp.witnesses import matched as matching
from xai_exp.witnesses.borrowed import described
from xai_exp.witnesses.looks import Look
from xai_exp.witnesses.trial import VERSION, Asked, Subject, kept

FOLDER = Path("reports/witnesses")
LOOKS: tuple[Look, ...] = ("stripes", "solid", "colour")
SEEDS = (0,)
_SHORT = ["trainer.samples=60000"]
_TASKS: dict[str, list[str]] = {
    "typed": ["dataset=typed_counting_small", "trainer.samples=100000"],
    "typed_colour": [
        "dataset=typed_counting_small",
        "dataset.color=rgb",
        "dataset.by=color",
        *_SHORT,
    ],
    "one_of_each": ["dataset=one_of_each_small", "trainer.samples=100000"],
    "weighted": ["dataset=weighted_counting_small", *_SHORT],
    "pairs": ["dataset=parity_pairs_small", *_SHORT],
    "shortcut": ["dataset=counting_shortcut_small", *_SHORT],
    "settlements": ["dataset=settlements_small", "trainer.samples=15000"],
}
_NETWORKS: dict[str, list[str]] = {
    "cnn": ["model=cnn"],
    "average": ["model=cnn", "model.pooling=avg", "model.head=gap"],
    "strides": ["model=cnn", "model.pooling=stride", "model.kernel=5", "model.activation=gelu"],
    "vgg": ["model=vgg", "trainer.samples=60000"],
    "resnet": ["model=resnet18_with/quarter_width", "trainer.samples=30000"],
    "vit": ["model=vit", "trainer.samples=60000"],
}
_CHOSEN = [
    ("typed", "cnn"), ("one_of_each", "cnn"), ("weighted", "cnn"), ("pairs", "cnn"),
    ("settlements", "cnn"), ("shortcut", "cnn"), ("typed_colour", "cnn"), ("one_of_each", "vgg"),
    ("pairs", "average"), ("one_of_each", "average"), ("typed_colour", "average"),
    ("shortcut", "average"), ("weighted", "average"), ("pairs", "strides"),
    ("one_of_each", "strides"), ("typed_colour", "strides"), ("pairs", "resnet"),
    ("one_of_each", "vit"), ("weighted", "strides"), ("shortcut", "strides"),
]  # fmt: skip


def main() -> int:
    """Measure what is missing; write the table and the page."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--only", nargs="*")
    words.add_argument("--models", default="mlruns/models")
    words.add_argument("--part", default="0/1", help="this one of so many processes")
    words.add_argument("--page", action="store_true", help="measure nothing")
    given = words.parse_args()
    machine.tune_allocator()
    mine, of = (int(one) for one in given.part.split("/"))
    for place, (task, network) in enumerate(_CHOSEN):
        name = f"{task}-{network}"
        if given.page or place % of != mine or (given.only and name not in given.only):
            continue
        path = FOLDER / f"{name}.json"
        before = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if before.get("version") == VERSION and "matched" in before:
            continue
        start = time.perf_counter()
        found = measured(task, network, given.models, before)
        FOLDER.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(found))
        sys.stdout.write(f"{name}: {time.perf_counter() - start:.0f} s\n")
        sys.stdout.flush()
    if of == 1 and not given.only:
        witnesses_page.write(
            [json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))]
        )
    return 0


def measured(task: str, network: str, models: str, before: dict[str, Any]) -> dict[str, Any]:
    """Exact skills, measures and plants of one network; plants alone if the others were found."""
    experiment = composed([*_TASKS[task], *_NETWORKS[network], f"models={models}", "tracking=off"])
    device = torch.device("cpu")
    job = pipeline.Job(
        experiment=experiment, tracker=experiment.tracking.open(), device=device, console=Console()
    )
    trained = pipeline.train_or_reuse(job)
    data, settings = experiment.dataset, experiment.settings
    sample = scoring.sample(data, settings.images, device)
    unseen = scoring.Sample(images=sample.images, labels=sample.labels, scenes=None, parts=None)
    start, exact, measures, refused = time.perf_counter(), {}, {}, {}
    skill = PartSkill()
    asked, seen, across = experiment.question, sample.images, {}
    with ops.evaluating(trained.network):
        answering = valued(trained.network, asked.value, seen)
        targets = asked.targets(ops.logits(trained.network, seen), sample.labels)
        for name, explainer in ({} if before else experiment.explainers).items():
            try:
                bound = scoring.bound(explainer, trained.network, data, unseen, settings.reference)
                case = Case(
                    model=answering, images=seen, targets=targets, explain=bound,
                    heatmaps=bound(answering, seen, targets).detach(), scenes=sample.scenes,
                    generator=torch.Generator().manual_seed(0), value=asked.value, across=across,
                )  # fmt: skip
                scoring.refuse_not_finite(case.heatmaps)
            except Exception as error:
                refused[name] = " ".join(str(error).split())[:200]
                continue
            exact[name] = [listed(skill(case)), listed(skill.weights(case))]
            for metric, measure in experiment.metrics.items():
                measures.setdefault(metric, {})[name] = [listed(measure(case)), [1.0] * len(seen)]
    seconds = {"exact": before["seconds"]["exact"] if before else time.perf_counter() - start}
    subject = Subject(
        network=trained.network, data=Plain(data), explainers=experiment.explainers,
        reference=settings.reference,
    )  # fmt: skip
    seconds |= before.get("seconds", {})
    known = before.get("trials") if before.get("version") == VERSION else None
    trials = known or tried(subject, subject.asked(LOOKS, SEEDS), trained.key, seconds)
    matched = tried(matching.matched(subject), matching.ASKED, trained.key, seconds)
    return {
        "version": VERSION,
        "task": task,
        "network": network,
        "accuracy": trained.result.accuracy,
        "features": described(trained.network, sample.images),
        "exact": before.get("exact", exact),
        "measures": before.get("measures", measures),
        "refused": before.get("refused", refused),
        "trials": trials,
        "matched": matched,
        "seconds": seconds,
    }


def tried(
    subject: Subject, asked: Sequence[Asked], key: str, seconds: dict[str, float]
) -> list[dict[str, Any]]:
    """Trials as JSON has them; `seconds` is told how long each took."""
    found = []
    for one in asked:
        start = time.perf_counter()
        made = kept(subject, one, FOLDER / "trials", key)
        seconds[one.name] = time.perf_counter() - start
        found.append(
            {
                "name": one.name,
                "certificate": vars(made.certificate),
                "skills": dict(made.skills),
                "weights": list(made.weights),
            }
        )
    return found


def listed(scores: torch.Tensor) -> list[float]:
    """As JSON has them."""
    return [float(one) for one in scores.double()]


class Plain:
    """Rendered data taken for pictures of which nothing is known."""

    def __init__(self, data: Any) -> None:  # noqa: ANN401
        self.classes, self.channels, self.size = data.classes, data.channels, data.size
        self.train, self.validation, self.test = (
            PlainSplit(one) for one in (data.train, data.validation, data.test)
        )


class PlainSplit:
    """One split without scenes and masks."""

    def __init__(self, split: Any) -> None:  # noqa: ANN401
        self._split, self.labels, self.images = split, split.labels, split.images

    def __len__(self) -> int:
        return len(self._split)

    def scenes(self, index: Any) -> None:  # noqa: ANN401, ARG002
        """None."""
        return

    def parts(self, index: Any) -> None:  # noqa: ANN401, ARG002
        """None."""
        return


def composed(overrides: list[str]) -> build.Experiment:
    """The experiment `mine` with these overrides."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", ["experiment=mine", *overrides], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        return build.experiment(config)


if __name__ == "__main__":
    sys.exit(main())
