"""Pure tensor functions that several families share.

Nothing here keeps state or touches a global generator. Randomness that must not depend on how
images are batched comes from `keyed_uniform`: a counter-based hash of (key, position), where the
key is read off the image itself; so an image gets the same numbers alone, in a batch, on any
device.
"""

import copy
import ctypes
import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from xai_exp.compute.chunks import OneByOne as OneByOne
from xai_exp.compute.chunks import chunk_size as chunk_size
from xai_exp.compute.chunks import for_network
from xai_exp.compute.chunks import in_chunks as in_chunks
from xai_exp.compute.chunks import in_grid as in_grid
from xai_exp.types import (
    Blocks,
    Copies,
    Heatmaps,
    Images,
    Index,
    Keep,
    Keys,
    Labels,
    Levels,
    Logits,
    Masks,
    Order,
    Parts,
    Rows,
    Scores,
)

_CACHED = 1 << 15  # whole numbers of 64 bits that, with a few like them, a core's cache holds


@torch.no_grad()
def logits(model: nn.Module, images: Images, size: int | None = None) -> Logits:
    """The model's logits, without gradients, in chunks."""
    return in_chunks(model, images, size=size)


def pick(values: Logits, targets: Labels) -> Scores:
    """Each row's value at its target."""
    return values.gather(1, targets[:, None])[:, 0]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode with frozen parameters; both are restored on leaving."""
    modes = {module: module.training for module in model.modules()}
    grads = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        # Setting an attribute of a module is slow, and one explanation comes here several times.
        if any(modes.values()):
            _evaluate(model)
        if any(grads.values()):
            # Not by the module, which a scripted one refuses.
            for parameter in grads:
                parameter.requires_grad_(False)
        with for_network(modes):
            yield model
    finally:
        for module, mode in modes.items():
            if module.training != mode:
                module.training = mode
        for parameter, grad in grads.items():
            if parameter.requires_grad != grad:
                parameter.requires_grad_(grad)


def _evaluate(model: nn.Module) -> None:
    """Evaluation mode; an exported program was made in one and has no other."""
    try:
        model.eval()
    except NotImplementedError:
        for module in model.modules():
            module.training = False


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose parameters and buffers are the model's own."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()


def border_level(images: Images) -> Levels:
    """The median of the pixels on each image's border, by channel: (batch, channel, 1, 1).

    It is the background of rendered scenes, whose objects seldom fill the border.
    """
    edge = [images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1]]
    return torch.cat(edge, -1).median(-1).values[..., None, None]


def nearest(images: Images, others: Copies) -> Index:
    """The place of the one of `others` that is nearest to each image, the first of equals.

    Equal images are found by their keys, at a cost that does not grow with `others`.
    """
    keys, order = _sorted_keys(others)
    found = order[torch.searchsorted(keys, image_keys(images)).clamp_max(len(keys) - 1)]
    far = (others[found] != images).flatten(1).any(1).nonzero()[:, 0]
    if len(far):
        found[far] = _nearest_of_all(images[far], others)
    return found


_SORTED = WeakTensorKeyDictionary()  # the keys of images that others were looked for among


def _sorted_keys(others: Copies) -> tuple[Keys, Index]:
    if others not in _SORTED:
        _SORTED[others] = tuple(image_keys(others).sort(stable=True))
    return _SORTED[others]


def _nearest_of_all(images: Images, others: Copies) -> Index:
    """By distance, without a matrix product, which rounds more: images may differ in one pixel."""

    def chunk(part: Images) -> Index:
        exact = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(part.flatten(1), others.flatten(1), compute_mode=exact)
        return apart.argmin(1)

    return in_chunks(chunk, images)


def channel_sum(attributions: Images) -> Heatmaps:
    """Attributions summed over channels: a sum keeps completeness, abs or max would destroy it."""
    return attributions.sum(1)


def block_spread(blocks: Blocks, size: int, height: int, width: int) -> Heatmaps:
    """Every pixel given its block's value."""
    spread = blocks.repeat_interleave(size, 1).repeat_interleave(size, 2)
    return spread[:, :height, :width]


def _mix(values: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele et al. 2014), on wrapping 64-bit integers.

    Shifts are made logical by masking, since torch shifts signed integers arithmetically.
    """
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        values = _folded(values, shift).mul_(factor)
    return _folded(values, 31)


def _folded(values: Tensor, shift: int) -> Tensor:
    """`values ^ (values >> shift)`, the shift being logical; the one new tensor is worked on."""
    return (values >> shift).bitwise_and_((1 << (64 - shift)) - 1).bitwise_xor_(values)


def image_keys(images: Images, seed: int = 0) -> Keys:
    """A 64-bit key for each image, read off its exact pixel values and `seed`."""
    bits = images.detach().float().contiguous().view(torch.int32).flatten(1)
    position = torch.arange(bits.shape[1], device=images.device)
    # On a CPU a few images at a time, which stay in the cache through a dozen small steps.
    few = max(1, _CACHED // max(1, bits.shape[1])) if bits.device.type == "cpu" else len(bits)
    sums = [_mix(bits * 0x9E3779B1 + position).sum(1) for bits in bits.long().split(max(1, few))]
    return _mix(torch.cat(sums) + _wrapped(seed * 0x632BE59BD9B4E019))


def named_keys(keys: Keys, name: str) -> Keys:
    """Other keys for the purpose `name`, so that what two purposes draw is independent."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return _mix(keys ^ int.from_bytes(digest, signed=True))


