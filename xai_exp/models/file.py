"""A network of one's own: a function that builds it and a file with its weights."""

from typing import Annotated, ClassVar

from torch import nn

from xai_exp.config import Code, Content, InputError, configured, imported
from xai_exp.errors import in_a_line
from xai_exp.models import weights
from xai_exp.models.asked import Mean, Preprocessing, Size, Std
from xai_exp.models.weights import Head
from xai_exp.types import Dataset


@configured
class File:
    """The network that a function of one's own builds, with the weights in a file, as it is.

    It is not trained unless asked: `trainer.freeze=nothing` trains all of it from these weights,
    `trainer.freeze=backbone` its last layer alone.

    Args:
        path: the weights, of torch.save(network.state_dict(), path); read as tensors alone. The
            content of the file decides, not its place.
        factory: package.module:function, which is called without arguments and gives the network.
        mean: what is taken off each channel of pictures in 0..1 before the network sees them.
        std: what they are divided by then.
        size: height and width that the network wants; null: those of the pictures. Heatmaps are in
            the pictures' own pixels all the same.
        classes: a text file with a class name a line, in the order of the network's outputs; null:
            those in the weights file, or else the data's own order.
        head: weights: the last layer as it is; new: one for the data's classes, which is learnt.
    """

    version: ClassVar[int] = 2  # one that goes through its images one after the other

    path: Annotated[str, Content()]
    factory: Annotated[str, Code()]
    mean: Mean = 0.0
    std: Std = 1.0
    size: Size | None = None
    classes: Annotated[str | None, Content()] = None
    head: Head = "weights"

    def __post_init__(self) -> None:
        """What is in front must be one thing."""
        _ = self.front

    @property
    def front(self) -> Preprocessing:
        """What stands in front of the network."""
        return Preprocessing(mean=self.mean, std=self.std, size=self.size)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, if they are known."""
        return weights.names_in(self.classes) or weights.read(self.path).classes

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network with its weights, for pictures of this kind.

        Raises:
            InputError: for a function or weights that do not fit one another or the pictures.
        """
        build = imported(self.factory)
        try:
            network = build()
        except Exception as error:
            why = in_a_line(error)[:200]
            raise InputError(
                f"model.factory: got {self.factory}, which fails ({why}); allowed: a function that "
                "builds the network without being told anything"
            ) from error
        if not isinstance(network, nn.Module):
            raise InputError(
                f"model.factory: got {self.factory}, which gives a {type(network).__name__}; "
                "allowed: a torch network (nn.Module)"
            )
        weights.give(network, weights.read(self.path), self.path)
        return weights.ready(network, self.front, self.head, channels, size, classes)

    def ordered(self, network: nn.Module, data: Dataset) -> nn.Module:
        """The network with an output for each of the data's classes, in their order.

        Raises:
            InputError: when there are other classes.
        """
        return weights.ordered(network, self.names, self.head, data)
