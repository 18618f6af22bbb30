"""Which known image another one is."""

import pytest
import torch

from xai_exp.compute import ops


def test_the_nearest_is_found_by_key_or_by_distance(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    others = torch.rand(40, 1, 6, 6, generator=generator)
    others[7] = others[3]
    moved = others[[5, 9]] + 1e-3 * torch.rand(2, 1, 6, 6, generator=generator)
    asked = torch.cat([others[[11, 7, 0]], moved])
    assert ops.nearest(asked, others).tolist() == [11, 3, 0, 5, 9]
    assert ops.nearest(asked, others).equal(ops._nearest_of_all(asked, others))
    monkeypatch.setattr(ops, "_nearest_of_all", pytest.fail)
    assert ops.nearest(others[20:], others).tolist() == list(range(20, 40))
