"""A network as OpenVX runs it: an NNEF folder as a kernel of any implementation that is installed.

The implementation must have the import extension (`vxImportKernelFromURL` with "vx_khr_nnef",
Khronos 2019). Nothing of OpenVX comes with this package: the library is found by the loader or
named by its path. Arrays are described as OpenVX has them, the first dimension fastest: lengths and
strides run from width to batch, so that a picture is not transposed without a word.
"""

import ctypes
import ctypes.util
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.config import InputError

_FLOAT32 = 0x00A  # VX_TYPE_FLOAT32
_READ, _WRITE, _HOST = 0x11001, 0x11002, 0x0E000  # VX_READ_ONLY, VX_WRITE_ONLY, ..._HOST
_NNEF = b"vx_khr_nnef"
_NAMES = ("openvx", "OpenVX", "openvx_nn")
_LARGEST = 8  # axes
_VERSION, _IMPLEMENTATION = 0x80101, 0x80105  # VX_CONTEXT_VERSION, VX_CONTEXT_IMPLEMENTATION
_WORDS = 64  # VX_MAX_IMPLEMENTATION_NAME


def found(path: str | None = None) -> Any:  # noqa: ANN401
    """The installed implementation.

    Raises:
        InputError: when there is none, or it lacks the import extension.
    """
    name = path or next((one for n in _NAMES if (one := ctypes.util.find_library(n))), None)
    if name is None:
        raise InputError(
            "openvx: got no library that the loader finds; allowed: formats.openvx.library=PATH "
            "(or found(PATH)), an OpenVX implementation with the NNEF import extension"
        )
    try:
        library = ctypes.CDLL(name)
        _declare(library)
    except OSError as error:
        raise InputError(
            f"openvx: got {name}, which can't be loaded ({error}); allowed: an "
            "OpenVX implementation"
        ) from error
    except AttributeError as error:
        raise InputError(
            f"openvx: got {name} without {str(error).rpartition(' ')[2]}; allowed: "
            "an OpenVX implementation with the NNEF import extension"
        ) from error
    return library


_POINTERS = "vxCreateContext vxImportKernelFromURL vxCreateGraph vxCreateTensor vxCreateGenericNode"
_CODES = (
    "vxVerifyGraph vxProcessGraph vxSetParameterByIndex vxCopyTensorPatch vxReleaseTensor "
    "vxReleaseNode vxReleaseKernel vxReleaseGraph vxReleaseContext vxGetStatus vxQueryContext"
)


def _declare(library: Any) -> None:  # noqa: ANN401
    """Handles are pointers, which C's default of an int would cut in half."""
    for name in _POINTERS.split():
        getattr(library, name).restype = ctypes.c_void_p
    for name in _CODES.split():
        getattr(library, name).restype = ctypes.c_int32


def lengths(shape: Sequence[int]) -> list[int]:
    """Lengths as OpenVX counts axes: the first is the fastest.

    >>> lengths((1, 3, 16, 20))
    [20, 16, 3, 1]
    """
    return list(shape)[::-1]


def strides(shape: Sequence[int], width: int = 4) -> list[int]:
    """Bytes from one place to the next along each of OpenVX's axes, of an array as C has it.

    >>> strides((1, 3, 16, 20))
    [4, 80, 1280, 3840]
    """
    made = [width]
    for length in lengths(shape)[:-1]:
        made.append(made[-1] * length)
    return made


