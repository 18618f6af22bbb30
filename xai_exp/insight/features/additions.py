"""Objectives that are added to others: near an image, unlike one another, alike in a row."""

import torch
from torch.nn import functional

from xai_exp.config import InputError, configured
from xai_exp.insight import Subject
from xai_exp.insight.features.lens import Layer, Seen, chosen_layer
from xai_exp.insight.features.objectives import Asked, Fitted, Objective, Place
from xai_exp.types import Images, Scores


@configured
class InputDiff(Objective):
    """Stay near a test image: minus the mean squared difference. An addition to other objectives.

    Args:
        image: its place in the test split.
        weight: of this objective among several.
    """

    image: Place = 0
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        if self.image >= len(subject.data.test):
            raise InputError(
                f"input_diff: got image {self.image}; allowed: 0 to {len(subject.data.test) - 1}"
            )
        original = subject.images(self.image + 1)[-1:]

        def score(_seen: Seen, images: Images) -> Scores:
            return -(images - original).pow(2).flatten(1).mean(1)

        return Asked((), (f"near {self.image}",), score)


@configured
class Diversity(Objective):
    """Differ from the other images in what textures a layer sees: an addition to other objectives.

    Minus the mean cosine between the Gram matrices of an image and the others (Olah et al. 2017).

    Args:
        layer: a module; null: the last with maps.
        weight: of this objective among several.
    """

    layer: Layer = None
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)

        def score(seen: Seen, _images: Images) -> Scores:
            cells = seen[layer].flatten(2)
            gram = functional.normalize((cells @ cells.mT).flatten(1), dim=1)
            others = gram @ gram.T - torch.eye(len(gram), device=gram.device)
            return -others.sum(1) / max(1, len(gram) - 1)

        return Asked((layer,), ("diverse",), score)


@configured
class Alignment(Objective):
    """Neighbouring images alike in a layer, so that a row of them goes smoothly: an addition.

    Args:
        layer: a module; null: the last with maps.
        weight: of this objective among several.
    """

    layer: Layer = None
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)

        def score(seen: Seen, _images: Images) -> Scores:
            flat = seen[layer].flatten(1)
            steps = (flat[1:] - flat[:-1]).pow(2).mean(1)
            zero = steps.new_zeros(1)
            return -(torch.cat([steps, zero]) + torch.cat([zero, steps])) / 2

        return Asked((layer,), ("aligned",), score)
