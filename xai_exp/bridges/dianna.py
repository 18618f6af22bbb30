"""DIANNA's methods as explainers, of our ONNX file of the network."""

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from xai_exp.bridges.library import Library, Unpriced, drawing, given, own
from xai_exp.config import configured
from xai_exp.formats import exporting
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="dianna", package="dianna", extra="dianna", tested="1.8.1")


@configured
class Dianna(Unpriced):
    """What DIANNA says of the network's ONNX file (Ranguelova et al. 2022).

    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        method: RISE, LIME or KernelSHAP.
        arguments: of `explain_image`, each NAME=VALUE, such as n_masks=2000.
        seed: of its draws.
    """

    method: Literal["RISE", "LIME", "KernelSHAP"] = "RISE"
    arguments: tuple[str, ...] = ()
    seed: int = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What it says of each image.

        Raises:
            InputError: when it is not installed, or the network can't be written as ONNX.
        """
        library: Any = LIBRARY.part()
        found = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            exporting.export(own(model), images[:2], path)
            for image, target in zip(images.cpu().numpy(), targets.tolist(), strict=True):
                with drawing(self.seed):
                    told = library.explain_image(
                        str(path), image, self.method, labels=[target],
                        **{"axis_labels": {0: "channels"}, **given(self.arguments)},
                    )  # fmt: skip
                found.append(np.asarray(told[0]).reshape(image.shape[1:]))
        return torch.as_tensor(np.stack(found)).to(images)
