"""A rendered study that follows the user's pictures: one more network to borrow truth from.

Its scenes are discs over random-phase textures of the user's own pictures: each texture has the
spectrum, the mean colour and the correlation of channels of one picture, and nothing that can be
recognised (Galerne, Gousseau and Morel 2011, "Random phase textures", section 2):

    u = F^-1(F(p) exp(i phi)),  phi the phases of white noise, the same for all channels.

A copy of the user's network is trained on from its weights to add up the discs' worths, and lends
the exact skills of explainers as the library's networks do, of a task of its own. Pictures,
channels and architecture are the user's, so that its likeness is 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from xai_exp.data.loading import TensorSplit
from xai_exp.types import Dataset, Images, Split
from xai_exp.witnesses.borrowed import Lender
from xai_exp.witnesses.leads import FLOOR, certified, weighted
from xai_exp.witnesses.planting import DESIGNS
from xai_exp.witnesses.trial import MOST, Asked, Subject, Trial

TASK = "matched scenes"
ASKED = tuple(Asked(design=design, look="discs", seed=0) for design in DESIGNS)


def textures(pictures: Images, generator: torch.Generator) -> Images:
    """A texture of each picture, clipped to 0..1: its spectrum with random phases.

    Args:
        pictures: (batch, channel, height, width), 0..1.
        generator: on the CPU.
    """
    noise = torch.randn(len(pictures), 1, *pictures.shape[2:], generator=generator)
    waves = torch.fft.fft2(noise)
    turned = waves / waves.abs().clamp_min(torch.finfo(noise.dtype).tiny)
    turned[..., 0, 0] = 1  # the mean colour stays
    made = torch.fft.ifft2(torch.fft.fft2(pictures) * turned.to(pictures.device))
    return made.real.clamp(0, 1)


class Textures:
    """Textures of the pictures of a dataset."""

    def __init__(self, data: Dataset) -> None:
        self.classes, self.channels, self.size = data.classes, data.channels, data.size
        self.train, self.validation, self.test = (
            _textures(split, seed)
            for seed, split in enumerate((data.train, data.validation, data.test))
        )


def _textures(split: Split, seed: int) -> TensorSplit:
    index = torch.arange(min(MOST, len(split)))
    generator = torch.Generator().manual_seed(seed)
    pixels = textures(split.images(index), generator)
    return TensorSplit(pixels=pixels, labels=split.labels[index])


def matched(subject: Subject) -> Subject:
    """The same network with textures of its pictures."""
    return replace(subject, data=Textures(subject.data))


def lent(trials: Sequence[Trial], features: Mapping[str, float]) -> list[Lender]:
    """What the matched study lends: the mean skill of each explainer; nothing if none is certified.

    Args:
        trials: of `ASKED`.
        features: what the user's network and pictures are like.
    """
    levels: dict[str, list[float]] = {}
    for one in certified(trials):
        for name, scores in one.skills.items():
            found = float(np.nanmean(weighted(scores, one.weights)))
            levels.setdefault(name, []).append(max(FLOOR, found))
    skills = {name: float(np.mean(found)) for name, found in levels.items()}
    return [Lender(name=TASK, task=TASK, features=features, skills=skills)] if skills else []