def _wrapped(number: int) -> int:
    return ctypes.c_int64(number).value


def keyed_uniform(keys: Keys, count: int) -> Rows:
    """`count` uniform numbers in [0, 1) for every key, the same on every device."""
    return _drawn(keys[:, None], torch.arange(count, device=keys.device)).float() / (1 << 24)


def _drawn(keys: Tensor, positions: Tensor) -> Tensor:
    """A whole number below 2^24 for every pair of key and position."""
    position = (positions + 1) * -0x61C8864680B583EB
    return (_mix(_mix(keys + position) + position) >> 40) & 0xFFFFFF


def keyed_normal(keys: Keys, count: int) -> Rows:
    """`count` standard normal numbers for every key, by the inverse of the distribution function.

    >>> keyed_normal(torch.tensor([1, 2]), 10_000).std(1).round(decimals=1)
    tensor([1., 1.])
    """
    # The middle of each of the 2^24 steps, all exact in float32, so that none is infinite.
    centred = 2 * keyed_uniform(keys, count) - 1 + 1 / (1 << 24)
    return math.sqrt(2) * torch.erfinv(centred)


def keyed_descending(values: Rows, keys: Keys) -> Order:
    """Positions from the largest value to the smallest; ties in a random order of the row's key.

    The order of a row is the same alone and in a batch, and on every device. Values are compared in
    float32: as sortable integers whose low bits hold the position, since NumPy sorts integers three
    times as fast as torch sorts numbers, and then only tied positions need a random number. A GPU
    draws them all: it would have to wait to learn which are tied.
    """
    sortable = _sortable(values)
    if values.device.type != "cpu":
        luck = _drawn(keys[:, None], torch.arange(values.shape[1], device=keys.device))
        return ((sortable << 24) | luck).argsort(1, descending=True)
    position = torch.arange(values.shape[1])
    packed = sortable.bitwise_not_().bitwise_left_shift_(32).bitwise_or_(position).numpy()
    packed.sort(axis=1)
    order = torch.from_numpy(packed & 0xFFFFFFFF)
    same = (packed[:, 1:] ^ packed[:, :-1]).view(np.uint64) < 1 << 32
    if same.any():
        _break_ties(order, torch.from_numpy(same), keys)
    return order


def _sortable(values: Rows) -> Order:
    """Whole numbers that are ordered as the values are in float32, both zeros being equal."""
    bits = (values.detach().float() + 0.0).contiguous().view(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()


def _break_ties(order: Order, same: Keep, keys: Keys) -> None:
    """Put tied positions, which `same` marks as equal to their successor, in a random order."""
    again = functional.pad(same, (1, 0)).flatten()
    places = (again | functional.pad(same, (0, 1)).flatten()).nonzero()[:, 0]
    positions = order.view(-1)[places]
    group = (~again[places]).cumsum(0)
    luck = _drawn(keys[places // order.shape[1]], positions)
    order.view(-1)[places] = positions[((group << 24) | (0xFFFFFF - luck)).argsort(stable=True)]


def keyed_argmax(values: Rows, keys: Keys) -> Labels:
    """Each row's first position in the order of `keyed_descending`, without the sort; NaN is last.

    >>> ties = torch.zeros(1, 9)
    >>> key = torch.tensor([5])
    >>> bool(keyed_argmax(ties, key) == keyed_descending(ties, key)[:, 0])
    True
    """
    values = (values.float() + 0.0).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    largest = values == values.amax(1, keepdim=True)
    rows, positions = largest.nonzero(as_tuple=True)
    luck = _drawn(keys[rows], positions)
    luckiest = ((rows << 24) | (0xFFFFFF - luck)).argsort(stable=True)
    count = largest.sum(1)
    return positions[luckiest[count.cumsum(0) - count]]


def ascending(values: Rows) -> Rows:
    """Each row's values from the smallest to the largest; on a CPU by NumPy, five times as fast."""
    if values.device.type != "cpu":
        return values.sort(1).values
    return torch.from_numpy(np.sort(values.detach().numpy(), axis=1))


def ranks(order: Order) -> Order:
    """Each position's place in `order`: the inverse permutation."""
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def union(parts: Parts) -> Masks:
    """The pixels of which parts fill more than half."""
    return parts.sum(1) > 0.5
