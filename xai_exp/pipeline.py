"""The whole experiment: data -> model -> heatmaps -> scores -> tracking."""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from xai_exp import records, scoring
from xai_exp.build import Experiment, Settings
from xai_exp.compute import machine, ops
from xai_exp.compute.loading import settle
from xai_exp.compute.sample import Chosen, logits
from xai_exp.config import InputError
from xai_exp.data.loading import TensorSplit
from xai_exp.errors import in_a_line
from xai_exp.files import write_whole
from xai_exp.insight import Finding, Subject
from xai_exp.insight.running import look_into
from xai_exp.models.asked import with_layers_of
from xai_exp.models.look import look
from xai_exp.scoring import Scored
from xai_exp.show import progress
from xai_exp.show import terminal as show
from xai_exp.show.joint import Left
from xai_exp.sweeping import objectives
from xai_exp.tracking import Found, Kept, Link, Tracker
from xai_exp.training import accuracy
from xai_exp.training.store import ModelStore, TrainingResult, model_key
from xai_exp.types import Dataset, NamesClasses, Split
from xai_exp.verdicts.answer import is_control

_log = logging.getLogger(__name__)
_LINE = 300  # characters of an error that are shown


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every step works with."""

    experiment: Experiment
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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One explainer's scores and the run that holds them; what was scored if it was just now."""

    name: str
    key: str
    scores: pd.DataFrame
    run: str | None
    fresh: Scored | None = None


def run(experiment: Experiment) -> float | list[float]:
    """Do the experiment; what is finished already is found and reused.

    Returns:
        What a sweep optimises: the setting `objective`, a number or several.

    Raises:
        InputError: when it asks for something that can't be.
    """
    machine.tune_allocator()
    with machine.settled(deterministic=experiment.settings.deterministic):
        return _run(experiment)


def _run(experiment: Experiment) -> float | list[float]:
    watched = progress.current()
    console = watched.console if watched else Console()
    device = machine.device(experiment.settings.device)
    machine.refuse_slow(experiment.settings.precision, device)
    show.header(console, experiment, device)
    tracker = experiment.tracking.open()
    settle()
    job = Job(experiment=experiment, tracker=tracker, device=device, console=console)
    trained = train_or_reuse(job)
    _look_into(job, trained)
    sample = scoring.sample(experiment.dataset, experiment.settings.images, device)
    doubted = doubts(trained, sample, experiment.dataset)
    show.lines(console, doubted)
    if experiment.question.target == "all":
        sample = sample.repeated(len(experiment.dataset.classes))
    show.skipped_metrics(console, experiment.metrics, sample.truths)
    tried = [explain_or_reuse(job, name, trained, sample) for name in _watched(job, watched)]
    done = [explained for explained in tried if explained is not None]
    skipped = [name for name, one in zip(experiment.explainers, tried, strict=True) if one is None]
    comparison = compare(job, trained, sample, done, skipped)
    if watched is None:
        guards = {e.name: e.fresh.diagnostics for e in done if e.fresh is not None}
        scores = {e.name: e.scores for e in done}
        show.results(console, experiment, trained.result, scores, guards)
        show.lines(console, [*doubted, *show.answers(experiment, trained.result, scores)])
    runs = [trained.link.run if trained.link else None, *(e.run for e in done), comparison]
    _tag_with_study(job, [r for r in runs if r])
    reused = sum(e.fresh is None for e in done)
    if watched is None:
        show.where(console, tracker, [r for r in runs if r], reused=reused)
    else:
        show.explained(console, len(done), reused=reused)
    if watched is not None and watched.joint and done:
        watched.kept.append(_left(job, trained, done, [r for r in runs if r]))
    if watched is None or watched.joint:
        _refuse_nothing(experiment, done)
    return objectives.values(
        experiment.settings.objective, trained.result, {e.name: e.scores for e in done}
    )


