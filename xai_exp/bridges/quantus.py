"""Quantus' metrics as metrics: the same network, images, targets and heatmaps as ours get."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from xai_exp.bridges.library import Library, drawing, given, own
from xai_exp.compute import ops
from xai_exp.config import InputError, configured
from xai_exp.metrics import shared
from xai_exp.types import Case, Scores

LIBRARY = Library(module="quantus", package="quantus", extra="quantus", tested="0.6.0")


@configured
class Quantus:
    """What a metric of Quantus says of each heatmap (Hedström et al. 2023).

    Range and direction are the metric's own: HIGHER or LOWER is better as Quantus states it. What
    the library refuses, breaks on or gets wrong stays as it is. Cost: the metric's.

    Pitfalls: it normalises and takes absolute values by default, as its authors have it;
    arguments=["abs=False","normalise=False"] keeps what the heatmap says. It asks for
    probabilities where the metric has them: arguments=["softmax=False"] asks for the value.

    Args:
        method: the class, such as Sparseness, PixelFlipping, RelevanceRankAccuracy.
        arguments: of the class, each NAME=VALUE.
    """

    method: str = "Sparseness"
    arguments: tuple[str, ...] = ()

    needs: ClassVar[frozenset[str]] = frozenset()
    undefined: ClassVar[str] = "Quantus gives NaN"

    @property
    def higher_is_better(self) -> bool:
        """As Quantus states it.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        return self._kind().score_direction.value != "lower"

    def __call__(self, case: Case) -> Scores:
        """Quantus' score of every image.

        Raises:
            InputError: when it is not installed, has no such class, or gives more than a number.
        """
        settings = {"disable_warnings": True, "display_progressbar": False}
        arguments = given(self.arguments)
        softmax = arguments.pop("softmax", None)
        made = self._kind()(**{**settings, **arguments})

        def explain(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:  # noqa: ANN401
            images = torch.as_tensor(np.asarray(inputs)).to(case.images).view(-1, *_shape(case))
            found = case.explain(model, images, torch.as_tensor(np.asarray(targets)).long())
            return found[:, None].cpu().numpy()

        with torch.enable_grad(), drawing(case.generator.initial_seed()):
            found = made(
                model=own(case.model), x_batch=case.images.cpu().numpy(),
                y_batch=case.targets.cpu().numpy(), a_batch=case.heatmaps[:, None].cpu().numpy(),
                s_batch=self._masks(case), channel_first=True, explain_func=explain,
                explain_func_kwargs={}, model_predict_kwargs={}, softmax=softmax, device="cpu",
            )  # fmt: skip
        scores = np.asarray(found, dtype=object)
        if scores.shape != (len(case),) or any(np.ndim(one) for one in scores):
            raise InputError(
                f"quantus.{self.method}: got {scores.shape} numbers for {len(case)} images; "
                "allowed: one an image, which most metrics give by an argument such as "
                "return_auc_per_sample=True"
            )
        return shared.where_defined(case, torch.as_tensor(scores.astype(float)).to(case.heatmaps))

    def _kind(self) -> Any:  # noqa: ANN401
        library = LIBRARY.part()
        return LIBRARY.named(library, self.method, LIBRARY.part("metrics.base").Metric)

    def _masks(self, case: Case) -> np.ndarray | None:
        del case
        return None


@configured
class QuantusMasks(Quantus):
    """What a metric of Quantus says that compares with masks: localisation, on data that have them.

    As `Quantus`: HIGHER or LOWER is better as Quantus states it. The mask is all that is more than
    half filled by any part. Cost: the metric's.

    Pitfalls: relevance mass keeps negative relevance there, so that it has no bounds.

    Args:
        method: the class, such as RelevanceRankAccuracy, PointingGame, TopKIntersection.
        arguments: of the class, each NAME=VALUE.
    """

    method: str = "RelevanceRankAccuracy"

    needs: ClassVar[frozenset[str]] = frozenset({"parts"})

    def _masks(self, case: Case) -> np.ndarray | None:
        assert case.parts is not None
        return (ops.union(case.parts) > 0.5)[:, None].cpu().numpy()


def _shape(case: Case) -> torch.Size:
    return case.images.shape[1:]
