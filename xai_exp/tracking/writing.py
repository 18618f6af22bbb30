"""What goes into a run: parameters, metrics in calls as large as MLflow takes, and its model."""

import logging
import math
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from xai_exp.config import InputError
from xai_exp.tracking.entries import flat, save_network
from xai_exp.tracking.interface import Arrays, Blocks, Record
from xai_exp.types import Images

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Run

_PARAMS_A_CALL = 100  # the most that MLflow takes
_METRICS_A_CALL = 1000
_LONGEST_VALUE = 500  # characters of a parameter; older servers refuse longer ones
_log = logging.getLogger(__name__)


def arrays(path: Path, given: Arrays) -> None:
    """Write arrays as numpy.savez_compressed does, those in blocks a block at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in given.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                if isinstance(array, Blocks):
                    _block_by_block(file, array)
                else:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _block_by_block(file: Any, array: Blocks) -> None:  # noqa: ANN401
    for place, some in enumerate(array.made()):
        block = np.ascontiguousarray(some)
        if place == 0:
            header = np.lib.format.header_data_from_array_1_0(block)
            shape = (array.rows, *block.shape[1:])
            np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
        file.write(block.data)


def params(client: "MlflowClient", run: "Run", given: Mapping[str, Any]) -> None:
    """Record those that a killed process had not."""
    from mlflow.entities import Param

    entries = [
        Param(name, value[:_LONGEST_VALUE])
        for name, value in flat(given)
        if name not in run.data.params
    ]
    for start in range(0, len(entries), _PARAMS_A_CALL):
        part = entries[start : start + _PARAMS_A_CALL]
        client.log_batch(run.info.run_id, params=part)


def metrics(client: "MlflowClient", run: "Run", points: "Sequence[Metric]") -> None:
    """Record those that are finite."""
    finite = [metric for metric in points if math.isfinite(metric.value)]
    for start in range(0, len(finite), _METRICS_A_CALL):
        part = finite[start : start + _METRICS_A_CALL]
        client.log_batch(run.info.run_id, metrics=part)


# What MLflow allows in the name of a run and not in that of a logged model.
_REFUSED = str.maketrans({"/": " ", ":": " ", ".": "·", "%": " ", '"': " ", "'": " "})


def use_model(client: "MlflowClient", run: "Run", name: str) -> None:
    """Name the model among the run's inputs."""
    from mlflow.entities import LoggedModelInput

    if not (run.inputs and run.inputs.model_inputs):
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(name)])


def model(
    client: "MlflowClient", run: "Run", record: Record, network: nn.Module, example: Images
) -> str:
    """Save the network as a logged model that the run puts out, and return its id.

    One that a killed process left half-way is gone on with.
    """
    from mlflow.entities import LoggedModelOutput

    outputs = {one.model_id for one in run.outputs.model_outputs} if run.outputs else set()
    left = models_of(client, run)
    for one in left:
        if one.status == "READY" and one.model_id in outputs:
            return one.model_id
    made = next(iter(left), None) or client.create_logged_model(
        run.info.experiment_id,
        name=record.name.translate(_REFUSED),
        source_run_id=run.info.run_id,
        params=dict(flat(record.params)),
        tags={"model_key": record.key},
        model_type="classifier",
    )
    with tempfile.TemporaryDirectory() as folder:
        save_network(Path(folder) / "model", made.model_id, run, network, example)
        _exported(Path(folder) / "model", record, network, example)
        client.log_model_artifacts(made.model_id, str(Path(folder) / "model"))
    if made.model_id not in outputs:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(made.model_id, step=0)])
    client.finalize_logged_model(made.model_id, "READY")
    return made.model_id


def _exported(folder: Path, record: Record, network: nn.Module, example: Images) -> None:
    """The network in other formats beside the model; one that can't be written is said."""
    for name, write in record.exports.items():
        try:
            write(network, example, folder / name)
        except InputError as error:
            _said(f"{name} is not kept with the run: {error}")


@cache
def _said(line: str) -> None:
    """Say a line once; what holds for one network of a study mostly holds for all."""
    _log.warning("%s", line)


def models_of(client: "MlflowClient", run: "Run") -> "list[LoggedModel]":
    """The logged models of a run, those that a killed process left half-way among them."""
    source = f"source_run_id = '{run.info.run_id}'"
    return list(client.search_logged_models([run.info.experiment_id], source))
