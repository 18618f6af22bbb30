"""The machine that the work runs on: its device, and an allocator tuned for large tensors."""

import ctypes
import ctypes.util
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from xai_exp.config import InputError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGE = 1 << 30
_SLACK = 16 << 20
_KEPT: dict[str, int] = {}  # how much the process took after it had last given some back


def device(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU if there is one, else the CPU.

    Raises:
        InputError: when there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if _cuda() else "cpu")
    try:
        chosen = torch.device(name)
        if chosen.type == "cpu" and name != "cpu":
            raise NotImplementedError("there is one")
        torch.zeros(1, device=chosen).item()  # there are devices that compute nothing
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        allowed = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise InputError(f"device: got {name!r}; allowed: one of {', '.join(allowed)}") from error
    return chosen


def _cuda() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a CUDA build without a driver warns; a CPU is no fault
        return torch.cuda.is_available()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has units that multiply matrices of bfloat16: Ampere's, or AMX tiles.

    A processor's AVX-512 BF16 is not enough: convolutions then run three times slower than in
    float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    supported: Any = getattr(torch.cpu, "_is_amx_tile_supported", bool)
    return device.type == "cpu" and bool(supported())


def refuse_slow(precision: str, device: torch.device) -> None:
    """Refuse bfloat16 where it would take several times as long as float32.

    Raises:
        InputError: on a device without units for it.
    """
    if precision == "bfloat16" and not computes_bfloat16(device):
        raise InputError(
            f"precision: got bfloat16 on {device.type} without matrix units for it, where it is "
            "several times slower; allowed: float32"
        )


@contextmanager
def settled(*, deterministic: bool) -> Iterator[None]:
    """Within, if so asked, sums are taken in one order, whatever number of threads there is.

    Torch and the libraries of linear algebra compute on one thread; where torch has a kernel that
    sums in no certain order (on a GPU) it takes another one, or raises if it has none.
    """
    if not deterministic:
        yield
        return
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(threads)


_LIBRARIES = ("numpy", "scipy", "torchvision", "pytorch-lightning", "scikit-learn")
_ALGEBRA = re.compile(r"(?:Math Kernel Library Version|MKL-DNN|OpenBLAS) v?[\d.]+")
_FLAGS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def fingerprint() -> dict[str, str]:
    """What the last bits of numbers depend on beside what keys are made of, by name, for tags.

    Sums are taken in the order of the processor's vector width and of the number of threads, by
    kernels that the version of torch brings and that some variables of the shell choose.
    """
    found = {
        "machine.threads": str(torch.get_num_threads()),
        "machine.processor": _processor(),
        "machine.kernels": torch.backends.cpu.get_cpu_capability(),
        "machine.bfloat16": _units(),
        "machine.torch": torch.__version__,
        "machine.algebra": _algebra(),
        "machine.libraries": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }
    if flags := [f"{name}={os.environ[name]}" for name in _FLAGS if name in os.environ]:
        found["machine.flags"] = " ".join(flags)
    if _cuda():
        found["machine.gpu"] = torch.cuda.get_device_name()
    return found


@cache
def _units() -> str:
    """Where trainings with precision=auto compute in bfloat16."""
    kinds = ["cpu", *(["cuda"] if _cuda() else [])]
    return ", ".join(k for k in kinds if computes_bfloat16(torch.device(k))) or "nowhere"


@cache
def _algebra() -> str:
    """The libraries that torch was built with for products of matrices and convolutions."""
    return ", ".join(_ALGEBRA.findall(torch.__config__.show()))


@cache
def _processor() -> str:
    """The processor's name, as the system has it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def tune_allocator() -> None:
    """Keep freed memory in the process on Linux.

    By default glibc gives every large tensor back to the kernel, and the page faults of getting it
    again cost more than the convolutions of a small network do.
    """
    library = _allocator()
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)
        library.mallopt(_M_TOP_PAD, 64 << 20)


def give_back() -> None:
    """Give the system what was freed, on Linux, once the process has grown by 16 MiB.

    Freed memory that is kept falls to pieces between what stays, so that the process would grow
    with all that it has ever worked on. To get memory again has its cost too, hence not each time.
    """
    held = _resident()
    if held <= _KEPT.get("after", held - _SLACK - 1) + _SLACK:
        return
    library = _allocator()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
        _KEPT["after"] = _resident()


def _resident() -> int:
    """Bytes of memory that the process takes; 0 where that is not told."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if told.is_file() else 0


@cache
def _allocator() -> Any:  # noqa: ANN401
    """The C library on Linux; elsewhere nothing that has what is asked for."""
    linux = sys.platform.startswith("linux")
    return ctypes.CDLL(ctypes.util.find_library("c")) if linux else None
