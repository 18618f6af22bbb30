"""What an optimised image is to do: one number an image, the higher the better.

As Lucid's objectives: each is told what layers put out for the present images (image, channel,
rows, columns; one cell for linear layers). A `layer` of null is the last but one with features.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from xai_exp.config import InputError, Range, configured
from xai_exp.insight import Subject
from xai_exp.insight.features.lens import Layer, Seen, activations, as_maps, chosen_layer
from xai_exp.types import Images, Scores

Place = Annotated[int, Range(0)]


class Objective(ABC):
    """One objective; `fitted` to a network first, which names its layers and looks up images."""

    weight: float

    @abstractmethod
    def fitted(self, subject: Subject) -> "Fitted":
        """Ready to be asked.

        Raises:
            InputError: for a layer or a channel that there is not.
        """


@runtime_checkable
class Fitted(Protocol):
    """An objective for one network."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The modules whose output it needs."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is of; as many images are made."""
        ...

    def __call__(self, seen: Seen, images: Images) -> Scores:
        """How well each image does."""
        ...


class Asked:
    """An objective as a function of layers' outputs and images."""

    def __init__(self, layers: tuple[str, ...], names: tuple[str, ...], function) -> None:  # noqa: ANN001
        self.layers, self.names, self._function = layers, names, function

    def __call__(self, seen: Seen, images: Images) -> Scores:
        """How well each image does."""
        return self._function({name: as_maps(seen[name]) for name in self.layers}, images)


def width(subject: Subject, layer: str) -> int:
    """How many channels a layer has."""
    return activations(subject.network, subject.images(1), layer).shape[1]


def _refuse_channel(layer: str, channel: int, width: int) -> None:
    if channel >= width:
        raise InputError(
            f"visualisation: got channel {channel} of layer {layer}; allowed: 0 to {width - 1}"
        )


def _middle(maps: Tensor, row: int | None, column: int | None) -> Tensor:
    """Each image's values at a cell, the middle one unless another is named: (image, channel)."""
    height, width = maps.shape[2:]
    row = height // 2 if row is None else row
    column = width // 2 if column is None else column
    if row >= height or column >= width:
        raise InputError(
            f"visualisation: got cell ({row}, {column}) of a map of {height}x{width}; allowed: one "
            "within it"
        )
    return maps[:, :, row, column]


@configured
class Channel(Objective):
    """The mean of a channel over its map: what it looks for anywhere.

    Args:
        layer: a module.
        channels: an image each; null: the first eight.
        weight: of this objective among several.
    """

    layer: Layer = None
    channels: tuple[Place, ...] | None = None
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer)
        known = width(subject, layer)
        wanted = self.channels or tuple(range(min(8, known)))
        for one in wanted:
            _refuse_channel(layer, one, known)
        rows = list(range(len(wanted)))

        def score(seen: Seen, _images: Images) -> Scores:
            return seen[layer].mean((2, 3))[rows, list(wanted)]

        return Asked((layer,), tuple(f"{layer}:{one}" for one in wanted), score)


@configured
class Neuron(Objective):
    """One cell of one channel, the middle one unless another is named.

    Args:
        layer: a module.
        channel: its number.
        row, column: the cell; null: the middle.
        weight: of this objective among several.
    """

    layer: Layer = None
    channel: Place = 0
    row: Place | None = None
    column: Place | None = None
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer)
        _refuse_channel(layer, self.channel, width(subject, layer))

        def score(seen: Seen, _images: Images) -> Scores:
            return _middle(seen[layer], self.row, self.column)[:, self.channel]

        return Asked((layer,), (f"neuron {layer}:{self.channel}",), score)


