"""Activation maps of pytorch-grad-cam as explainers."""

from typing import Any

import numpy as np
import torch
from torch import nn

from xai_exp.bridges.library import Library, Unpriced, drawing, given, layer_of, own
from xai_exp.config import configured
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="pytorch_grad_cam", package="grad-cam", extra="grad_cam", tested="1.5.7")


@configured
class PytorchGradCAM(Unpriced):
    """What a class of pytorch-grad-cam says (Gildenblat et al. 2021), stretched to 0..1 as it does.

    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        method: the class, such as GradCAM, GradCAMPlusPlus, LayerCAM, HiResCAM, EigenCAM, FullGrad.
        layer: by its name; null: the last module that gives a map as large as the last
            convolution's.
        arguments: of the class, each NAME=VALUE.
        seed: of its draws.
    """

    method: str = "GradCAM"
    layer: str | None = None
    arguments: tuple[str, ...] = ()
    seed: int = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What the library says of each image.

        Raises:
            InputError: when it is not installed, has no such class, or there is no such layer.
        """
        library: Any = LIBRARY.part()
        wanted: Any = LIBRARY.part("utils.model_targets")
        kind = LIBRARY.named(library, self.method, library.base_cam.BaseCAM)
        mine = own(model, slopes=True)
        layers = [] if kind is library.FullGrad else [layer_of(mine, self.layer, images)]
        chosen = [wanted.ClassifierOutputTarget(int(target)) for target in targets]
        settings = {"model": mine, "target_layers": layers, **given(self.arguments)}
        with torch.enable_grad(), drawing(self.seed), kind(**settings) as made:
            found = made(input_tensor=images.clone(), targets=chosen)
        return torch.as_tensor(np.asarray(found)).to(images)
