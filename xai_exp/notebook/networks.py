"""A network of anybody's, asked from Python: looked at once, then explained as it is."""

from dataclasses import replace

import torch
from torch import nn
from torch.fx import GraphModule

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.models.asked import BINARY as BINARY
from xai_exp.models.asked import Asked as Asked
from xai_exp.models.asked import Preprocessing as Preprocessing
from xai_exp.models.asked import home as home
from xai_exp.models.asked import refuse_infinite
from xai_exp.models.asked import with_layers_of as with_layers_of
from xai_exp.models.look import Looked, look
from xai_exp.types import Images, Labels, Logits


def asked(network: object, images: Images, how: Preprocessing | None) -> Looked:
    """The network as it can be explained: of pictures, with an answer for two classes or more.

    A network that needs nothing before or behind it is given back itself.

    Raises:
        InputError: for what `xai_exp.models.look` refuses.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network: got a {type(network).__name__}; allowed: a torch network (nn.Module), "
            "of an exported program its module()"
        )
    before = None if how is None else how.module(images.shape[1]).to(images.device)
    network, notes = _with_steps(network, images if before is None else before(images))
    if before is not None or home(network)[1] != torch.float32:
        network = Asked(before, network)
    looked = look(network, images)
    return replace(looked, notes=(*notes, *looked.notes))


def _with_steps(network: nn.Module, images: Images) -> tuple[nn.Module, tuple[str, ...]]:
    """A network whose steps can be seen, of one that is a program or a script."""
    if not isinstance(network, torch.jit.ScriptModule | GraphModule):
        return network, ()
    from xai_exp.formats import programs  # what reads them is slow to import

    if isinstance(network, torch.jit.ScriptModule):
        made = programs.rebuilt(network, images)
    elif programs.is_exported(network):
        made = programs.of_program(network, "an exported program")
    else:
        return network, ()
    return made.network, made.notes


def predicted(network: nn.Module, images: Images) -> Logits:
    """The network's logits of all images.

    Raises:
        InputError: when one is not finite.
    """
    with ops.evaluating(network):
        logits = ops.logits(network, images)
    refuse_infinite(logits)
    return logits


def targets_of(given: object, logits: Logits) -> Labels:
    """The class to explain for each image: None is the predicted one, a number one for all.

    Raises:
        InputError: for a class that there is not, or another number of them.
    """
    count, classes = logits.shape
    if given is None:
        return logits.argmax(1)
    try:
        found = torch.as_tensor(given)
        whole = not found.is_floating_point() and found.dtype != torch.bool
    except (TypeError, ValueError, RuntimeError):
        whole, found = False, torch.zeros(0)
    one = whole and found.dim() == 0
    found = found.expand(count) if one else found
    if not whole or found.shape != (count,) or not bool(((found >= 0) & (found < classes)).all()):
        shown = given if isinstance(given, int | float | str) else f"a {type(given).__name__}"
        if whole and found.dim() == 1 and not one:
            shown = f"{len(found)} classes in {int(found.min())}..{int(found.max())}"
        raise InputError(
            f"targets: got {shown}; allowed: None (the predicted class), a class in "
            f"0..{classes - 1}, or one for each of the {count} images"
        )
    return found.to(logits.device, torch.int64)
