"""The whole experiment: data -> model -> heatmaps -> scores -> tracking."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import nn
from tqdm import tqdm

from xai_exp import build, machine, scoring, show
from xai_exp.build import Experiment, plain
from xai_exp.config import InputError
from xai_exp.scoring import Sample
from xai_exp.statistics import mean_interval
from xai_exp.store import ModelStore, TrainingResult, model_key
from xai_exp.tracking import Link, Record, Tracker
from xai_exp.training import accuracy

SCORING_VERSION = 1  # raise it when a change of explainers or metrics changes scores


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network: its key, how training went, where it is tracked."""

    key: str
    network: nn.Module
    result: TrainingResult
    link: Link | None
    reused: bool


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One explainer's scores and the run that holds them."""

    name: str
    scores: pd.DataFrame
    run: str | None
    reused: bool


def run(config: DictConfig) -> float:
    """Do the experiment that `config` describes; what is finished already is found and reused.

    Returns:
        The model's accuracy on the validation split, which a sweep can optimise.

    Raises:
        InputError: when the configuration asks for something that can't be.
    """
    machine.tune_allocator()
    console = Console()
    experiment = build.experiment(config)
    device = machine.device(experiment.settings.device)
    show.header(console, config, device)
    tracker = experiment.tracking.open()
    trained = train_or_reuse(experiment, config, tracker, device, console)
    sample = scoring.sample(experiment.dataset, experiment.settings.images, device)
    show.skipped_metrics(console, experiment.metrics, sample.truths)
    done = []
    bar = tqdm(experiment.explainers, desc="explain", unit="method", leave=False, disable=None)
    for name in bar:
        explained = explain_or_reuse(name, experiment, config, trained, sample, tracker, console)
        if explained is not None:
            done.append(explained)
    show.results(console, experiment, trained.result, {e.name: e.scores for e in done})
    runs = [run for run in (trained.link and trained.link.run, *(e.run for e in done)) if run]
    show.where(console, tracker, runs, reused=sum(e.reused for e in done))
    return trained.result.validation_accuracy


def train_or_reuse(
    experiment: Experiment,
    config: DictConfig,
    tracker: Tracker,
    device: torch.device,
    console: Console,
) -> Trained:
    """The trained network of this configuration; a finished one is loaded, a killed one goes on."""
    settings, data = experiment.settings, experiment.dataset
    deciding = _deciding(experiment, config)
    key = model_key(deciding)
    store = ModelStore(root=Path(settings.models))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = experiment.architecture.build(data.channels, data.size, len(data.classes))
    with store.lock(key):
        reused = store.finished(key)
        if reused:
            result = store.load(key, network)
        else:
            result = experiment.trainer.fit(
                data, network, seed=settings.seed, folder=store.folder(key), device=device
            )
            store.save(key, network, result)
        network.to(device).eval()
        result = replace(
            result,
            accuracy=store.accuracy(
                key,
                model_key(_described(experiment, config)),
                lambda: accuracy(network, data.test, device) if reused else result.accuracy,
            ),
        )
    show.trained(console, result, reused=reused)
    link = tracker.record_training(
        training_record(experiment, config, key, result),
        network=network,
        example=data.validation.images(torch.arange(2, device=device)),
        history=result.history,
    )
    return Trained(key=key, network=network, result=result, link=link, reused=reused)


def _described(experiment: Experiment, config: DictConfig) -> dict[str, Any]:
    """The data: their configuration and, where that names files, what the files are."""
    return {
        "dataset": plain(config.dataset),
        "content": getattr(experiment.dataset, "fingerprint", ""),
    }


def _deciding(experiment: Experiment, config: DictConfig) -> dict[str, Any]:
    """Everything that decides the trained weights."""
    described = _described(experiment, config)
    for name in getattr(experiment.dataset, "undeciding", ()):
        described["dataset"].pop(name, None)
    return {
        **described,
        "model": plain(config.model),
        "trainer": plain(config.trainer),
        "seed": experiment.settings.seed,
    }


