"""What every run of relevance propagation stores about itself, image by image.

Two ways to be fooled by relevance: it leaks (into biases, epsilon, units without contributions),
and then the heatmap does not add up to the logit; or it is input x gradient under another name
(Kindermans et al. 2016), and then LRP was not what was tested.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xai_exp.explainers.backward.rules import Account
from xai_exp.explainers.pullback import pullback
from xai_exp.types import Images, Labels, Scores


def of_relevance(
    model: nn.Module, images: Images, targets: Labels, relevance: Images, account: Account
) -> Mapping[str, Tensor]:
    """The diagnostics of one explanation, a value an image.

    - `conservation_error/PLACE LAYER`, by layer from the image on: |passed - got| / |got|, what the
      layer made of the relevance that it got; 0: it passed on exactly that much.
    - `conservation_error`: |sum over pixels - R| / |R|, R what the output layer got; the whole way.
    - `distance_to_input_x_gradient`: |R - G| / (|R| + |G|) of the heatmaps' Euclidean norms, in
      0..1; 0: the explanation is input x gradient.

    Where nothing was got the error is 0 if nothing was passed on, and infinite otherwise.
    """
    gradient = images * pullback(model, images, targets)
    rows = account.closed()
    found = {
        f"conservation_error/{len(rows) - 1 - place:02d} {name}": lost(got, passed).to(relevance)
        for place, (name, got, passed) in enumerate(rows)
    }
    if rows:
        found["conservation_error"] = lost(rows[0][1].to(relevance), relevance.flatten(1).sum(1))
    found["distance_to_input_x_gradient"] = distance(relevance, gradient)
    return found


def lost(got: Scores, passed: Scores) -> Scores:
    """|passed - got| / |got|.

    >>> lost(torch.tensor([2.0, -2.0, 0.0]), torch.tensor([1.0, -2.0, 0.0]))
    tensor([0.5000, 0.0000, 0.0000])
    """
    error = (passed - got).abs()
    return torch.where(error == 0, 0, error / got.abs())


def distance(one: Images, other: Images) -> Scores:
    """|R - G| / (|R| + |G|) of maps summed over channels; two empty maps are equal."""
    one, other = one.sum(1).flatten(1), other.sum(1).flatten(1)
    apart = (one - other).norm(dim=1)
    return torch.where(apart == 0, 0, apart / (one.norm(dim=1) + other.norm(dim=1)))
