"""A control: what an explainer says of a network that has learnt nothing."""

import copy
from typing import Annotated

import torch
from torch import nn

from xai_exp.config import Range, configured
from xai_exp.explainers.cost import OfAnother
from xai_exp.explainers.gradients.gradients import Gradient
from xai_exp.types import Explainer, Heatmaps, Images, Labels


@configured
class Untrained(OfAnother):
    """The heatmap of an untrained copy of the network: same architecture, weights drawn anew.

    Every module begins again as torch begins it (`reset_parameters`: weights, biases and the
    statistics of batch norms); parameters that stand alone, such as positions of tokens, are drawn
    from a normal distribution of their own mean and standard deviation. The draw depends on the
    seed and the architecture alone, and is made on the CPU, so that it is the same on every device.
    What such a heatmap shows is the architecture's and the image's doing (Adebayo et al. 2018): a
    measure that ranks an explanation below it does not see what the network learnt.

    Cost: the explainer's, and making the copy.

    Args:
        explainer: what explains the copy.
        seed: of the weights.
    """

    explainer: Explainer = Gradient()
    seed: Annotated[int, Range(0)] = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmap of the untrained copy."""
        return self.explainer(untrained(model, self.seed), images, targets)


def untrained(model: nn.Module, seed: int) -> nn.Module:
    """A copy of the model as it was before training; the global generator stays as it was."""
    first = next(iter(model.parameters()), torch.empty(0))
    with torch.inference_mode(False):
        made = copy.deepcopy(model).cpu().float()  # other precisions draw other weights
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for module in made.modules():
                reset = getattr(module, "reset_parameters", None) or getattr(
                    module, "_reset_parameters", None
                )
                if reset is not None:
                    reset()
                    continue
                for parameter in module.parameters(recurse=False):
                    spread = float(parameter.std(correction=0)) if parameter.numel() > 1 else 0.0
                    parameter.normal_(float(parameter.mean()), spread)
        return made.to(first.device, first.dtype)
