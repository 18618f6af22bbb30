"""From a composed configuration to the objects of one experiment, every mistake found at once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from xai_exp.config import InputError, Range, configured
from xai_exp.errors import unknown
from xai_exp.tracking import Tracking
from xai_exp.training import Trainer
from xai_exp.types import Architecture, Dataset, Explainer, Metric, Precision

SINGLE = ("dataset", "model", "trainer", "imputer", "tracking")
SEVERAL = ("explainer", "metric")
_OWN_KEYS = frozenset({"_target_", "_convert_", "_partial_", "_recursive_", "_args_"})


@configured
class Settings:
    """The keys at the top of conf/config.yaml."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    device: str = "auto"
    images: Annotated[int, Range(1)] = 64
    target: Literal["predicted", "label"] = "predicted"
    precision: Precision = "float32"
    study: str | None = None
    trial: Annotated[int, Range(0)] | None = None
    objective: str | tuple[str, ...] = "validation_accuracy"
    models: str = "mlruns/models"
    least_accuracy: Annotated[float, Range(0, 1)] = 0.0
    reuse: bool = True


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: what conf/ composes, made."""

    settings: Settings
    dataset: Dataset
    architecture: Architecture
    trainer: Trainer
    tracking: Tracking
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, Metric]


def experiment(config: DictConfig) -> Experiment:
    """Make everything that the configuration names.

    Raises:
        InputError: for a key that nothing reads, a wrong type, a value out of range.
    """
    known = {*SINGLE, *SEVERAL, *(field.name for field in fields(Settings))}
    for key in config:
        if str(key) not in known:
            raise InputError(unknown("key", str(key), sorted(known)))
    top = {str(key): config[key] for key in config if str(key) not in {*SINGLE, *SEVERAL}}
    try:
        settings = Settings(**top)
    except InputError as error:
        raise InputError(str(error).removeprefix("Settings.")) from error
    return Experiment(
        settings=settings,
        dataset=_made(config, "dataset"),
        architecture=_made(config, "model"),
        trainer=_made(config, "trainer"),
        tracking=_made(config, "tracking"),
        explainers=_each(config, "explainer"),
        metrics=_each(config, "metric"),
    )


def names(config: DictConfig) -> dict[str, str]:
    """The chosen YAML of each group, as the command line named it."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    kinds = {
        group: str(config[group].get("_target_", group)).rpartition(".")[2] for group in SINGLE
    }
    return {group: str(choices.get(group, kinds[group])) for group in SINGLE}


def plain(node: Any) -> Any:  # noqa: ANN401
    """A node of the configuration as dictionaries, lists and numbers, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _each(config: DictConfig, group: str) -> dict[str, Any]:
    node = config[group]
    if not node:
        raise InputError(f"{group}: got none; allowed: at least one of conf/{group}, {group}=NAME")
    return {str(name): _made(node, str(name), group) for name in node}


def _made(config: DictConfig, name: str, group: str = "") -> Any:  # noqa: ANN401
    node = config[name]
    path = f"{group}.{name}" if group else name
    _check_keys(node, path)
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise InputError(f"{path}: {error.__cause__}") from error
        raise


def _check_keys(node: Any, path: str) -> None:  # noqa: ANN401
    """Refuse keys that the target does not have: `+model.foo=1` passes Hydra's own check."""
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise InputError(
            f"{path}: got no _target_, so nothing can be made of it; allowed: a choice"
        )
    target = get_object(node["_target_"])
    if not is_dataclass(target):
        raise InputError(f"{path}._target_: got {node['_target_']}; allowed: a configured class")
    allowed = [field.name for field in fields(target)]
    for key in node:
        if str(key) not in _OWN_KEYS and str(key) not in allowed:
            raise InputError(unknown(f"key of {path}", str(key), allowed))
        if isinstance(node[key], DictConfig):
            _check_keys(node[key], f"{path}.{key}")
