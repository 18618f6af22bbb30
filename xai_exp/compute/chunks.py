"""Work on many images a chunk at a time, so that it fits the cache of a CPU or a GPU's memory.

When memory runs out the chunk is halved and the work goes on, down to one image. What was found to
fit is remembered for the process, by device and shape of the images: a method of many passes would
otherwise run out of memory in each of them.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.types import Images

Grid = Float[Tensor, "row column ..."]

PIECE = 64  # images that have masks, heatmaps and removals of their own in memory together
_CPU_CHUNK = 32
_CPU_PIXELS = 64 * 64 * 64 * 3
_GPU_CHUNK = 4096
_NO_MEMORY = (
    "DefaultCPUAllocator: ",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_FITTING: dict[object, int] = {}
_ALONE = ContextVar("alone", default=False)


class NoRoomError(InputError, torch.OutOfMemoryError):
    """Not even one image fits. Still a torch.OutOfMemoryError: work around this one halves, too."""


class OneByOne(nn.Module):
    """A network that goes through its images one after the other, and is explained likewise.

    Methods that tell layers apart by the order in which they are called (the first one's rule, the
    last maps, statistics by layer) would take those of the second image for later layers.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """The answers of all images."""
        if len(images) < 2:
            return self.network(images)
        return torch.cat([self.network(images[i : i + 1]) for i in range(len(images))])


@contextmanager
def for_network(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it chunks are such as a network of these modules may get."""
    found = _ALONE.get() or any(isinstance(module, OneByOne) for module in modules)
    before = _ALONE.set(found)
    try:
        yield
    finally:
        _ALONE.reset(before)


def chunk_size(images: Images) -> int:
    """How many images like these one call of a model should get.

    On a CPU 16 to 32 small images are fastest (more spill the cache), fewer if they are large; a
    GPU wants as many as its memory allows, which `in_chunks` finds out and this remembers.
    """
    size = _GPU_CHUNK
    if images.device.type == "cpu":
        pixels = max(1, images[0].numel()) if len(images) else 1
        size = int(min(_CPU_CHUNK, max(1, _CPU_PIXELS // pixels)))
    return min(size, _FITTING.get(_kind(images), size))


def in_chunks(
    function: Callable[..., Tensor], *batches: Tensor, size: int | None = None, together: int = 1
) -> Tensor:
    """`function(*batches)` computed over chunks of the first axis and joined again.

    Out of memory halves the chunk and goes on.

    Args:
        function: of a chunk of every batch, its result a row for each of theirs.
        batches: tensors of equal length.
        size: rows of a chunk; `chunk_size` of the first batch if none is given. It is 1 for a
            `OneByOne` network.
        together: so many neighbouring rows are never torn apart.

    Raises:
        NoRoomError: when `together` rows are too many.
    """
    remembered = size is None
    size = 1 if _ALONE.get() else size or chunk_size(batches[0])
    size = max(together, size - size % together)
    results: list[Tensor] = []
    start = 0
    while start < len(batches[0]) or not results:
        part = [batch[start : start + size] for batch in batches]
        found = _tried(lambda part=part: function(*part))
        if found is None:
            size = _halved(min(size, len(part[0])), together, batches[0].device)
            if remembered:
                _FITTING[_kind(batches[0])] = size
            continue
        results.append(found)
        start += size
    return torch.cat(results) if len(results) > 1 else results[0]


def in_pieces(function: Callable[[Tensor], Tensor], batch: Tensor, size: int = PIECE) -> Tensor:
    """`function(batch)` a piece at a time, each put where the whole will be.

    For what is large for every image: the whole is in memory once, and what a piece takes
    meanwhile, once for that piece.
    """
    whole = first = function(batch[:size])
    if len(batch) > size:
        whole = first.new_empty((len(batch), *first.shape[1:]))
        whole[:size] = first
    for start in range(size, len(batch), size):
        whole[start : start + size] = function(batch[start : start + size])
    return whole


def in_grid(
    function: Callable[[slice, slice], Tensor],
    rows: int,
    columns: int,
    size: int,
    images: Images | None = None,
) -> Grid:
    """`function(rows, columns)` over a grid (image x step), in blocks of at most `size` cells.

    A block holds several images with all their steps or, when these are too many, equal runs of
    the steps of one image; `function` gives a value or a row of values for each cell. Out of memory
    halves the blocks and starts again; what fits is remembered for images like those given.

    Raises:
        NoRoomError: when one cell is too much.
    """
    while True:
        found = _tried(lambda size=size: _grid(function, rows, columns, size))
        if found is not None:
            return found
        size = _halved(min(size, rows * columns), 1)
        if images is not None:
            _FITTING[_kind(images)] = size


def _grid(function: Callable[[slice, slice], Tensor], rows: int, columns: int, size: int) -> Tensor:
    high = max(1, size // columns)
    wide = -(-columns // -(-columns // size))
    bands = [
        [
            function(slice(row, min(row + high, rows)), slice(step, min(step + wide, columns)))
            for step in range(0, columns, wide)
        ]
        for row in range(0, rows, high)
    ]
    return torch.cat([torch.cat(band, 1) for band in bands])


def _tried(work: Callable[[], Tensor]) -> Tensor | None:
    """The work's result, or None if memory ran out; what it had taken is free again then."""
    try:
        return work()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    # Out here the error is gone, and with it the frames that held on to their tensors.
    gc.collect()
    torch.cuda.empty_cache()
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: the CPU's allocator and CUDA's libraries have no error for it.

    >>> out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    >>> out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    False
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def _halved(size: int, together: int, device: torch.device | None = None) -> int:
    """Half of `size`, whole groups of `together`; if that is none, no more can be done."""
    if size <= together:
        where = f" on {device}" if device is not None else ""
        raise NoRoomError(
            f"out of memory{where}: got too little for one image at a time; allowed: smaller "
            "images, a smaller model, or a device with more memory"
        )
    return max(together, size // 2 // together * together)


def _kind(images: Tensor) -> object:
    return images.device, images.shape[1:]
