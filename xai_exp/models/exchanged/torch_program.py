"""Networks of torch that bring their own steps: exported programs and TorchScript."""

import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor, nn

from xai_exp.config import Content, InputError, configured
from xai_exp.formats import programs
from xai_exp.formats.onnx.importing import MOST_ERROR, say
from xai_exp.models import weights
from xai_exp.models.asked import Mean, Preprocessing, Size, Std
from xai_exp.models.exchanged import (
    few_of,
    refuse_other_channels,
    stamp,
    without_resizing,
)
from xai_exp.models.weights import Head
from xai_exp.types import Dataset

_FEW = 4  # random pictures that are compared
Stamp = tuple[tuple[str, int, int], ...]


@configured
class Program:
    """The network in a file of torch.export.save (.pt2) or torch.jit.save, as it is.

    No code is needed beside the file. A script is written out as torch's own functions if its
    answers stay the same, on random pictures and on the data's; otherwise explainers that look at
    layers are refused. Opening such a file can run what is in it.

    Args:
        path: the file.
        mean: what is taken off each channel of pictures in 0..1 before the network sees them.
        std: what they are divided by then.
        size: height and width that the network wants; null: what the program was made for, or
            else the pictures' own.
        classes: a text file with a class name a line, in the order of the outputs; null: the
            data's own order.
        head: weights: the last layer as it is; new: one for the data's classes, which is learnt.
    """

    path: Annotated[str, Content()]
    mean: Mean = 0.0
    std: Std = 1.0
    size: Size | None = None
    classes: Annotated[str | None, Content()] = None
    head: Head = "weights"

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, if they are known."""
        return weights.names_in(self.classes)

    @property
    def channels(self) -> int:
        """Of its pictures."""
        held = _opened(self.path, stamp(self.path))
        return held.channels or weights.planes(weights.Weights(state=held.network.state_dict()))

    def _made(self, channels: int, size: tuple[int, int]) -> "_Made":
        how = Preprocessing(mean=self.mean, std=self.std, size=self.size)
        return _read(self.path, stamp(self.path), how, channels, size)

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network, for pictures of this kind.

        Raises:
            InputError: for a file that can't be opened, or does not fit the pictures.
        """
        made = self._made(channels, size)
        say(made.program.notes, self.path)
        network = made.program.network
        if network is made.script:  # a copy of which has no weights of its own
            network = programs.opened(self.path).network
        else:
            network = copy.deepcopy(network)  # what is built may be changed
        return weights.ready(network, made.how, self.head, channels, size, classes)

    def ordered(self, network: nn.Module, data: Dataset) -> nn.Module:
        """The network with an output for each of the data's classes, in their order.

        Raises:
            InputError: when there are other classes, or a script that was written out answers the
                data's pictures otherwise.
        """
        made = self._made(data.channels, data.size)
        error = made.error(few_of(data))
        if not error <= MOST_ERROR:
            raise InputError(
                f"model.path: got {self.path}, which was written out as torch's functions and "
                f"differs by {error:.1g} of the largest logit on the data's pictures; allowed: up "
                f"to {MOST_ERROR:g}"
            )
        return weights.ordered(network, self.names, self.head, data)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A program as it can be explained, what stands in front of it, and the script it was."""

    program: programs.Program
    how: Preprocessing
    script: nn.Module | None

    def error(self, pictures: Tensor) -> float:
        """The largest difference to the script, as a share of the largest logit."""
        if self.script is None:
            return 0.0
        pictures = self.how.module(pictures.shape[1])(pictures)
        return programs.apart(self.program, self.script, pictures)


@lru_cache(maxsize=1)
def _opened(path: str, stamp: Stamp) -> programs.Program:  # noqa: ARG001
    return programs.opened(path)


@lru_cache(maxsize=1)
def _read(
    path: str, stamp: Stamp, how: Preprocessing, channels: int, size: tuple[int, int]
) -> _Made:
    held = _opened(path, stamp)
    refuse_other_channels(path, held.channels, channels)
    how = without_resizing(replace(how, size=how.size or held.size), size)
    if not isinstance(held.network, torch.jit.ScriptModule):
        return _Made(program=held, how=how, script=None)
    pictures = torch.rand(_FEW, channels, *size, generator=torch.Generator().manual_seed(0))
    made = programs.rebuilt(held.network, how.module(channels)(pictures))
    return _Made(program=made, how=how, script=held.network)