class Runner:
    """A folder's network in an implementation, asked with one picture at a time.

    Args:
        library: of `found`, or what behaves like it.
        folder: with graph.nnef.
        shape: of a picture (1, channel, height, width).
        classes: how many logits.

    Raises:
        InputError: with the name of the call that failed and its code.
    """

    def __init__(self, library: Any, folder: Path, shape: Sequence[int], classes: int) -> None:  # noqa: ANN401
        if len(shape) > _LARGEST or shape[0] != 1:
            raise InputError(f"openvx: got pictures of shape {tuple(shape)}; allowed: (1, C, H, W)")
        self.library, self.shape, self.answer = library, tuple(shape), (1, classes)
        self.folder = folder
        self.held: list[tuple[str, ctypes.c_void_p]] = []
        try:
            self.context = self._make("Context", "vxCreateContext")
            url = str(folder.resolve()).encode()
            self.kernel = self._make(
                "Kernel", "vxImportKernelFromURL", self.context, ctypes.c_char_p(_NNEF),
                ctypes.c_char_p(url),
            )  # fmt: skip
            self.graph = self._make("Graph", "vxCreateGraph", self.context)
            self.input = self._tensor(self.shape)
            self.output = self._tensor(self.answer)
            self.node = self._make("Node", "vxCreateGenericNode", self.graph, self.kernel)
            for place, tensor in enumerate((self.input, self.output)):
                self._ask("vxSetParameterByIndex", self.node, ctypes.c_uint32(place), tensor)
            self._ask("vxVerifyGraph", self.graph)
        except BaseException:
            self.close()
            raise

    def _make(self, kind: str, name: str, *given: Any) -> ctypes.c_void_p:  # noqa: ANN401
        handle = ctypes.c_void_p(getattr(self.library, name)(*given))
        if not handle.value:
            raise InputError(f"openvx: {name} gave nothing; allowed: a handle")
        self.held.append((kind, handle))
        code = self.library.vxGetStatus(handle)
        if code:
            raise InputError(f"openvx: {name} failed with the code {code}; allowed: 0")
        return handle

    def _ask(self, name: str, *given: Any) -> None:  # noqa: ANN401
        code = getattr(self.library, name)(*given)
        if code:
            raise InputError(f"openvx: {name} failed with the code {code}; allowed: 0")

    def _tensor(self, shape: Sequence[int]) -> ctypes.c_void_p:
        return self._make(
            "Tensor", "vxCreateTensor", self.context, ctypes.c_size_t(len(shape)),
            _sizes(lengths(shape)), ctypes.c_int32(_FLOAT32), ctypes.c_int8(0),
        )  # fmt: skip

    def _copy(self, tensor: ctypes.c_void_p, values: np.ndarray, usage: int) -> None:
        shape = values.shape
        self._ask(
            "vxCopyTensorPatch", tensor, ctypes.c_size_t(len(shape)), _sizes([0] * len(shape)),
            _sizes(lengths(shape)), _sizes(strides(shape)),
            values.ctypes.data_as(ctypes.c_void_p), ctypes.c_int32(usage), ctypes.c_int32(_HOST),
        )  # fmt: skip

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """The logits (1, class) of one picture (1, channel, height, width).

        Raises:
            InputError: for another shape, or with the name of the call that failed.
        """
        if tuple(picture.shape) != self.shape:
            raise InputError(f"openvx: got a picture of {picture.shape}; allowed: {self.shape}")
        given = np.ascontiguousarray(picture, np.float32)
        found = np.zeros(self.answer, np.float32)
        self._copy(self.input, given, _WRITE)
        self._ask("vxProcessGraph", self.graph)
        self._copy(self.output, found, _READ)
        return found

    @property
    def name(self) -> str:
        """The path of the implementation."""
        return str(self.library._name)

    @property
    def implementation(self) -> str:
        """What the implementation calls itself, and the version of OpenVX that it follows."""
        words, version = ctypes.create_string_buffer(_WORDS), ctypes.c_uint16()
        for key, value in ((_IMPLEMENTATION, words), (_VERSION, version)):
            size = ctypes.c_size_t(ctypes.sizeof(value))
            given = (ctypes.c_int32(key), ctypes.byref(value), size)
            self._ask("vxQueryContext", self.context, *given)
        told = words.value.decode("utf-8", "replace")
        return f"{told} (OpenVX {version.value >> 8}.{version.value & 255})"

    def close(self) -> None:
        """Give everything back, the last first."""
        while self.held:
            kind, handle = self.held.pop()
            getattr(self.library, f"vxRelease{kind}")(ctypes.byref(handle))

    def __enter__(self) -> "Runner":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give everything back."""
        self.close()


def _sizes(values: Sequence[int]) -> Any:  # noqa: ANN401
    return (ctypes.c_size_t * len(values))(*values)


class OpenVX(nn.Module):
    """A network that an OpenVX implementation runs: a black box for methods by removal."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner
        self.eval()

    def __deepcopy__(self, memo: dict[int, Any]) -> "OpenVX":
        memo[id(self)] = self
        return self

    def __reduce__(self) -> Any:  # noqa: ANN401
        return again, (
            self.runner.name,
            self.runner.folder,
            self.runner.shape,
            self.runner.answer[1],
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits, one picture after the other.

        Raises:
            InputError: when a gradient is wanted.
        """
        if images.requires_grad and torch.is_grad_enabled():
            raise InputError(
                "this explainer needs a gradient, and the network runs in OpenVX; allowed: methods "
                "by removal (rise, occlusion, lime, kernel_shap, ...)"
            )
        if torch.onnx.is_in_onnx_export():
            raise InputError(
                "export: got a network that runs in OpenVX, a black box; allowed: networks of "
                "torch functions (model=nnef reads the same folder)"
            )
        held = images.detach().to("cpu", torch.float32).numpy()
        rows = [self.runner(held[i : i + 1]) for i in range(len(held))]
        return torch.from_numpy(np.concatenate(rows)).to(images.device, images.dtype)


def again(library: str | None, folder: Path, shape: Sequence[int], classes: int) -> OpenVX:
    """The network of a folder in an implementation.

    Raises:
        InputError: when there is none, or it can't run the folder.
    """
    return OpenVX(Runner(found(library), folder, shape, classes))