@configured
class Direction(Objective):
    r"""A direction of a layer, anywhere: $\langle d, a \rangle \cos(d, a)^p$, the mean over cells.

    Args:
        layer: a module.
        direction: a number a channel; null: what the layer says of the first test image, on
            average.
        cosine: p, 0 or more: how much the angle counts beside the length.
        neuron: whether it is asked of the middle cell alone.
        weight: of this objective among several.
    """

    layer: Layer = None
    direction: tuple[float, ...] | None = None
    cosine: Annotated[int, Range(0, 8)] = 0
    neuron: bool = False
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer)
        maps = activations(subject.network, subject.images(1), layer)
        way = maps.mean((0, 2, 3))
        if self.direction is not None:
            if len(self.direction) != len(way):
                raise InputError(
                    f"direction: got {len(self.direction)} numbers for layer {layer}; allowed: "
                    f"{len(way)}, one a channel"
                )
            way = way.new_tensor(self.direction)

        def score(seen: Seen, _images: Images) -> Scores:
            maps = seen[layer]
            if self.neuron:
                maps = _middle(maps, None, None)[..., None, None]
            return along(maps, way[None], self.cosine).mean((1, 2))

        kind = "direction_neuron" if self.neuron else "direction"
        return Asked((layer,), (f"{kind} {layer}",), score)


def along(maps: Tensor, ways: Tensor, cosine: int) -> Tensor:
    """How far each cell (image, row, column) goes along its image's direction (image, channel)."""
    dot = torch.einsum("nchw,nc->nhw", maps, ways.expand(len(maps), -1))
    if not cosine:
        return dot
    length = maps.norm(dim=1) * ways.norm(dim=1)[:, None, None]
    return dot * (dot / (length + 1e-6)).clamp(min=0.1) ** cosine


@configured
class ClassLogit(Objective):
    """A class's logit, against the mean of all where `centred`.

    Args:
        classes: an image each, by number; null: the first ten.
        centred: whether the mean logit is taken off, without which all classes may look alike.
        weight: of this objective among several.
    """

    classes: tuple[Place, ...] | None = None
    centred: bool = True
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        known = subject.data.classes
        wanted = self.classes or tuple(range(min(10, len(known))))
        for one in wanted:
            if one >= len(known):
                raise InputError(f"class_logit: got class {one}; allowed: 0 to {len(known) - 1}")
        rows = list(range(len(wanted)))

        def score(seen: Seen, _images: Images) -> Scores:
            logits = seen[LOGITS][:, :, 0, 0]
            centred = logits - logits.mean(1, keepdim=True) if self.centred else logits
            return centred[rows, list(wanted)]

        return Asked((LOGITS,), tuple(f"class {known[one]}" for one in wanted), score)


LOGITS = "the logits"  # of the whole network, not of a module


@configured
class DeepDream(Objective):
    """The mean square of a whole layer: more of whatever it sees (Mordvintsev et al. 2015).

    Args:
        layer: a module; null: the last with maps.
        weight: of this objective among several.
    """

    layer: Layer = None
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)

        def score(seen: Seen, _images: Images) -> Scores:
            return seen[layer].pow(2).flatten(1).mean(1)

        return Asked((layer,), (f"deepdream {layer}",), score)


@configured
class ChannelInterpolate(Objective):
    """From one channel to another in equal steps, an image each.

    Args:
        layer: a module.
        first, second: channels.
        steps: images.
        weight: of this objective among several.
    """

    layer: Layer = None
    first: Place = 0
    second: Place = 1
    steps: Annotated[int, Range(2, 64)] = 5
    weight: float = 1.0

    def fitted(self, subject: Subject) -> Fitted:
        """For a network."""
        layer = chosen_layer(subject.network, self.layer)
        for one in (self.first, self.second):
            _refuse_channel(layer, one, width(subject, layer))
        share = torch.linspace(0, 1, self.steps, device=subject.device)

        def score(seen: Seen, _images: Images) -> Scores:
            means = seen[layer].mean((2, 3))
            return (1 - share) * means[:, self.first] + share * means[:, self.second]

        names = tuple(f"{1 - one:.2f} {self.first} + {one:.2f} {self.second}" for one in share)
        return Asked((layer,), names, score)
