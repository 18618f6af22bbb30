"""A network of anybody's, asked: what goes in front of it, and what it must answer.

Nothing here changes the network: it gets a neighbour in front (size, mean, std), or behind (two
classes of one logit), in a module of ours, and stays where it is and as it is.
"""

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.types import Explainer, Images, Labels, Logits

_AGAIN = 1e-4  # share of the largest output by which two calls may differ
BINARY = (
    "one logit z is read as a binary question: class 1 has the logit z, class 0 has -z, "
    "so that probabilities are sigmoid(2 z)"
)


@configured
class Preprocessing:
    """What pictures in 0..1 go through before a network sees them; stated once, used for all.

    A network gets (resized picture - mean) / std. It becomes a first module of the network that is
    explained, so heatmaps and metrics are in the picture's own pixels.

    Args:
        mean: by channel, or one for all.
        std: by channel, or one for all, above 0.
        size: height and width that the network wants; null: the picture's own. Bilinear, with
            anti-aliasing when it becomes smaller, as torchvision resizes tensors.

    >>> Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=(224, 224)).size
    (224, 224)
    """

    mean: float | tuple[float, ...] = 0.0
    std: (
        Annotated[float, Range(0, exclusive_low=True)]
        | Annotated[tuple[float, ...], Range(0, exclusive_low=True)]
    ) = 1.0
    size: tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]] | None = None

    def __post_init__(self) -> None:
        many = {len(value) for value in (self.mean, self.std) if isinstance(value, tuple)}
        if len(many) > 1 or 0 in many:
            raise InputError(
                f"Preprocessing.mean: got mean {self.mean} and std {self.std}; allowed: as many "
                "of one as of the other, or single numbers"
            )

    def module(self, images: Images) -> nn.Module:
        """The module for pictures like these.

        Raises:
            InputError: when there are not as many numbers as channels.
        """
        channels = images.shape[1]
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) not in (1, channels):
                raise InputError(
                    f"Preprocessing.{name}: got {len(value)} numbers for {channels} channels; "
                    f"allowed: {channels}, or a single number"
                )
        return _Prepared(self)


class _Prepared(nn.Module):
    """Resize, then take the mean off and divide; a step that changes nothing is left out."""

    mean: Tensor
    std: Tensor

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        self.size = how.size
        self.plain = how.mean == 0.0 and how.std == 1.0
        for name, value in (("mean", how.mean), ("std", how.std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.size is not None and tuple(images.shape[-2:]) != tuple(self.size):
            images = functional.interpolate(
                images, self.size, mode="bilinear", align_corners=False, antialias=True
            )
        return images if self.plain else (images - self.mean) / self.std


class Asked(nn.Module):
    """The network between what we put before and behind it: pictures in, (batch, class) out."""

    def __init__(
        self, before: nn.Module | None, network: nn.Module, dtype: torch.dtype, *, binary: bool
    ) -> None:
        super().__init__()
        self.before, self.network, self.dtype, self.binary = before, network, dtype, binary
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """The logits of pictures, in float32."""
        images = images if self.before is None else self.before(images)
        answer = self.network(images if images.dtype == self.dtype else images.to(self.dtype))
        if self.binary:
            answer = answer if answer.dim() == 2 else answer.unsqueeze(1)
            answer = torch.cat([-answer, answer], 1)
        return answer if answer.dtype == torch.float32 else answer.float()


def home(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network is and what numbers it calculates in, by its first floats."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def asked(network: object, images: Images, how: Preprocessing | None) -> nn.Module:
    """The network as it can be explained: of pictures, with an answer for two classes or more.

    A network that needs nothing before or behind it is given back itself.

    Raises:
        InputError: for a network of several inputs, or with another answer than finite logits
            (batch, class), or one that answers differently when asked again.
    """
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network: got a {type(network).__name__}; allowed: a torch network (nn.Module)"
        )
    _refuse_several_inputs(network)
    dtype = home(network)[1]
    before = None if how is None else how.module(images).to(images.device)
    trial = Asked(before, network, dtype, binary=False)
    answer = _tried(trial, images[:2])
    binary = answer.dim() == 1 or answer.shape[1] == 1
    if before is None and not binary and dtype == torch.float32:
        return network
    return Asked(before, network, dtype, binary=binary)


def with_layers_of(asked: nn.Module, explainers: Mapping[str, Explainer]) -> dict[str, Explainer]:
    """The explainers, those that name a layer of the network finding it where it is now."""
    found = dict(explainers)
    if isinstance(asked, Asked):
        for name, explainer in explainers.items():
            layer: Any = vars(explainer).get("layer") if is_dataclass(explainer) else None
            if isinstance(layer, str) and not isinstance(explainer, type):
                found[name] = replace(explainer, layer=f"network.{layer}")  # pyright: ignore
    return found


def predicted(network: nn.Module, images: Images) -> Logits:
    """The network's logits of all images.

    Raises:
        InputError: when one is not finite.
    """
    with ops.evaluating(network):
        logits = ops.logits(network, images)
    broken = (~logits.isfinite()).any(1).nonzero()[:, 0].tolist()
    if broken:
        raise InputError(
            f"network: got outputs that are not finite for {len(broken)} of {len(images)} images, "
            f"the first at position {broken[0]}; allowed: finite logits"
        )
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


def _refuse_several_inputs(network: nn.Module) -> None:
    try:
        given = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in given if p.kind in kinds and p.default is inspect.Parameter.empty]
    needed += [
        p.name
        for p in given
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is inspect.Parameter.empty
    ]
    if len(needed) > 1:
        raise InputError(
            f"network: got a {type(network).__name__} with {len(needed)} inputs "
            f"({', '.join(needed)}); allowed: one input, a batch of images; wrap it in a module "
            "that holds the others fixed"
        )


def _tried(network: Asked, few: Images) -> Tensor:
    """The network's answer to a few images, which must be what we can work with."""
    kind = type(network.network).__name__
    try:
        with ops.evaluating(network), torch.no_grad():
            answer, again = _answer(network, few), _answer(network, few)
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"network: {kind} can't be asked with images of shape {tuple(few.shape)}: {why[0]}; "
            "allowed: the channels and the size that it was made for, see xe.Preprocessing(size=)"
        ) from error
    near = _AGAIN * float(again.nan_to_num(0, 0, 0).abs().max())
    if not torch.allclose(answer, again, 0, near, equal_nan=True):
        raise InputError(
            f"network: {kind} in evaluation mode answers differently when it is asked again; "
            "allowed: a network without chance, such as dropout that heeds self.training"
        )
    return answer


def _answer(network: Asked, few: Images) -> Tensor:
    inside = few if network.before is None else network.before(few)
    answer = network.network(inside.to(network.dtype))
    if not isinstance(answer, Tensor):
        raise InputError(
            f"network: got an output of type {type(answer).__name__}; allowed: a tensor of logits "
            "(batch, class); wrap the network in a module that picks them"
        )
    fits = answer.dim() in (1, 2) and len(answer) == len(few) and answer.numel()
    if not fits or not answer.is_floating_point():
        raise InputError(
            f"network: got an output of shape {tuple(answer.shape)} ({answer.dtype}) for "
            f"{len(few)} images; allowed: logits (batch, class), or one logit an image"
        )
    return answer
