"""A configuration is not code: which classes it may name.

Accepted are configured classes of this package and of packages that the user names: in the variable
XAI_EXP_TRUST, with commas between, or by installing one that has an entry point `xai_exp.plugins`.
The whole composed configuration is looked through before anything that it names is imported.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import _locate
from hydra.core.object_type import ObjectType
from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from xai_exp.config import InputError, is_configured

GROUP, VARIABLE = "xai_exp.plugins", "XAI_EXP_TRUST"
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_HYDRA = ("hydra._internal.core_plugins.", "hydra_plugins.", "hydra._internal.BasicSweeper")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_UNSAFE = ("_partial_", "_args_")
_JOBS_KEPT = 64  # of those that wait
_WAITING: dict[tuple[object, ...], DictConfig] = {}  # jobs that are composed, until their turn
_CHECKING: list[bool] = []  # holds one while jobs are checked
_STEERING = ("LD_", "DYLD_", "PYTHON", "PATH", "XAI_EXP_")  # variables that choose what code runs


def trusted() -> tuple[str, ...]:
    """The packages whose configured classes a configuration may name."""
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return ("xai_exp", *(name for name in named if name), *_installed())


@cache
def _installed() -> tuple[str, ...]:
    return tuple(one.value.partition(":")[0] for one in entry_points(group=GROUP))


def is_trusted(name: str) -> bool:
    """Whether a dotted name lies in a package that is trusted; nothing is imported.

    >>> is_trusted("xai_exp.models.CNN"), is_trusted("xai_expert.CNN"), is_trusted("os.system")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and any(name.startswith(f"{one}.") for one in trusted())


def refuse_strangers(config: Any) -> None:  # noqa: ANN401
    """Refuse a configuration that names code from elsewhere, at any depth; nothing is imported.

    Raises:
        InputError: with the place and the name.
    """
    plain = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config
    for path, node in _nodes(plain, ""):
        for key in _UNSAFE:
            if key in node and not path.startswith("hydra."):
                raise InputError(
                    f"{path}: got {key}, which a configuration of xai_exp does not use; allowed: "
                    "the keys of the chosen class"
                )
        if "_target_" in node:
            _refuse_target(path, node["_target_"])
    if isinstance(plain, Mapping) and isinstance(plain.get("hydra"), Mapping):
        _refuse_in_hydra(plain["hydra"])


def configured_class(name: object, path: str) -> type:
    """The class that a `_target_` names, imported only if it may be.

    Raises:
        InputError: unless it is a configured class of a trusted package.
    """
    _refuse_target(path, name)
    try:
        found = _locate(str(name))  # as get_object does, which writes into the log as well
    except Exception as error:
        raise InputError(
            f"{path}._target_: got {name}, which can't be imported "
            f"({' '.join(str(error).split())[:200]}); allowed: a configured class"
        ) from error
    if not isinstance(found, type) or not is_configured(found) or not _own(found):
        raise InputError(f"{path}._target_: got {name}; allowed: a configured class")
    return found


def checked(node: Any, path: str) -> Any:  # noqa: ANN401
    """The node itself, once every class that it names, at any depth, is found to be configured.

    Raises:
        InputError: for another.
    """
    refuse_strangers(node)
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    for where, one in _nodes(plain, path):
        if "_target_" in one:
            configured_class(one["_target_"], where)
    return node


def guard() -> None:
    """Look through every configuration that Hydra composes, before Hydra acts on it.

    The choices of a group are read from its folder: Hydra would copy all that it has read already
    before it lists each of them, for --help some 160 times. A job of a multirun is composed once:
    Hydra does it for all jobs before the first begins, and would do it again for each.
    """
    if not getattr(ConfigLoaderImpl.load_configuration, "guarded", False):
        load = ConfigLoaderImpl.load_configuration

        def load_configuration(self: ConfigLoaderImpl, *args: Any, **keys: Any) -> Any:  # noqa: ANN401
            config = load(self, *args, **keys)
            refuse_strangers(config)
            return config

        load_configuration.guarded = True  # pyright: ignore[reportFunctionMemberAccess]
        ConfigLoaderImpl.load_configuration = load_configuration
        ConfigLoaderImpl.get_group_options = _group_options
        ConfigLoaderImpl.load_sweep_config = _composed_once(ConfigLoaderImpl.load_sweep_config)
        Sweeper.validate_batch_is_legal = _checking(Sweeper.validate_batch_is_legal)


