"""What a sweep is asked to do: its settings, its storage, its sampler."""

import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import filelock
import optuna
from optuna import pruners, samplers, storages
from optuna.storages import journal
from sqlalchemy import event

from xai_exp.config import InputError, Range, configured

_BEGUN = "begun with"
_PATIENCE = 60  # seconds that a database may be busy or away
Direction = Literal["maximize", "minimize"]
PRUNERS = {
    "median": lambda: pruners.MedianPruner(n_startup_trials=4),
    "halving": lambda: pruners.SuccessiveHalvingPruner(),
    "hyperband": lambda: pruners.HyperbandPruner(),
    "none": lambda: pruners.NopPruner(),
}


@configured
class Plan:
    """The settings of a sweep, `hydra.sweeper` in the configuration.

    Args:
        study: the name under which it is stored and can be gone on with.
        space: see `xai_exp.sweeping.space.parse`.
        trials: how many configurations are run to an end; a grid may hold fewer.
        n_jobs: how many are given to the launcher at once.
        sampler: tpe (Bergstra et al. 2011), nsga2 (Deb et al. 2002), qmc (Sobol), random, grid, or
            cmaes (Hansen 2016; needs the extra `cmaes`).
        direction: of the objective; a list for several.
        pruner: whether a training that trails the others is ended: by none, median (worse than the
            median at the same epoch), halving or hyperband.
        storage: a database's URL, or the path of a journal (PATH.log); null: mlruns/optuna.db.
        seed: of the sampler.
        max_failure_rate: the sweep ends once more than this share of `trials` has failed; one
            failure alone ends it only with 0.
        retry_failed: run those again that failed before.
        fixed: what is the same in every trial, as words of the command line.
    """

    study: str
    space: Mapping[str, Any]
    trials: Annotated[int, Range(1)] = 20
    n_jobs: Annotated[int, Range(1)] = 1
    sampler: Literal["tpe", "nsga2", "qmc", "random", "grid", "cmaes"] = "tpe"
    direction: Direction | tuple[Direction, ...] = "maximize"
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    storage: str
    seed: Annotated[int, Range(0)] = 0
    max_failure_rate: Annotated[float, Range(0, 1)] = 0.25
    retry_failed: bool = False
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pruner != "none" and len(self.directions) > 1:
            raise InputError(
                f"sweep pruner: got {self.pruner} for {len(self.directions)} objectives; allowed: "
                "none, since a training is ended by one number"
            )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """One for each objective."""
        return self.direction if isinstance(self.direction, tuple) else (self.direction,)

    def open(self, storage: storages.BaseStorage) -> optuna.Study:
        """The study, made at the first use.

        Raises:
            InputError: when the storage can't be used or holds this study with other objectives.
        """
        study = optuna.create_study(
            study_name=self.study,
            storage=storage,
            pruner=PRUNERS[self.pruner](),
            directions=list(self.directions),
            load_if_exists=True,
        )
        had = tuple(direction.name.lower() for direction in study.directions)
        if had != self.directions:
            raise InputError(
                f"sweep direction: got {', '.join(self.directions)} for the study {self.study}, "
                f"which was begun with {', '.join(had)}; allowed: the same, or another study=NAME"
            )
        self._refuse_another(study)
        study.sampler = self._sampler(len(study.trials))
        return study

    def _refuse_another(self, study: optuna.Study) -> None:
        """A study goes on with what it was begun with; one of before this was noted takes it up.

        Raises:
            InputError: with what differs.
        """
        told = {"fixed": sorted(self.fixed), "space": dict(self.space)}
        # As it comes back from the storage: JSON knows lists, and keys that are text.
        told = json.loads(json.dumps(told, default=str))
        had = study.user_attrs.get(_BEGUN)
        if had is None:
            study.set_user_attr(_BEGUN, told)
            return
        fewer = [word for word in had["fixed"] if word not in told["fixed"]]
        more = [word for word in told["fixed"] if word not in had["fixed"]]
        space = [
            key
            for key in {**had["space"], **told["space"]}
            if had["space"].get(key) != told["space"].get(key)
        ]
        if fewer or more or space:
            spaces = [f"another space for {', '.join(space)}"] if space else []
            raise InputError(
                f"sweep {self.study}: got {', '.join([*more, *spaces]) or 'less'} where it was "
                f"begun with {', '.join(fewer) or 'none of these'}; allowed: the same, or another "
                "study=NAME"
            )

    def _sampler(self, before: int) -> samplers.BaseSampler:
        """A sampler; gone on with, it draws other numbers than at its start."""
        seed = self.seed + 100_003 * before
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=self.n_jobs > 1)
        if self.sampler == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=_population(self.trials))
        if self.sampler == "qmc":  # the storage knows how far its sequence has come
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return samplers.QMCSampler(
                    seed=self.seed, scramble=True, warn_independent_sampling=False
                )
        if self.sampler == "cmaes":
            return _cmaes(seed)
        return samplers.RandomSampler(seed=seed)


def _population(trials: int) -> int:
    """Of a generation: small enough that a short sweep has five of them.

    >>> [_population(trials) for trials in (5, 40, 1000)]
    [4, 8, 50]
    """
    return min(50, max(4, trials // 5))


def opened(where: str) -> storages.BaseStorage:
    """The storage at a URL or at the path of a journal.

    Raises:
        InputError: when it can't be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if "://" not in where:
            path = Path(where).resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            lock: Any = _Lock(path)
            backend = journal.JournalFileBackend(str(path), lock_obj=lock)
            return storages.JournalStorage(backend)
        with filelock.FileLock(_beside(where)):
            return _database(where)
    except Exception as error:
        raise InputError(
            f"sweep storage: got {where.rpartition('@')[2]}, which can't be used "
            f"({' '.join(str(error).split())[:200]}); allowed: a database's URL, the path of a "
            "journal, or null"
        ) from error


def _database(where: str) -> storages.RDBStorage:
    """A database, whose server may be started anew meanwhile: connections are made again."""
    if where.startswith("sqlite"):
        return storages.RDBStorage(where, engine_kwargs={"connect_args": {"timeout": _PATIENCE}})
    made = storages.RDBStorage(where, engine_kwargs={"pool_pre_ping": True})
    event.listen(made.engine, "do_connect", _connected)
    return made


def _connected(dialect: Any, _: Any, given: Any, named: Any) -> Any:  # noqa: ANN401
    """A connection, asked for again while a server that was there is away."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return dialect.connect(*given, **named)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _beside(where: str) -> Path:
    """A lock under which a new database is made: two processes at once would break it."""
    if where.startswith("sqlite:///"):
        path = Path(where.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{path.name}.lock")
    return Path(".sweep.lock")


class _Lock:
    """A lock that the system lets go of when its process is killed."""

    def __init__(self, path: Path) -> None:
        self.lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        """Wait for it."""
        self.lock.acquire()
        return True

    def release(self) -> None:
        """Let others in."""
        self.lock.release()


def _cmaes(seed: int) -> samplers.BaseSampler:
    try:
        import cmaes  # noqa: F401
    except ImportError as error:
        raise InputError(
            "sweep sampler: got cmaes, which is not installed; allowed: pip install cmaes, or "
            "another sampler"
        ) from error
    return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
