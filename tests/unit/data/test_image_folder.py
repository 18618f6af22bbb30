"""One's own images: read as they are, refused in one line where they can't be used."""

import numpy as np
import pytest
import torch
from PIL import Image

from xai_exp.config import InputError
from xai_exp.data.image_folder import ImageFolder
from xai_exp.types import Dataset

SPLITS = ("train", "validation", "test")


def paint(path, value, size=(6, 5), mode="L"):
    """An image of height and width `size`, one value but for a corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), value, np.uint8)
    pixels[0, 0] = 255 - value
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    """Ten images of each of two classes, the value of each its own, and their masks."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            paint(tmp_path / "images" / name / f"{number}.png", 10 * number + label)
            paint(tmp_path / "masks" / name / f"{number}.png", 100 + 10 * number + label)
    return tmp_path


def made(folder, **fields):
    return ImageFolder(root=str(folder / "images"), **fields)


def refusal(make):
    def used():
        data = make()
        return [getattr(data, split) for split in SPLITS]

    with pytest.raises(InputError) as caught:
        used()
    said = str(caught.value)
    assert "\n" not in said
    assert "allowed:" in said
    return said


def everything(split):
    return split.images(torch.arange(len(split)))


def test_images_labels_and_masks_are_those_of_the_files(folder):
    data = made(folder, masks=str(folder / "masks"))
    assert isinstance(data, Dataset)
    assert (data.classes, data.channels, data.size) == (("cat", "dog"), 1, (6, 5))
    seen = []
    for split in SPLITS:
        mine = getattr(data, split)
        images = everything(mine)
        masks = mine.parts(torch.arange(len(mine)))
        values = (images[:, 0, 3, 3] * 255).round().long()
        assert images.shape[1:] == (1, 6, 5)
        assert masks.shape == (len(mine), 1, 6, 5)
        assert torch.equal(images[:, 0, 0, 0], (255 - values) / 255)
        assert torch.equal(values % 10, mine.labels)
        assert torch.equal(masks[:, 0, 3, 3], (values + 100) / 255)
        seen += values.tolist()
    assert sorted(seen) == sorted(10 * n + label for n in range(10) for label in (0, 1))
    assert [len(getattr(data, split)) for split in SPLITS] == [14, 2, 4]


def test_the_split_is_by_seed(folder):
    first, again, other = (made(folder, seed=seed).train for seed in (0, 0, 1))
    assert torch.equal(everything(first), everything(again))
    assert not torch.equal(everything(first), everything(other))


@pytest.mark.parametrize(
    ("mode", "color", "channels"),
    [("L", "auto", 1), ("RGB", "auto", 3), ("L", "rgb", 3), ("RGB", "grey", 1), ("1", "auto", 1)],
)
def test_colours_are_kept_dropped_or_made_as_asked(tmp_path, mode, color, channels):
    for name in ("a", "b"):
        for number in range(3):
            paint(tmp_path / "images" / name / f"{number}.png", 80, mode=mode)
    data = made(tmp_path, color=color)
    assert data.channels == channels
    assert everything(data.train).shape[1:] == (channels, 6, 5)


@pytest.mark.parametrize(
    ("value", "asked", "seen"), [(90 * 257, "dtype", 90 / 255), (90, "auto", 90 / 255)]
)
def test_sixteen_bits_are_scaled_by_their_type_or_by_the_bits_in_use(tmp_path, value, asked, seen):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((6, 5), value, np.uint16)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    data = made(tmp_path, range=asked)
    assert data.channels == 1
    assert float(everything(data.train).max()) == pytest.approx(seen, abs=1e-6)


def test_floating_point_pixels_among_bytes_are_refused(folder):
    path = folder / "images" / "dog" / "4.tif"
    Image.fromarray(np.full((6, 5), 0.5, np.float32)).save(path)
    said = refusal(lambda: made(folder))
    assert "got images of 8 bits (" in said
    assert "dog/4.tif, float32); allowed: one kind, or dataset.range=dtype or [low,high]" in said


def test_a_palette_is_read_as_its_colours(tmp_path):
    for name in ("a", "b"):
        for number in range(3):
            path = tmp_path / "images" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("P", (5, 6), 1)
            image.putpalette([0, 0, 0, 200, 100, 50])
            image.save(path)
    data = made(tmp_path)
    assert data.channels == 3
    colours = everything(data.train)[0, :, 2, 2] * 255
    torch.testing.assert_close(colours, torch.tensor([200.0, 100.0, 50.0]))


