"""Networks of one's own: weights from a file, classes in their own order, pixels as they were seen.

A weights file is read as tensors alone (`weights_only=True`): it can't run code.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.models import asked
from xai_exp.models.look import look
from xai_exp.types import Dataset

Head = Literal["weights", "new"]
_STATES = ("state_dict", "model_state_dict", "model", "net", "weights")
_CLASSES = ("classes", "class_names", "names")
_NAMED = 4  # keys that a message shows
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a file holds: tensors by name, and the names of the classes if it has them."""

    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None


def read(path: str) -> Weights:
    """The weights in a file of torch.save: a state_dict, or a checkpoint with one inside.

    Raises:
        InputError: for a file that there is not, or with anything but tensors and plain data.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise InputError(f"weights: got {path}, which is no file; allowed: a file of torch.save")
    try:
        held = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:
        from xai_exp.formats import programs

        what = programs.kind(place)
        also = f", or model=program, which opens {what} networks" if what else ""
        raise InputError(
            f"weights: got {path}, which can't be read as weights alone "
            f"({type(error).__name__}); allowed: torch.save(network.state_dict(), path){also}"
        ) from error
    state: Any = held
    names = None
    if isinstance(held, Mapping):
        state = next((held[k] for k in _STATES if isinstance(held.get(k), Mapping)), held)
        names = next((held[k] for k in _CLASSES if isinstance(held.get(k), list | tuple)), None)
    if not isinstance(state, Mapping) or not state:
        raise InputError(
            f"weights: got {path}, which holds a {type(held).__name__}; allowed: a state_dict, "
            "torch.save(network.state_dict(), path)"
        )
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if len(tensors) < len(state):
        other = next(str(key) for key, value in state.items() if not isinstance(value, Tensor))
        raise InputError(
            f"weights: got {path} with {other!r}, which is no tensor; allowed: a state_dict, or "
            f"one under {', '.join(_STATES)}"
        )
    return Weights(
        state={key.removeprefix("module."): value for key, value in tensors.items()}
        if all(key.startswith("module.") for key in tensors)
        else tensors,
        classes=None if names is None else tuple(map(str, names)),
    )


def planes(held: Weights) -> int:
    """How many channels the weights are for, by the first layer of planes."""
    found = [value for value in held.state.values() if value.dim() == 4]
    return found[0].shape[1] if found else 3


def give(network: nn.Module, weights: Weights, path: str) -> None:
    """Give a network these weights, all of them and no others.

    Raises:
        InputError: in one line, for keys or shapes that differ.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in weights.state]
    more = [key for key in weights.state if key not in own]
    shaped = [
        f"{key} {tuple(weights.state[key].shape)} for {tuple(value.shape)}"
        for key, value in own.items()
        if key in weights.state and weights.state[key].shape != value.shape
    ]
    found = [("lacks", missing), ("has besides", more), ("has shapes", shaped)]
    words = [f"{what} {_some(keys)}" for what, keys in found if keys]
    if words:
        raise InputError(
            f"weights: got {path}, which {' and '.join(words)}; allowed: the weights of this very "
            f"{type(network).__name__}"
        )
    network.load_state_dict(dict(weights.state))


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def ready(
    network: nn.Module,
    how: asked.Preprocessing,
    head: Head,
    channels: int,
    size: tuple[int, int],
    classes: int,
) -> nn.Module:
    """The network of pictures in 0..1, as it is, or with a last layer that is still to be learnt.

    Raises:
        InputError: for what `xai_exp.models.look` refuses.
    """
    for parameter in network.parameters():  # not by the module, which a script refuses
        parameter.requires_grad_(False)
    network.eval()
    dtype = asked.home(network)[1]
    if not how.plain or dtype != torch.float32:
        before = None if how.plain else how.module(channels)
        network = asked.Asked(before, network)
    pictures = torch.rand(4, channels, *size, generator=torch.Generator().manual_seed(0))
    looked = look(network, pictures)
    for note in looked.notes:
        _log.warning("%s", note)
    return with_new_head(looked.network, pictures, classes) if head == "new" else looked.network


def with_new_head(network: nn.Module, images: Tensor, classes: int) -> nn.Module:
    """The network with a fresh last layer, which alone is to be learnt.

    Raises:
        InputError: when its last layer is not linear.
    """
    width = asked.answer_of(network, images).shape[1]
    for name in asked.last_layers(network, width):
        parent, _, last = name.rpartition(".")
        holder, old = network.get_submodule(parent), network.get_submodule(name)
        setattr(holder, last, _fresh(old, classes))
        try:
            if asked.answer_of(network, images).shape == (len(images), classes):
                return network
        except InputError:
            pass
        setattr(holder, last, old)
    raise InputError(
        f"model.head: got new for a {type(network).__name__} whose last layer is not linear; "
        "allowed: weights, the head as it is"
    )


def _fresh(old: nn.Module, classes: int) -> nn.Module:
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes, dtype=old.weight.dtype)
    assert isinstance(old, nn.Conv2d)
    return nn.Conv2d(old.in_channels, classes, 1, dtype=old.weight.dtype)


def names_in(path: str | None) -> tuple[str, ...] | None:
    """The class names in a text file, a line each, in the order of the network's outputs.

    Raises:
        InputError: for a file that can't be read, or with a name twice.
    """
    if path is None:
        return None
    try:
        lines = Path(path).expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"model.classes: got {path}, which can't be read ({type(error).__name__}); allowed: a "
            "text file with a class name a line, in the order of the network's outputs"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"model.classes: got {twice!r} twice in {path}; allowed: each name once")
    return names


def ordered(
    network: nn.Module, names: tuple[str, ...] | None, head: Head, data: Dataset
) -> nn.Module:
    """The network with an output for each of the data's classes, in their order.

    Raises:
        InputError: when there are other classes, or another number of them without names.
    """
    if head == "new":
        return network
    pictures = torch.rand(4, data.channels, *data.size, generator=torch.Generator().manual_seed(0))
    width = asked.answer_of(network, pictures).shape[1]
    if names is None:
        if width != len(data.classes):
            raise InputError(
                f"model: got weights for {width} classes where the data have {len(data.classes)}; "
                "allowed: as many, or model.classes=names.txt, the names of all its classes in the "
                "order of its outputs, or model.head=new, a last layer that is learnt"
            )
        said = ", ".join(f"{place} {name}" for place, name in enumerate(data.classes[:8]))
        _log.warning(
            "the network's outputs are taken in the order of the data's classes (%s); "
            "model.classes=names.txt says it if it is another",
            said,
        )
        return network
    if len(names) != width:
        raise InputError(
            f"model.classes: got {len(names)} names for a network of {width} classes; allowed: a "
            "name for each output, in order"
        )
    missing = [name for name in data.classes if name not in names]
    if missing:
        raise InputError(
            f"model.classes: got no {_some(missing)} among {_some(names)}; allowed: names that "
            "hold every class of the data"
        )
    return asked.chosen(network, pictures, [names.index(name) for name in data.classes])
