"""Training from Python: the command line's networks, found where it keeps them."""

import tempfile
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import nn

from xai_exp import pipeline
from xai_exp.compute import machine
from xai_exp.config import InputError
from xai_exp.notebook.composing import chosen
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.types import Dataset


def trained(
    model: str,
    data: Dataset,
    *,
    trainer: str | Mapping[str, object],
    given: Mapping[str, object],
    settings: Mapping[str, object],
) -> nn.Module:
    """The trained network, found if the same was trained before.

    Raises:
        InputError: for a name, field or value that there is not, or data of another kind.
    """
    if not isinstance(data, Dataset):
        raise InputError(
            f"train: got data of type {type(data).__name__}; allowed: a dataset, such as "
            'xe.dataset("counting")'
        )
    config = chosen("model", [model], given)
    config.trainer = _trainer(trainer)
    for key, value in settings.items():
        config[key] = value
    if not is_dataclass(data):
        return _without_store(config, data)
    experiment = made_of(config)
    names = {**experiment.names, "dataset": type(data).__name__}
    described = {**experiment.described, "dataset": {}}
    experiment = replace(experiment, dataset=data, names=names, described=described)
    job = pipeline.Job(
        experiment=experiment,
        tracker=experiment.tracking.open(),
        device=machine.device(experiment.settings.device),
        console=Console(),
    )
    machine.tune_allocator()
    return pipeline.train_or_reuse(job).network


def _trainer(trainer: str | Mapping[str, object]) -> DictConfig:
    name = trainer if isinstance(trainer, str) else "default"
    own = {} if isinstance(trainer, str) else trainer
    return chosen("trainer", [name], own).trainer


def _without_store(config: DictConfig, data: Dataset) -> nn.Module:
    """A network for data of one's own, which have no name to be found by."""
    experiment = made_of(config)
    settings = experiment.settings
    device = machine.device(settings.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = experiment.architecture.build(data.channels, data.size, len(data.classes))
    with tempfile.TemporaryDirectory() as folder:
        experiment.trainer.fit(
            data, network, seed=settings.seed, folder=Path(folder), device=device
        )
    return network.to(device).eval()
