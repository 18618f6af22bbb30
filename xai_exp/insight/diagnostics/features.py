"""Where images lie in the network's penultimate layer: two dimensions of PCA or t-SNE."""

from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.diagnostics.answers import palette
from xai_exp.models.asked import last_layers
from xai_exp.report.figures import ink

Images = Annotated[int, Range(10)]
_NAMED = 20


def penultimate(subject: Subject, count: int) -> np.ndarray:
    """What goes into the last linear layer: (image, feature), float64.

    Raises:
        InputError: when the network has no such layer.
    """
    name = next(last_layers(subject.network, len(subject.data.classes)), None)
    if name is None:
        raise InputError(
            f"embedding: got a network ({type(subject.network).__name__}) without a last linear "
            "layer; allowed: networks of layers, such as model=cnn"
        )
    found: list[Tensor] = []

    def see(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        found.append(given[0].detach().flatten(1).cpu())

    with ops.evaluating(subject.network), torch.no_grad():
        hook = subject.network.get_submodule(name).register_forward_pre_hook(see)
        try:
            for index in subject.first(count).split(64):
                subject.network(subject.data.test.images(index))
        finally:
            hook.remove()
    return torch.cat(found).double().numpy()


@configured
class Embedding:
    """The penultimate layer of the first test images in two dimensions, coloured by class.

    By `pca` the two directions of the largest variance (their share of it is told), by `tsne` a map
    that keeps neighbours (van der Maaten and Hinton 2008), in which distances between groups and
    sizes of groups mean nothing. `neighbours` is the share of images whose nearest neighbour in the
    layer itself has their class: 0..1, HIGHER is better.

    Args:
        images: the first of the test split.
        method: pca or tsne.
        perplexity: of t-SNE: about how many neighbours count.
    """

    shows: ClassVar[str] = "the penultimate layer in two dimensions"
    images: Images = 400
    method: Literal["pca", "tsne"] = "pca"
    perplexity: Annotated[float, Range(2)] = 30.0

    def __call__(self, subject: Subject) -> Finding:
        """The points.

        Raises:
            InputError: when the layer says the same of all images.
        """
        features = penultimate(subject, self.images)
        if features.shape[1] < 2 or not features.std(0).any():
            raise InputError(
                f"embedding: got a penultimate layer of {features.shape[1]} features that "
                "do not differ in two dimensions; allowed: two features or more"
            )
        labels = subject.labels(self.images).cpu().numpy()
        classes = subject.data.classes
        points, words = self._points(features, subject.seed)
        share = neighbours(features, labels)
        table = pd.DataFrame({"x": points[:, 0], "y": points[:, 1]})
        table["class"] = [classes[k] for k in labels]
        name = self.method
        return Finding(
            figures={name: partial(_scatter, points, labels, classes, words)},
            tables={name: table},
            numbers={"neighbours": share},
            lines=(f"{100 * share:.0f} % of images have their nearest neighbour in their class",),
        )

    def _points(self, features: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
        if self.method == "pca":
            pca = PCA(2, random_state=seed)
            points = pca.fit_transform(features)
            shares = pca.explained_variance_ratio_
            return points, f"PCA: {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % of variance"
        perplexity = min(self.perplexity, (len(features) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        return tsne.fit_transform(features), f"t-SNE, perplexity {perplexity:.0f}"


def neighbours(features: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows whose nearest other row has their label.

    >>> neighbours(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 0]))
    0.5
    """
    nearest = NearestNeighbors(n_neighbors=1).fit(features).kneighbors(return_distance=False)
    return float((labels[nearest[:, 0]] == labels).mean())


def _scatter(
    points: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], words: str
) -> Figure:
    figure, axes = ink.canvas(3.4, 4.6)
    for k, colour in enumerate(palette(len(classes))):
        mine = labels == k
        if mine.any():
            axes.scatter(*points[mine].T, s=8, color=colour, label=classes[k], linewidths=0)
    axes.set_title(words, fontsize=ink.SIZE)
    axes.set_xticks([])
    axes.set_yticks([])
    ink.plain(axes)
    if len(classes) <= _NAMED:
        look = {"frameon": False, "fontsize": ink.SIZE, "title": "class"}
        figure.legend(loc="outside right upper", **look)
    return figure
