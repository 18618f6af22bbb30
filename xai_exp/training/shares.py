"""What one of several processes does of a training: its share of every batch, and sums over all.

Batch norm over all processes: torch's own exists for GPUs alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from xai_exp.training.norm import note

_OF_A_PROCESS = 50  # the bits above those that a seed and an epoch take


@dataclass(frozen=True)
class Share:
    """Which part of every batch a process takes.

    Args:
        rank: which of the processes this one is, from 0.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    def of(self, index: Tensor) -> Tensor:
        """The part of `index` that this process takes; parts differ in length by one at most."""
        return index if self.processes == 1 else index.tensor_split(self.processes)[self.rank]

    def weight(self, count: int) -> float:
        """By what to multiply the mean over the part of a batch of `count`.

        The mean over processes, which gradients are, is then the mean over the whole batch.
        """
        return len(self.of(torch.arange(count))) * self.processes / count

    def seed(self, seed: int) -> int:
        """A seed of this process's own; that of the first is the seed itself."""
        return seed + (self.rank << _OF_A_PROCESS)

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.processes > 1:
            distributed.all_reduce(numbers)
        return numbers

    def agree(self, network: nn.Module) -> None:
        """Give every process the first one's buffers; parameters are the same anyway."""
        if self.processes > 1:
            for buffer in network.buffers():
                whole = buffer.contiguous()
                distributed.broadcast(whole, 0)
                buffer.copy_(whole)


def variance(numbers: Tensor) -> Tensor:
    """The variance of all numbers, those of the other processes of this training included."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return numbers.var()
    spread, mean = torch.var_mean(numbers, correction=0)
    count = torch.full_like(mean, numbers.numel())
    counts, means, spreads = _gathered([count, mean, spread])
    total, _, whole = _joined(counts, means, spreads)
    return whole * total / (total - 1)


def join_batch_norm(network: nn.Module) -> None:
    """Have batch norm on CPUs measure whole batches, of which each process sees a part.

    The layers stay what they are and keep their names; in evaluation mode nothing changes.
    """
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.forward = partial(_normalised, module)


def _normalised(module: Any, images: Tensor) -> Tensor:  # noqa: ANN401
    """What a layer of batch norm gives, as torch's own does but for where its statistics are of."""
    if not module.training:
        return type(module).forward(module, images)
    module._check_input_dim(images)
    found, mean, spread, count = _Normalise.apply(  # pyright: ignore[reportGeneralTypeIssues]
        images, module.weight, module.bias, module.eps
    )
    note(module, mean, spread * count / (count - 1))
    return found


class _Normalise(Function):
    """Batch norm over the batches of all processes."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The normalised images; mean, biased variance and number of values of each channel."""
        wide = images.float()
        dims = [0, *range(2, images.ndim)]
        spread, mean = torch.var_mean(wide, dims, correction=0)
        count = torch.full_like(mean, images.numel() / max(1, images.shape[1]))
        count, mean, spread = _joined(*_gathered([count, mean, spread]))
        scale = torch.rsqrt(spread + eps)
        ctx.save_for_backward(images, weight, mean, scale, count)
        gain = scale if weight is None else scale * weight
        offset = -mean * gain if bias is None else bias - mean * gain
        shape = (1, -1, *[1] * (images.ndim - 2))
        found = torch.addcmul(offset.view(shape), wide, gain.view(shape))
        ctx.mark_non_differentiable(mean, spread, count)
        return found.to(images.dtype), mean, spread, count

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,  # noqa: ANN401
        gradient: Tensor,
        *_: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Of the images over all processes; of the weights those of this process's images."""
        images, weight, mean, scale, count = ctx.saved_tensors
        dims, shape = [0, *range(2, images.ndim)], (1, -1, *[1] * (images.ndim - 2))
        wide = gradient.float()
        apart = (images.float() - mean.view(shape)) * scale.view(shape)
        own = torch.stack([wide.sum(dims), (wide * apart).sum(dims)])
        both = own.clone()
        distributed.all_reduce(both)
        level, slope = both / count
        gain = scale if weight is None else scale * weight
        found = (wide - level.view(shape) - apart * slope.view(shape)) * gain.view(shape)
        return (
            found.to(images.dtype),
            own[1] if ctx.needs_input_grad[1] else None,
            own[0] if ctx.needs_input_grad[2] else None,
            None,
        )


def _gathered(numbers: Sequence[Tensor]) -> Tensor:
    """These numbers of every process: (numbers, processes, ...)."""
    own = torch.stack(list(numbers))
    found = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, own)
    return torch.stack(found, 1)


def _joined(counts: Tensor, means: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and biased variance of parts put together (Chan et al. 1979)."""
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    spread = (counts * (spreads + (means - mean).square())).sum(0) / total
    return total, mean, spread
