"""From names and keywords to configurations, by the command line's YAML files and checks."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from xai_exp import build, errors
from xai_exp.build import Experiment
from xai_exp.config import InputError, config_folder
from xai_exp.errors import unknown

_OFF = ("tracking=off", "metric=complexity", "explainer=constant")


def names(group: str) -> list[str]:
    """The choices of a group of conf/, those in its folders as FOLDER/NAME.

    >>> names("imputer")[:3]
    ['blur', 'border', 'constant']
    """
    folder = config_folder() / group
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml"))
    return sorted(path.as_posix() for path in found)


def composed(*overrides: str, with_hydra: bool = False) -> DictConfig:
    """What the command line composes of these arguments.

    Raises:
        InputError: for arguments that the command line refuses, with its line.
    """
    folder = config_folder()
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            return compose("config", list(overrides), return_hydra_config=with_hydra)
    except Exception as error:
        line = errors.one_line(error, folder, overrides)
        if line is None:
            raise
    raise InputError(line)


def experiment(config: DictConfig) -> Experiment:
    """What the configuration names, made.

    Raises:
        InputError: for what the command line refuses, with its line.
    """
    try:
        return build.experiment(config)
    except Exception as error:
        line = errors.one_line(error, config_folder(), ())
        if line is None:
            raise
    raise InputError(line)


def chosen(
    group: str, wanted: Sequence[str], given: Mapping[str, object], *overrides: str
) -> DictConfig:
    """The configuration with these choices of a group, their fields set as given.

    In a group of several (explainer, metric) a field goes to each choice that has it, and one
    choice alone is meant by its name: `lrp={"rule": "gamma"}`.

    Raises:
        InputError: for a name, or a field, that does not exist.
    """
    for name in wanted:
        if not isinstance(name, str) or name not in names(group):
            allowed = [one for one in names(group) if "/" not in one]
            raise InputError(unknown(group, str(name), allowed))
    several = group in ("explainer", "metric")
    choice = f"{group}=[{','.join(wanted)}]" if several else f"{group}={wanted[0]}"
    base = [one for one in _OFF if not one.startswith(f"{group}=")]
    config = composed(*base, choice, *overrides)
    if several:
        _set_in_each(config[group], group, given)
    else:
        for key, value in given.items():
            _check(config[group], group, key)
            _set(config[group], key, value)
    return config


def _set_in_each(members: DictConfig, group: str, given: Mapping[str, object]) -> None:
    for key, value in given.items():
        if key in members and isinstance(value, Mapping):
            for inner, its in value.items():
                _check(members[key], f"{group}.{key}", str(inner))
                _set(members[key], str(inner), its)
            continue
        having = [name for name in members if key in members[name]]
        if not having:
            _check_any(members, group, key)
        for name in having:
            _set(members[name], key, value)


def _check(node: DictConfig, path: str, key: str) -> None:
    allowed = [str(name) for name in node if name != "_target_"]
    if key not in allowed:
        raise InputError(unknown(f"key of {path}", key, allowed))


def _check_any(members: DictConfig, group: str, key: str) -> None:
    """Refuse a field that none of the members has, in the command line's words where it is one."""
    if len(members) == 1:
        only = next(iter(members))
        _check(members[only], f"{group}.{only}", key)
    fields = {str(name) for one in members for name in members[one] if name != "_target_"}
    raise InputError(unknown(f"key of {group}", key, sorted(fields)))


def _set(node: DictConfig, key: str, value: object) -> None:
    if key == "imputer" and isinstance(value, str):
        if value not in names("imputer"):
            raise InputError(unknown("imputer", value, names("imputer")))
        value = OmegaConf.load(config_folder() / "imputer" / f"{value}.yaml")
    with open_dict(node):
        node[key] = _plain(key, value)


def _plain(key: str, value: object) -> Any:  # noqa: ANN401
    """A value as YAML could have given it."""
    if value is None or isinstance(value, bool | int | float | str) or OmegaConf.is_config(value):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(key, one) for one in value]
    raise InputError(
        f"{key}: got a {type(value).__name__}; allowed: a number, text, true or false, None, "
        "or a list of these"
    )
