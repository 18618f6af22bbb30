"""RAP against loops written from its formulas, the authors' own heatmaps, and its laws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.explainers.lrp import LRP, RAP

GOLDEN = Path(__file__).parents[3] / "golden" / "rap.npz"
TARGETS = torch.tensor([2, 0])


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3),
        )  # fmt: skip
    return made.double().eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(5)).double()


def matrix(layer, shape):
    """The layer as a matrix (input, output), column by column."""
    units = torch.eye(int(np.prod(shape))).double().view(-1, *shape)
    with torch.no_grad():
        return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).numpy()


def steps(network, image):
    """(matrix, flat input, whether it is a convolution) of every linear layer; the logits."""
    found, values = [], image[None]
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            whole = matrix(layer, values.shape[1:])
            found.append((whole, values.detach().flatten().numpy(), isinstance(layer, nn.Conv2d)))
        values = layer(values)
    return found, values[0].detach().numpy()


def looped(network, image, target):
    """The formulas, one unit at a time."""
    layers, logits = steps(network, image)
    weights, values, _ = layers[-1]
    kept = values * weights[:, target]
    kept = kept * logits[target] / kept.sum()
    relevance = np.abs(kept) * kept.sum() / np.abs(kept).sum()
    for weights, values, convolution in layers[-2:0:-1]:
        back = np.zeros(len(values))
        for unit, share in enumerate(relevance):
            parts = values * weights[:, unit]
            plus, minus = parts.clip(min=0), (-parts).clip(min=0)
            first = minus if convolution and share < 0 else plus
            if first.sum():
                back += share * first / first.sum()
            if np.abs(parts).sum():
                back += share * minus / np.abs(parts).sum()
        reached = back != 0
        relevance = back - reached * (back.sum() - relevance.sum()) / reached.sum()
    weights, values, _ = layers[0]
    terms = values[:, None] * weights - np.where(weights > 0, 0.0, 1.0) * weights
    pixels = (terms / terms.sum(0, keepdims=True) * relevance).sum(1)
    return pixels.reshape(image.shape).sum(0)


def test_rap_is_what_loops_over_units_give(network, images):
    found = RAP()(network, images, TARGETS)
    wanted = [looped(network, *pair) for pair in zip(images, TARGETS.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(np.stack(wanted)), rtol=1e-9, atol=1e-11)


def test_rap_is_the_authors_own():
    """Heatmaps of their code at 7fa9682, made by scripts/golden/from_rap.py."""
    kept = dict(np.load(GOLDEN))
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3)]
    layers += [nn.ReLU(), nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 4)]
    theirs = nn.Sequential(*layers).double().eval()
    theirs.load_state_dict(
        {name[2:]: torch.tensor(kept[name]) for name in kept if name[:2] == "w/"}
    )
    found = RAP(low=None, high=None)(
        theirs, torch.tensor(kept["images"]), torch.tensor(kept["targets"])
    )
    apart = (found - torch.tensor(kept["heatmaps"])).abs().amax((1, 2))
    assert bool((apart < 1e-6 * found.abs().amax((1, 2))).all())


def test_its_sum_is_the_logit_and_a_single_layer_gives_sizes(network, images):
    logits = network(images).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(RAP()(network, images, TARGETS).sum((1, 2)), logits)
    alone = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()
    sizes = (images.flatten(1) * alone[1].weight[TARGETS]).abs().view_as(images).sum(1)
    found = RAP()(alone, images, TARGETS)
    torch.testing.assert_close(found / found.sum((1, 2), True), sizes / sizes.sum((1, 2), True))
    assert not torch.allclose(found, LRP(rule="z")(alone, images, TARGETS))


def test_images_do_not_meet_where_inputs_have_either_sign(network, images):
    smooth = nn.Sequential(*(nn.GELU() if isinstance(m, nn.ReLU) else m for m in network)).eval()
    both = RAP()(smooth, images, TARGETS)
    torch.testing.assert_close(RAP()(smooth, images[1:], TARGETS[1:]), both[1:])
    logits = smooth(images).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(both.sum((1, 2)), logits)


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (1.0, 0.5)])
def test_bounds_that_are_none_are_refused(low, high):
    with pytest.raises(InputError, match=r"RAP\.low: got .*; allowed: "):
        RAP(low=low, high=high)
