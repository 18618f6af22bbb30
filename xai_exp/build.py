"""From a composed configuration to the objects of one experiment, every mistake found at once.

Here the configuration ends: an experiment has its objects, its names, its description as plain data
and its keys, and nothing below asks Hydra or OmegaConf again.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Annotated, Any, get_origin, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from xai_exp import trust
from xai_exp.compute.values import TARGETS, Question
from xai_exp.config import InputError, Range, configured, identity, refuse_empty, refuse_unsafe_name
from xai_exp.errors import unknown
from xai_exp.explainers.reference import Reference
from xai_exp.insight import GROUPS, Insight
from xai_exp.sweeping import objectives
from xai_exp.tracking import Tracking, former
from xai_exp.training import Trainer
from xai_exp.training.store import model_key
from xai_exp.trust.early import SEVERAL, SINGLE
from xai_exp.types import (
    Architecture,
    Dataset,
    Explainer,
    FromFiles,
    Metric,
    PartlyLearnt,
    Precision,
    Value,
)

_APART = ("hydra", "formats")  # Hydra's own, and what choices refer to
_LEARNING = ("model", "trainer")
_KINDS: Mapping[str, type] = {
    "dataset": Dataset,
    "model": Architecture,
    "trainer": Trainer,
    "tracking": Tracking,
    "explainer": Explainer,
    "metric": Metric,
    **dict.fromkeys(GROUPS, Insight),
}
_NAMED = re.compile(r"\w[\w .-]*")  # what a file, a number and a tag in MLflow can be called
_OWN_KEYS = frozenset({"_target_", "_convert_", "_partial_", "_recursive_", "_args_"})


@configured
class Settings:
    """The keys at the top of conf/config.yaml."""

    seed: Annotated[int, Range(0, 2**31 - 1)] = 0
    device: str = "auto"
    images: Annotated[int, Range(1)] = 64
    target: str | int = "predicted"
    value: Value = "centred"
    against: str | int = "runner_up"
    reference: Reference = "own"
    precision: Precision = "float32"
    study: str | None = None
    trial: Annotated[int, Range(0)] | None = None
    objective: str | tuple[str, ...] = "validation_accuracy"
    models: str = "mlruns/models"
    least_accuracy: Annotated[float, Range(0, 1)] = 0.0
    reuse: bool = True
    deterministic: bool = False

    def __post_init__(self) -> None:
        """A study is a name of files and runs, and networks lie in a folder with a name."""
        if self.study is not None:
            refuse_unsafe_name("study", self.study)
        refuse_empty("models", self.models)

    @property
    def order(self) -> dict[str, bool]:
        """How sums are taken, where that is asked for: what was made otherwise has other bits."""
        return {"deterministic": True} if self.deterministic else {}

    @property
    def deciding(self) -> dict[str, Any]:
        """Those that decide an explainer's scores."""
        told: dict[str, Any] = {"target": self.target, "seed": self.seed, **self.order}
        if self.precision != "float32":
            told["precision"] = self.precision
        if self.value != "logit":  # what keys of before there was a choice stand for
            told["value"] = self.value
        if self.value == "pair":
            told["against"] = self.against
        return told if self.reference == "own" else {**told, "reference": self.reference}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: what conf/ composes, made.

    Attributes:
        names: the chosen YAML of each group, as the command line named it.
        described: every group as plain dictionaries, lists and numbers, for tracking.
        insights: what else is asked of the trained network, by group and name; no key knows them.
        words: what the command line said, each KEY=VALUE.
        composed: the whole configuration as plain data, resolved, without Hydra's own part.
    """

    settings: Settings
    dataset: Dataset
    architecture: Architecture
    trainer: Trainer
    tracking: Tracking
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, Metric]
    names: Mapping[str, str]
    described: Mapping[str, Any]
    insights: Mapping[str, Mapping[str, Insight]] = field(default_factory=dict)
    words: Sequence[str] = ()
    composed: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The whole configuration as YAML, resolved, without Hydra's own part."""
        return OmegaConf.to_yaml(OmegaConf.create(dict(self.composed)))

    @cached_property
    def question(self) -> Question:
        """What is asked of the network about every image.

        Raises:
            InputError: for a class that the data do not have.
        """
        settings, classes = self.settings, self.dataset.classes
        return Question(
            target=_class("target", settings.target, classes, TARGETS),
            value=settings.value,
            against=_class("against", settings.against, classes, ("runner_up",)),
        )

    @cached_property
    def contents(self) -> tuple[str, str]:
        """What the files are that the data come from and those of the truth; empty without."""
        data = self.dataset
        if isinstance(data, FromFiles):
            return data.fingerprint, data.truth_fingerprint
        return "", ""

    @cached_property
    def data_key(self) -> str:
        """Of the data: their configuration and, where that names files, what the files are."""
        return model_key({"dataset": self._data(), "content": self.contents[0]})

    @cached_property
    def model_key(self) -> str:
        """Of everything that decides the trained weights."""
        return model_key(
            {
                "dataset": self._data(self._unseen),
                "content": self.contents[0],
                "model": identity(self.architecture),
                "trainer": identity(self.trainer),
                "seed": self.settings.seed,
                **self.settings.order,
            }
        )

    def explain_key(self, name: str, model: str, images: int) -> str:
        """Of everything that decides the scores of one explainer on the model of this key."""
        return model_key(
            {
                "model": model,
                "data": self.data_key,
                "truth": self.contents[1],
                "explainer": {name: identity(self.explainers[name])},
                "metrics": identity(self.metrics),
                "images": images,
                **self.settings.deciding,
            }
        )

    @cached_property
    def former_model_key(self) -> str | None:
        """The model's key of when keys said where code lives; None if something changed since."""
        known = former.unchanged([self.dataset, self.architecture, self.trainer])
        if not known or self.settings.deterministic:
            return None
        told = {key: former.described(self.described[key]) for key in ("dataset", *_LEARNING)}
        for name in self._unseen:
            told["dataset"].pop(name, None)
        return model_key({**told, "content": self.contents[0], "seed": self.settings.seed})

    def former_explain_key(self, name: str, model: str, images: int) -> str | None:
        """Likewise of one explainer's scores."""
        asked = (self.settings.value, self.settings.reference) == ("logit", "own")
        if not asked or not former.unchanged([self.dataset, self.explainers[name], self.metrics]):
            return None
        told = {
            "model": model,
            "data": former.described(self.described["dataset"]),
            "truth": self.contents[1],
            "explainer": {name: former.described(self.described["explainer"][name])},
            "metrics": former.described(self.described["metric"]),
            "images": images,
            "scoring": former.SCORING_VERSION,
        }
        return model_key({**told, **self.settings.deciding})

    @property
    def _unseen(self) -> frozenset[str]:
        data = self.dataset
        return data.undeciding if isinstance(data, PartlyLearnt) else frozenset()

    def _data(self, without: frozenset[str] = frozenset()) -> Any:  # noqa: ANN401
        name, version, told, *code = identity(self.dataset)
        return [name, version, {k: v for k, v in told.items() if k not in without}, *code]


