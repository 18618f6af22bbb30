"""Every dataset's YAML composes, names all fields of its class, and keeps the protocol."""

import struct
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class, instantiate
from PIL import Image

from xai_exp.data.loading import SceneSplit
from xai_exp.types import Dataset, Scenes, Split

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folders for the datasets that read files: nine images of each class."""
    root = tmp_path_factory.mktemp("files")
    for label in range(2):
        folder = root / "image_folder" / str(label)
        folder.mkdir(parents=True)
        for number in range(9):
            Image.fromarray(np.full((12, 10), 20 * number, np.uint8)).save(folder / f"{number}.png")
    (root / "mnist").mkdir()
    for part in ("train", "t10k"):
        images = root / "mnist" / f"{part}-images-idx3-ubyte"
        images.write_bytes(struct.pack(">HBB3I", 0, 8, 3, 90, 28, 28) + bytes(90 * 784))
        labels = root / "mnist" / f"{part}-labels-idx1-ubyte"
        labels.write_bytes(struct.pack(">HBB1I", 0, 8, 1, 90) + bytes(range(10)) * 9)
    return root


@cache
def composition(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [f"dataset={name}"]).dataset


def composed(name, files):
    config = deepcopy(composition(name))
    if "count" in config:
        config.count = 300
    if "root" in config.keys():  # noqa: SIM118 (`in config` is false of ???)
        config.root = str(files / name)
    return config


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_names_every_field(name, files):
    config = composed(name, files)
    keys = {str(key) for key in config} - {"_target_"}
    assert keys == {field.name for field in fields(get_class(config._target_))}


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_keeps_the_protocol(name, files):
    data = instantiate(composed(name, files), _convert_="all")
    assert isinstance(data, Dataset)
    assert len(set(data.classes)) == len(data.classes) >= 2
    for split in (data.train, data.validation, data.test):
        assert isinstance(split, Split)
        assert len(split) == len(split.labels) > 0
        assert split.labels.dtype == torch.int64
        assert int(split.labels.min()) >= 0
        assert int(split.labels.max()) < len(data.classes)
        check(data, split)


def check(data, split):
    """Images, scenes and parts at positions in any order."""
    index = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:5]
    images, scenes, parts = split.images(index), split.scenes(index), split.parts(index)
    assert images.shape == (len(index), data.channels, *data.size)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    files = split.files(index)
    assert files is None or len(files) == len(set(files)) == len(index)
    if parts is not None:
        assert parts.shape[::2] == (len(index), data.size[0])
    if scenes is not None:
        assert isinstance(scenes, Scenes)
        kept = split.kept if isinstance(split, SceneSplit) else None
        drawn = scenes.render() if kept is None else kept.drawn(scenes, index)
        assert torch.equal(drawn, images)
        assert torch.equal(scenes.parts(), parts)
        assert parts.shape[:2] == scenes.present.shape
