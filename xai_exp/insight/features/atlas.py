"""An activation atlas: what a layer says of many images, laid out in two dimensions and drawn."""

from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from xai_exp.compute import ops
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.features.attribution import icons
from xai_exp.insight.features.lens import Layer, activations, chosen_layer
from xai_exp.insight.features.tiles import shown
from xai_exp.report.figures import ink
from xai_exp.types import Images

_FEWEST = 2  # activations of a cell that is drawn


@configured
class ActivationAtlas:
    """Activations of the evaluation images, near ones averaged and drawn (Carter et al. 2019).

    One random cell of each image is laid out by t-SNE or PCA; each square of the layout is drawn
    as what the layer's mean activation there stands for, with the share of its images that get the
    most frequent answer. `purity` is the mean of these shares, 0..1: HIGHER means that places of
    the atlas belong to classes.

    Args:
        layer: a module; null: the last with maps.
        images: of the test split, the first ones.
        cells: squares of the layout's side.
        method: tsne or pca.
        steps: of Adam.
    """

    shows: ClassVar[str] = "what a layer says of all images, laid out by likeness"
    layer: Layer = None
    images: Annotated[int, Range(20)] = 200
    cells: Annotated[int, Range(2, 12)] = 5
    method: Literal["tsne", "pca"] = "tsne"
    steps: Count = 64

    def __call__(self, subject: Subject) -> Finding:
        """The atlas.

        Raises:
            InputError: when the layer says the same of all images.
        """
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        maps = activations(subject.network, subject.images(self.images), layer).flatten(2)
        keys = ops.named_keys(torch.arange(len(maps)) + (subject.seed << 32), "atlas")
        cells = (ops.keyed_uniform(keys, 1)[:, 0] * maps.shape[2]).long().to(maps.device)
        vectors = maps[torch.arange(len(maps), device=maps.device), :, cells]
        if vectors.shape[1] < 2 or float(vectors.std(0).max()) < 1e-9:
            raise InputError(
                f"activation_atlas: got layer {layer}, which says the same of all images; allowed: "
                "one whose channels differ"
            )
        squares = _squares(self._points(vectors.double().cpu().numpy(), subject.seed), self.cells)
        said = subject.logits(self.images).argmax(1).cpu().numpy()
        filled = [
            one
            for one, count in zip(*np.unique(squares, return_counts=True), strict=True)
            if count >= _FEWEST
        ]
        ways = torch.stack([vectors[torch.from_numpy(squares == one)].mean(0) for one in filled])
        tops = [np.bincount(said[squares == one]) for one in filled]
        words = [subject.data.classes[int(one.argmax())] for one in tops]
        purity = float(np.mean([one.max() / one.sum() for one in tops]))
        made = icons(subject, layer, ways, self.steps)
        places = [int(one) for one in filled]
        drawn = partial(_atlas, made.images.cpu(), places, words, self.cells, layer)
        return Finding(
            figures={"atlas": drawn},
            numbers={"purity": purity},
            lines=(f"{len(filled)} squares of {layer}, {100 * purity:.0f} % of one answer each",),
        )

    def _points(self, vectors: np.ndarray, seed: int) -> np.ndarray:
        if self.method == "pca":
            return PCA(2, random_state=seed).fit_transform(vectors)
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


def _squares(points: np.ndarray, cells: int) -> np.ndarray:
    """Each point's square, row by row from the top left.

    >>> _squares(np.array([[0.0, 0], [1, 0], [0, 9], [1, 9]]), 2)
    array([2, 3, 0, 1])
    """
    low, high = points.min(0), points.max(0)
    place = ((points - low) / np.maximum(high - low, 1e-12) * cells).astype(int).clip(0, cells - 1)
    return (cells - 1 - place[:, 1]) * cells + place[:, 0]


def _atlas(made: Images, places: list[int], words: list[str], cells: int, layer: str) -> Figure:
    figure = Figure(figsize=(1.1 * cells, 1.25 * cells + 0.3), dpi=150, layout="constrained")
    grid: np.ndarray = figure.subplots(cells, cells, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for image, place, word in zip(made, places, words, strict=True):
        shown(grid.flat[place], image, word)
    figure.suptitle(f"atlas of {layer}; above each: the most frequent answer", fontsize=ink.SIZE)
    return figure