def _class(name: str, given: str | int, classes: Sequence[str], words: Sequence[str]) -> str | int:
    """A word, or a class by its name or its number from 0."""
    if given in words:
        return given
    if str(given) in classes:
        return list(classes).index(str(given))
    if isinstance(given, int) and 0 <= given < len(classes):
        return given
    allowed = ", ".join([*words, *classes])
    raise InputError(f"{name}: got {given!r}; allowed: one of {allowed}")


def experiment(config: DictConfig) -> Experiment:
    """Make everything that the configuration names.

    Raises:
        InputError: for a key that nothing reads, a wrong type, a value out of range.
    """
    trust.refuse_strangers(config)
    known = {*SINGLE, *SEVERAL, *GROUPS, *(one.name for one in fields(Settings)), *_APART}
    for key in config:
        if str(key) not in known:
            raise InputError(unknown("key", str(key), sorted(known)))
    made_apart = {*SINGLE, *SEVERAL, *GROUPS, *_APART}
    top = {str(key): config[key] for key in config if str(key) not in made_apart}
    try:
        settings = Settings(**top)
    except InputError as error:
        raise InputError(str(error).removeprefix("Settings.")) from error
    made = Experiment(
        settings=settings,
        dataset=_made(config, "dataset"),
        architecture=_made(config, "model"),
        trainer=_made(config, "trainer"),
        tracking=_made(config, "tracking"),
        explainers=_each(config, "explainer"),
        metrics=_each(config, "metric"),
        names=_names(config),
        described={group: _plain(config[group]) for group in (*SINGLE, *SEVERAL)},
        insights={group: _each(config, group) for group in GROUPS if config.get(group)},
        words=_words(config),
        composed=_composed(config),
    )
    objectives.refuse_unknown(settings.objective, made.explainers, made.metrics)
    if settings.target not in TARGETS or settings.against != "runner_up":
        _ = made.question  # refused before work begins, if there is no such class
    return made


