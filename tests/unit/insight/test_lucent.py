"""Torch-lucent 0.1.8's numbers on fixed maps and spectra, made by scripts/golden/from_lucent.py."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xai_exp.insight.features import additions, objectives
from xai_exp.insight.features.parameterisations import coloured, spectrum_scale
from xai_exp.models.whitebox import LinearSum

KEPT = {
    name: torch.tensor(one)
    for name, one in np.load(Path(__file__).parents[2] / "golden" / "lucent.npz").items()
}


@pytest.fixture(scope="module")
def score(of, counting):
    """The scores of the fixed maps, as if they were what a layer puts out."""
    layers = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Flatten(), nn.LazyLinear(3)).eval()
    subject = replace(of(counting, LinearSum()), network=layers)
    layers(subject.images(1))

    def scored(objective, maps=KEPT["maps"]):
        return objective.fitted(subject)({"0": maps}, torch.zeros(len(maps), 1, 4, 4))

    return scored


def close(found, wanted):
    torch.testing.assert_close(found.float(), KEPT[wanted].float(), rtol=1e-5, atol=1e-6)


def test_channels_neurons_and_what_lies_between_are_lucents_losses_with_the_other_sign(score):
    close(-score(objectives.Channel(layer="0", channels=(2, 2, 2, 2))).mean(), "channel")
    close(-score(objectives.Neuron(layer="0", channel=3)).mean(), "neuron")
    between = objectives.ChannelInterpolate(layer="0", first=1, second=4, steps=4)
    close(-score(between).sum(), "channel_interpolate")


def test_diversity_and_alignment_are_lucents_but_for_the_mean_over_pairs(score):
    """Lucent adds diversity up over the other images, and its alignment reaches further."""
    close(score(additions.Diversity(layer="0")).sum() * 3 / 4, "diversity")
    two = score(additions.Alignment(layer="0"), KEPT["maps"][:2])
    close(-two.sum() / 2, "alignment_of_two")


def test_a_spectrum_is_lucents_image_but_for_a_factor_and_colours_are_decorrelated_alike():
    free, (height, width) = KEPT["free"], KEPT["plain"].shape[2:]
    spectrum = torch.view_as_complex(free) * spectrum_scale(height, width, 1.0)
    plain = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
    factor = 4 * math.sqrt(height * width) / max(height, width)
    close(plain / factor, "plain")
    close(coloured(KEPT["plain"]).sigmoid(), "coloured")
