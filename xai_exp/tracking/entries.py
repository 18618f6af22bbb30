"""Records as MLflow's entries: text for parameters, points for metrics, a graph for a network."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from xai_exp.tracking.interface import Number, Record
from xai_exp.types import Images

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run


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
    """Write the network as a graph that loads without this package, for any batch size."""
    from mlflow import pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, *example.shape[1:])
    with torch.no_grad():
        copy = deepcopy(network).cpu().eval().requires_grad_(False)
        copy = copy.to(memory_format=torch.contiguous_format)  # other weights are not kept whole
        inputs = example[:2].detach().cpu().contiguous()
        classes = copy(inputs).shape[1]
    pytorch.save_model(
        copy,
        path,
        mlflow_model=Model(run_id=run.info.run_id, model_uuid=model, model_id=model),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), shape)]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
        ),
        input_example=inputs,  # pyright: ignore[reportArgumentType] # a tensor is not kept as JSON
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "mlflow"],
    )