def test_images_of_different_sizes_are_scaled_if_asked(folder):
    paint(folder / "images" / "cat" / "3.png", 30, size=(12, 10))
    said = refusal(lambda: made(folder))
    assert "got 12x10 pixels; allowed: 6x5" in said
    assert "dataset.resize=[height,width]" in said
    paint(folder / "masks" / "cat" / "3.png", 130, size=(12, 10))
    data = made(folder, resize=(8, 4), masks=str(folder / "masks"))
    assert data.size == (8, 4)
    assert everything(data.train).shape[1:] == (1, 8, 4)
    assert data.train.parts(torch.arange(2)).shape == (2, 1, 8, 4)


def test_a_mask_may_have_another_suffix(folder):
    path = folder / "masks" / "cat" / "3.png"
    Image.open(path).save(path.with_suffix(".bmp"))
    path.unlink()
    data = made(folder, masks=str(folder / "masks"))
    assert all(getattr(data, s).parts(torch.arange(1)) is not None for s in SPLITS)


def test_images_in_folders_within_a_class_folder_belong_to_the_class(folder):
    for place in ("images", "masks"):
        paint(folder / place / "dog" / "more" / "11.png", 111)
    data = made(folder, masks=str(folder / "masks"))
    assert sum(len(getattr(data, split)) for split in SPLITS) == 21


def test_other_files_are_left_alone(folder):
    (folder / "images" / "cat" / "notes.txt").write_text("not an image")
    (folder / "images" / "README").write_text("not a class")
    assert made(folder).classes == ("cat", "dog")
    assert len(made(folder).train) == 14


def test_hidden_files_and_the_folder_of_masks_are_not_images(folder):
    before = [everything(getattr(made(folder), split)) for split in SPLITS]
    paint(folder / "images" / ".thumbnails" / "1.png", 9)
    (folder / "images" / "cat" / "._0.png").write_bytes(b"what another system leaves")
    (folder / "masks").rename(folder / "images" / "masks")
    data = made(folder, masks=str(folder / "images" / "masks"))
    assert data.classes == ("cat", "dog")
    assert data.test.parts(torch.arange(2)).shape == (2, 1, 6, 5)
    for split, images in zip(SPLITS, before, strict=True):
        assert torch.equal(everything(getattr(data, split)), images)


def test_a_mask_of_zeros_and_ones_is_refused_and_an_empty_one_is_not(folder):
    path = folder / "masks" / "cat" / "5.png"
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(path)
    data = made(folder, masks=str(folder / "masks"))
    splits = [getattr(data, name) for name in SPLITS]
    masks = torch.cat([split.parts(torch.arange(len(split))) for split in splits])
    assert int((masks.amax((1, 2, 3)) == 0).sum()) == 1
    Image.fromarray(np.eye(6, 5, dtype=np.uint8)).save(path)
    said = refusal(lambda: made(folder, masks=str(folder / "masks")))
    assert f"{path}: got a mask whose brightest pixel is 1; allowed: 255 (white)" in said


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_a_broken_file_is_named(folder, content):
    path = folder / "images" / "dog" / "4.png"
    path.write_bytes(content)
    assert str(path) in refusal(lambda: made(folder))


def test_a_file_that_is_cut_off_is_named(folder):
    path = folder / "images" / "dog" / "4.png"
    Image.effect_noise((5, 6), 50).save(path)
    path.write_bytes(path.read_bytes()[:60])
    assert str(path) in refusal(lambda: made(folder))


def test_a_missing_mask_is_named(folder):
    (folder / "masks" / "dog" / "4.png").unlink()
    said = refusal(lambda: made(folder, masks=str(folder / "masks")))
    assert "got no mask for" in said
    assert "dog/4.png" in said


def test_a_mask_of_another_size_is_named(folder):
    paint(folder / "masks" / "dog" / "4.png", 4, size=(3, 3))
    assert "got 3x3 pixels" in refusal(lambda: made(folder, masks=str(folder / "masks")))


def test_one_class_is_not_enough(tmp_path):
    for number in range(5):
        paint(tmp_path / "images" / "cat" / f"{number}.png", number)
    assert "got 1 class folders" in refusal(lambda: made(tmp_path))


def test_two_images_of_a_class_are_not_enough(folder):
    for number in range(2, 10):
        (folder / "images" / "dog" / f"{number}.png").unlink()
    assert "got 2 images; allowed: at least 3" in refusal(lambda: made(folder))


@pytest.mark.parametrize("name", ["root", "masks"])
def test_a_missing_folder_is_named(folder, name):
    fields = {"root": str(folder / "images"), name: str(folder / "nowhere")}
    said = refusal(lambda: ImageFolder(**fields))
    assert f"ImageFolder.{name}: got {folder / 'nowhere'}" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [("color", "red"), ("resize", (8,)), ("resize", (8, 8, 8)), ("resize", (0, 8)), ("seed", -1)],
)
def test_what_can_not_be_is_refused(folder, field, value):
    assert f"ImageFolder.{field}" in refusal(lambda: made(folder, **{field: value}))
