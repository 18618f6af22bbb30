"""The OpenVX runner's calls, by a double that records them; it is no implementation of OpenVX."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_exp.config import InputError
from xai_exp.formats.openvx import OpenVX, Runner, found, lengths, strides

SHAPE = (1, 2, 3, 4)


class RecordingDouble:
    """Takes the calls of an implementation and notes them; its network sums rows of the picture.

    It walks memory by the lengths and strides that it is told, as an implementation would.
    """

    def __init__(self, failing=None):
        self.calls, self.failing, self.stored, self.handles = [], failing, {}, 0

    def __getattr__(self, name):
        def call(*given):
            self.calls.append(name)
            if name == self.failing:
                return 0 if name in ("vxCreateContext", "vxImportKernelFromURL") else -11
            if name.startswith(("vxCreate", "vxImport")):
                self.handles += 1
                if name == "vxImportKernelFromURL":
                    assert given[1].value == b"vx_khr_nnef"
                return self.handles
            if name == "vxQueryContext":
                said = b"double" if given[1].value == 0x80105 else bytes([3, 1])
                ctypes.memmove(given[2], said, len(said))
            if name == "vxCopyTensorPatch":
                self.copy(*given)
            if name == "vxProcessGraph":
                picture = self.stored[self.tensors()[0]]
                self.stored[self.tensors()[1]] = picture.sum((2, 3))
            return 0

        return call

    def tensors(self):
        return 4, 5  # the handles after context, kernel and graph

    def copy(self, tensor, axes, start, end, steps, values, usage, _host):
        assert list(start) == [0] * axes.value
        ends, by = list(end), list(steps)
        whole = ctypes.cast(values, ctypes.POINTER(ctypes.c_char))
        places = np.stack(np.unravel_index(np.arange(np.prod(ends)), ends[::-1]), 1)[:, ::-1]
        offsets = (places * by).sum(1)
        if usage.value == 0x11002:
            raw = b"".join(whole[int(o) : int(o) + 4] for o in offsets)
            self.stored[tensor.value] = np.frombuffer(raw, np.float32).reshape(ends[::-1])
        else:
            raw = self.stored[tensor.value].astype(np.float32).tobytes()
            for place, o in enumerate(offsets):
                ctypes.memmove(ctypes.addressof(whole.contents) + int(o), raw[4 * place :], 4)


def test_the_first_dimension_is_the_fastest():
    assert lengths(SHAPE) == [4, 3, 2, 1]
    assert strides(SHAPE) == list(np.zeros(SHAPE, np.float32).strides)[::-1]


def test_pictures_arrive_as_they_are_and_everything_is_given_back():
    double = RecordingDouble()
    with Runner(double, Path("net"), SHAPE, 2) as runner:
        images = torch.rand(3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
        strided = images.transpose(2, 3).contiguous().transpose(2, 3)  # other strides in memory
        answer = OpenVX(runner)(strided)
        assert runner.implementation == "double (OpenVX 1.3)"
    assert torch.allclose(answer, images.sum((2, 3)), atol=1e-6)
    assert double.calls.index("vxVerifyGraph") < double.calls.index("vxProcessGraph")
    made = [c for c in double.calls if c.startswith(("vxCreate", "vxImport"))]
    released = [c for c in double.calls if c.startswith("vxRelease")]
    assert len(made) == len(released)
    assert released[-1] == "vxReleaseContext"


@pytest.mark.parametrize(
    "name", ["vxCreateContext", "vxImportKernelFromURL", "vxVerifyGraph", "vxSetParameterByIndex"]
)
def test_a_call_that_fails_is_named_and_nothing_is_kept(name):
    double = RecordingDouble(failing=name)
    with pytest.raises(InputError, match=f"openvx: {name} (gave nothing|failed with the code -11)"):
        Runner(double, Path("net"), SHAPE, 2)
    made = [c for c in double.calls if c.startswith(("vxCreate", "vxImport")) and c != name]
    assert len([c for c in double.calls if c.startswith("vxRelease")]) == len(made)


def test_without_an_implementation_one_line_says_so(tmp_path):
    (tmp_path / "lib.so").write_bytes(b"no library")
    with pytest.raises(InputError, match="can't be loaded"):
        found(str(tmp_path / "lib.so"))
    with pytest.raises(InputError, match="without vxCreateContext"):
        found("libc.so.6")


def test_a_run_names_its_implementation_and_compares_it_with_torch(
    network, images, tmp_path, monkeypatch
):
    from xai_exp.formats import exporting, openvx
    from xai_exp.formats.nnef import writing
    from xai_exp.models.exchanged import OpenVX as Architecture

    writing.write(exporting.exported(network, images).model, tmp_path / "net", (1, 3, 32, 32))
    asked = Architecture(path=str(tmp_path / "net"), library=str(tmp_path / "no.so"))
    with pytest.raises(InputError, match="can't be loaded"):
        asked.build(3, (32, 32), 4)

    class Torch(torch.nn.Module):
        wrong = 0.0

        def forward(self, images):
            return network(images) + self.wrong

    monkeypatch.setattr(openvx, "again", lambda *_: Torch())
    with torch.no_grad():
        assert torch.equal(asked.build(3, (32, 32), 4)(images), network(images))
    monkeypatch.setattr(Torch, "wrong", 0.1)
    with pytest.raises(InputError, match="logits that differ from torch's"):
        asked.build(3, (32, 32), 4)


def test_a_gradient_is_refused():
    runner = Runner(RecordingDouble(), Path("net"), SHAPE, 2)
    with pytest.raises(InputError, match="methods by removal"):
        OpenVX(runner)(torch.rand(SHAPE).requires_grad_())
