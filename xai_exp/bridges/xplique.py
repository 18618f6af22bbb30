"""Xplique's methods as explainers, by its own wrapper of torch networks."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from xai_exp.bridges.library import Library, Unpriced, drawing, given, own
from xai_exp.compute import ops
from xai_exp.config import configured
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="xplique", package="xplique", extra="xplique", tested="2.0.2")


@configured
class Xplique(Unpriced):
    """What a class of xplique.attributions says (Fel et al. 2022), channels by its own reducer.

    Gradients are the mean or the largest of channels there: arguments=["reducer=sum"] is as ours.
    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        method: the class, such as SobolAttributionMethod, HsicAttributionMethod, Rise, Occlusion,
            IntegratedGradients; those that change TensorFlow's layers don't know torch's.
        arguments: of the class, each NAME=VALUE, such as nb_design=32.
        seed: of its draws.
    """

    method: str = "SobolAttributionMethod"
    arguments: tuple[str, ...] = ()
    seed: int = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What it says of each image.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        attributions: Any = LIBRARY.part("attributions")
        wrapped: Any = LIBRARY.part("wrappers").TorchWrapper(own(model), images.device, True)
        kind = LIBRARY.named(attributions, self.method)
        with torch.no_grad():
            classes = ops.logits(model, images[:1]).shape[1]
        with drawing(self.seed), torch.enable_grad():
            LIBRARY.part("attributions.base").tf.random.set_seed(self.seed)
            made = kind(wrapped, **given(self.arguments))
            found = made(
                images.permute(0, 2, 3, 1).cpu().float().numpy(),
                functional.one_hot(targets, classes).cpu().float().numpy(),
            )
        maps = torch.as_tensor(np.array(found)).to(images)
        return maps.flatten(3).sum(-1) if maps.ndim > 3 else maps
