"""A network of anybody's as it is asked: what stands in front of it and behind it.

Nothing here changes the network: it gets a neighbour in front (size, mean, std) or behind (two
classes of one logit), in a module of ours or in a copy that shares its weights.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import InputError, Range, configured
from xai_exp.types import Explainer, Images, Levels

_CLOSE = 1e-4  # share of the largest output by which a changed copy may differ
BINARY = (
    "one logit z is read as a binary question: class 1 has the logit z/2, class 0 has -z/2, "
    "so that the probability of class 1 is sigmoid(z)"
)
# An exported program states by an assertion which shapes it was made for.
_UNFIT = (
    RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError,
    torch.jit.Error,
)  # fmt: skip

Mean = float | tuple[float, ...]  # by channel, or one for all
Std = (
    Annotated[float, Range(0, exclusive_low=True)]
    | Annotated[tuple[float, ...], Range(0, exclusive_low=True)]
)
Size = tuple[Annotated[int, Range(1)], Annotated[int, Range(1)]]  # height and width


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

    mean: Mean = 0.0
    std: Std = 1.0
    size: Size | None = None

    def __post_init__(self) -> None:
        many = {len(value) for value in (self.mean, self.std) if isinstance(value, tuple)}
        if len(many) > 1 or 0 in many:
            raise InputError(
                f"Preprocessing.mean: got mean {self.mean} and std {self.std}; allowed: as many "
                "of one as of the other, or single numbers"
            )

    @property
    def plain(self) -> bool:
        """Whether it changes nothing."""
        return self.size is None and self.mean == 0.0 and self.std == 1.0

    def module(self, channels: int) -> nn.Module:
        """The module for pictures of so many channels.

        Raises:
            InputError: when there are not as many numbers as channels.
        """
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
        self.how, self.size = how, how.size
        self.plain = how.mean == 0.0 and how.std == 1.0
        for name, value in (("mean", how.mean), ("std", how.std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.size is not None and tuple(images.shape[-2:]) != tuple(self.size):
            images = _resized(images, self.size)
        return images if self.plain else (images - self.mean) / self.std

    def moved(self, level: Levels) -> tuple[nn.Module, Levels]:
        """The linear part, and what becomes of one level for each channel."""
        linear = _Prepared(Preprocessing(std=self.how.std, size=self.size)).to(self.std.device)
        return linear, level if self.plain else (level - self.mean) / self.std


def _resized(images: Tensor, size: Size) -> Tensor:
    """Bilinear with anti-aliasing; written as two products where it goes into an ONNX file."""
    if not torch.onnx.is_in_onnx_export():
        return functional.interpolate(
            images, size, mode="bilinear", align_corners=False, antialias=True
        )
    height, width = (int(one) for one in images.shape[-2:])
    rows, columns = resizing(height, size[0]), resizing(width, size[1])
    return torch.matmul(torch.matmul(rows.to(images), images), columns.T.to(images))


def resizing(before: int, after: int) -> Tensor:
    """The weights (after, before) by which a line of pixels becomes one of another length.

    A triangle as wide as a new pixel (an old one where it becomes longer) around each new pixel's
    centre, cut at the border and of sum 1, as torch's bilinear interpolation with anti-aliasing.
    """
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale
    apart = np.abs(np.arange(before) + 0.5 - centres[:, None]) / reach
    weights = np.clip(1 - apart, 0, None)
    return torch.from_numpy((weights / weights.sum(1, keepdims=True)).astype(np.float32))


class Asked(nn.Module):
    """The network between what we put before and behind it: pictures in, (batch, class) out."""

    def __init__(
        self,
        before: nn.Module | None,
        network: nn.Module,
        *,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.before, self.network, self.binary = before, network, binary
        self.own = not isinstance(network, Asked)  # whose precision is its weights'
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """The logits of pictures, in the precision of the pictures."""
        inside = images if self.before is None else self.before(images)
        # Asked for anew: a copy may have been made in another precision.
        dtype = home(self.network)[1] if self.own else inside.dtype
        answer = _picked(self.network(inside if inside.dtype == dtype else inside.to(dtype)))
        if self.binary:
            answer = (answer if answer.dim() == 2 else answer.unsqueeze(1)) / 2
            answer = torch.cat([-answer, answer], 1)
        return answer if answer.dtype == images.dtype else answer.to(images.dtype)


def home(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a network is and what numbers it calculates in, by its first floats.

    Raises:
        InputError: for weights that are no numbers, but only their shapes.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_meta:
            raise InputError(
                "network: got weights on the device meta, which holds no numbers; allowed: a "
                "network whose weights were loaded"
            )
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def two_classes(network: nn.Module, images: Images) -> nn.Module:
    """A network of one logit z as one of the logits (-z/2, z/2), which shares its weights.

    Where the last layer is linear it is that layer which gets two outputs, so that every method
    explains them as it explains any two classes.
    """
    mix = torch.tensor([[-0.5], [0.5]])
    found = with_last(network, images, lambda weight: mix.to(weight) @ weight, 1, 2)
    return found if found is not None else Asked(None, network, binary=True)


def chosen(network: nn.Module, images: Images, outputs: list[int]) -> nn.Module:
    """The network with these of its outputs, in this order."""
    width = answer_of(network, images[:1]).shape[1]
    if outputs == list(range(width)):
        return network
    found = with_last(network, images, lambda weight: weight[outputs], width, len(outputs))
    return found if found is not None else _Some(network, outputs)


class _Some(nn.Module):
    """A network and those of its outputs that are asked for."""

    def __init__(self, network: nn.Module, outputs: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("outputs", torch.tensor(outputs))
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[:, self.outputs]  # pyright: ignore[reportArgumentType]


def with_last(
    network: nn.Module,
    images: Images,
    change: Callable[[Tensor], Tensor],
    width: int,
    wanted: int,
) -> nn.Module | None:
    """A copy whose last linear layer's rows are changed; None if its outputs don't follow."""
    few = images[:2]
    with torch.no_grad(), ops.evaluating(network):
        old = network(few)
        expected = change(old.reshape(len(few), -1).T).T
        for name in last_layers(network, width):
            made = ops.shared_copy(network)
            layer = made.get_submodule(name)
            for kind in ("weight", "bias"):
                value = getattr(layer, kind)
                if value is not None:
                    rows = change(value.detach().flatten(1) if value.dim() > 1 else value[:, None])
                    fresh = rows.view(wanted, *value.shape[1:]).clone()
                    setattr(layer, kind, nn.Parameter(fresh, requires_grad=False))
            many = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
            setattr(layer, many, wanted)
            try:
                answer = made(few)
            except (RuntimeError, ValueError, IndexError):
                continue
            near = _CLOSE * float(old.abs().max())
            if answer.shape == expected.shape and bool(((answer - expected).abs() <= near).all()):
                return made
    return None


def last_layers(network: nn.Module, width: int) -> Iterator[str]:
    """Names of layers that may be the last: linear ones with so many outputs."""
    for name, module in reversed(list(network.named_modules())):
        many = {nn.Linear: "out_features", nn.Conv2d: "out_channels"}.get(type(module))
        if many and getattr(module, many) == width and name:
            yield name


def refuse_several_inputs(network: nn.Module) -> None:
    """A network is asked with a batch of images and nothing else.

    Raises:
        InputError: if it needs more.
    """
    try:
        given = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    needed = [p.name for p in given if p.kind in kinds and p.default is inspect.Parameter.empty]
    if len(needed) > 1:
        raise InputError(
            f"network: got a {type(network).__name__} with {len(needed)} inputs "
            f"({', '.join(needed)}); allowed: one input, a batch of images; wrap it in a module "
            "that holds the others fixed"
        )


def answer_of(network: nn.Module, few: Images) -> Tensor:
    """The network's answer to a few images, which must be what we can work with.

    Raises:
        InputError: for any other output than logits (batch, class) or one logit an image, or for
            images that it can't be asked with.
    """
    return with_logits(network, few)[1]


def with_logits(network: nn.Module, few: Images) -> tuple[nn.Module, Tensor]:
    """The network as one that gives logits alone, which others give by name, and its answer.

    Raises:
        InputError: as `answer_of`.
    """
    asked = network if isinstance(network, Asked) else Asked(None, network)
    given = _raw(asked, few)
    answer = _picked(given)
    _refuse_output(answer, len(few))
    if asked.binary:
        with torch.no_grad(), ops.evaluating(network):
            answer = asked(few)
    return network if _picked(given) is given else asked, answer


def _picked(answer: Any) -> Any:  # noqa: ANN401
    """The logits of what a network gives by name, as those of transformers do; else all of it."""
    if isinstance(answer, Mapping):
        return answer.get("logits", answer)
    return answer if isinstance(answer, Tensor) else getattr(answer, "logits", answer)


def _raw(asked: Asked, few: Images) -> Any:  # noqa: ANN401
    """What the network itself gives for a few images."""
    try:
        with torch.no_grad(), ops.evaluating(asked.network):
            inside = few if asked.before is None else asked.before(few)
            return asked.network(inside.to(home(asked.network)[1] if asked.own else inside.dtype))
    except InputError:
        raise
    except _UNFIT as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"network: {type(asked.network).__name__} can't be asked with images of shape "
            f"{tuple(few.shape)}: {why[0]}; allowed: the channels and the size that it was made "
            "for, see xe.Preprocessing(size=) and model.size"
        ) from error


def _refuse_output(answer: object, images: int) -> None:
    if not isinstance(answer, Tensor):
        raise InputError(
            f"network: got an output of type {type(answer).__name__}; allowed: a tensor of logits "
            "(batch, class); wrap the network in a module that picks them"
        )
    fits = answer.dim() in (1, 2) and len(answer) == images and answer.numel()
    if not fits or not answer.is_floating_point():
        raise InputError(
            f"network: got an output of shape {tuple(answer.shape)} ({answer.dtype}) for "
            f"{images} images; allowed: logits (batch, class), or one logit an image"
        )


def refuse_infinite(logits: Tensor) -> None:
    """Every image has an answer of finite numbers.

    Raises:
        InputError: when one has not.
    """
    broken = (~logits.isfinite()).reshape(len(logits), -1).any(1).nonzero()[:, 0].tolist()
    if broken:
        raise InputError(
            f"network: got outputs that are not finite for {len(broken)} of {len(logits)} images, "
            f"the first at position {broken[0]}; allowed: finite logits"
        )


def with_layers_of(asked: nn.Module, explainers: Mapping[str, Explainer]) -> dict[str, Explainer]:
    """The explainers, those that name a layer of the network finding it where it is now."""
    found, names = dict(explainers), {name for name, _ in asked.named_modules()}
    for name, explainer in explainers.items():
        layer: Any = vars(explainer).get("layer") if is_dataclass(explainer) else None
        if not isinstance(layer, str) or isinstance(explainer, type) or layer in names:
            continue
        inner = [one for one in names if one.endswith(f"network.{layer}")]
        if len(inner) == 1:
            found[name] = replace(explainer, layer=inner[0])  # pyright: ignore
    return found
