"""How much of a Shapley value asks the network about images that it could have been trained on."""

import math

import torch
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.truth.coalitions import subsets
from xai_exp.types import Scenes, Scores

_MOST_EXACT = 12
_ORDERS = 64


def on_manifold(scenes: Scenes, *, orders: int = _ORDERS, seed: int = 0) -> Scores:
    r"""The share of Shapley weight on coalitions that the scenes' generator can draw, per image.

    A Shapley value is a mean of gains v(S + i) - v(S) over random orders; of the values v that go
    into it, this is the share asked on an image of the training distribution. With k parts a set of
    size s with 0 < s < k weighs 1 / (k C(k, s)), the empty and the whole set 1 / (2 k) each. In
    0..1, 1 is best: then exact truth asks the network nothing it never saw; a square's four corners
    have 1/8, since only the whole square is drawn. NaN for an image without parts.

    Exact for up to 12 parts; for more, the mean over `orders` random orders.

    Args:
        scenes: under the division whose truth is asked for.
        orders: drawn for images with more parts.
        seed: of these orders.

    Raises:
        InputError: when there are no orders.
    """
    if orders < 1:
        raise InputError(f"on_manifold: got {orders} orders; allowed: 1 or more")
    present = scenes.present
    found = torch.full((len(scenes),), torch.nan, dtype=torch.float64, device=present.device)
    for row, count in enumerate(present.sum(1).tolist()):
        if not count:
            continue
        players = present[row].nonzero()[:, 0]
        if count <= _MOST_EXACT:
            chosen, weights = subsets(count).to(present.device), _weights(count)
        else:
            chosen, weights = _chains(count, orders, seed)
        keep = torch.zeros(len(chosen), present.shape[1], dtype=torch.bool, device=present.device)
        keep[:, players] = chosen.to(present.device)
        rows = torch.full((len(chosen),), row, device=present.device)
        drawn = scenes[rows].drawable(keep)
        found[row] = (drawn.double().cpu() * weights).sum()
    return found


def _weights(count: int) -> Tensor:
    """What each subset weighs; they sum to 1."""
    each = [1 / (count * math.comb(count, size)) for size in range(count + 1)]
    each[0], each[-1] = each[0] / 2, each[-1] / 2
    return torch.tensor(each, dtype=torch.float64)[subsets(count).sum(1)]


def _chains(count: int, orders: int, seed: int) -> tuple[Tensor, Tensor]:
    """The sets that random orders pass through, and what each weighs."""
    keys = ops.named_keys(torch.arange(orders) + (seed << 32), "on_manifold")
    places = ops.keyed_uniform(keys, count).argsort(1).argsort(1)
    steps = torch.arange(count + 1)[:, None]
    chosen = (places[:, None] < steps).flatten(0, 1)
    weights = torch.ones(count + 1, dtype=torch.float64)
    weights[[0, -1]] = 0.5
    return chosen, (weights / (count * orders)).repeat(orders)
