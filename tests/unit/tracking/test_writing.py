"""A file of arrays is what numpy writes, whether one is there as a whole or comes in blocks."""

import zipfile

import numpy as np
import pytest

from xai_exp.tracking import Blocks, writing


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_blocks_make_the_file_that_numpy_makes(tmp_path, size):
    rng = np.random.default_rng(0)
    given = {
        "heatmaps": rng.normal(size=(10, 5, 4)).astype(np.float32),
        "parts": rng.integers(0, 255, (10, 3, 5, 4)).astype(np.uint8),
        "guard/error": rng.normal(size=10),
    }

    def made(array):
        return lambda: (array[start : start + size] for start in range(0, 10, size))

    blocks = {
        name: array if name.startswith("guard") else Blocks(rows=10, made=made(array))
        for name, array in given.items()
    }
    np.savez_compressed(tmp_path / "numpy.npz", **given)
    writing.arrays(tmp_path / "whole.npz", given)
    writing.arrays(tmp_path / "blocks.npz", blocks)
    with zipfile.ZipFile(tmp_path / "numpy.npz") as expected:
        for name in ("whole", "blocks"):
            with zipfile.ZipFile(tmp_path / f"{name}.npz") as found:
                assert found.namelist() == expected.namelist()
                for one in expected.namelist():
                    assert found.read(one) == expected.read(one)
                    assert found.getinfo(one).compress_type == expected.getinfo(one).compress_type


def test_blocks_that_are_no_runs_of_memory_are_written_in_order(tmp_path):
    rows = np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1)
    writing.arrays(
        tmp_path / "a.npz", {"a": Blocks(rows=2, made=lambda: iter([rows[:1], rows[1:]]))}
    )
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["a"], rows)
