"""Heatmaps that another library made, as a set like those that are made here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.explainers.known import Elsewhere
from xai_exp.notebook import explaining, networks, pictures
from xai_exp.notebook.heatmaps import Heatmaps
from xai_exp.notebook.networks import Preprocessing
from xai_exp.types import Images, Value

Given = np.ndarray | Tensor | Mapping[str, Any]
_NAME = "given"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the heatmaps explain: the network's answers to images, as `xe.explain` has them."""

    network: nn.Module | None
    images: pictures.Pictures | None
    targets: object
    before: Preprocessing | None
    value: Value


def taken(given: Given, about: Asked) -> Heatmaps:
    """The set of these heatmaps, nothing of which is made anew.

    Raises:
        InputError: for what can't be understood, and for heatmaps that do not fit the images.
    """
    if not isinstance(given, np.ndarray | Tensor | Mapping):
        raise InputError(
            f"score: got a {type(given).__name__}; allowed: what xe.explain(...) gives, an array "
            "(image, height, width), or a mapping from names to arrays"
        )
    if about.network is None or about.images is None:
        raise InputError(
            "score: got heatmaps as an array; allowed: with them what they explain, network= and "
            "images="
        )
    if about.value == "pair":
        raise InputError("value: got pair for heatmaps made elsewhere; allowed: the other values")
    named = given if isinstance(given, Mapping) else {_NAME: given}
    if not named:
        raise InputError("score: got no heatmaps; allowed: an array, or several by name")
    sample = explaining.sampled(about.network, about.images, None)
    maps = {str(name): _map(str(name), one, sample.images) for name, one in named.items()}
    looked = networks.asked(about.network, sample.images, about.before)
    logits = networks.predicted(looked.network, sample.images)
    sample.labels.copy_(networks.targets_of(about.targets, logits))
    return Heatmaps(
        maps=maps,
        explainers=dict.fromkeys(maps, Elsewhere()),
        network=looked.network,
        question=Question(target="label", value=about.value, against=0),
        sample=sample,
        predictions=logits.argmax(1),
        note="; ".join(looked.notes),
    )


def _map(name: str, given: object, images: Images) -> Tensor:
    wanted = (len(images), *images.shape[2:])
    try:
        found = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"heatmaps {name}: got a {type(given).__name__}; allowed: an array of shape {wanted}"
        ) from error
    found = found[None] if found.dim() == 2 and len(images) == 1 else found
    if tuple(found.shape) != wanted:
        channels = "; sum over the channels first" if found.dim() == 4 else ""
        raise InputError(
            f"heatmaps {name}: got shape {tuple(found.shape)}; allowed: {wanted}, one for each "
            f"image in its pixels{channels}"
        )
    found = found.float()
    if not found.isfinite().all():
        raise InputError(f"heatmaps {name}: got values that are not finite; allowed: numbers")
    return found
