"""The whole experiment: data -> model -> heatmaps -> scores -> tracking."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import nn
from tqdm import tqdm

from xai_exp import build, records, scoring
from xai_exp.build import Experiment, plain
from xai_exp.compute import machine
from xai_exp.config import InputError
from xai_exp.scoring import Sample, Scored
from xai_exp.show import progress as matrix
from xai_exp.show import terminal as show
from xai_exp.sweeping import objectives
from xai_exp.tracking import Found, Link, Tracker
from xai_exp.training import accuracy
from xai_exp.training.store import ModelStore, TrainingResult, model_key

SCORING_VERSION = 3  # raise it when a change of explainers or metrics changes scores


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every step works with."""

    experiment: Experiment
    config: DictConfig
    tracker: Tracker
    device: torch.device
    console: Console


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
    """One explainer's scores and the run that holds them; what was scored if it was just now."""

    name: str
    key: str
    scores: pd.DataFrame
    run: str | None
    fresh: Scored | None = None


def run(config: DictConfig) -> float | list[float]:
    """Do the experiment that `config` describes; what is finished already is found and reused.

    Returns:
        What a sweep optimises: the setting `objective`, a number or several.

    Raises:
        InputError: when the configuration asks for something that can't be.
    """
    machine.tune_allocator()
    watched = matrix.current()
    console = watched.console if watched else Console()
    experiment = build.experiment(config)
    device = machine.device(experiment.settings.device)
    show.header(console, config, device)
    tracker = experiment.tracking.open()
    job = Job(experiment=experiment, config=config, tracker=tracker, device=device, console=console)
    trained = train_or_reuse(job)
    sample = scoring.sample(experiment.dataset, experiment.settings.images, device)
    show.skipped_metrics(console, experiment.metrics, sample.truths)
    tried = [explain_or_reuse(job, name, trained, sample) for name in _watched(job, watched)]
    done = [explained for explained in tried if explained is not None]
    skipped = [name for name, one in zip(experiment.explainers, tried, strict=True) if one is None]
    comparison = compare(job, trained, sample, done, skipped)
    if watched is None:
        show.results(console, experiment, trained.result, {e.name: e.scores for e in done})
    runs = [trained.link.run if trained.link else None, *(e.run for e in done), comparison]
    _tag_with_study(job, [r for r in runs if r])
    reused = sum(e.fresh is None for e in done)
    if watched is None:
        show.where(console, tracker, [r for r in runs if r], reused=reused)
    else:
        show.explained(console, len(done), reused=reused)
    return objectives.values(
        experiment.settings.objective, trained.result, {e.name: e.scores for e in done}
    )


def _watched(job: Job, watched: matrix.Matrix | None) -> Iterator[str]:
    """The explainers' names, with a bar of their own unless a study shows one."""
    names = list(job.experiment.explainers)
    if watched is None:
        yield from tqdm(names, desc="explain", unit="method", leave=False, disable=None)
        return
    for name in names:  # the step before was the network, or the explainer before
        watched.step(f"explain: {name}")
        yield name


def _tag_with_study(job: Job, runs: list[str]) -> None:
    """What is found again belongs to this study and trial as well."""
    settings = job.experiment.settings
    if settings.study:
        trial = "" if settings.trial is None else str(settings.trial)
        job.tracker.tag(runs, {f"study.{settings.study}": trial})


def _watch(config: DictConfig) -> Callable[[int, float], None] | None:
    """Who ends a training that a sweep finds hopeless; optuna is imported only there."""
    if config.get("trial") is None:
        return None
    from xai_exp.sweeping.job import watcher

    return watcher(config)


def train_or_reuse(job: Job) -> Trained:
    """The trained network of this configuration; a finished one is loaded, a killed one goes on."""
    settings, data, device = job.experiment.settings, job.experiment.dataset, job.device
    key = model_key(_deciding(job))
    store = ModelStore(root=Path(settings.models))
    network = _untrained(job.experiment)
    with store.lock(key):
        reused = store.finished(key)
        if reused:
            result = store.load(key, network)
        else:
            result = job.experiment.trainer.fit(
                data,
                network,
                seed=settings.seed,
                folder=store.folder(key),
                device=device,
                watch=_watch(job.config),
            )
            store.save(key, network, result)
        network.to(device).eval()
        result = replace(
            result,
            accuracy=store.accuracy(
                key,
                model_key(_described(job)),
                lambda: accuracy(network, data.test, device) if reused else result.accuracy,
            ),
        )
    show.trained(job.console, result, reused=reused)
    link = job.tracker.record_training(
        records.training(job.experiment, job.config, key, result),
        network=network,
        example=data.validation.images(torch.arange(2, device=device)),
        history=result.history,
    )
    return Trained(key=key, network=network, result=result, link=link, reused=reused)


