"""Scores of Quantus' main branch on the golden heatmaps, by scripts/golden/from_quantus_main.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_exp.metrics.axioms import NonSensitivity
from xai_exp.metrics.compactness import MSTCompactness
from xai_exp.removal.imputers import Constant
from xai_exp.types import Case

HERE = Path(__file__).parent
SCORES = json.loads((HERE / "quantus_main.json").read_text())["scores"]
SILENT = NonSensitivity(imputer=Constant(value=0.0), region=1, tolerance=1e-6)
SAME = {
    "mst_c": MSTCompactness(),
    "mst_c_few": MSTCompactness(percentile=90, neighbours=3),
    "non_sensitivity": lambda case: 256 * SILENT(case),
}


@pytest.mark.parametrize("measure", SAME)
def test_the_same_definition_gives_the_main_branchs_number(golden_network, measure):
    shared, maps = (
        dict(np.load(HERE / f"{one}.npz")) for one in ("innvestigate2_maxpool", "quantus")
    )
    for name, wanted in SCORES[measure].items():
        case = Case(
            model=golden_network(shared).eval(),
            images=torch.tensor(shared["x"]),
            targets=torch.tensor(shared["target"]).long(),
            heatmaps=torch.tensor(maps[f"heatmap/{name}"]),
            explain=lambda model, images, targets: images.sum(1),  # noqa: ARG005
            generator=torch.Generator().manual_seed(0),
        )
        np.testing.assert_allclose(SAME[measure](case).numpy(), wanted, rtol=1e-5)