def training_record(
    experiment: Experiment, config: DictConfig, key: str, result: TrainingResult
) -> Record:
    """What tracking keeps of a training."""
    from xai_exp.report import curves

    names = build.names(config)
    return Record(
        key=key,
        name=f"{names['dataset']} {names['model']} seed {experiment.settings.seed}",
        tags=_tags(experiment, config),
        params={
            group: plain(config[group]) | {"name": names[group]}
            for group in ("dataset", "model", "trainer")
        }
        | {"seed": experiment.settings.seed},
        metrics={
            "accuracy": result.accuracy,
            "final_validation_accuracy": result.validation_accuracy,
            "epochs": result.epochs,
            "training_seconds": result.seconds,
            "parameters": result.parameters,
        },
        figures={"learning": curves.learning(result.history)},
        seconds=result.seconds,
    )


def _tags(experiment: Experiment, config: DictConfig) -> dict[str, object]:
    names, settings = build.names(config), experiment.settings
    return {
        "dataset": names["dataset"],
        "model": names["model"],
        "seed": settings.seed,
        "study": settings.study,
    }


def explain_or_reuse(
    name: str,
    experiment: Experiment,
    config: DictConfig,
    trained: Trained,
    sample: Sample,
    tracker: Tracker,
    console: Console,
) -> Explained | None:
    """Explain the sample by one method and score it; None if the method can't be used on it."""
    settings = experiment.settings
    content = {
        "model": trained.key,
        "data": plain(config.dataset),
        "truth": getattr(experiment.dataset, "truth_fingerprint", ""),
        "explainer": {name: plain(config.explainer[name])},
        "metrics": plain(config.metric),
        "images": len(sample.images),
        "target": settings.target,
        "seed": settings.seed,
        "scoring": SCORING_VERSION,
    }
    key = model_key(content)
    found = tracker.explained(key) if settings.reuse else None
    if found is not None:
        return Explained(name=name, scores=found.scores, run=found.run, reused=True)
    explainer = experiment.explainers[name]
    start = time.perf_counter()
    try:
        explainer = scoring.bound(explainer, trained.network, experiment.dataset, sample)
    except InputError as error:
        console.print(f"explainer {name} is skipped: {error}")
        return None
    scored = scoring.score(
        explainer,
        experiment.metrics,
        trained.network,
        sample,
        target=settings.target,
        seed=settings.seed,
    )
    record = explanation_record(
        name, experiment, config, trained, sample, scored, time.perf_counter() - start
    )
    run = tracker.record_explanation(
        Record(**{**vars(record), "key": key}),
        link=trained.link,
        heatmaps={"heatmaps": scored.heatmaps.cpu().numpy()},
        scores=scored.scores,
    )
    return Explained(name=name, scores=scored.scores, run=run, reused=False)


def explanation_record(
    name: str,
    experiment: Experiment,
    config: DictConfig,
    trained: Trained,
    sample: Sample,
    scored: scoring.Scored,
    seconds: float,
) -> Record:
    """What tracking keeps of one explainer's work, its key excepted."""
    from xai_exp.report import curves, gallery

    names, settings = build.names(config), experiment.settings
    means = {
        str(metric): mean_interval(rows["score"], seed=settings.seed)._asdict()
        for metric, rows in scored.scores.groupby("metric", sort=False)
    }
    captions = show.captions(scored.scores, experiment.dataset.classes)
    figures = {
        "gallery": gallery.gallery(
            sample.images,
            {name: scored.heatmaps},
            captions,
            scores={name: show.score_lines(scored.scores)},
            masks=sample.parts.sum(1) if sample.parts is not None else None,
            overlay=True,
        )
    }
    for metric, drawn in scored.curves.items():
        figures[f"curves_{metric}"] = curves.perturbation(drawn, title=f"{name}: {metric}")
    return Record(
        key="",
        name=f"{name} on {names['dataset']} {names['model']} seed {settings.seed}",
        tags=_tags(experiment, config) | {"explainer": name, "model_key": trained.key},
        params={
            "dataset": {"name": names["dataset"]},
            "model": {"name": names["model"]},
            "explainer": {"name": name, **plain(config.explainer[name])},
            "metric": plain(config.metric),
            "images": len(sample.images),
            "target": settings.target,
            "seed": settings.seed,
        },
        metrics={
            **means,
            "accuracy": trained.result.accuracy,
            "explain_seconds_per_image": scored.seconds_per_image,
        },
        figures=figures,
        seconds=seconds,
    )