def _untrained(experiment: Experiment) -> nn.Module:
    data = experiment.dataset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.settings.seed)
        return experiment.architecture.build(data.channels, data.size, len(data.classes))


def trained_network(config: DictConfig, device: torch.device) -> nn.Module:
    """The network that a finished run of `config` trained, in evaluation mode."""
    job = _idle(config, build.experiment(config).tracking.open())
    network = _untrained(job.experiment)
    store = ModelStore(root=Path(job.experiment.settings.models))
    store.load(model_key(_deciding(job)), network)
    return network.to(device).eval()


def _idle(config: DictConfig, tracker: Tracker) -> Job:
    """A job that is asked what it would do."""
    experiment, device = build.experiment(config), torch.device("cpu")
    return Job(
        experiment=experiment, config=config, tracker=tracker, device=device, console=Console()
    )


def _described(job: Job) -> dict[str, Any]:
    """The data: their configuration and, where that names files, what the files are."""
    return {
        "dataset": plain(job.config.dataset),
        "content": getattr(job.experiment.dataset, "fingerprint", ""),
    }


def _deciding(job: Job) -> dict[str, Any]:
    """Everything that decides the trained weights."""
    described = _described(job)
    for name in getattr(job.experiment.dataset, "undeciding", ()):
        described["dataset"].pop(name, None)
    return {
        **described,
        "model": plain(job.config.model),
        "trainer": plain(job.config.trainer),
        "seed": job.experiment.settings.seed,
    }


def explain_or_reuse(job: Job, name: str, trained: Trained, sample: Sample) -> Explained | None:
    """Explain the sample by one method and score it; None if the method can't be used on it."""
    settings, metrics = job.experiment.settings, job.experiment.metrics
    key = model_key(_explaining(job, name, trained.key, len(sample.images)))
    found = job.tracker.explained(key) if settings.reuse else None
    if found is not None:
        return Explained(name=name, key=key, scores=found.scores, run=found.run)
    start = time.perf_counter()
    try:
        explainer = scoring.bound(
            job.experiment.explainers[name], trained.network, job.experiment.dataset, sample
        )
        scored = scoring.score(
            explainer,
            metrics,
            trained.network,
            sample,
            target=settings.target,
            seed=settings.seed,
            precision=settings.precision,
        )
    except InputError as error:
        job.console.print(f"explainer {name} is skipped: {error}", highlight=False, markup=False)
        if (watched := matrix.current()) is not None:
            watched.skip(name, str(error))
        return None
    record = records.explanation(job.experiment, job.config, name, sample, scored)
    run = job.tracker.record_explanation(
        replace(
            record,
            key=key,
            tags={**record.tags, "model_key": trained.key},
            metrics={**record.metrics, "accuracy": trained.result.accuracy},
            seconds=time.perf_counter() - start,
        ),
        link=trained.link,
        heatmaps=records.arrays(sample, scored),
        scores=scored.scores,
    )
    return Explained(name=name, key=key, scores=scored.scores, run=run, fresh=scored)


def finished(config: DictConfig, tracker: Tracker) -> tuple[str, dict[str, Found]]:
    """What a run of `config` has left: the model's key and each explainer's run and scores."""
    job = _idle(config, tracker)
    experiment = job.experiment
    model = model_key(_deciding(job))
    images = min(experiment.settings.images, len(experiment.dataset.test))
    found = {
        name: tracker.explained(model_key(_explaining(job, name, model, images)))
        for name in experiment.explainers
    }
    return model, {name: one for name, one in found.items() if one is not None}


def _explaining(job: Job, name: str, model: str, images: int) -> dict[str, Any]:
    """Everything that decides one explainer's scores."""
    precision = job.experiment.settings.precision
    return ({} if precision == "float32" else {"precision": precision}) | {
        "model": model,
        "data": plain(job.config.dataset),
        "truth": getattr(job.experiment.dataset, "truth_fingerprint", ""),
        "explainer": {name: plain(job.config.explainer[name])},
        "metrics": plain(job.config.metric),
        "images": images,
        "target": job.experiment.settings.target,
        "seed": job.experiment.settings.seed,
        "scoring": SCORING_VERSION,
    }


def compare(
    job: Job, trained: Trained, sample: Sample, done: list[Explained], skipped: list[str]
) -> str | None:
    """Record the methods of this job side by side, once all of them are fresh."""
    fresh = {e.name: e.fresh for e in done if e.fresh is not None}
    if len(fresh) < 2 or len(fresh) < len(done):
        return None
    record = records.comparison(job.experiment, job.config, sample, fresh, skipped)
    tables = [e.scores.assign(explainer=e.name) for e in done]
    return job.tracker.record_report(
        replace(
            record,
            key=model_key({"compared": [e.key for e in done]}),
            tags={**record.tags, "model_key": trained.key},
        ),
        pages={},
        tables={"scores": pd.concat(tables, ignore_index=True)},
    )
