"""An exported dataset is read by others, exact where it says so, and made again byte for byte."""

import csv
import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from xai_exp.config import InputError
from xai_exp.data.counting import Counting
from xai_exp.data.scenes.scene import Scene
from xai_exp.export import export
from xai_exp.export.croissant import _COLUMNS

SMALL = ["dataset=counting", "dataset.count=60", "dataset.pixels=32", "dataset.max_objects=2"]
DATA = Counting(count=60, pixels=32, max_objects=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export([*SMALL, f"out={tmp_path_factory.mktemp('data') / 'counting'}"])


def rows(folder):
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_image_folder_reads_pictures_and_labels(folder):
    for name in ("train", "validation", "test"):
        split, read = getattr(DATA, name), ImageFolder(str(folder / "images" / name))
        assert len(read) == len(split)
        assert set(read.classes) <= {"0", "1", "2"}
        numbers = [int(path.rpartition("/")[2][:-4]) for path, _ in read.samples]
        named = [int(read.classes[label]) for label in read.targets]
        assert named == split.labels[numbers].tolist()
        first = torch.from_numpy(np.array(read[0][0])[..., 0] / 255).float()
        assert (first - split.images([numbers[0]])[0, 0]).abs().max() <= 0.5 / 255 + 1e-6


def test_masks_are_the_coverage_of_every_part(folder):
    row = next(one for one in rows(folder) if one["split"] == "test" and one["label"] == "2")
    mask = np.array(Image.open(folder / row["mask"])).reshape(-1, 32, 32) / 255
    exact = DATA.test.parts([int(row["number"])])[0].numpy()
    assert mask.shape == exact.shape
    assert mask[:2].max(axis=(1, 2)).min() > 0.9
    assert np.abs(mask - exact).max() <= 0.5 / 255 + 1e-6


def test_pictures_are_drawn_again_from_their_parameters_bit_for_bit(folder):
    kept = np.load(folder / "parameters" / "test.npz")
    names = ("sides", "centres", "radii", "angles", "levels", "background")
    scene = Scene(
        **{name: torch.from_numpy(kept[name]) for name in names},
        size=tuple(kept["size"].tolist()),
    )
    assert torch.equal(scene.render(), DATA.test.images(list(range(len(DATA.test)))))


def test_the_same_configuration_gives_the_same_bytes(folder, tmp_path):
    again = export([*SMALL, f"out={tmp_path / 'again'}"])
    assert (again / "SHA256SUMS").read_text() == (folder / "SHA256SUMS").read_text()
    other = export([*SMALL, "dataset.seed=1", f"out={tmp_path / 'other'}"])
    assert (other / "SHA256SUMS").read_text() != (folder / "SHA256SUMS").read_text()


def test_metadata_describe_the_table_and_the_sheet_what_is_there(folder):
    told = json.loads((folder / "croissant.json").read_text())
    content = (folder / "index.csv").read_bytes()
    assert told["distribution"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert list(_COLUMNS) == list(rows(folder)[0])
    sheet = (folder / "README.md").read_text()
    assert "60 pictures, 32x32, grey, 3 classes" in sheet
    assert "`centres`" in sheet
    assert "dataset.pixels=32" in sheet


def test_classes_whose_names_sort_otherwise_keep_their_labels(tmp_path):
    words = ["dataset=triangles_squares", "dataset.count=60", "limit=8", f"out={tmp_path / 'x'}"]
    read = ImageFolder(str(export(words) / "images" / "train"))
    assert read.classes == ["0_triangle", "1_square"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=counting"], "no out=FOLDER"),
        (["dataset=counting", "model=cnn", "out=x"], "got model"),
        (["out=x", "limit=0"], "limit: got 0"),
        (["out=."], "which is there"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_written(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        export(words)
    assert not list(tmp_path.iterdir())
