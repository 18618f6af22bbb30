"""bfloat16 only where it is no slower."""

import pytest
import torch

from xai_exp.compute import machine
from xai_exp.config import InputError


def test_bfloat16_is_refused_where_it_is_slow(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.raises(InputError, match="^precision: got bfloat16 on cpu without matrix units"):
        machine.refuse_slow("bfloat16", cpu)
    machine.refuse_slow("float32", cpu)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    machine.refuse_slow("bfloat16", cpu)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not machine.computes_bfloat16(cpu)