def _composed_once(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """What composes a job; one that is composed while jobs are checked is kept for its run."""

    def load_sweep_config(
        self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        job = (id(master_config), *sweep_overrides)
        if job in _WAITING:
            return _WAITING.pop(job)
        config = load(self, master_config=master_config, sweep_overrides=sweep_overrides)
        if _CHECKING and len(_WAITING) < _JOBS_KEPT:
            _WAITING[job] = config
        return config

    return load_sweep_config


def _checking(check: Callable[..., None]) -> Callable[..., None]:
    """What checks the jobs of a multirun, the only place that composes them to throw away."""

    def validate_batch_is_legal(self: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        _WAITING.clear()
        _CHECKING.append(True)
        try:
            check(self, batch)
        finally:
            _CHECKING.clear()

    return validate_batch_is_legal


def _group_options(
    self: ConfigLoaderImpl,
    group_name: str,
    results_filter: ObjectType | None = ObjectType.CONFIG,
    config_name: str | None = None,  # noqa: ARG001
    overrides: list[str] | None = None,  # noqa: ARG001
) -> list[str]:
    return self.repository.get_group_options(group_name, results_filter)


def _own(found: type) -> bool:
    return is_trusted(f"{found.__module__}.{found.__qualname__}".replace("<locals>.", ""))


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:  # noqa: ANN401
    """Every mapping of a tree with its place."""
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            yield from _nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for place, value in enumerate(node):
            yield from _nodes(value, f"{path}.{place}")


def _refuse_target(path: str, name: object) -> None:
    if isinstance(name, str) and is_trusted(name):
        return
    if path.startswith("hydra.") and isinstance(name, str) and name.startswith(_HYDRA):
        return
    package = str(name).partition(".")[0]
    raise InputError(
        f"{path}._target_: got {name!r}; allowed: a configured class of {', '.join(trusted())}, or "
        f"of a package that you trust to run: {VARIABLE}={package}"
    )


def _refuse_in_hydra(hydra: Mapping[str, Any]) -> None:
    callbacks = hydra.get("callbacks") or {}
    if not isinstance(callbacks, Mapping):
        raise InputError(f"hydra.callbacks: got {callbacks}; allowed: names with callbacks")
    for name, node in callbacks.items():
        found = _locate(node["_target_"]) if isinstance(node, Mapping) else None
        if not isinstance(found, type) or not issubclass(found, Callback) or not _own(found):
            raise InputError(f"hydra.callbacks.{name}: got {node}; allowed: a callback of a study")
    for name in ("job_logging", "hydra_logging"):
        for path, node in _nodes(hydra.get(name), f"hydra.{name}"):
            _refuse_logging(path, node)
    for name in (hydra.get("job") or {}).get("env_set") or {}:
        if str(name).upper().startswith(_STEERING):
            raise InputError(
                f"hydra.job.env_set: got {name}, which chooses what code runs; allowed: others, or "
                "set it in the shell"
            )


def _refuse_logging(path: str, node: Mapping[str, Any]) -> None:
    """Python's logging makes objects of what its configuration names."""
    kind = str(node.get("class", "logging."))
    strings = [value for value in node.values() if isinstance(value, str)]
    outside = [one for one in strings if one.startswith("ext://") and one not in _STREAMS]
    if "()" in node or not kind.startswith(("logging.", "colorlog.")) or outside:
        raise InputError(f"{path}: got {dict(node)}; allowed: handlers of logging")