def _look_into(job: Job, trained: Trained) -> None:
    """What else was asked of the network; it is kept with the run that trained it."""
    experiment, link = job.experiment, trained.link
    if not experiment.insights:
        return
    subject = Subject(
        network=trained.network,
        data=experiment.dataset,
        architecture=experiment.architecture,
        trainer=experiment.trainer,
        question=experiment.question,
        seed=experiment.settings.seed,
        device=job.device,
    )

    def keep(group: str, name: str, found: Finding) -> None:
        if link is not None:
            tables = {records.file_name(name, one): table for one, table in found.tables.items()}
            job.tracker.attach(link.run, records.finding(group, name, found), tables)

    def trace(name: str) -> Path:
        return _trace(experiment.settings, f"{trained.key}-{name}")

    quiet = progress.current() is not None
    look_into(experiment.insights, subject, keep, job.console, trace, quiet=quiet)


def _left(job: Job, trained: Trained, done: Sequence[Explained], runs: Sequence[str]) -> Left:
    """What the table over several jobs is made of."""
    experiment = job.experiment
    explainers = experiment.explainers.items()
    return Left(
        words=experiment.words,
        metrics=experiment.metrics,
        controls=frozenset(name for name, one in explainers if is_control(one)),
        accuracy=trained.result.accuracy,
        scores={e.name: e.scores for e in done},
        tracker=job.tracker,
        runs=runs,
        reused=sum(e.fresh is None for e in done),
    )


def _refuse_nothing(experiment: Experiment, done: Sequence[Explained]) -> None:
    """A run that scored nothing has failed, whatever the reason of each of its parts.

    Raises:
        InputError: when no heatmap has a score by any metric.
    """
    if not done:
        raise InputError("nothing was explained: every explainer was skipped, as said above")
    if experiment.metrics and not any(len(one.scores) for one in done):
        raise InputError(
            "nothing was scored: got metrics that need what these data lack, as said above; "
            "allowed: at least one that does not, such as metric=pixel_flipping"
        )


def _watched(job: Job, watched: progress.Matrix | None) -> Iterator[str]:
    """The explainers' names, with a bar of their own unless a study shows one."""
    names = list(job.experiment.explainers)
    if watched is None:
        # What is printed or warned of meanwhile stands on lines of its own, not on the bar's.
        with logging_redirect_tqdm():
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


def _watch(settings: Settings) -> Callable[[int, float], None] | None:
    """Who ends a training that a sweep finds hopeless; optuna is imported only there."""
    if settings.trial is None or settings.study is None:
        return None
    from xai_exp.sweeping.job import watcher

    return watcher(settings.study, settings.trial)


def train_or_reuse(job: Job) -> Trained:
    """The trained network of this experiment; a finished one is loaded, a killed one goes on."""
    experiment, device = job.experiment, job.device
    settings, data = experiment.settings, experiment.dataset
    store = ModelStore(root=Path(settings.models))
    key = stored_key(experiment, store)
    network = _untrained(experiment)
    with store.lock(key):
        reused = _is_whole(store, key)
        if reused:
            result = store.load(key, network)
        else:
            result = experiment.trainer.fit(
                data,
                network,
                seed=settings.seed,
                folder=store.folder(key),
                device=device,
                watch=_watch(settings),
                bar=progress.current(),
            )
            store.save(key, network, result)
        network.to(device).eval()
        looked = look(network, _first(data.test, device))
        _refuse_other_classes(looked.network, data, device)
        network = looked.network
        result = replace(
            result,
            accuracy=store.accuracy(
                key,
                experiment.data_key,
                lambda: accuracy(network, data.test, device) if reused else result.accuracy,
            ),
        )
    show.trained(job.console, result, reused=reused)
    show.lines(job.console, looked.notes)
    link = job.tracker.record_training(
        records.training(experiment, key, result),
        network=network,
        example=data.validation.images(torch.arange(2, device=device)),
        history=result.history,
    )
    return Trained(
        key=key, network=network, result=result, link=link, reused=reused, notes=looked.notes
    )


def _first(split: Split, device: torch.device) -> Tensor:
    return split.images(torch.arange(min(8, len(split)), device=device))


def _refuse_other_classes(network: nn.Module, data: Dataset, device: torch.device) -> None:
    with ops.evaluating(network), torch.no_grad():
        found = network(_first(data.test, device)).shape[1]
    if found != len(data.classes):
        raise InputError(
            f"network: got outputs for {found} classes where the data have {len(data.classes)} "
            f"({', '.join(data.classes[:8])}); allowed: as many, or model.classes=names.txt with "
            "the names of the network's own classes, those of the data among them"
        )


