"""Objectives that are about real images: what a layer says of them, again or exaggerated."""

from typing import Annotated

from xai_exp.config import Count, Range, configured
from xai_exp.insight import Subject
from xai_exp.insight.features.lens import Layer, Seen, activations, chosen_layer
from xai_exp.insight.features.objectives import Asked, Fitted, Objective, along
from xai_exp.types import Images, Scores


@configured
class TensorDirection(Objective):
    """All of a layer as it is for one test image, cell by cell: cosine times length.

    With `caricature`, what of it differs from the mean over the first 64 test images: it shows what
    the layer finds special about the image (Olah et al. 2018).

    Args:
        layer: a module; null: the last with maps.
        images: how many test images, the first ones.
        cosine: how much the angle counts.
        caricature: whether the mean is taken off.
        weight: of this objective among several.
    """

    layer: Layer = None
    images: Count = 4
    cosine: Annotated[int, Range(0, 8)] = 1
    caricature: bool = False
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        maps = activations(subject.network, subject.images(self.images), layer)
        if self.caricature:
            maps = maps - activations(subject.network, subject.images(64), layer).mean(0)
        wanted = maps.flatten(1)

        def score(seen: Seen, _images: Images) -> Scores:
            flat = seen[layer].flatten(1)
            return along(flat[..., None, None], wanted, self.cosine)[:, 0, 0] / wanted.shape[1]

        word = "caricature" if self.caricature else "tensor_direction"
        return Asked((layer,), tuple(f"{word} {one}" for one in range(len(wanted))), score)


@configured
class Inversion(Objective):
    r"""An image of which a layer says the same: $-\|a(x) - a(x_0)\|^2 / \|a(x_0)\|^2$.

    What differs from the original the layer has forgotten (Mahendran and Vedaldi 2015).

    Args:
        layer: a module; null: the last with maps.
        images: how many test images, the first ones.
        weight: of this objective among several.
    """

    layer: Layer = None
    images: Count = 4
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        wanted = activations(subject.network, subject.images(self.images), layer)
        size = wanted.pow(2).flatten(1).sum(1).clamp(min=1e-9)

        def score(seen: Seen, _images: Images) -> Scores:
            return -(seen[layer] - wanted).pow(2).flatten(1).sum(1) / size

        return Asked((layer,), tuple(f"inversion {one}" for one in range(len(wanted))), score)
