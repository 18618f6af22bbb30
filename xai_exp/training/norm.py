"""Batch norm in training, with the ReLU and the pooling behind it, at the memory's speed.

With channels innermost torch sums each channel over pixels in steps of as many numbers as there
are channels. Of eight that is half a register of AVX512, and the sums of two threads lie in one
line of cache, which they take from each other with every addition: two threads are then slower
than one. Here as many neighbouring pixels as make 64 numbers count as further channels, whose means
and sums are joined at the end.

Where max pooling follows, only the largest of four numbers is normalised: a line rises or falls, so
the largest stays the largest or becomes the smallest. Equal to torch's up to the order of sums.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from xai_exp.compute.streamline import Neighbours, PairMaxima, in_steps
from xai_exp.types import Images

_ROW = 64  # numbers: a few registers, and lines of cache that no two threads share
_BEHIND = nn.ReLU, PairMaxima  # a batch norm, in this order
_WINDOW = [2, 2], [2, 2], [0, 0], [1, 1], False
_aten = torch.ops.aten


def fused(network: nn.Module) -> nn.Module:
    """The network with its batch norms fused, which shares all weights and running means with it.

    >>> network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    >>> [type(module).__name__ for module in fused(network)]
    ['Conv2d', 'FusedNorm', 'Identity', 'Identity']
    """
    return in_steps(network, tuple((width, _joined) for width in (3, 2, 1)))


class FusedNorm(nn.Module):
    """Batch norm, then ReLU and max pooling of 2x2 where they follow.

    Args:
        norm: whose weights and running means it uses.
        behind: the ReLU that follows, if any, and the pooling that follows it, if any.
    """

    def __init__(self, norm: nn.BatchNorm2d, *behind: nn.Module) -> None:
        super().__init__()
        self.norm, self.steps = norm, nn.Sequential(norm, *behind)
        self.cut, self.pooled = len(behind) > 0, len(behind) > 1

    def forward(self, images: Images) -> Tensor:
        """Of the images of a batch, each channel normalised over all of them."""
        norm = self.norm
        if not (norm.training and self._lies_in_rows(images)):
            return self.steps(images)
        normalised, mean, variance = _Normalise.apply(  # pyright: ignore[reportGeneralTypeIssues]
            images, norm.weight, norm.bias, norm.eps, self.cut, self.pooled
        )
        count = images.numel() // len(mean)
        note(norm, mean, variance * (count / (count - 1)))
        return normalised

    def _lies_in_rows(self, images: Images) -> bool:
        """Whether the numbers are whole rows of all channels of some pixels, before and after."""
        batch, channels, height, width = images.shape
        if self.pooled and (height % 2 or width % 2):
            return False
        pixels = batch * height * width // (4 if self.pooled else 1)
        return (
            images.device.type == "cpu"
            and images.dtype == torch.float32
            and images.is_contiguous(memory_format=torch.channels_last)
            and pixels % _copies(channels) == 0
            and pixels > 1
        )


@torch.no_grad()
def note(norm: Any, mean: Tensor, variance: Tensor) -> None:  # noqa: ANN401, torch's have no type
    """Let a batch norm keep a batch's mean and unbiased variance, if it keeps any."""
    if norm.running_mean is None:
        return
    norm.num_batches_tracked.add_(1)
    part = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, part)
    norm.running_var.lerp_(variance, part)


def _joined(norm: nn.Module, *behind: nn.Module) -> Neighbours:
    """A batch norm and what follows it as one step, others as they are."""
    follows = all(type(one) is kind for one, kind in zip(behind, _BEHIND, strict=False))
    if not (follows and _plain(norm)) or any(
        isinstance(one, nn.ReLU) and one.inplace for one in behind
    ):
        return norm, *behind
    return FusedNorm(norm, *behind), *(nn.Identity() for _ in behind)  # type: ignore[arg-type]


def _plain(module: nn.Module) -> bool:
    """Whether it is a batch norm of few channels with weights and a running mean."""
    if type(module) is not nn.BatchNorm2d or module.num_features > _ROW:
        return False
    return bool(module.affine and module.track_running_stats and module.momentum is not None)


def _copies(channels: int) -> int:
    """How many pixels make one row."""
    return 1 if _ROW % channels else _ROW // channels


def _rows(images: Tensor) -> Tensor:
    """The same numbers as (1, channels of some pixels, rows, 1)."""
    channels = images.shape[1]
    row = channels * _copies(channels)
    return images.permute(0, 2, 3, 1).view(1, -1, 1, row).permute(0, 3, 1, 2)


def _images(rows: Tensor, like: Tensor) -> Tensor:
    batch, channels, height, width = like.shape
    return rows.permute(0, 2, 3, 1).view(batch, height, width, channels).permute(0, 3, 1, 2)


def _maxima(images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each window and its place, or the smallest where the weight is negative."""
    if not bool((weight < 0).any()):
        return _aten.max_pool2d_with_indices(images, *_WINDOW)
    sign = torch.ones_like(weight).masked_fill(weight < 0, -1)[:, None, None]
    largest, places = _aten.max_pool2d_with_indices(images * sign, *_WINDOW)
    return largest.mul_(sign), places


class _Normalise(Function):
    """Batch norm in training (Ioffe and Szegedy 2015, algorithm 1) and its gradient (section 3).

    With x' the normalised x of m numbers, y = w x' + b and g the gradient of y,
    dx = w / sd (g - sum(g) / m - x' sum(g x') / m): behind pooling g is 0 but for the largest.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,  # noqa: ANN401
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        cut: bool,
        pooled: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels = len(weight)
        copies = _copies(channels)
        sums = _aten.batch_norm_update_stats(_rows(images), None, None, 0.0)
        means, variances = (each.view(copies, channels) for each in sums)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        chosen, places = _maxima(images, weight) if pooled else (images, None)
        wide = [each.repeat(copies) for each in (weight, bias, mean, variance)]
        given = _aten.native_batch_norm(_rows(chosen), *wide, False, 0.0, eps)[0]
        given = _images(given.relu_() if cut else given, chosen)
        ctx.save_for_backward(
            images,
            weight,
            mean,
            variance,
            chosen if pooled else None,
            places,
            given if cut else None,
        )
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return given, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor, *_: None) -> tuple[Tensor | None, ...]:  # type: ignore[override] # noqa: ANN401
        images, weight, mean, variance, chosen, places, given = ctx.saved_tensors
        channels, count = len(mean), images.numel() // len(mean)
        copies = _copies(channels)
        asked = asked.contiguous(memory_format=torch.channels_last)
        if given is not None:
            asked = _aten.threshold_backward(asked, given, 0)
        behind = images if chosen is None else chosen
        wide = [each.repeat(copies) for each in (weight, mean, variance)]
        direct, *sums = _aten.native_batch_norm_backward(
            _rows(asked), _rows(behind), *wide, None, None, False, ctx.eps, [True, True, True]
        )
        to_weight, to_bias = (each.view(copies, channels).sum(0) for each in sums)
        direct = _images(direct, behind)
        if places is not None:
            direct = _aten.max_pool2d_with_indices_backward(direct, images, *_WINDOW, places)
        inverse = (variance + ctx.eps).rsqrt()
        slope = -weight * inverse.square() * to_weight / count
        offset = -weight * inverse * to_bias / count - slope * mean
        slope, offset = (each.repeat(copies)[:, None, None] for each in (slope, offset))
        _rows(direct).addcmul_(_rows(images), slope).add_(offset)
        return direct, to_weight, to_bias, None, None, None
