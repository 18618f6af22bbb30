"""Faults of other programs' image folders: each is read right or refused in one line."""

import os
import shutil
import socket

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from xai_exp.config import InputError
from xai_exp.data.image_folder import ImageFolder
from xai_exp.data.own.folder import say

SPLITS = ("train", "validation", "test")
EXIF = 0x0112


@pytest.fixture(autouse=True)
def said(caplog):
    """What the user is told, each line once in a process."""
    say.cache_clear()
    return caplog


@pytest.fixture
def root(tmp_path):
    return tmp_path / "images"


def noise(seed, size=(8, 6), bands=3, high=256):
    shape = (*size, bands) if bands > 1 else size
    return np.random.default_rng(seed).integers(0, high, shape)


def fill(folder, save, classes=("a", "b"), count=5):
    """`count` files of each class, made by save(path without suffix, number)."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            save(folder / name / str(number), 100 * label + number)


def png(path, number):
    Image.fromarray(noise(number).astype(np.uint8)).save(path.with_suffix(".png"))


def read(root, **fields):
    """All images by file name, with their masks."""
    data = ImageFolder(root=str(root), **fields)
    found = {}
    for name in SPLITS:
        split = getattr(data, name)
        index = torch.arange(len(split))
        parts = split.parts(index)
        for place, file in enumerate(split.files(index)):
            found[file] = (split.images(index)[place], None if parts is None else parts[place])
    return found


def refusal(root, **fields):
    with pytest.raises(InputError) as caught:
        read(root, **fields)
    line = str(caught.value)
    assert "\n" not in line
    assert "allowed:" in line
    line.encode("ascii")
    return line


def same(one, other):
    assert {name.split(".")[0] for name in one} == {name.split(".")[0] for name in other}
    by_stem = {name.split(".")[0]: value for name, value in other.items()}
    return all(torch.equal(image, by_stem[n.split(".")[0]][0]) for n, (image, _) in one.items())


# --- turned, in a palette, deeper -------------------------------------------------------------


@pytest.mark.parametrize(("orientation", "turn"), [(6, 1), (8, 3), (2, None), (5, "transpose")])
def test_pictures_turned_by_exif_fit_the_masks_of_the_upright_ones(tmp_path, orientation, turn):
    undo = {
        1: lambda a: np.rot90(a),
        3: lambda a: np.rot90(a, -1),
        None: lambda a: a[:, ::-1],
        "transpose": lambda a: np.swapaxes(a, 0, 1),
    }[turn]

    def turned(path, number):
        exif = Image.Exif()
        exif[EXIF] = orientation
        stored = np.ascontiguousarray(undo(noise(number).astype(np.uint8)))
        Image.fromarray(stored).save(path.with_suffix(".png"), exif=exif)

    def mask(path, number):
        covered = (noise(number, bands=1) > 128).astype(np.uint8) * 255
        Image.fromarray(covered).save(path.with_suffix(".png"))

    fill(tmp_path / "upright", png)
    fill(tmp_path / "turned", turned)
    fill(tmp_path / "masks", mask)
    upright = read(tmp_path / "upright", masks=str(tmp_path / "masks"))
    found = read(tmp_path / "turned", masks=str(tmp_path / "masks"))
    assert same(upright, found)
    assert all(torch.equal(part, found[name][1]) for name, (_, part) in upright.items())


def test_twelve_bits_fill_the_range_and_it_is_said(root, said):
    def deep(path, number):
        tifffile.imwrite(path.with_suffix(".tif"), noise(number, bands=1, high=4096).astype("u2"))

    fill(root, deep)
    found = read(root)
    assert max(float(image.max()) for image, _ in found.values()) > 0.95
    wanted = noise(3, bands=1, high=4096) / 4095
    assert np.allclose(found["a/3.tif"][0][0].numpy(), wanted, atol=1e-6)
    assert "read as 12 bits: 0 is black, 4095 is white" in said.text


@pytest.mark.parametrize(("high", "white"), [(256, 255), (22_000_000, 2**25 - 1)])
def test_whole_numbers_of_32_bits_are_read_by_the_bits_in_use(root, high, white):
    def deep(path, number):
        values = noise(number, bands=1, high=high).astype(np.int32)
        values[0, 0] = high - 1
        tifffile.imwrite(path.with_suffix(".tif"), values)

    fill(root, deep)
    for image, _ in read(root).values():
        assert float(image[0, 0, 0]) == pytest.approx((high - 1) / white)
        assert len(image.unique()) > 20


def test_one_deep_picture_decides_for_all_and_a_declared_range_for_itself(root):
    def deep(path, number):
        values = np.full((8, 6), 1000 if number != 104 else 4000, np.uint16)
        tifffile.imwrite(path.with_suffix(".tif"), values)

    fill(root, deep)
    assert float(read(root)["a/0.tif"][0].max()) == pytest.approx(1000 / 4095)
    found = read(root, range=(500, 1500))
    assert float(found["a/0.tif"][0].max()) == pytest.approx(0.5)
    assert float(found["b/4.tif"][0].min()) == 1  # clipped
    assert float(read(root, range="dtype")["a/0.tif"][0].max()) == pytest.approx(1000 / 65535)


def test_numbers_outside_of_their_type_s_range_are_refused(root):
    fill(root, lambda path, _: tifffile.imwrite(f"{path}.tif", np.full((4, 4), -2, np.int16)))
    assert "got numbers from -2 to -2 with dataset.range=dtype" in refusal(root, range="dtype")


@pytest.mark.parametrize("nodata", [-9999, 30_000])
def test_pixels_without_data_are_black_and_do_not_count_for_the_range(root, said, nodata):
    def map_with_a_hole(path, number):
        values = noise(number, bands=1, high=1024).astype(np.int16)
        values[:2] = nodata
        tag = [(42113, "s", 0, str(nodata), True)]
        tifffile.imwrite(path.with_suffix(".tif"), values, extratags=tag)

    fill(root, map_with_a_hole)
    for image, _ in read(root).values():
        assert float(image[:, :2].max()) == 0
        assert float(image[:, 2:].max()) > 0.8
    assert "1023 is white" in said.text
    assert said.text.count("pixels without data") == 1


def test_what_is_not_a_number_is_black_and_that_is_said(root, said):
    def holed(path, number):
        values = noise(number, bands=1).astype(np.float32) / 255
        values[0, 0] = np.nan if number % 2 else np.inf
        tifffile.imwrite(path.with_suffix(".tif"), values)

    fill(root, holed)
    assert all(float(image[0, 0, 0]) == 0 for image, _ in read(root).values())
    assert "pixels without data (no number" in said.text


def test_files_that_are_not_read_are_said(root, said):
    def both(path, number):
        png(path, number)
        Image.fromarray(noise(number).astype(np.uint8)).save(path.with_suffix(".ppm"))
        path.with_suffix(".xml").touch() if number == 100 else None

    fill(root, both)
    (root / "a" / ".hidden").mkdir()
    (root / "a" / ".hidden" / "x.txt").touch()
    assert len(read(root)) == 10
    assert "11 files in the class folders are left out (10 .ppm, 1 .xml): read are" in said.text
    for path in (root / "b").glob("*.png"):
        path.unlink()
    assert "b: got 0 images (left out: 10 .ppm, 1 .xml); allowed: at least 3" in refusal(root)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_of_a_map_with_smaller_copies_and_a_mask_the_first_page_is_read(root, kind):
    def map_of_pages(path, number):
        values = noise(number, bands=1).astype(kind)
        values[0, 0] = 255
        valid = np.full((8, 6), 255, np.uint8)
        valid[3:] = 0
        with tifffile.TiffWriter(path.with_suffix(".tif")) as file:
            file.write(values)
            file.write(values[::2, ::2], subfiletype=1)
            if number % 2:
                file.write(valid, subfiletype=2)
        if number % 2:
            with tifffile.TiffFile(path.with_suffix(".tif"), mode="r+") as file:
                file.pages[2].tags[254].overwrite(4)  # a mask, which tifffile does not write

    fill(root, map_of_pages)
    found = read(root)
    assert np.allclose(found["a/2.tif"][0][0].numpy(), noise_with_white(2) / 255)
    assert np.allclose(found["a/1.tif"][0][0, :3].numpy(), noise_with_white(1)[:3] / 255)
    assert float(found["a/1.tif"][0][0, 3:].max()) == 0


def noise_with_white(number):
    values = noise(number, bands=1)
    values[0, 0] = 255
    return values


# --- bands and alpha --------------------------------------------------------------------------


def rgba(path, number):
    values = noise(number, bands=4).astype(np.uint8)
    values[:3, :, 3] = 0
    Image.fromarray(values).save(path.with_suffix(".png"))


def test_transparency_is_refused_until_it_is_declared(root):
    fill(root, rgba)
    assert "got a transparent picture" in refusal(root)
    black, white = read(root, alpha="over_black"), read(root, alpha="over_white")
    for name in black:
        assert float(black[name][0][:, :3].max()) == 0
        assert float(white[name][0][:, :3].min()) == 1
    dropped = read(root, alpha="drop")
    assert torch.equal(
        dropped["a/0.png"][0], torch.from_numpy(noise(0, bands=4)[..., :3]).permute(2, 0, 1) / 255
    )


def test_alpha_may_be_the_mask(root):
    fill(root, rgba)
    found = read(root, alpha="mask")
    share = noise(2, bands=4)[..., 3] / 255
    share[:3] = 0
    assert np.allclose(found["a/2.png"][1][0].numpy(), share, atol=1e-6)
    assert "got mask with a folder of masks" in refusal(root, alpha="mask", masks=str(root))


def test_an_alpha_that_hides_nothing_is_no_fault(root):
    fill(root, png)
    plain = read(root)
    for path in root.rglob("*.png"):
        Image.open(path).convert("RGBA").save(path)
    assert same(plain, read(root))


def four(path, number):
    tifffile.imwrite(
        path.with_suffix(".tif"),
        noise(number, bands=4).astype(np.uint8),
        photometric="rgb",
        extrasamples=["unspecified"],
    )


def test_bands_beyond_three_are_refused_until_some_are_chosen(root):
    fill(root, four)
    assert "got 4 bands; allowed: 1 or 3, or those to use as dataset.bands=" in refusal(root)
    for bands in ((3, 2, 1), (4,), (4, 1, 2, 3), (1, 1)):
        found = read(root, bands=bands)["b/1.tif"][0]
        wanted = noise(101, bands=4)[..., [band - 1 for band in bands]]
        assert np.array_equal((found * 255).round().numpy(), np.moveaxis(wanted, 2, 0))
    assert "got 4 bands; allowed: at least 5" in refusal(root, bands=(5,))
    assert "allowed: 1 to 16" in refusal(root, bands=tuple(range(1, 18)))
    assert ImageFolder(root=str(root), bands=(1, 2, 3, 4)).channels == 4


def test_twelve_bands_of_sixteen_bits_are_read_in_any_order(root):
    def many(path, number):
        tifffile.imwrite(
            path.with_suffix(".tif"),
            noise(number, bands=12, high=10_000).astype(np.uint16),
            photometric="minisblack",
            planarconfig="contig",
        )

    fill(root, many)
    bands = (12, 4, 1, 7)
    found = read(root, bands=bands)["a/1.tif"][0]
    wanted = noise(1, bands=12, high=10_000)[..., [band - 1 for band in bands]] / (2**14 - 1)
    assert np.allclose(found.numpy(), np.moveaxis(wanted, 2, 0), atol=1e-6)


def test_a_grey_file_that_is_first_does_not_take_the_colours_of_the_others(root, said):
    fill(root, png)
    Image.open(root / "a" / "0.png").convert("L").save(root / "a" / "0.png")
    found = read(root)
    assert all(image.shape[0] == 3 for image, _ in found.values())
    assert "9 of 10 images have colours, the others are grey" in said.text


# --- folders ----------------------------------------------------------------------------------


def test_hidden_files_anywhere_in_the_path_are_no_data(root):
    fill(root, png)
    plain = read(root)
    for hidden in ("a/.ipynb_checkpoints", "a/more/.cache/deep", "__MACOSX/a", ".git"):
        (root / hidden).mkdir(parents=True)
        shutil.copy(root / "a" / "1.png", root / hidden / "1-checkpoint.png")
    (root / "b" / "._2.png").write_bytes(b"left by another system")
    assert same(plain, read(root))


def test_a_folder_that_lies_in_a_hidden_one_is_data(tmp_path):
    fill(tmp_path / ".cache" / "images", png)
    assert len(read(tmp_path / ".cache" / "images")) == 10


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("train", "val", "test"), [10, 10, 10]),
        (("Training", "VALIDATION", "testing"), [10, 10, 10]),
        (("train", "test"), [8, 2, 10]),
        (("train", "val"), [8, 10, 2]),
    ],
)
def test_folders_of_splits_are_the_splits_and_never_classes(root, names, counts):
    for place, name in enumerate(names):
        fill(root / name, lambda path, number, place=place: png(path, number + 1000 * place))
    data = ImageFolder(root=str(root))
    assert data.classes == ("a", "b")
    assert [len(getattr(data, split)) for split in SPLITS] == counts
    files = [set(getattr(data, s).files(torch.arange(len(getattr(data, s))))) for s in SPLITS]
    assert len(set.union(*files)) == sum(counts)
    assert {name.split("/")[0] for name in files[0]} == {names[0]}
    for split in SPLITS:
        assert getattr(data, split).labels.float().mean() == 0.5
    order = data.train.labels.tolist()
    assert order != sorted(order)  # the first images are of all classes


def test_masks_lie_in_the_same_splits(tmp_path):
    for name in ("train", "test"):
        fill(tmp_path / "images" / name, png)
        fill(
            tmp_path / "masks" / name,
            lambda path, _: Image.new("L", (6, 8), 255).save(f"{path}.png"),
        )
    found = read(tmp_path / "images", masks=str(tmp_path / "masks"))
    assert len(found) == 20
    assert all(float(part.min()) == 1 for _, part in found.values())


def test_folders_that_may_be_splits_or_classes_are_refused(root):
    fill(root, png, classes=("train", "bus", "car"))
    assert len(ImageFolder(root=str(root)).classes) == 3  # trains are a class beside other vehicles
    fill(root / "test", png)
    assert "got bus, car beside folders of splits" in refusal(root)
    shutil.rmtree(root)
    fill(root / "val", png)
    fill(root / "test", png)
    assert "got folders of splits without train" in refusal(root)
    shutil.rmtree(root)
    for name in ("a", "b"):
        fill(root / name, png, classes=("train", "test"))
    assert "got folders of splits (test, train) within a class" in refusal(root)


def test_a_class_that_is_not_in_train_is_refused(root):
    fill(root / "train", png)
    fill(root / "test", png, classes=("a", "b", "c"))
    assert "train/c: got 0 images" in refusal(root)


def test_identical_pictures_across_splits_are_said(root, said):
    fill(root, png)
    read(root)
    data = ImageFolder(root=str(root))
    assert len(data.split(0)) == len(data.train)  # read twice
    assert "too good" not in said.text
    for number in range(5):
        Image.open(root / "a" / f"{number}.png").save(root / "a" / f"copy{number}.bmp")
    read(root)
    assert "images are also" in said.text
    assert "too good" in said.text


def test_names_in_any_encoding_and_classes_with_any_sign_are_text(root):
    fill(root, png, classes=("$0_$500", "[bold]x", "a\nb"))
    encoded = os.fsencode(root / "caf\xe9")[:-2] + b"\xe9"
    os.mkdir(encoded)  # noqa: PTH102
    for number in range(3):
        with open(os.path.join(encoded, b"\xfc%d.png" % number), "wb") as file:  # noqa: PTH118, PTH123
            Image.fromarray(noise(number).astype(np.uint8)).save(file, "png")
    data = ImageFolder(root=str(root))
    assert data.classes == ("$0_$500", "[bold]x", "a\\nb", "caf\\xe9")
    for file in read(root):
        file.encode("ascii")
    assert len(data.fingerprint) == 16


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_regular_file_is_refused_at_once(root):
    fill(root, png)
    place = root / "b" / "x.png"
    os.mkfifo(place)
    assert f"{place}: got a pipe (FIFO); allowed: a regular file" in refusal(root)
    with pytest.raises(InputError, match="a pipe"):
        _ = ImageFolder(root=str(root)).fingerprint
    place.unlink()
    place.symlink_to("nowhere.png")
    assert f"{place}: got a broken link" in refusal(root)
    with pytest.raises(InputError, match="a broken link"):
        _ = ImageFolder(root=str(root)).fingerprint
    place.unlink()
    place.symlink_to("/dev/zero")
    assert f"{place}: got a device" in refusal(root)
    place.unlink()
    place.symlink_to(place)
    assert f"{place}: got a broken link" in refusal(root)


def test_a_socket_is_refused(root, monkeypatch):
    fill(root, png)
    monkeypatch.chdir(root / "b")  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("x.png")
        assert "got a socket" in refusal(root)


def test_links_in_a_circle_are_refused_and_links_to_pictures_are_followed(root, tmp_path):
    fill(root, png)
    fill(tmp_path / "elsewhere", lambda path, number: png(path, number + 500), classes=("c",))
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    assert len(read(root)) == 15
    (root / "a" / "again").symlink_to(root / "a")
    assert "leads back to a folder above it" in refusal(root)


@pytest.mark.parametrize("size", [(20_000, 9_000), (10_000, 9_000)])
def test_a_huge_picture_is_one_line(root, size):
    fill(root, png)
    Image.new("1", size).save(root / "b" / "x.png")
    assert f"{root / 'b' / 'x.png'}: got more than 89,478,485 pixels" in refusal(
        root, resize=(8, 6)
    )


def test_a_huge_tiff_is_one_line(root):
    fill(root, png)
    tifffile.imwrite(root / "b" / "x.tif", shape=(9_500, 9_500), dtype=np.uint16)
    assert "got more than 89,478,485 pixels" in refusal(root, resize=(8, 6))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".gif"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.95])
def test_a_file_that_is_cut_off_anywhere_is_one_line(root, suffix, share):
    fill(root, png)
    path = root / "b" / f"x{suffix}"
    Image.fromarray(noise(7, size=(60, 50)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert str(path) in refusal(root, resize=(8, 6))


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_deep_tiff_that_is_cut_off_is_one_line(root, share):
    fill(root, four)
    path = root / "b" / "x.tif"
    values = noise(1, size=(60, 50), bands=4).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert str(path) in refusal(root, resize=(8, 6), bands=(1,))


def test_files_of_several_pictures_are_refused(root):
    fill(root, png)
    frames = [Image.fromarray(noise(n).astype(np.uint8)) for n in range(2)]
    frames[0].save(root / "b" / "x.gif", save_all=True, append_images=frames[1:])
    assert "got 2 frames; allowed: one picture a file" in refusal(root)


def test_a_file_of_another_kind_under_a_picture_s_name_is_refused(root):
    fill(root, png)
    (root / "b" / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n")
    assert "got a file that can't be read" in refusal(root)


def test_a_root_may_begin_with_the_home_folder(root, monkeypatch):
    fill(root, png)
    monkeypatch.setenv("HOME", str(root.parent))
    assert same(read("~/images"), read(root))


# --- masks ------------------------------------------------------------------------------------


@pytest.fixture
def masked(root):
    """Images of 8x6 and, beside them, masks that `paint` makes: (folder of masks, maker)."""
    fill(root, png)
    masks = root.parent / "masks"

    def paint(values, palette=None, suffix=".png"):
        shutil.rmtree(masks, ignore_errors=True)
        image = Image.fromarray(np.ascontiguousarray(values))
        if palette:
            image = Image.fromarray(values, "P") if image.mode != "L" else image.convert("P")
            image.putpalette(palette)
        fill(masks, lambda path, _: image.save(path.with_suffix(suffix)))
        return str(masks)

    return paint


LABELS = np.zeros((8, 6), np.uint8)
LABELS[:4] = 1
LABELS[4:, :3] = 2


def test_masks_of_another_size_are_never_stretched(root, masked):
    folder = masked(np.full((16, 12), 255, np.uint8))
    line = refusal(root, masks=folder, resize=(4, 4))
    assert "got 16x12 pixels; allowed: 8x6 like its image" in line


def test_labels_are_refused_until_those_of_the_object_are_named(root, masked):
    folder = masked(LABELS)
    line = refusal(root, masks=folder)
    assert "brightest pixel is 2" in line
    assert "values 0, 1, 2" in line
    for values in ((1,), (2,), (1, 2), (7,)):
        found = read(root, masks=folder, mask_values=values)
        for _, part in found.values():
            assert np.array_equal(part[0].numpy(), np.isin(LABELS, values))


def test_labels_of_sixteen_bits_are_named_likewise(root, masked):
    folder = masked(LABELS.astype(np.uint16) * 300)
    found = read(root, masks=folder, mask_values=(600,))
    assert np.array_equal(found["a/0.png"][1][0].numpy(), LABELS == 2)


def test_a_palette_s_labels_are_its_indices_not_its_colours(root, masked):
    folder = masked(LABELS, palette=[0, 0, 0, 255, 0, 0, 0, 255, 0])
    assert "got a mask in colours (values 0, 1, 2)" in refusal(root, masks=folder)
    found = read(root, masks=folder, mask_values=(2,))
    assert np.array_equal(found["a/0.png"][1][0].numpy(), LABELS == 2)
    found = read(root, masks=folder, mask_values=("#ff0000",))
    assert np.array_equal(found["a/0.png"][1][0].numpy(), LABELS == 1)


def test_a_red_object_is_not_read_by_its_luminance(root, masked):
    red = np.zeros((8, 6, 3), np.uint8)
    red[2:5, 2:4, 0] = 255
    folder = masked(red)
    assert "got a mask in colours (values #000000, #ff0000)" in refusal(root, masks=folder)
    found = read(root, masks=folder, mask_values=("#ff0000",))
    assert np.array_equal(found["b/1.png"][1][0].numpy(), red[..., 0] == 255)
    assert "allowed: whole numbers or colours" in refusal(root, masks=folder, mask_values=("red",))


def test_a_grey_mask_in_three_equal_bands_is_grey(root, masked):
    grey = np.repeat((LABELS == 1).astype(np.uint8)[..., None] * 255, 3, axis=2)
    found = read(root, masks=masked(grey))
    assert np.array_equal(found["b/1.png"][1][0].numpy(), LABELS == 1)


def test_a_transparent_mask_is_refused(root, masked):
    values = np.full((8, 6, 4), 255, np.uint8)
    values[:4, :, 3] = 0
    assert "got a mask that is transparent in parts" in refusal(root, masks=masked(values))


def test_masks_that_show_nothing_are_said(root, masked, said):
    read(root, masks=masked(LABELS), mask_values=(9,))
    assert "no mask of a split shows an object" in said.text


@pytest.mark.parametrize(
    "fields",
    [
        {"range": (3, 3)},
        {"range": (5, 1)},
        {"range": "all"},
        {"alpha": "keep"},
        {"bands": ()},
        {"bands": (0,)},
        {"bands": (1,), "alpha": "drop"},
        {"bands": (1,), "color": "grey"},
        {"mask_values": ("#12",)},
    ],
)
def test_what_can_not_be_declared_is_refused(root, fields):
    fill(root, png)
    assert f"ImageFolder.{next(iter(fields))}: got" in refusal(root, **fields)
