"""MNIST from local IDX files, whole or not."""

import gzip
import math
import struct

import pytest
import torch
from torchvision import datasets

from xai_exp.config import InputError
from xai_exp.data.mnist import MNIST, read_idx
from xai_exp.types import Dataset

COUNTS = {"train": 80, "t10k": 30}


def idx(values, kind=8):
    """An IDX file's bytes."""
    return struct.pack(f">HBB{values.dim()}I", 0, kind, values.dim(), *values.shape) + bytes(
        values.flatten().tolist()
    )


def drawn(part):
    """Random images, the number of each image in its first pixel, and labels in turn."""
    source = torch.Generator().manual_seed(COUNTS[part])
    count = COUNTS[part]
    images = torch.randint(256, (count, 28, 28), generator=source)
    images[:, 0, 0] = torch.arange(count)
    return images, torch.arange(count) % 10


def write(folder, *, packed=False, dotted=False):
    folder.mkdir(parents=True, exist_ok=True)
    for part in COUNTS:
        for kind, values in zip(("images-idx3", "labels-idx1"), drawn(part), strict=True):
            name = f"{part}-{kind.replace('-', '.') if dotted else kind}-ubyte"
            data = idx(values)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


def local(root, **fields):
    return MNIST(root=str(root), download=False, **fields)


@pytest.fixture
def no_download(monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("Error downloading: no network")

    monkeypatch.setattr(datasets, "MNIST", refused)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("within", [".", "MNIST/raw"])
def test_files_are_read_packed_or_not_under_the_names_that_go_around(
    tmp_path, packed, dotted, within
):
    write(tmp_path / within, packed=packed, dotted=dotted)
    data = local(tmp_path)
    assert isinstance(data, Dataset)
    images, labels = drawn("t10k")
    assert torch.equal(data.test.labels, labels)
    read = data.test.images(torch.arange(len(labels)))
    assert torch.equal(read, images[:, None].float() / 255)
    assert data.test.parts(torch.arange(2)) is None


def test_training_images_are_split_and_the_test_images_kept_apart(tmp_path):
    data = local(write(tmp_path), validation_share=0.25)
    images, labels = drawn("train")
    seen = []
    for split, each in ((data.train, 5), (data.validation, 2)):
        numbers = (split.images(torch.arange(len(split)))[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(labels[numbers], split.labels)
        assert torch.equal(split.pixels[:, 0].long(), images[numbers])
        assert split.labels.bincount().tolist() == [each] * 10
        seen += numbers.tolist()
    assert len(seen) == len(set(seen)) == 70  # the third share of one image a class is not used


def test_the_split_is_by_seed(tmp_path):
    write(tmp_path)
    first, again, other = (local(tmp_path, seed=seed).train.pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_fingerprint_is_of_what_the_files_hold_not_of_how_they_are_packed(tmp_path):
    plain = local(write(tmp_path / "plain")).fingerprint
    assert local(write(tmp_path / "packed" / "MNIST" / "raw", packed=True, dotted=True).parents[1])
    assert local(tmp_path / "packed").fingerprint == plain
    path = write(tmp_path / "other") / "train-labels-idx1-ubyte"
    path.write_bytes(idx(drawn("train")[1].flip(0)))
    assert local(tmp_path / "other").fingerprint != plain
    assert local(tmp_path / "other").truth_fingerprint == ""


def refusal(data):
    with pytest.raises(InputError) as caught:
        _ = data.train
    said = str(caught.value)
    assert "\n" not in said
    assert "allowed:" in said
    return said


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("left", [0, 3, 10, 2000])
def test_a_file_that_is_cut_off_is_refused(tmp_path, packed, left):
    write(tmp_path, packed=packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    path.write_bytes(path.read_bytes()[:left])
    assert str(path) in refusal(local(tmp_path))


@pytest.mark.parametrize(
    "broken",
    [
        b"\x00\x01" + idx(torch.zeros(80, 28, 28, dtype=torch.long))[2:],
        idx(torch.zeros(80, 28, 28, dtype=torch.long), kind=13),
        idx(torch.zeros(80, 28, 28, dtype=torch.long)) + b"\x00",
        b"<html>not found</html>",
        b"\x00\x00\x08\xff",
    ],
)
def test_a_file_that_is_not_idx_is_refused(tmp_path, broken):
    path = write(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(broken)
    assert str(path) in refusal(local(tmp_path))


def test_a_file_that_only_claims_to_be_packed_is_refused(tmp_path):
    write(tmp_path, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(idx(drawn("train")[1]))
    assert str(path) in refusal(local(tmp_path))


def test_images_and_labels_of_different_numbers_are_refused(tmp_path):
    path = write(tmp_path) / "train-labels-idx1-ubyte"
    path.write_bytes(idx(torch.arange(79) % 10))
    assert "got images of shape (80, 28, 28) and 79 labels" in refusal(local(tmp_path))


def test_images_of_another_size_are_refused(tmp_path):
    path = write(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(idx(torch.zeros(80, 20, 20, dtype=torch.long)))
    assert "28x28" in refusal(local(tmp_path))


def test_labels_that_are_not_digits_are_refused(tmp_path):
    path = write(tmp_path) / "train-labels-idx1-ubyte"
    path.write_bytes(idx(torch.arange(80) % 26))
    assert "got a label 25; allowed: 0 to 9" in refusal(local(tmp_path))


def test_files_without_images_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(torch.zeros(0, 28, 28)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(torch.zeros(0)))
    assert "got images of shape (0, 28, 28) and 0 labels" in refusal(local(tmp_path))


@pytest.mark.parametrize("missing", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_file_is_named(tmp_path, missing, no_download):  # noqa: ARG001
    (write(tmp_path) / missing).unlink()
    assert f"{missing}[.gz]" in refusal(local(tmp_path))
    assert "the download failed" in refusal(MNIST(root=str(tmp_path)))


def test_nothing_is_downloaded_where_all_files_are(tmp_path, no_download):  # noqa: ARG001
    assert len(MNIST(root=str(write(tmp_path))).test) == 30


def test_a_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in refusal(local(tmp_path / "nowhere"))


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4)])
def test_an_idx_file_is_read_as_it_was_written(tmp_path, shape):
    values = torch.arange(math.prod(shape)).view(shape) * 5
    (tmp_path / "file").write_bytes(idx(values))
    assert torch.equal(read_idx(tmp_path / "file").long(), values)