def _hydra(config: DictConfig) -> Any:  # noqa: ANN401
    return config.get("hydra") or (HydraConfig.get() if HydraConfig.initialized() else None)


def _words(config: DictConfig) -> tuple[str, ...]:
    """What the command line said of this job."""
    hydra = _hydra(config)
    return tuple(str(word) for word in hydra.overrides.task) if hydra else ()


def _composed(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, resolved, without Hydra's own part."""
    return {str(key): _plain(config[key]) for key in config if key != "hydra"}


def _names(config: DictConfig) -> dict[str, str]:
    """The chosen YAML of each group, as the command line named it."""
    hydra = _hydra(config)
    choices = hydra.runtime.choices if hydra else {}
    kinds = {
        group: str(config[group].get("_target_", group)).rpartition(".")[2] for group in SINGLE
    }
    for group in SINGLE:
        if choices and group not in choices:  # Hydra would mix what several choices say
            raise InputError(f"{group}: got a list; allowed: one name, or -m {group}=NAME,NAME")
    return {group: str(choices.get(group, kinds[group])) for group in SINGLE}


def _plain(node: Any) -> Any:  # noqa: ANN401
    """A node of the configuration as dictionaries, lists and numbers, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _each(config: DictConfig, group: str) -> dict[str, Any]:
    node = config[group]
    if not node:
        raise InputError(f"{group}: got none; allowed: at least one of conf/{group}, {group}=NAME")
    for name in node:
        if not _NAMED.fullmatch(str(name)):
            raise InputError(
                f"{group}: got {str(name)[:60]!r}; allowed: a name of letters, digits, spaces and "
                "any of _ . -, a letter or digit first"
            )
    return {str(name): _made(node, str(name), group) for name in node}


def _made(config: DictConfig, name: str, group: str = "") -> Any:  # noqa: ANN401
    node = config.get(name)
    path = f"{group}.{name}" if group else name
    if node is None and not group:
        raise InputError(f"{name}: got nothing; allowed: {name}=NAME with one of conf/{name}")
    _check_keys(trust.checked(node, path), path)
    try:
        return _fitting(instantiate(node, _convert_="all"), path, group or name)
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
    target: Any = trust.configured_class(node["_target_"], path)
    allowed = [field.name for field in fields(target)]
    for key in node:
        if str(key) not in _OWN_KEYS and str(key) not in allowed:
            raise InputError(unknown(f"key of {path}", str(key), allowed))
        if not isinstance(node[key], DictConfig):
            continue
        named = get_origin(get_type_hints(target).get(str(key))) is Mapping
        members = node[key].items() if named else [("", node[key])]
        for name, member in members:
            _check_keys(member, f"{path}.{key}" + (f".{name}" if name else ""))


def _fitting(made: Any, path: str, group: str) -> Any:  # noqa: ANN401
    """What was made, if it is of its group's kind: a network is no dataset.

    Raises:
        InputError: otherwise.
    """
    if _is_of(made, _KINDS.get(group, object)):
        return made
    raise InputError(
        f"{path}: got {type(made).__name__}, which is none; allowed: one of conf/{group}"
    )


def _is_of(made: object, kind: type) -> bool:
    """As isinstance, but no property is asked for: a dataset's would read or draw all of it."""
    if not getattr(kind, "_is_protocol", False):
        return isinstance(made, kind)
    members = {*vars(kind), *inspect.get_annotations(kind)}
    names = [name for name in members if not name.startswith("_")]
    there = all(inspect.getattr_static(made, name, _is_of) is not _is_of for name in names)
    return there and (callable(made) or "__call__" not in vars(kind))
