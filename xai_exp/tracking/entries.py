"""Records as MLflow's entries: text for parameters, points for metrics, a graph for a network."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from xai_exp.tracking.connection import gist
from xai_exp.tracking.interface import Number, Record
from xai_exp.types import Images

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

_log = logging.getLogger(__name__)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by dots and values as text; Hydra's own keys are left out."""
    for name, value in tree.items():
        if str(name).startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def final(run: "Run", record: Record, model: str | None, step: int) -> "list[Metric]":
    """The record's metrics, the means tied to the model so that its page lists them."""
    from mlflow.entities import Metric

    moment = int(run.info.start_time + record.seconds * 1000)
    points = []
    for name, value in record.metrics.items():
        estimate = value if isinstance(value, Mapping) else {"mean": value}
        points.append(Metric(name, float(estimate["mean"]), moment, step, model_id=model))
        points += [
            Metric(f"{name}.{part}", float(number), moment, step)
            for part, number in estimate.items()
            if part != "mean"
        ]
    return points


def history_points(
    run: "Run", record: Record, history: Sequence[Mapping[str, Number]]
) -> "list[Metric]":
    """The history's numbers at their epochs, spread evenly over the time that training took.

    The moments follow from the run alone: recorded again after a kill, they are the same points.
    """
    from mlflow.entities import Metric

    last = max((int(row["epoch"]) for row in history), default=1) or 1
    points = []
    for row in history:
        step = int(row["epoch"])
        moment = int(run.info.start_time + record.seconds * 1000 * step / last)
        points += [
            Metric(name, float(value), moment, step)
            for name, value in row.items()
            if name != "epoch"
        ]
    return points


def save_network(path: Path, model: str, run: "Run", network: nn.Module, example: Images) -> None:
    """Write the network as a graph that loads without this package, for any batch size.

    One whose course depends on values, as that of some files from elsewhere, is pickled.
    """
    from mlflow import pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    with torch.no_grad():
        copy = deepcopy(network).cpu().eval().requires_grad_(False)
        copy = copy.to(memory_format=torch.contiguous_format)  # other weights are not kept whole
        inputs = example[:2].detach().cpu().contiguous()
        classes = copy(inputs).shape[1]
    shape = (-1, *example.shape[1:])
    shared: dict[str, Any] = {
        "mlflow_model": Model(run_id=run.info.run_id, model_uuid=model, model_id=model),
        "signature": ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), shape)]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
        ),
    }
    needed = [f"torch=={torch.__version__.partition('+')[0]}", "mlflow"]
    try:
        # A tensor as an example is not kept as JSON.
        pytorch.save_model(copy, path, input_example=inputs, pip_requirements=needed, **shared)  # pyright: ignore[reportArgumentType]
    except Exception as error:
        shutil.rmtree(path, ignore_errors=True)
        _log.warning(
            "the logged model is a pickle, which loads only where xai_exp is installed: torch "
            "can't write this network as a graph (%s)",
            gist(error),
        )
        needed.append("xai-exp")
        pytorch.save_model(
            copy, path, serialization_format="pickle", pip_requirements=needed, **shared
        )
