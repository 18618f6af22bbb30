"""What every bridge shares: a library asked for by name, its version, a copy of the network."""

import ast
import copy
import importlib
import importlib.util
import inspect
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.explainers.cost import Cost
from xai_exp.types import Heatmaps, Images

UNKNOWN = Cost(forward=float("nan"), backward=float("nan"))  # no library states its own


class Unpriced:
    """A method of a library, none of which states its cost."""

    @property
    def cost(self) -> Cost:
        """Unknown."""
        return UNKNOWN


_log = logging.getLogger(__name__)
_compared: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class Library:
    """One that may be installed.

    Args:
        module: as it is imported.
        package: as pip knows it.
        extra: of this package, which installs it.
        tested: the version that the bridge's tests were run with.
    """

    module: str
    package: str
    extra: str
    tested: str

    @property
    def installed(self) -> bool:
        """Whether it is there; nothing is imported."""
        return importlib.util.find_spec(self.module) is not None

    def part(self, name: str = "") -> Any:  # noqa: ANN401
        """One of its modules.

        Raises:
            InputError: with the line that installs it, when it is not there.
        """
        if not self.installed:
            raise InputError(
                f"{self.package}: it is not installed; allowed: pip install 'xai-exp[{self.extra}]'"
            )
        self._compare()
        return importlib.import_module(f"{self.module}.{name}" if name else self.module)

    def _compare(self) -> None:
        """Say once if this is another version than the tested one."""
        if self.package in _compared:
            return
        _compared.add(self.package)
        here = metadata.version(self.package)
        if here != self.tested:
            _log.warning(
                "%s %s is installed; its bridge was tested with %s", self.package, here, self.tested
            )

    def unbound(self) -> InputError:
        """What a method that compares says when there is nothing to compare with."""
        return InputError(
            f"{self.package}: got no reference images; allowed: fit(model, images) first"
        )

    def named(self, part: Any, name: str, kind: type | None = None) -> Any:  # noqa: ANN401
        """One of a module's classes by its name.

        Raises:
            InputError: when there is none of this kind.
        """
        there = {key: one for key, one in vars(part).items() if _is_public(key, one, kind)}
        if name not in there:
            raise InputError(unknown(f"class of {self.package}", name, sorted(there)))
        return there[name]


def _is_public(name: str, one: object, kind: type | None) -> bool:
    right = isinstance(one, type) and (kind is None or issubclass(one, kind))
    return right and not name.startswith("_")


def given(arguments: Sequence[str]) -> dict[str, Any]:
    """What a list of NAME=VALUE says, values as Python writes them, else as text.

    >>> given(["n_steps=20", "method=riemann_left", "strides=(1, 2)"])
    {'n_steps': 20, 'method': 'riemann_left', 'strides': (1, 2)}

    Raises:
        InputError: for one without a name.
    """
    found: dict[str, Any] = {}
    for one in arguments:
        name, sign, value = (word.strip() for word in one.partition("="))
        if not sign or not name.isidentifier():
            raise InputError(f"arguments: got {one!r}; allowed: NAME=VALUE, one an argument")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has this argument."""
    return name in inspect.signature(function).parameters


def needs(function: Callable[..., Any], name: str) -> bool:
    """Whether it can't be called without it."""
    found = inspect.signature(function).parameters.get(name)
    return found is not None and found.default is inspect.Parameter.empty


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """All sources of random numbers seeded, since libraries draw from global ones; restored."""
    numbers, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(state)


def own(model: nn.Module, *, slopes: bool = False) -> nn.Module:
    """A copy that a library may hang its hooks on, with gradients of weights if it wants them."""
    return copy.deepcopy(model).eval().requires_grad_(slopes)


def answering(model: nn.Module) -> Callable[[Any], np.ndarray]:
    """The network as libraries ask black boxes: of numpy's (picture, row, column, channel)."""
    like = next(iter(model.parameters()), torch.zeros(1))

    def answer(pictures: Any) -> np.ndarray:  # noqa: ANN401
        found = torch.as_tensor(np.asarray(pictures)).to(like)
        return ops.logits(model, found.permute(0, 3, 1, 2).contiguous()).cpu().numpy()

    return answer


def by_segment(values: Tensor, cut: Tensor) -> Heatmaps:
    """Each segment's value at each of its pixels: (batch, segment) and (batch, row, column)."""
    return values.gather(1, cut.flatten(1)).view(cut.shape)


def layer_of(model: nn.Module, name: str | None, images: Images) -> nn.Module:
    """A module by its name, or the last one that gives a map as large as the last convolution's.

    Raises:
        InputError: when there is none.
    """
    modules: Mapping[str, nn.Module] = dict(model.named_modules())
    if name is not None:
        if name not in modules or not name:
            raise InputError(unknown("layer", name, [one for one in modules if one]))
        return modules[name]
    seen: list[tuple[nn.Module, torch.Size]] = []

    def look(module: nn.Module, _: Any, found: Any) -> None:  # noqa: ANN401
        if isinstance(found, Tensor) and found.ndim == 4 and module is not model:
            seen.append((module, found.shape[2:]))

    hooks = [module.register_forward_hook(look) for module in modules.values()]
    try:
        ops.logits(model, images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    sizes = [size for module, size in seen if isinstance(module, nn.Conv2d)]
    if not sizes:
        raise InputError("layer: got a network without convolutions; allowed: a layer by its name")
    return next(module for module, size in reversed(seen) if size == sizes[-1])
