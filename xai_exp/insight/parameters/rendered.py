"""The network as scikit-learn knows models: rows of scene parameters in, answers out."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin

from xai_exp.compute import ops
from xai_exp.compute.values import probabilities, valued
from xai_exp.insight import Subject
from xai_exp.insight.parameters.space import Space, space
from xai_exp.types import Logits


class RenderedNetwork(RegressorMixin, BaseEstimator):
    """What the network says of scenes drawn with given parameters, an output for every class.

    Row i of what it is asked belongs to scene i: of that scene the parameters are set to the row's
    values, everything else stays as it is.

    Args:
        subject: the network.
        space: the scenes and their parameters.
        answer: probability of each class, or value: that of the setting `value`.
    """

    def __init__(self, subject: Subject, space: Space, answer: str = "probability") -> None:
        self.subject, self.space, self.answer = subject, space, answer

    def fit(self, x: object = None, y: object = None) -> "RenderedNetwork":  # noqa: ARG002
        """Nothing is left to fit."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def n_features_in_(self) -> int:
        """How many parameters there are."""
        return len(self.space.parameters)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(scene, class), float64.

        Raises:
            ValueError: for other than a row a scene.
        """
        table = np.asarray(x, dtype=np.float64)
        if len(table) != len(self.space.scene):
            raise ValueError(f"got {len(table)} rows for {len(self.space.scene)} scenes")
        scene = self.space.drawn(table)
        rows = torch.arange(len(scene)).split(256)
        return torch.cat([self._said(scene[one].render()) for one in rows]).double().numpy()

    def _said(self, images: torch.Tensor) -> Logits:
        subject, images = self.subject, images.to(self.subject.device)
        with ops.evaluating(subject.network), torch.no_grad():
            if self.answer == "probability":
                return probabilities(ops.logits(subject.network, images), "logit").cpu()
            asked = subject.question
            against = asked.against if isinstance(asked.against, int) else 0
            network = valued(subject.network, asked.value, images, against)
            return ops.logits(network, images).cpu()


def rendered(subject: Subject, count: int, answer: str = "probability") -> RenderedNetwork:
    """The network over the first test scenes.

    Raises:
        InputError: for data without scene parameters.
    """
    scene = subject.data.test.scenes(torch.arange(min(count, len(subject.data.test))))
    return RenderedNetwork(subject, space(subject.data, scene), answer)


def grid(values: np.ndarray, steps: int, *, whole: bool) -> np.ndarray:
    """Values to try: quantiles of those that occur, from 5 to 95 %, or all whole ones.

    >>> grid(np.array([0.0, 2, 1, 2]), 11, whole=True)
    array([0., 1., 2.])
    """
    known = values[~np.isnan(values)]
    if whole:
        return np.unique(known.round())
    return np.unique(np.quantile(known, np.linspace(0.05, 0.95, steps)))


def titled(names: Sequence[str], units: Sequence[str]) -> list[str]:
    """Names with their units."""
    return [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]
