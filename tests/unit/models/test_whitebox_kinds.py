"""White boxes of colours and of a suppressor: their reasons in closed form."""

import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.logic import ParityPairs
from xai_exp.data.suppressor import Suppressor
from xai_exp.data.worths import WeightedCounting
from xai_exp.models.whitebox import CentreSurround, pattern
from xai_exp.models.whitebox.kinds import Parity, WeightedCounter
from xai_exp.training import accuracy
from xai_exp.truth.games import attribute

CPU = torch.device("cpu")
RGB = {"by": "color", "color": "rgb"}


@pytest.mark.parametrize("worths", [(2, 1, 0, -1), (1, 1, -2)])
def test_to_the_weighted_counter_an_object_is_worth_its_colour(worths):
    data = WeightedCounting(
        count=600, pixels=48, max_objects=3, worths=worths, lowest=-6, highest=6, **RGB
    )
    network = WeightedCounter(worths=worths, lowest=-6).build(3, data.size, 13).eval()
    assert accuracy(network, data.test, CPU) == 1
    index = torch.arange(12)
    scenes, labels = data.test.scenes(index), data.test.labels[index]
    found = attribute(network, scenes, labels)
    kinds = data.kinds_of(scenes)
    each = torch.tensor(worths, dtype=torch.float64)[kinds.clamp(min=0)] * (kinds >= 0)
    torch.testing.assert_close(found.shapley, 2 * (labels[:, None] - 6) * each, rtol=0, atol=0.02)
    assert float(found.interaction.abs().max()) < 0.02
    zero = found.present & (each == 0)
    assert float(found.largest[zero].max() if zero.any() else 0) < 0.02


def test_to_parity_two_objects_cancel_and_one_is_all():
    data = ParityPairs(count=600, pixels=48, **RGB)
    network = Parity().build(3, data.size, 2).eval()
    assert accuracy(network, data.test, CPU) == 1
    index = torch.arange(24)
    scenes = data.test.scenes(index)
    found = attribute(network, scenes, torch.ones(24, dtype=torch.long))
    kinds = data.kinds_of(scenes)
    counted = (kinds == 0) | (kinds == 1)
    both = counted.sum(1) == 2
    alone = counted & (counted.sum(1, keepdim=True) == 1)
    torch.testing.assert_close(found.shapley, 2.0 * alone.double(), rtol=0, atol=0.01)
    pairs = counted[:, :, None] & counted[:, None] & ~torch.eye(3, dtype=torch.bool)
    torch.testing.assert_close(found.interaction, -4.0 * pairs.double(), rtol=0, atol=0.02)
    assert bool((found.largest[counted & both[:, None]] > 1.9).all())  # though worth 0
    assert bool((found.largest[~counted] < 0.01).all())


def test_a_zigzag_knows_any_parity():
    data = ParityPairs(count=600, pixels=64, max_each=3, max_ignored=1, **RGB)
    network = Parity(most=6).build(3, data.size, 2).eval()
    assert accuracy(network, data.test, CPU) == 1
    short = Parity(most=2).build(3, data.size, 2).eval()
    assert accuracy(short, data.test, CPU) < 0.9


def test_grey_images_have_no_colours():
    for architecture in (WeightedCounter(), Parity()):
        with pytest.raises(InputError, match="got images of 1 channel; allowed: rgb images"):
            architecture.build(1, (48, 48), 3)
    with pytest.raises(InputError, match="got 5; allowed: 1 to 4 colours"):
        WeightedCounter(worths=(1, 2, 3, 4, 5))


@pytest.mark.parametrize("pixels", [8, 64])
def test_the_suppressor_s_weights_are_its_reason(pixels):
    data = Suppressor(count=300, pixels=pixels, scenario="linear", snr=0.05)
    network = CentreSurround(gain=3.0).build(1, data.size, 2).eval()
    images = data.test.images(torch.arange(20)).requires_grad_()
    logits = network(images)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), images)
    reason = CentreSurround().contrast(data.size, 1) - CentreSurround().contrast(data.size, 0)
    torch.testing.assert_close(gradient[:, 0], 3 * reason.expand(20, -1, -1), rtol=0, atol=1e-5)
    exact = 3 * (reason.double() * images[:, 0].detach().double()).sum((1, 2))
    torch.testing.assert_close(logits[:, 1].double(), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits[:, 0], -logits[:, 1], rtol=0, atol=1e-4)
    for which, sign in ((0, -1), (1, 1)):
        inside = pattern(data.size, which) > 0
        assert bool((sign * reason[inside] > 0).all())
        around = (reason != 0) & ~inside
        assert bool((sign * reason[around] < 0).any())
    flat = torch.full((1, 1, pixels, pixels), 0.7)
    assert float(network(flat).abs().max()) < 1e-4  # the background takes itself off


def test_a_suppressor_helps():
    """Without the pixels around, which say nothing of the class, it is blinded by background."""
    data = Suppressor(count=4000, pixels=8, scenario="linear", background="correlated", snr=0.04)
    network = CentreSurround().build(1, data.size, 2).eval()
    images = data.train.images(torch.arange(2000))[:, 0]
    weights = pattern(data.size, 1) - pattern(data.size, 0)
    alone = ((images * weights).sum((1, 2)) > 0).long() == data.train.labels[:2000]
    around = CentreSurround().contrast(data.size, 1) < 0
    by_itself = images[:, around].mean(1) > 0.5
    agrees = (by_itself.long() == data.train.labels[:2000]).float().mean()
    assert float(agrees) == pytest.approx(0.5, abs=0.06)
    assert accuracy(network, data.train, CPU) > float(alone.float().mean()) + 0.2