def doubts(trained: Trained, sample: Chosen, data: Dataset) -> list[str]:
    """Lines that say why a network may have learnt nothing that could be explained."""
    counts = torch.bincount(data.test.labels.cpu(), minlength=len(data.classes))
    share, most = float(counts.max()) / len(data.test), int(counts.argmax())
    found = []
    if trained.result.accuracy <= share:
        found.append(
            f"the network's accuracy ({100 * trained.result.accuracy:.2f} %) is no better than "
            f"always saying {data.classes[most]} ({100 * share:.2f} %): heatmaps explain no skill"
        )
    with ops.evaluating(trained.network):
        said = logits(trained.network, sample).argmax(1).unique()
    if len(said) < 2 and len(sample.labels.unique()) > 1:
        found.append(
            f"the network says {data.classes[int(said[0])]} of every explained image, whatever it "
            "shows: heatmaps explain one class only"
        )
    return found


def _is_whole(store: ModelStore, key: str) -> bool:
    """Whether there is this network; one whose files are broken is said and forgotten."""
    if not store.finished(key):
        return False
    if fault := store.fault(key):
        _log.warning("model %s is broken (%s): it is trained again", key, fault)
        store.discard(key)
    return not fault


def stored_key(experiment: Experiment, store: ModelStore) -> str:
    """The model's key, or the one it had before files moved, if it was trained under that."""
    key, old = experiment.model_key, experiment.former_model_key
    return old if old is not None and store.finished(old) and not store.finished(key) else key


def _untrained(experiment: Experiment) -> nn.Module:
    data = experiment.dataset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.settings.seed)
        network = experiment.architecture.build(data.channels, data.size, len(data.classes))
        if isinstance(experiment.architecture, NamesClasses):
            return experiment.architecture.ordered(network, data)
        return network


def trained_network(experiment: Experiment, device: torch.device) -> nn.Module:
    """The network that a finished run of the experiment trained, in evaluation mode."""
    network = _untrained(experiment)
    store = ModelStore(root=Path(experiment.settings.models))
    store.load(stored_key(experiment, store), network)
    return network.to(device).eval()


def explain_or_reuse(job: Job, name: str, trained: Trained, sample: Chosen) -> Explained | None:
    """Explain the sample by one method and score it; None if the method can't be used on it."""
    settings, metrics = job.experiment.settings, job.experiment.metrics
    key = job.experiment.explain_key(name, trained.key, sample.count)
    if settings.reuse:
        found = _explained(job.experiment, job.tracker, name, trained.key, sample.count)
        if found is not None:
            return Explained(name=name, key=key, scores=found.scores, run=found.run)
    start = time.perf_counter()
    try:
        explainer = scoring.bound(
            with_layers_of(trained.network, {name: job.experiment.explainers[name]})[name],
            trained.network,
            job.experiment.dataset,
            sample,
            settings.reference,
        )
        scored = scoring.score(
            explainer,
            metrics,
            trained.network,
            sample,
            asked=job.experiment.question,
            seed=settings.seed,
            precision=settings.precision,
        )
    except InputError as error:
        return _skipped(job, name, f"explainer {name} is skipped: {error}", str(error))
    except Exception as error:
        # Whatever a method raises on someone's network is its own failure; the others go on.
        trace = _trace(settings, f"{key}-{name}")
        line = in_a_line(error)[:_LINE]
        words = f"explainer {name} failed: {line}; the trace is in {trace}"
        return _skipped(job, name, words, line)
    scored = replace(scored, scores=_with_names(scored.scores, job.experiment.dataset))
    few = records.few(scored)
    record = records.explanation(job.experiment, name, sample, few)
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
        anew=not settings.reuse,
    )
    machine.give_back()
    fresh = replace(few, curves={}, parts={})
    return Explained(name=name, key=key, scores=scored.scores, run=run, fresh=fresh)


