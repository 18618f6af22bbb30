"""What it takes to use a method: time, memory, and the networks that it refuses or breaks on."""

import time
import weakref
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.explainers.cost import Costing
from xai_exp.types import Explainer, Images, Labels

_REPEATS = 2


class Trial(NamedTuple):
    """One method on one network.

    Attributes:
        explainer: its name.
        architecture: the network's.
        outcome: works; refused: it says in one line that it can't; broken: it fails otherwise, or
            its heatmaps are not finite or all zero.
        problem: what it says, or what is wrong; empty if it works.
        seconds: for a heatmap, the fastest of two runs of the batch; NaN if it does not work.
        over_cost: seconds over those of the forward passes that its stated cost stands for (a
            backward pass counts as one); NaN for methods without a cost.
        megabytes: the most memory that its tensors take up at once, for an image.
    """

    explainer: str
    architecture: str
    outcome: Literal["works", "refused", "broken"]
    problem: str
    seconds: float
    over_cost: float
    megabytes: float


def tried(
    name: str,
    architecture: str,
    explainer: Explainer,
    network: nn.Module,
    images: Images,
    targets: Labels,
) -> Trial:
    """Explain these images, measuring; whatever goes wrong becomes part of the answer."""
    nothing = float("nan")
    try:
        with PeakMemory() as memory:
            heatmaps = explainer(network, images, targets)
        seconds = min(_timed(explainer, network, images, targets) for _ in range(_REPEATS))
    except InputError as error:
        return Trial(name, architecture, "refused", str(error), nothing, nothing, nothing)
    except Exception as error:  # whatever a method may raise on a network is the finding here
        problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return Trial(name, architecture, "broken", problem, nothing, nothing, nothing)
    problem = _wrong(heatmaps)
    floor = _forward(network, images) * sum(
        explainer.cost if isinstance(explainer, Costing) else (nothing,)
    )
    return Trial(
        name,
        architecture,
        "broken" if problem else "works",
        problem,
        seconds / len(images),
        seconds / floor if floor else nothing,
        memory.peak / len(images) / 1e6,
    )


def _wrong(heatmaps: Tensor) -> str:
    if not heatmaps.isfinite().all():
        return "heatmaps are not finite"
    return "" if bool((heatmaps != 0).any()) else "heatmaps are all zero"


def _timed(explainer: Explainer, network: nn.Module, images: Images, targets: Labels) -> float:
    start = time.perf_counter()
    explainer(network, images, targets).sum().item()  # waits for a GPU
    return time.perf_counter() - start


def _forward(network: nn.Module, images: Images) -> float:
    """Seconds of a forward pass of the batch, the fastest of several."""

    def once() -> float:
        start = time.perf_counter()
        with ops.evaluating(network):
            ops.logits(network, images).sum().item()
        return time.perf_counter() - start

    return min(once() for _ in range(3 * _REPEATS))


class PeakMemory(TorchDispatchMode):
    """Within it `peak` is the most memory, in bytes, of tensors made within it that live at once.

    >>> with PeakMemory() as memory:
    ...     kept = torch.zeros(100)
    ...     for _ in range(3):
    ...         passing = torch.zeros(1000)
    ...         del passing
    >>> memory.peak
    4400
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation and count the memory of what it made."""
        before = {id(one.untyped_storage()) for one in tree_leaves(args) if isinstance(one, Tensor)}
        result = func(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and id(one.untyped_storage()) not in before:
                self._count(one.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._known:
            return
        self._known.add(id(storage))
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._freed, id(storage), storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size
