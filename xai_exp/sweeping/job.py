"""What a job of a sweep does, wherever the launcher runs it: note its result, ask if it goes on."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from xai_exp.sweeping import plan

VALUES, ERROR, PRUNED = "values", "error", "pruned"
_log = logging.getLogger(__name__)


class Pruned(Exception):  # noqa: N818 # a decision, no error
    """The training trails the others and is ended."""


@dataclass(frozen=True)
class Noted:
    """The experiment's function; what it comes to is in the storage before the launcher knows it.

    A sweep that is killed while other jobs of its batch run then loses none that were finished.
    """

    function: Callable[[DictConfig], Any]

    def __call__(self, config: DictConfig) -> Any:  # noqa: ANN401
        """Run the job; its outcome is the value or the exception, as without a sweep."""
        note = _noter(config)  # opened before, so that a result is noted the moment it is there
        try:
            value = self.function(config)
        except Pruned:
            note(PRUNED, True)
            raise
        except Exception as error:
            note(ERROR, line(error))
            raise
        with suppress(TypeError, ValueError):
            note(VALUES, numbers(value))
        return value


def numbers(value: Any) -> list[float]:  # noqa: ANN401
    """The objectives that a job returned."""
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [float(one) for one in several]


def line(error: BaseException) -> str:
    """An error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def watcher(study: str, number: int) -> Callable[[int, float], None] | None:
    """What training calls with (epoch, validation accuracy) if its sweep prunes; else None.

    The callable raises `Pruned` if the training is not worth going on with.
    """
    sweeper = HydraConfig.get().sweeper if HydraConfig.initialized() else None
    if sweeper is None or sweeper.pruner in (None, "none"):
        return None
    storage, trial_id = _trial(sweeper.storage, study, number)
    opened = optuna.load_study(study_name=study, storage=storage)
    pruner = plan.PRUNERS[sweeper.pruner]()

    def watch(epoch: int, value: float) -> None:
        storage.set_trial_intermediate_value(trial_id, epoch, value)
        if pruner.prune(opened, storage.get_trial(trial_id)):
            raise Pruned(f"trial {number} after {epoch} epochs, validation accuracy {value:.4f}")

    return watch


def _place(config: DictConfig) -> tuple[DictConfig, int] | None:
    """The sweeper's settings and the trial's number, if this is a job of a sweep."""
    if not HydraConfig.initialized() or config.get("trial") is None:
        return None
    return HydraConfig.get().sweeper, int(config.trial)


def _trial(where: str, study: str, number: int) -> tuple[optuna.storages.BaseStorage, int]:
    storage = plan.opened(where)
    identity = storage.get_study_id_from_name(study)
    return storage, storage.get_trial_id_from_study_id_trial_number(identity, number)


def _noter(config: DictConfig) -> Callable[[str, Any], None]:
    """Keeps things with the trial; a machine that can't reach the storage leaves it to others."""
    found = _place(config)
    if found is None:
        return lambda *_: None
    try:
        storage, trial = _trial(found[0].storage, config.study, found[1])
    except Exception as error:
        _log.warning("trial %d can't be noted in the storage (%s)", found[1], line(error))
        return lambda *_: None
    return partial(_keep, storage, trial)


def _keep(storage: optuna.storages.BaseStorage, trial: int, key: str, value: Any) -> None:  # noqa: ANN401
    """Note something; a database that broke off is asked once more."""
    try:
        storage.set_trial_user_attr(trial, key, value)
    except optuna.exceptions.StorageInternalError:
        storage.set_trial_user_attr(trial, key, value)
