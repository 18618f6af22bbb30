"""The shared functions that rankings and perturbed batches are made of."""

import math

import pytest
import torch

from xai_exp.compute import ops


@pytest.fixture
def keys(generator):
    return ops.image_keys(torch.rand(200, 1, 4, 4, generator=generator))


def test_keyed_descending_sorts_all_floats(keys):
    awkward = [0.0, -0.0, 1e-38, -1e-38, 3e38, -3e38, math.inf, -math.inf, 1.0, -1.0, 1e-45, 0.5]
    values = torch.tensor(awkward).expand(200, -1)
    ordered = values.gather(1, ops.keyed_descending(values, keys))
    assert (ordered[:, :-1] >= ordered[:, 1:]).all()


def test_keyed_descending_puts_equal_values_in_every_order_equally_often(generator):
    keys = ops.image_keys(torch.rand(2400, 1, 4, 4, generator=generator))
    orders = ops.keyed_descending(torch.tensor([0.0, 1.0, -0.0, 1.0, 0.0]).expand(2400, -1), keys)
    assert set(map(tuple, orders[:, :2].sort(1).values.tolist())) == {(1, 3)}
    counts = torch.unique(orders, dim=0, return_counts=True)[1]
    assert len(counts) == 12
    assert ((counts - 200.0) ** 2 / 200).sum() < 31.3  # chi squared, 11 df, p = 0.001


def test_keyed_descending_of_a_row_is_the_same_alone(keys):
    values = torch.zeros(200, 30)
    together = ops.keyed_descending(values, keys)
    assert torch.equal(ops.keyed_descending(values[7:8], keys[7:8]), together[7:8])


def slowly_descending(values, keys):
    """By value, then by the key's random number of the position: the definition, with one sort."""
    luck = (ops.keyed_uniform(keys, values.shape[1]) * (1 << 24)).long()
    pairs = [
        sorted(range(len(row)), key=lambda i, row=row, own=own: (-row[i], -own[i]))
        for row, own in zip(values.tolist(), luck.tolist(), strict=True)
    ]
    return torch.tensor(pairs)


@pytest.mark.parametrize("levels", [1, 2, 7, 1000])
def test_keyed_descending_breaks_ties_by_the_keys_numbers(keys, generator, levels):
    values = torch.randint(levels, (200, 50), generator=generator) - levels / 2
    values[3] = torch.randn(50, generator=generator)
    ordered = ops.keyed_descending(values, keys)
    assert torch.equal(ordered, slowly_descending(values, keys))
    assert torch.equal(ops.keyed_argmax(values, keys), ordered[:, 0])


def test_named_keys_draw_independently(keys):
    first, second = (
        ops.keyed_uniform(ops.named_keys(keys, name), 500).flatten() - 0.5 for name in ("a", "b")
    )
    assert abs((first * second).mean() * 12) < 4 / math.sqrt(len(first))


@pytest.mark.parametrize("size", [1, 3, 5, 7, 8, 64, 1000])
def test_grid_is_covered_once_in_even_blocks_of_at_most_its_size(size):
    rows, columns = 5, 7
    cells = torch.arange(35.0).view(5, 7)
    shapes = []

    def block(row, column):
        shapes.append(cells[row, column].shape)
        return cells[row, column]

    assert torch.equal(ops.in_grid(block, rows, columns, size), cells)
    assert all(high * wide <= size for high, wide in shapes)
    best = math.ceil(rows / max(1, size // columns)) * math.ceil(columns / size)
    assert len(shapes) == best


def test_grid_halves_its_blocks_when_memory_is_short():
    cells, sizes = torch.arange(24.0).view(4, 6), []

    def block(row, column):
        chosen = cells[row, column]
        sizes.append(chosen.numel())
        if chosen.numel() > 5:
            raise torch.OutOfMemoryError
        return chosen

    assert torch.equal(ops.in_grid(block, 4, 6, 24), cells)
    assert max(sizes[-8:]) <= 5


def test_grid_gives_up_when_one_cell_is_too_much():
    def block(row, column):
        raise torch.OutOfMemoryError(f"{row} {column}")

    with pytest.raises(torch.OutOfMemoryError):
        ops.in_grid(block, 4, 6, 24)
