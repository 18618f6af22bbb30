"""Draw docs/images/ten.png: one picture, ten explainers of one network, and the exact truth.

python scripts/readme_picture.py [--store FOLDER] [--class NAME]

The network is the default cnn on settlements_small (seed 0), trained where it is not there yet: two
minutes. The picture is the first of its class on the test split; nothing is chosen by its looks.
Heatmaps are measured from the border, where the method has a reference.
"""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

import xai_exp as xe
from xai_exp.report.figures.gallery import _QUANTILE, _RELEVANCE
from xai_exp.truth.doses import spread

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "ten.png"
TEN = {
    "gradient": "gradient",
    "input_x_gradient": "input x gradient",
    "integrated_gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "guided_backprop": "guided backprop",
    "lrp": "LRP (epsilon plus)",
    "deeplift": "DeepLIFT",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
    "kernel_shap": "kernel SHAP",
}


class Shown(NamedTuple):
    """One picture, and the network that is asked about it.

    Attributes:
        data: with its classes.
        network: trained on it.
        name: the picture's class.
        first: its number on the test split.
        scenes: the picture alone.
    """

    data: Any
    network: Any
    name: str
    first: int
    scenes: Any

    @property
    def exact(self) -> np.ndarray:
        """What each part is worth, evenly on its pixels."""
        truth: Any = xe.worth(self.network, self.scenes)
        return spread(truth.shapley, self.scenes.parts())[0].numpy()


def asked(told: str | None) -> Shown:
    """Train or find the network that the command line asks for, and its picture."""
    words = argparse.ArgumentParser(description=told)
    words.add_argument("--store", default="mlruns/models")
    words.add_argument("--class", dest="name", default="informal")
    given = words.parse_args()
    data = xe.dataset("settlements_small")
    network = xe.train("cnn", data, seed=0, trainer={"samples": 15000}, store=given.store)
    label = list(data.classes).index(given.name)
    first = int((data.test.labels == label).nonzero()[0, 0])
    return Shown(data, network, given.name, first, data.test.scenes([first]))


def main() -> None:
    """Train or find, explain, draw."""
    one = asked(__doc__)
    maps = xe.explain(one.network, one.scenes, list(TEN), reference="border")
    scores: Any = xe.score(maps, ["part_skill"]).set_index("explainer")["score"]
    right = one.data.classes[int(maps.predictions[0])] == one.name
    print(f"image {one.first}: {one.name}, {'right' if right else 'wrong'}; {scores.to_dict()}")
    cells = [(TEN[n], maps[n][0], float(scores[n])) for n in TEN]
    cells.sort(key=lambda cell: -cell[2])
    draw(one.scenes.render()[0].numpy(), one.exact, cells).savefig(PICTURE, dpi=110)


def draw(image: np.ndarray, exact: np.ndarray, cells: list[Any]) -> Figure:
    """Two rows of six: the picture and the truth, then the heatmaps from nearest to farthest."""
    figure = Figure(figsize=(12.4, 4.9), layout="constrained")
    axes = figure.subplots(2, 6).ravel()
    axes[0].imshow(image.transpose(1, 2, 0) if len(image) == 3 else image[0], cmap="gray")
    axes[0].set_title("the picture", fontsize=12, weight="bold")
    heat(axes[1], exact)
    axes[1].set_title("the exact truth", fontsize=12, weight="bold")
    axes[1].set_xlabel("what each part is worth", fontsize=10)
    for place, (name, values, said) in zip(axes[2:], cells, strict=True):
        heat(place, np.asarray(values))
        place.set_title(name, fontsize=12)
        place.set_xlabel(f"skill {said:.2f}", fontsize=10)
    for place in axes:
        place.set(xticks=[], yticks=[])
    return figure


def heat(axes: Any, values: np.ndarray) -> None:  # noqa: ANN401
    """Red for the class, blue against it, white zero; on a scale of its own."""
    end = float(np.quantile(np.abs(values), _QUANTILE)) or 1.0
    axes.imshow(values, cmap=_RELEVANCE, vmin=-end, vmax=end, interpolation="nearest")


if __name__ == "__main__":
    main()
