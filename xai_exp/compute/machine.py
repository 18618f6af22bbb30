"""The machine that the work runs on: its device, and an allocator tuned for large tensors."""

import ctypes
import ctypes.util
import sys
import warnings

import torch

from xai_exp.config import InputError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGE = 1 << 30


def device(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU if there is one, else the CPU.

    Raises:
        InputError: when there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if _cuda() else "cpu")
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).item()  # there are devices that compute nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        allowed = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(f"device: got {name!r}; allowed: one of {', '.join(allowed)}") from error
    return chosen


def _cuda() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a CUDA build without a driver warns; a CPU is no fault
        return torch.cuda.is_available()


def tune_allocator() -> None:
    """Keep freed memory in the process on Linux.

    By default glibc gives every large tensor back to the kernel, and the page faults of getting it
    again cost more than the convolutions of a small network do.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(ctypes.util.find_library("c"))
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)
        library.mallopt(_M_TOP_PAD, 64 << 20)
