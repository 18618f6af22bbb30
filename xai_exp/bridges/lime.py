"""LIME by its authors as an explainer."""

from typing import Any

import numpy as np
import torch
from torch import nn

from xai_exp.bridges.library import Library, Unpriced, answering, by_segment, drawing, given, own
from xai_exp.config import Count, configured
from xai_exp.removal.segments import grid
from xai_exp.types import Heatmaps, Images, Labels

LIBRARY = Library(module="lime", package="lime", extra="lime", tested="0.2.0.1")


@configured
class LimeImage(Unpriced):
    """What LimeImageExplainer says of the squares of a grid (Ribeiro et al. 2016).

    Each pixel gets its square's coefficient. What the library refuses, breaks on or gets wrong
    stays as it is. Cost: the library does not state it.

    Args:
        segments: squares of the grid.
        samples: sets of squares.
        arguments: of `explain_instance`, each NAME=VALUE, such as hide_color=0 (the default of the
            library is each segment's mean colour).
        seed: of its draws.
    """

    segments: Count = 64
    samples: Count = 1000
    arguments: tuple[str, ...] = ()
    seed: int = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What it says of each image.

        Raises:
            InputError: when it is not installed.
        """
        library: Any = LIBRARY.part("lime_image")
        cut = grid(images, self.segments)
        answer, channels, found = answering(own(model)), images.shape[1], []
        for image, squares, target in zip(images, cut, targets.tolist(), strict=True):
            with drawing(self.seed):
                told = library.LimeImageExplainer(random_state=self.seed).explain_instance(
                    # It takes a grey picture without a channel, and asks with three.
                    image.permute(1, 2, 0).squeeze(2).cpu().double().numpy(),
                    lambda pictures: answer(pictures[..., :channels]),
                    **{
                        "labels": (target,), "top_labels": None, "num_samples": self.samples,
                        "segmentation_fn": lambda _, cut=squares: cut.cpu().numpy(),
                        **given(self.arguments),
                    },
                )  # fmt: skip
            found.append(np.array([worth for _, worth in sorted(told.local_exp[target])]))
        return by_segment(torch.as_tensor(np.stack(found)).to(images), cut)
