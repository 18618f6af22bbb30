"""A study of Optuna from its first trial to its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, flag_override
from rich.console import Console

from xai_exp.config import InputError
from xai_exp.sweeping import objectives
from xai_exp.sweeping.fits import fitting
from xai_exp.sweeping.job import Pruned, line, numbers
from xai_exp.sweeping.plan import Plan, opened
from xai_exp.sweeping.queue import Queue
from xai_exp.sweeping.space import override, parse


def sweep(
    keys: Mapping[str, Any],
    arguments: Sequence[str],
    config: DictConfig,
    context: HydraContext,
    launcher: Launcher,
) -> list[float]:
    """Run a study to its end, or go on with it where it stopped.

    Args:
        keys: `hydra.sweeper`.
        arguments: the command line's words; sweeps among them (model.width=4,8) join the space.
        config: the whole configuration.
        context: Hydra's.
        launcher: that runs the jobs.

    Returns:
        The best trial's objectives; of several objectives, the first trial's of the front.

    Raises:
        InputError: when a setting is wrong or too many trials fail.
    """
    fixed, varied = _arguments(arguments, context)
    made = _plan(keys, varied, config, fixed)
    if not {"explainer", "metric"} & set(made.space) and "objective" in config:
        objectives.refuse_unknown(config.objective, config.explainer or (), config.metric or ())
    storage = opened(made.storage)
    told = [override("study", made.study), override("hydra.sweeper.storage", made.storage)]
    space = parse(made.space)
    queue = Queue(
        study=made.open(storage),
        storage=storage,
        plan=made,
        space=space,
        fits=fitting(space, config, fixed, context),
    )
    with _alone(config, made.study):
        back = queue.recover()
        _say(f"sweep {made.study}: {queue.left()} of {made.trials} trials to run, {back} put back")
        while (left := queue.left()) > 0:
            asked = queue.ask(min(made.n_jobs, left))
            if not asked:
                _say_the_end(queue)
                break
            _run(queue, asked, [*fixed, *told], launcher)
            queue.refuse_if_hopeless()
    return _best(queue)


def _say_the_end(queue: Queue) -> None:
    """The space holds nothing that was not run.

    Raises:
        InputError: when nothing in it could be.
    """
    study, misfits = queue.plan.study, [why for why in queue.misfits.values() if why]
    if misfits and queue.left() == queue.plan.trials:
        raise InputError(f"sweep {study}: none of its proposals can be run; {misfits[-1]}")
    left_out = f"; {len(misfits)} proposals are left out: {misfits[-1]}" if misfits else ""
    _say(f"sweep {study}: the space holds no more than was run{left_out}")


def _run(
    queue: Queue, asked: Mapping[int, Mapping[str, Any]], fixed: list[str], launcher: Launcher
) -> None:
    """Give a batch to the launcher and close its trials."""
    batch = [
        [*fixed, *(override(key, value) for key, value in params.items()), f"trial={number}"]
        for number, params in asked.items()
    ]
    done = launcher.launch(batch, initial_job_idx=next(iter(asked)))
    for number, one in zip(asked, done, strict=True):
        values, error = _outcome(one)
        queue.tell(number, values, error)
        words = ", ".join(f"{key}={value}" for key, value in asked[number].items())
        shown = ", ".join(f"{v:.6g}" for v in values) if values else error or "pruned"
        _say(f"trial {number}: {words} -> {shown}")


def _outcome(one: JobReturn) -> tuple[list[float] | None, str]:
    """A job's objectives (None: pruned) and its error."""
    try:
        return numbers(one.return_value), ""
    except Pruned:
        return None, ""
    except Exception as error:
        return None, line(error)


def _best(queue: Queue) -> list[float]:
    best = queue.study.best_trials
    if not best:
        return []
    for trial in best:
        _say(f"best: trial {trial.number} {trial.values} {trial.params}")
    return list(best[0].values)


def _plan(
    keys: Mapping[str, Any], varied: Mapping[str, Any], config: DictConfig, fixed: list[str]
) -> Plan:
    given = {key: _plain(value) for key, value in keys.items()}
    set_ = {word.lstrip("+").partition("=")[0] for word in fixed}
    space = {**given.get("space", {}), **varied}
    given["space"] = {key: spec for key, spec in space.items() if key not in set_}
    if not given["space"]:
        raise InputError("sweep space: got nothing; allowed: at least one key to vary")
    root = Path(str(config.hydra.sweep.dir)).resolve()
    given["storage"] = given.get("storage") or f"sqlite:///{root / 'optuna.db'}"
    chosen = [word.removeprefix("sweep=") for word in fixed if word.startswith("sweep=")]
    study = config.get("study") or (chosen[0] if chosen else "sweep")
    named = any(word.startswith("study=") for word in fixed)
    data = next((word.partition("=")[2] for word in fixed if word.startswith("dataset=")), "")
    if chosen and data and not named:
        study = f"{study}-{data.replace('/', '-')}"
        with flag_override(config, "readonly", False):
            config.study = study  # for callbacks, which report on it
    return Plan(study=str(study), fixed=_deciding(fixed), **given)


_FREE = ("study", "device", "models", "reuse", "least_accuracy", "hydra", "tracking", "trial")


def _deciding(fixed: Sequence[str]) -> tuple[str, ...]:
    """The words that decide what a trial comes to: not where it is kept, nor how it is run."""
    keys = [(word.lstrip("+").partition("=")[0], word) for word in fixed]
    return tuple(word for key, word in keys if key.split(".")[0].split("/")[0] not in _FREE)


def _alone(config: DictConfig, study: str) -> FileLock:
    """A lock that no other process on this machine sweeps the same study under."""
    folder = Path(str(config.hydra.sweep.dir)) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"sweep-{study.replace('/', '-')}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"sweep {study}: another process runs it; allowed: one at a time, or another study=NAME"
        ) from error
    lock.release()
    return lock


def _arguments(words: Sequence[str], context: HydraContext) -> tuple[list[str], dict[str, Any]]:
    """The command line as what is fixed and what is varied."""
    parser = OverridesParser.create(config_loader=context.config_loader)
    fixed: list[str] = []
    varied: dict[str, Any] = {}
    for one in parser.parse_overrides(list(words)):
        if one.is_sweep_override():
            varied[one.get_key_element()] = _spec(one)
        elif one.input_line is not None:
            fixed.append(one.input_line)
    return fixed, varied


def _spec(one: Override) -> Any:  # noqa: ANN401
    value = one.value()
    if isinstance(value, RangeSweep):
        return {"low": value.start, "high": _last(value), "step": value.step}
    if isinstance(value, IntervalSweep):
        log = "log" in value.tags
        return {"low": value.start, "high": value.end, "log": log}
    if isinstance(value, ChoiceSweep):
        return [getattr(choice, "text", choice) for choice in value.list]
    raise InputError(f"sweep: got {one.input_line}; allowed: a,b,c, range(...), interval(...)")


def _last(value: RangeSweep) -> Any:  # noqa: ANN401
    """The last value of a range, whose stop is outside."""
    stop, start, step = value.stop, value.start or 0, value.step
    assert stop is not None
    whole = all(isinstance(number, int) for number in (start, stop, step))
    return start + (stop - 1 - start) // step * step if whole else stop - step


def _plain(value: Any) -> Any:  # noqa: ANN401
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _say(words: str) -> None:
    Console(stderr=True).print(words, highlight=False, markup=False, soft_wrap=True)
