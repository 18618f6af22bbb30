"""Networks from files of exchange formats: the graph is in the file, no code is needed.

Each is compared with another way to run it before it is used, on random pictures and on the data's.
"""

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from xai_exp.config import Content, InputError, configured
from xai_exp.formats import opening, openvx, programs
from xai_exp.formats.onnx.importing import MOST_ERROR, Loaded, difference, say
from xai_exp.models import asked, weights
from xai_exp.models.asked import Mean, Preprocessing, Size, Std
from xai_exp.models.weights import Head
from xai_exp.types import Dataset

_FEW = 4  # pictures of the data that are compared


@configured
class Onnx:
    """The network in an ONNX file (opsets 7 to 28), as it is.

    Every explainer works on it if its operators are torch's; otherwise it is asked through
    onnxruntime, and methods by removal work. What was changed is said. It is compared with
    onnxruntime on random pictures and on the data's own.

    Args:
        path: the file; numbers beside it (external data) are read from its folder alone.
        mean: what is taken off each channel of pictures in 0..1 before the network sees them;
            null: what the file says, or else 0.
        std: what they are divided by then; null: what the file says, or else 1.
        size: height and width that the network wants; null: what the file says, or else the
            pictures' own.
        classes: a text file with a class name a line, in the order of the outputs; null: what the
            file says, or else the data's own order.
        head: weights: the last layer as it is; new: one for the data's classes, which is learnt.
    """

    version: ClassVar[int] = 2  # one that goes through its images one after the other

    path: Annotated[str, Content(files=opening.files)]
    mean: Mean | None = None
    std: Std | None = None
    size: Size | None = None
    classes: Annotated[str | None, Content()] = None
    head: Head = "weights"

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the network's classes, if they are known."""
        return weights.names_in(self.classes) or self._loaded().card.classes

    @property
    def channels(self) -> int:
        """Of its pictures."""
        return self._loaded().channels or 3

    def _loaded(self) -> Loaded:
        return _opened(self.path, stamp(self.path))

    def _front(self, loaded: Loaded) -> Preprocessing:
        return front(loaded, self.mean, self.std, self.size)

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network, for pictures of this kind.

        Raises:
            InputError: for a file that can't be read, or does not fit the pictures.
        """
        loaded = self._loaded()
        say(loaded.notes, self.path)
        refuse_other_channels(self.path, loaded.channels, channels)
        how = without_resizing(self._front(loaded), size)
        return weights.ready(loaded.network, how, self.head, channels, size, classes)

    def ordered(self, network: nn.Module, data: Dataset) -> nn.Module:
        """The network with an output for each of the data's classes, in their order.

        Raises:
            InputError: when there are other classes, or it answers the data's pictures otherwise
                than onnxruntime does.
        """
        self._refuse_other_answers(data)
        return weights.ordered(network, self.names, self.head, data)

    def _refuse_other_answers(self, data: Dataset) -> None:
        loaded = self._loaded()
        if not loaded.converted:
            return
        pictures = few_of(data)
        before = self._front(loaded)
        pictures = pictures if before.plain else before.module(data.channels)(pictures)
        with torch.no_grad():
            error = loaded.compare(pictures)
        if not error <= MOST_ERROR:
            raise InputError(
                f"model.path: got {self.path}, whose converted network differs from onnxruntime's "
                f"by {error:.1g} of the largest logit on the data's pictures; allowed: up to "
                f"{MOST_ERROR:g}"
            )


@configured
class Nnef(Onnx):
    """The network in an NNEF folder, as it is; fields as in model=onnx."""


@configured
class Mmdnn(Onnx):
    """The network in MMdnn's NAME.pb and NAME.npy, as it is; fields as in model=onnx."""


@configured
class OpenVX(Nnef):
    """The network in an NNEF folder as an OpenVX implementation runs it, a black box.

    Methods by removal work on it. It is compared with torch's on random pictures.

    Args:
        library: the implementation, with the NNEF import extension; null: what the loader finds.
    """

    library: str | None = None

    def build(self, channels: int, size: tuple[int, int], classes: int) -> nn.Module:
        """The network, for pictures of this kind.

        Raises:
            InputError: without an implementation, or when it answers otherwise than torch.
        """
        loaded = self._loaded()
        how = self._front(loaded)
        height, width = how.size or size
        pictures = torch.rand(
            (2, channels, height, width), generator=torch.Generator().manual_seed(0)
        )
        place = Path(self.path).expanduser()
        folder = place if place.is_dir() else place.parent
        with torch.no_grad():
            wanted = loaded.network(pictures)
            network = openvx.again(self.library, folder, (1, *pictures.shape[1:]), wanted.shape[1])
            error = difference(network(pictures), wanted)
        if not error <= MOST_ERROR:
            raise InputError(
                f"openvx: got logits that differ from torch's by {error:.1g} of the largest; "
                f"allowed: up to {MOST_ERROR:g}"
            )
        return weights.ready(network, how, self.head, channels, size, classes)


def refuse_other_channels(path: str, wanted: int | None, given: int) -> None:
    """Refuse pictures of more or fewer channels than a file says.

    Raises:
        InputError: for these.
    """
    if wanted not in (None, given):
        raise InputError(
            f"model.path: got {path} for pictures of {wanted} channels where the data have {given};"
            " allowed: as many"
        )


def without_resizing(how: Preprocessing, size: tuple[int, int]) -> Preprocessing:
    """What stands in front of a network of pictures that may have the right size already."""
    fits = how.size is not None and tuple(how.size) == tuple(size)
    return replace(how, size=None) if fits else how


def few_of(data: Dataset) -> Tensor:
    """The pictures on which a file's network is compared."""
    return data.test.images(list(range(min(_FEW, len(data.test))))).float().cpu()


def front(
    loaded: Loaded, mean: Mean | None = None, std: Std | None = None, size: Size | None = None
) -> Preprocessing:
    """What stands in front of a network: what is given, or else what its file says."""
    card = loaded.card
    first = mean if mean is not None else card.mean if card.mean is not None else 0.0
    second = std if std is not None else card.std if card.std is not None else 1.0
    return Preprocessing(mean=first, std=second, size=size if size is not None else card.size)


def load(path: str | Path) -> nn.Module:
    """A network from a file, for pictures in 0..1; what its file says of them goes in front.

    Raises:
        InputError: in one line, for a file that can't be used.
    """
    found = programs.opened(path) if programs.kind(path) else opening.opened(path)
    say(found.notes, str(path))
    how = front(found) if isinstance(found, Loaded) else Preprocessing(size=found.size)
    network = found.network
    if not how.plain:
        network = asked.Asked(how.module(found.channels or 3), network)
    return network.eval()


def stamp(path: str) -> tuple[tuple[str, int, int], ...]:
    """What tells a file from a later one of the same name.

    Raises:
        InputError: when there is none.
    """
    if not Path(path).expanduser().exists():
        raise InputError(f"model.path: got {path}, which is no file; allowed: a network's file")
    found = [(str(one), one.stat()) for one in opening.files(Path(path).expanduser())]
    return tuple((name, state.st_mtime_ns, state.st_size) for name, state in found)


@lru_cache(maxsize=2)
def _read(path: str, stamp: tuple[tuple[str, int, int], ...]) -> Loaded:  # noqa: ARG001
    return opening.opened(path)


def _opened(path: str, stamp: tuple[tuple[str, int, int], ...]) -> Loaded:
    """A network of its own each time, since what is built may be changed."""
    found = _read(path, stamp)
    return replace(found, network=copy.deepcopy(found.network))
