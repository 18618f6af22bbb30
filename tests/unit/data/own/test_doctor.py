"""The doctor reads everything first: each fault is listed, none of the others hidden by it."""

import os
import shutil

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from xai_exp import check
from xai_exp.data.digits import Digits
from xai_exp.data.image_folder import ImageFolder
from xai_exp.data.loading import Splits, TensorSplit
from xai_exp.data.own import doctor
from xai_exp.data.own.duplicates import looks, near
from xai_exp.data.own.folder import say


@pytest.fixture(autouse=True)
def fresh():
    say.cache_clear()


def scene(seed, size=(32, 32)):
    """A smooth random picture, which compression and scaling leave alike."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path):
    for label, name in enumerate(("a", "b")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            scene(100 * label + number).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def examined(root, **fields):
    return doctor.examine(ImageFolder(root=str(root), **fields))


def one(lines, start):
    found = [line for line in lines if start in line]
    assert len(found) == 1, (start, lines)
    return found[0]


def test_good_data_have_no_fault_and_are_described(root):
    report = examined(root)
    assert not report.refused
    assert not report.warned
    assert report.told == [
        "classes: a 20, b 20 (40 images)",
        "splits: 28 train, 4 validation, 8 test",
        "sizes: 32x32 (40)",
        "bands: 3 of uint8 (40)",
        one(report.told, "numbers: from "),
        "pixels: RGB; bytes as they are, 0 is black and 255 white; 32x32 kept",
    ]


def test_every_broken_file_is_listed(root):
    (root / "b" / "broken.png").write_bytes(b"broken")
    whole = (root / "b" / "1.png").read_bytes()
    (root / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "b" / "empty.png").write_bytes(b"")
    os.mkfifo(root / "b" / "pipe.png")
    (root / "b" / "link.png").symlink_to("nowhere.png")
    Image.new("1", (20_000, 9_000)).save(root / "b" / "huge.png")
    scene(7).convert("RGBA").resize((32, 32)).save(root / "b" / "opaque.png")
    clear = np.zeros((32, 32, 4), np.uint8)
    Image.fromarray(clear).save(root / "b" / "clear.png")
    tifffile.imwrite(root / "b" / "deep.tif", np.arange(1024, dtype=np.uint16).reshape(32, 32))
    scene(8, size=(16, 16)).save(root / "b" / "small.png")
    refused = examined(root).refused
    for name, what in {
        "broken.png": "can't be read",
        "cut.png": "is cut off",
        "empty.png": "is empty",
        "pipe.png": "a pipe",
        "link.png": "a broken link",
        "huge.png": "more than 89,478,485 pixels",
        "clear.png": "a transparent picture",
        "deep.tif": "and deeper ones",
        "small.png": "got 16x16 pixels",
    }.items():
        assert what in one(refused, name)
    assert len(refused) == 9


def test_masks_that_do_not_fit_are_listed(root, tmp_path):
    shutil.copytree(root, tmp_path / "masks")
    masks = sorted((tmp_path / "masks").rglob("*.png"))
    for path in masks:
        Image.new("L", (32, 32), 255).save(path)
    masks[0].unlink()
    Image.new("L", (16, 16), 255).save(masks[1])
    Image.new("RGB", (32, 32), (255, 0, 0)).save(masks[2])
    Image.new("L", (32, 32), 0).save(masks[3])
    report = examined(root, masks=str(tmp_path / "masks"))
    assert len(report.refused) == 3
    one(report.refused, "got no mask for")
    one(report.refused, "got 16x16 pixels")
    one(report.refused, "a mask in colours")
    assert one(report.told, "masks: ").startswith("masks: 37, the object fills 0 % to 100 %")
    one(report.warned, "masks that show no object: 1")


def test_tiny_and_unbalanced_classes_are_named(root):
    for number in range(5, 20):
        (root / "b" / f"{number}.png").unlink()
    warned = examined(root).warned
    one(warned, "tiny classes, of fewer than 20 images: b")
    one(warned, "of 5 to 20 images: always guessing the largest is right for 80 %")


def test_the_same_picture_in_two_splits_or_classes_is_named(root):
    for number in range(20):
        scene(number).save(root / "a" / f"copy{number}.bmp")
    scene(3).save(root / "b" / "3.png")
    warned = examined(root).warned
    assert int(one(warned, "identical across splits").split(": ")[1]) > 3
    assert "a/3.png" in one(warned, "identical in two classes")
    assert not any("nearly" in line for line in warned)


def test_nearly_the_same_picture_in_two_splits_is_named(root):
    for number in range(20):
        scene(number).resize((48, 48)).save(root / "a" / f"near{number}.jpg", quality=60)
    line = one(examined(root, resize=(32, 32)).warned, "nearly identical across splits")
    assert "a/near" in line
    assert not any("identical" in each for each in examined(root / ".", resize=(9, 9)).refused)


def test_alike_are_pictures_of_other_size_compression_or_brightness_and_no_others(tmp_path):
    originals = [scene(seed) for seed in range(30)]
    flat = [Image.new("RGB", (32, 32), (level,) * 3) for level in (0, 0, 100, 255)]
    scene(0).save(tmp_path / "x.jpg", quality=50)
    changed = [
        Image.open(tmp_path / "x.jpg").convert("RGB"),
        scene(1).resize((20, 20)),
        scene(2).point([int(20 + 0.8 * level) for level in range(256)] * 3),
    ]
    found = [looks(np.moveaxis(np.asarray(image), 2, 0)) for image in (*originals, *flat, *changed)]
    assert list(near(found)) == [(0, 34), (1, 35), (2, 36)]
    assert list(near([])) == []


def test_what_will_be_done_to_pixels_is_said(root):
    scene(1, size=(16, 32)).save(root / "a" / "1.png")
    line = one(examined(root, resize=(16, 16), color="grey").told, "pixels: ")
    assert line == (
        "pixels: grey; bytes as they are, 0 is black and 255 white; 40 of 40 are scaled to 16x16, "
        "1 of them to another shape"
    )


class _Leaky(Splits):
    classes = ("a", "b")
    size = (4, 4)

    def split(self, which):
        pixels = torch.full((20, 1, 4, 4), which / 4)
        pixels[:, 0, 0, 0] = torch.arange(20) / 20
        if which == 2:
            pixels[3] = self.train.pixels[5]
        return TensorSplit(pixels=pixels, labels=torch.arange(20) % 2)


def test_other_data_are_examined_by_what_their_splits_hold():
    report = doctor.examine(_Leaky())
    assert one(report.warned, "identical") == "identical across splits: 1: train 5 = test 3"
    assert doctor.examine(Digits()).told[0] == "images: 8x8 pixels, 1 channels"


def test_the_command_ends_with_0_for_good_data_and_with_1_else(root, capsys):
    arguments = ["dataset=image_folder", f"dataset.root={root}", "tracking=off"]
    assert check.check(arguments) == 0
    assert "nothing to find fault with" in capsys.readouterr().out
    (root / "a" / "[bold]x.png").write_bytes(b"")
    assert check.check(arguments) == 1
    printed = capsys.readouterr().out
    assert "a/[bold]x.png: got a file that is empty" in printed
    assert "1 faults that a run refuses, 0 warnings" in printed
    assert check.check(["dataset=image_folder", "dataset.root=a[1]"]) == 1
    assert """quote it: 'dataset.root="a[1]"'""" in capsys.readouterr().err
