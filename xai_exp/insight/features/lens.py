"""What a network's modules put out, while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.types import Images

Seen = Mapping[str, Tensor]
Layer = str | int | None  # a module's name, which may be a number
_WEIGHED = (nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@contextmanager
def lens(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that holds what these modules put out in the last pass.

    Raises:
        InputError: for a module that there is not.
    """
    seen: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    hooks = []
    try:
        for name in names:
            if name not in modules or not name:
                raise InputError(unknown("layer", name, list(layers(network))))
            hooks.append(modules[name].register_forward_hook(_keeps(seen, name)))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keeps(seen: dict[str, Tensor], name: str):  # noqa: ANN202
    def keep(_module: nn.Module, _given: object, out: object) -> None:
        if isinstance(out, Tensor):
            # A later module that works in place would change what was put out.
            seen[name] = out.clone()

    return keep


def layers(network: nn.Module) -> tuple[str, ...]:
    """The modules with features of their own, in order: convolutions and linear layers.

    A norm that follows stands for them, since its scale may turn a feature's sign.
    """
    leaves = [(n, m) for n, m in network.named_modules() if not list(m.children()) and n]
    found = []
    for place, (name, module) in enumerate(leaves):
        following = leaves[place + 1] if place + 1 < len(leaves) else ("", nn.Identity())
        if isinstance(module, _WEIGHED):
            found.append(following[0] if isinstance(following[1], _NORMS) else name)
    return tuple(found)


def chosen_layer(network: nn.Module, name: Layer, *, maps: bool = False) -> str:
    """The layer of this name; None: the last but one, or the last one with maps.

    Raises:
        InputError: when there is none.
    """
    known = layers(network)
    if name is not None:
        if str(name) not in dict(network.named_modules()):
            raise InputError(unknown("layer", str(name), known))
        return str(name)
    modules = dict(network.named_modules())
    flat = (nn.Linear, nn.LayerNorm)
    fit = [one for one in known if not isinstance(modules[one], flat)] if maps else list(known[:-1])
    if not fit:
        wanted = "layers with maps, such as model=cnn" if maps else "two layers or more"
        raise InputError(
            f"visualisation: got a network ({type(network).__name__}) without "
            f"{'a convolution' if maps else 'layers'}; allowed: networks of {wanted}"
        )
    return fit[-1]


@torch.no_grad()
def activations(network: nn.Module, images: Images, name: str) -> Tensor:
    """What a layer puts out: (image, channel, rows, columns); one cell where it has no places."""
    found = []
    with ops.evaluating(network), lens(network, [name]) as seen:
        for part in images.split(32):
            network(part)
            found.append(as_maps(seen[name]))
    return torch.cat(found)


def as_maps(out: Tensor) -> Tensor:
    """An output with places, be they one cell; of tokens (batch, token, channel) a row of them."""
    if out.ndim == 2:
        return out[..., None, None]
    return out.mT[:, :, None] if out.ndim == 3 else out
