"""The data of a run, as MLflow lists them: a name, a digest, what they are."""

import json
from typing import TYPE_CHECKING

from xai_exp.tracking.interface import Data

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_DIGEST = 36  # the most characters that MLflow keeps of a digest


def log(client: "MlflowClient", run: "Run", data: Data) -> None:
    """Name the data among the run's inputs, unless they are there."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if run.inputs and run.inputs.dataset_inputs:
        return
    found = Dataset(
        name=data.name,
        digest=data.digest[:_DIGEST],
        source_type="code",
        source=json.dumps({"tags": {"mlflow.source.name": data.source}}),
        profile=json.dumps(dict(data.profile)),
    )
    tags = [InputTag("mlflow.data.context", data.context)]
    client.log_inputs(run.info.run_id, datasets=[DatasetInput(found, tags)])
