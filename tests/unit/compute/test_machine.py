"""The device that is asked for, or one line about what there is."""

import pytest
import torch

from xai_exp.compute import machine
from xai_exp.config import InputError


def test_auto_is_the_cpu_where_there_is_no_gpu():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert machine.device("auto").type == expected
    assert machine.device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name):
    with pytest.raises(InputError, match=r"device: got .*; allowed: one of auto, cpu") as caught:
        machine.device(name)
    assert "\n" not in str(caught.value)


def test_tuning_the_allocator_twice_harms_nothing():
    machine.tune_allocator()
    machine.tune_allocator()
    assert float(torch.ones(1000, 1000).sum()) == 1e6


def test_bfloat16_is_refused_where_it_is_slow(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(InputError, match="precision: got bfloat16 on cpu without matrix units"):
        machine.refuse_slow("bfloat16", cpu)
    machine.refuse_slow("float32", cpu)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    machine.refuse_slow("bfloat16", cpu)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not machine.computes_bfloat16(cpu)