def _with_names(scores: pd.DataFrame, data: Dataset) -> pd.DataFrame:
    """The scores of pictures from files, with each one's file and the name of its class."""
    split = data.test
    if not isinstance(split, TensorSplit) or split.names is None:
        return scores
    files = [split.names[place] for place in scores["image"]]
    return scores.assign(file=files, **{"class": [data.classes[one] for one in scores["label"]]})


def _skipped(job: Job, name: str, words: str, reason: str) -> None:
    """Say why there are no heatmaps of one method."""
    with tqdm.external_write_mode(file=sys.stdout):
        job.console.print(words, highlight=False, markup=False, soft_wrap=True)
    if (watched := progress.current()) is not None:
        watched.skip(name, reason)


def _trace(settings: Settings, name: str) -> Path:
    """Where the trace of the error under way is kept, beside the networks."""
    path = Path(settings.models).parent / "traces" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, traceback.format_exc())
    return path


def _explained(
    experiment: Experiment, tracker: Tracker, name: str, model: str, images: int
) -> Found | None:
    """What a finished run of this explainer left, under today's key or the one it had before."""
    found = map(tracker.explained, _both_keys(experiment, name, model, images))
    return next((one for one in found if one is not None), None)


def _both_keys(experiment: Experiment, name: str, model: str, images: int) -> list[str]:
    """An explanation's key today, and the one it had before if there is one."""
    old = experiment.former_explain_key(name, model, images)
    today = experiment.explain_key(name, model, images)
    return [today] if old is None else [today, old]


def finished(experiment: Experiment, tracker: Tracker) -> Mapping[str, Kept]:
    """What a run of the experiment has left: each explainer's explanation, those that there are."""
    return left([experiment], tracker)[0]


def left(experiments: Sequence[Experiment], tracker: Tracker) -> list[Mapping[str, Kept]]:
    """What the runs of several experiments have left, a look at tracking for each network."""
    keys = [_keys(one) for one in experiments]
    every: dict[str, list[str]] = {}
    for model, named in keys:
        every.setdefault(model, []).extend(key for both in named.values() for key in both)
    known = {model: tracker.of_model(model, mine) for model, mine in every.items()}
    found = []
    for model, named in keys:
        there = {
            name: [known[model][key] for key in both if key in known[model]]
            for name, both in named.items()
        }
        found.append({name: several[0] for name, several in there.items() if several})
    return found


def _keys(experiment: Experiment) -> tuple[str, dict[str, list[str]]]:
    """The network's key, and each explainer's: today's and the one it had before."""
    model = stored_key(experiment, ModelStore(root=Path(experiment.settings.models)))
    images = min(experiment.settings.images, len(experiment.dataset.test))
    named = {name: _both_keys(experiment, name, model, images) for name in experiment.explainers}
    return model, named


def compare(
    job: Job, trained: Trained, sample: Chosen, done: list[Explained], skipped: list[str]
) -> str | None:
    """Record the methods of this job side by side, those found finished among them."""
    if len(done) < 2:
        return None
    key = model_key({"compared": [e.key for e in done]})
    if (known := job.tracker.reported(key)) is not None:
        return known
    shown = {e.name: e.fresh or _read_back(job, e, trained, sample) for e in done}
    whole = {name: one for name, one in shown.items() if one is not None}
    if len(whole) < len(done):
        return None
    accuracy = trained.result.accuracy
    record = records.comparison(job.experiment, sample, whole, skipped, accuracy)
    links = {"the network": trained.link.run} if trained.link else {}
    tables = [e.scores.assign(explainer=e.name) for e in done]
    return job.tracker.record_report(
        replace(
            record,
            key=key,
            tags={**record.tags, "model_key": trained.key},
            links=links | {e.name: e.run for e in done if e.run},
        ),
        pages={},
        tables={"scores": pd.concat(tables, ignore_index=True)},
    )


def _read_back(job: Job, done: Explained, trained: Trained, sample: Chosen) -> Scored | None:
    """What the finished run of one method has kept; None if its files have been lost meanwhile."""
    kept = job.tracker.kept([done.run] if done.run else [])
    arrays = kept[0].arrays() if kept else {}
    if "heatmaps" not in arrays:
        return None
    question = job.experiment.question
    return records.few(scoring.found(arrays, done.scores, trained.network, sample, question))
