"""Rows of shap: of gradients, and of players that are squares of pixels."""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from equals.common import BLACK, GRID, Row, Setting, Theirs, by_segment, references, seen
from xai_exp.explainers import deeplift, gradients
from xai_exp.explainers.perturbation import KernelSHAP, PartitionSHAP, ShapleySampling

row = partial(Row, library="shap")
SIDE, PLAYERS = 8, 4
EVALUATIONS = 100


def _shap() -> Any:  # noqa: ANN401
    """It asks for a package coverage, which scripts/coverage.py is not."""
    scripts = Path(__file__).resolve().parents[1]
    others = [one for one in sys.path if Path(one).resolve() != scripts]
    with mock.patch.object(sys, "path", others):
        return importlib.import_module("shap")


def _chosen(values: Any, targets: Tensor) -> Tensor:  # noqa: ANN401
    """Each image's values for its target: (image, channel, row, column, class) in, maps out."""
    found = torch.as_tensor(np.asarray(values))
    return torch.stack([one[..., int(t)].sum(0) for one, t in zip(found, targets, strict=True)])


def of_gradients(deviation: float) -> Theirs:
    """Its GradientExplainer, which draws in float32."""

    def compute(one: Setting) -> Tensor:
        given = references().float()
        made = _shap().GradientExplainer(
            one.network.float(), given, batch_size=100, local_smoothing=deviation
        )
        return _chosen(made.shap_values(one.images.float(), nsamples=500, rseed=0), one.targets)

    return compute


def of_references(one: Setting) -> Tensor:
    """Its DeepExplainer."""
    made = _shap().DeepExplainer(one.network, references())
    return _chosen(made.shap_values(one.images, check_additivity=False), one.targets)


Game = Callable[[np.ndarray], np.ndarray]


def of_players(explain: Callable[[Game], Any]) -> Theirs:
    """What it says of each image's four squares, the value of a set being the logit."""

    def compute(one: Setting) -> Tensor:
        found = []
        for image, target in zip(one.images, one.targets, strict=True):

            def game(kept: np.ndarray, image: Tensor = image, target: Tensor = target) -> Any:  # noqa: ANN401
                copies = seen(image, torch.as_tensor(kept, dtype=torch.float64), SIDE)
                with torch.no_grad():
                    return one.network(copies)[:, target].numpy()

            found.append(torch.as_tensor(np.asarray(explain(game))).view(PLAYERS).double())
        return by_segment(torch.stack(found), SIDE)

    return compute


NONE, ALL = np.zeros((1, PLAYERS)), np.ones((1, PLAYERS))


def kernel(game: Game) -> Any:  # noqa: ANN401
    """All sets of four players, in its weighted regression."""
    return _shap().KernelExplainer(game, NONE).shap_values(ALL, l1_reg=0, silent=True)


def sampling(game: Game) -> Any:  # noqa: ANN401
    """Orders drawn at random."""
    np.random.seed(0)  # noqa: NPY002
    return _shap().SamplingExplainer(game, NONE).shap_values(ALL, nsamples=800, silent=True)


def permutation(game: Game) -> Any:  # noqa: ANN401
    """Orders forward and backward."""
    made = _shap().PermutationExplainer(game, NONE, seed=0)
    return made(ALL, max_evals=1000, silent=True).values


def partition(one: Setting) -> Tensor:
    """Its PartitionExplainer, one branch at a time, on black."""
    masker = _shap().maskers.Image(np.zeros((16, 16, 1)), (16, 16, 1))

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return one.network(torch.as_tensor(images).permute(0, 3, 1, 2)).numpy()

    made = _shap().PartitionExplainer(logits, masker)
    images = one.images.permute(0, 2, 3, 1).numpy()
    found = [
        made(
            images[i : i + 1],
            max_evals=EVALUATIONS,
            batch_size=1,
            outputs=[int(target)],
            silent=True,
        ).values
        for i, target in enumerate(one.targets)
    ]
    return torch.as_tensor(np.concatenate(found)).view(len(images), 16, 16)


def rows() -> list[Row]:
    """Every statement about it."""
    drawn = "both draw: 500 places there"
    expected: Any = [gradients.ExpectedGradients(samples=500, sigma=s) for s in (0.0, 0.1)]
    references: Any = deeplift.DeepLIFTSHAP(references=4)
    squares = {
        "kernel_shap": KernelSHAP(segments=PLAYERS, **GRID),
        "shapley_sampling": ShapleySampling(segments=PLAYERS, **GRID),
    }
    in_order: Any = {"evaluations": EVALUATIONS, "together": 1, "smallest": 1}
    found: list[tuple[str, Any, str, Theirs, str]] = [
        ("expected_gradients", expected[0], "GradientExplainer", of_gradients(0.0), drawn),
        (
            "gradient_shap",
            expected[1],
            "`GradientExplainer(local_smoothing=0.1)`",
            of_gradients(0.1),
            drawn,
        ),
        ("deeplift_shap", references, "DeepExplainer", of_references, "the same references"),
        (
            "`kernel_shap` of 4 segments",
            squares["kernel_shap"],
            "KernelExplainer",
            of_players(kernel),
            "",
        ),
        (
            "`shapley_sampling` of 4 segments",
            squares["shapley_sampling"],
            "SamplingExplainer",
            of_players(sampling),
            "800 sets are drawn there",
        ),
        (
            "`shapley_sampling` of 4 segments",
            squares["shapley_sampling"],
            "PermutationExplainer",
            of_players(permutation),
            "orders are drawn there",
        ),
        (
            "`partition_shap together=1 smallest=1`",
            PartitionSHAP(imputer=BLACK, **in_order),
            "PartitionExplainer",
            partition,
            f"{EVALUATIONS} evaluations",
        ),
    ]
    return [
        row(ours=ours, explainer=one, theirs=f"shap {theirs}", compute=compute, note=note)
        for ours, one, theirs, compute, note in found
    ]
