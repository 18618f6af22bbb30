"""What it takes to use a method: each outcome is seen for what it is."""

import math
import re
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.explainers.cost import Cost
from xai_exp.studies import adoption_report as studies_adoption
from xai_exp.studies.adoption import PeakMemory, Trial, tried

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
IMAGES = torch.ones(3, 1, 4, 4)
TARGETS = torch.zeros(3, dtype=torch.int64)


@dataclass(frozen=True)
class Explaining:
    """An explainer that does what a test wants."""

    fill: float = 1.0
    error: Exception | None = None
    cost: ClassVar[Cost] = Cost(forward=1, backward=0)

    def __call__(self, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        if self.error:
            raise self.error
        model(images)
        return torch.full_like(images[:, 0], self.fill) * targets.ge(0)[:, None, None]


def trial(explainer: Explaining) -> Trial:
    return tried("mine", "cnn", explainer, NETWORK, IMAGES, TARGETS)


def test_a_method_that_works_has_its_time_and_memory():
    found = trial(Explaining())
    assert (found.explainer, found.architecture, found.outcome, found.problem) == (
        *("mine", "cnn"),
        *("works", ""),
    )
    assert found.seconds > 0
    assert found.over_cost > 0
    # At least the heatmaps themselves: 16 pixels of 4 bytes an image.
    assert found.megabytes * 1e6 >= 16 * 4


@pytest.mark.parametrize(
    ("explainer", "outcome", "problem"),
    [
        (Explaining(error=InputError("no rule for GELU")), "refused", "no rule for GELU"),
        (Explaining(error=IndexError("of 3\nand more")), "broken", "IndexError: of 3"),
        (Explaining(error=IndexError()), "broken", "IndexError: "),
        (Explaining(fill=math.nan), "broken", "heatmaps are not finite"),
        (Explaining(fill=0.0), "broken", "heatmaps are all zero"),
    ],
)
def test_what_does_not_work_says_why(explainer: Explaining, outcome: str, problem: str):
    found = trial(explainer)
    assert (found.outcome, found.problem) == (outcome, problem)


def test_memory_is_that_of_what_lives_at_once():
    with PeakMemory() as memory:
        first = torch.zeros(1000, dtype=torch.float64)
        view = first.view(10, 100)
        view.add_(1)
        del first, view
        torch.zeros(500, dtype=torch.float64)
    assert memory.peak == 8000


def test_the_tables_have_a_row_a_method_and_a_column_a_network():
    nothing = math.nan
    trials = pd.DataFrame(
        [
            Trial("lrp", "cnn", "works", "", 0.002, 1.5, 3.0),
            Trial("lrp", "vit", "refused", "LRP: got <LayerNorm>", nothing, nothing, nothing),
            Trial("shap", "cnn", "works", "", 0.5, 1.0, 9.0),
            Trial("shap", "vit", "broken", "heatmaps are all zero", 0.5, 2.0, 9.0),
        ]
    )
    assert rows(studies_adoption.support(trials)) == [
        ["lrp", "works", "refused", "LRP: got &lt;LayerNorm&gt;"],
        ["shap", "works", "BROKEN", "heatmaps are all zero"],
    ]
    assert [row[2:] for row in rows(studies_adoption.costs(trials))] == [
        ["1.5", "2.0", "", "3.0", ""],
        ["1.5", "500.0", "500.0", "9.0", "9.0"],
    ]


def rows(table: str) -> list[list[str]]:
    body = table.partition("<tbody>")[2]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]
