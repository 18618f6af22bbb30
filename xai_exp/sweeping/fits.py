"""Whether a proposal can be run at all: its network is built for its data before a trial is one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from xai_exp import trust
from xai_exp.config import InputError
from xai_exp.sweeping.space import Varied, override
from xai_exp.types import Dataset

Fits = Callable[[Mapping[str, Any]], str]  # why a proposal can't be run; empty if it can
_DECIDING = ("model", "dataset")


def anything(params: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Every proposal fits."""
    return ""


def fitting(
    space: Sequence[Varied], config: DictConfig, fixed: Sequence[str], context: HydraContext
) -> Fits:
    """What tells whether the space's proposals fit, where it varies the network or its data."""
    varied = {one.key.split(".")[0].split("/")[0] for one in space}
    if varied.isdisjoint(_DECIDING) or not all(name in config for name in _DECIDING):
        return anything
    return _Fitting(config=config, fixed=tuple(fixed), context=context)


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """Composes each proposal as its job would, and builds its network, untrained.

    `data` are the datasets that were asked for, by their configuration.
    """

    config: DictConfig
    fixed: tuple[str, ...]
    context: HydraContext
    data: dict[str, Dataset] = field(default_factory=dict)

    def __call__(self, params: Mapping[str, Any]) -> str:
        words = [*self.fixed, *(override(key, value) for key, value in params.items())]
        composed = self.context.config_loader.load_sweep_config(self.config, words)
        try:
            data = self._dataset(composed)
            architecture = instantiate(trust.checked(composed.model, "model"), _convert_="all")
            with torch.random.fork_rng(devices=[]):
                architecture.build(data.channels, data.size, len(data.classes))
        except Exception as error:
            return _reason(error)
        return ""

    def _dataset(self, composed: DictConfig) -> Dataset:
        key = OmegaConf.to_yaml(composed.dataset, resolve=True, sort_keys=True)
        if key not in self.data:
            made = instantiate(trust.checked(composed.dataset, "dataset"), _convert_="all")
            self.data[key] = made
        return self.data[key]


def _reason(error: BaseException | None) -> str:
    """The line of a wrong input in the chain of causes; anything else is the job's own to say."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return "" if error is None else " ".join(str(error).split())
