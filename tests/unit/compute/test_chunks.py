"""Chunks of images: halved when memory runs out, with equal results in the same order."""

import weakref

import pytest
import torch
from torch import nn

from xai_exp.compute import chunks, ops
from xai_exp.config import InputError
from xai_exp.explainers.deeplift.deeplift import DeepLIFT
from xai_exp.explainers.gradients.gradients import Gradient, IntegratedGradients

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate ...")
ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), CPU]


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(chunks, "_FITTING", {})


class Small:
    """A device with room for so many images; it writes down how many it was given."""

    def __init__(self, room, error=ERRORS[0]):
        self.room, self.error, self.given = room, error, []

    def __call__(self, images, *_):
        self.given.append(len(images))
        if len(images) > self.room:
            raise self.error
        return images.flatten(1).sum(1)


def images(count=30):
    return torch.arange(count * 4.0).view(count, 1, 2, 2)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("room", [1, 2, 3, 7, 29, 30])
def test_what_does_not_fit_is_done_in_smaller_chunks_with_equal_results_in_order(room, error):
    x, device = images(), Small(room, error)
    assert torch.equal(ops.in_chunks(device, x, x), x.flatten(1).sum(1))
    assert sum(size for size in device.given if size <= room) == 30


def test_chunks_are_halved_from_what_was_really_given():
    device = Small(5)
    ops.in_chunks(device, images(), size=4096)
    assert device.given[:4] == [30, 15, 7, 3]


def test_what_fits_is_remembered_for_images_of_that_shape():
    device = Small(5)
    ops.in_chunks(device, images())
    device.given.clear()
    ops.in_chunks(device, images())
    assert max(device.given) == 3
    assert chunks.chunk_size(images()) == 3
    assert chunks.chunk_size(torch.zeros(30, 1, 3, 3)) == 32


def test_a_size_that_was_asked_for_is_not_remembered():
    ops.in_chunks(Small(5), images(), size=20)
    assert chunks.chunk_size(images()) == 32


def test_groups_are_never_torn_apart():
    device = Small(7)
    assert torch.equal(ops.in_chunks(device, images(), together=3), images().flatten(1).sum(1))
    assert all(size % 3 == 0 for size in device.given)
    with pytest.raises(InputError):
        ops.in_chunks(Small(5), images(), together=6)


@pytest.mark.parametrize("error", ERRORS)
def test_when_one_image_is_too_much_the_user_gets_one_line(error):
    with pytest.raises(InputError, match=r"^out of memory on cpu: got .*; allowed: [^\n]*$"):
        ops.in_chunks(Small(0, error), images())
    with pytest.raises(InputError, match=r"^out of memory: got .*; allowed: [^\n]*$"):
        ops.in_grid(lambda rows, _: Small(0, error)(images()[rows]), 4, 6, 24)


def test_work_around_work_that_ran_out_of_memory_halves_too():
    outer, inner = [], Small(0)

    def both(part):
        outer.append(len(part))
        inner.room = 0 if len(part) > 8 else 4
        return ops.in_chunks(inner, part)

    assert torch.equal(ops.in_chunks(both, images()), images().flatten(1).sum(1))
    assert outer == [30, 15, *[7] * 4, 2]


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        ops.in_chunks(Small(0, RuntimeError("mat1 and mat2 shapes differ")), images())


def test_a_failed_attempts_memory_is_free_before_the_next_one():
    held = []

    class Held(torch.Tensor):
        pass

    def hungry(part):
        assert not any(reference() is not None for reference in held)
        mine = part.clone().as_subclass(Held)
        held.append(weakref.ref(mine))
        if len(part) > 4:
            raise torch.OutOfMemoryError
        del mine
        return part.sum((1, 2, 3))

    ops.in_chunks(hungry, images())
    assert len(held) > 4


class Cramped(nn.Module):
    """A network that has room for four images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(16, 3)
        self.room = 4

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.linear(x.flatten(1)).tanh()


@pytest.mark.parametrize("explainer", [Gradient(), IntegratedGradients(steps=5), DeepLIFT()])
def test_explainers_go_on_with_fewer_images(explainer):
    x, targets, model = torch.rand(20, 1, 4, 4), torch.arange(20) % 3, Cramped()
    few = explainer(model, x, targets)
    model.room = 1000
    chunks._FITTING.clear()
    torch.testing.assert_close(few, explainer(model, x, targets))
    model.room = 0
    with pytest.raises(InputError, match="out of memory"):
        explainer(model, x, targets)
    assert model.training
    assert model.linear.weight.requires_grad
