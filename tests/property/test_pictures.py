"""A picture is read the same however its file holds it: turned, by a palette, in a wider type."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from xai_exp.data.own.pixels import Recipe, detected, extremes
from xai_exp.data.own.reader import look, read

ORIENTATION = 0x0112
TURNS = {  # what undoes each orientation, by the standard's own words
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}
FORMATS = {
    "L": ("png", "tiff", "jpeg"),
    "RGB": ("png", "tiff", "jpeg", "webp"),
    "RGBA": ("png", "tiff", "webp"),
    "LA": ("png", "tiff"),
    "P": ("png", "tiff"),
    "1": ("png", "tiff"),
    "I;16": ("png", "tiff"),
    "F": ("tiff",),
}
KINDS = st.sampled_from([(mode, kind) for mode, kinds in FORMATS.items() for kind in kinds])
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
SEEDS = st.integers(0, 2**16)


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def drawn(mode, size, seed):
    """A random image of a mode, no two pixels likely the same."""
    source = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(source.integers(0, 65536, size).astype(np.uint16))
    if mode == "F":
        return Image.fromarray(source.normal(size=size).astype(np.float32))
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2, "P": 3, "1": 1}[mode]
    values = source.integers(0, 256, (*size, bands)).astype(np.uint8)
    if mode == "P":
        return Image.fromarray(values).quantize(8)
    plain = {"1": "L"}.get(mode, mode)
    return Image.frombytes(plain, size[::-1], values.tobytes()).convert(mode)


def saved(folder, image, kind, **options):
    path = folder / f"one.{kind}"
    lossless = {"lossless": True} if kind == "webp" else {}
    image.save(path, **lossless, **options)
    return path


def tagged(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@given(KINDS, SIZES, SEEDS, st.integers(1, 8))
@example(("L", "jpeg"), (7, 4), 0, 6)
@example(("P", "tiff"), (3, 5), 1, 8)
@example(("I;16", "png"), (3, 5), 1, 5)
def test_a_turned_picture_is_read_upright(folder, kind, size, seed, orientation):
    mode, suffix = kind
    image = drawn(mode, size, seed)
    plain = read(saved(folder, image, suffix))
    path = saved(folder, image, suffix, exif=tagged(orientation))
    turned, header = read(path), look(path)
    for name in ("values", "alpha", "indices"):
        before, after = getattr(plain, name), getattr(turned, name)
        if before is None:
            assert after is None
        else:
            assert np.array_equal(after, TURNS[orientation](before))
    assert header.size == turned.values.shape[:2]
    assert header.bands == turned.values.shape[2]
    assert header.dtype == turned.values.dtype
    assert header.alpha == (turned.alpha is not None)
    assert header.orientation == orientation


@given(SIZES, SEEDS, st.integers(1, 8), st.sampled_from([1, 2, 4, 7]), st.booleans())
def test_a_deep_tiff_of_many_bands_is_read_upright(folder, size, seed, turn, bands, separate):
    values = np.random.default_rng(seed).integers(0, 4096, (*size, bands)).astype(np.uint16)
    several = bands > 1
    tifffile.imwrite(
        folder / "deep.tif",
        np.moveaxis(values, 2, 0)
        if separate and several
        else values
        if several
        else values[..., 0],
        photometric="minisblack",
        planarconfig=("separate" if separate else "contig") if several else None,
        extratags=[(ORIENTATION, "H", 1, turn, True)],
    )
    found = read(folder / "deep.tif")
    assert np.array_equal(found.values, TURNS[turn](values))
    assert look(folder / "deep.tif").size == found.values.shape[:2]


@given(SIZES, SEEDS, st.sampled_from(["png", "tiff", "bmp"]))
def test_numbers_are_those_of_the_file(folder, size, seed, kind):
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert np.array_equal(read(saved(folder, Image.fromarray(values), kind)).values, values)


@given(SIZES, SEEDS, st.sampled_from([1, 3]), st.booleans())
def test_sixteen_bits_of_a_png_are_all_read(folder, size, seed, bands, alpha):
    """Pillow keeps the upper eight of colours only."""
    values = np.random.default_rng(seed).integers(0, 65536, (*size, bands + alpha))
    (folder / "deep.png").write_bytes(png(values.astype(np.uint16)))
    found = read(folder / "deep.png")
    assert np.array_equal(found.values, values[..., :bands])
    assert found.values.dtype == look(folder / "deep.png").dtype == np.uint16
    if alpha:
        assert np.allclose(found.alpha * 65535, values[..., -1])


def png(values):
    """The bytes of a PNG with 16 bits a channel, which Pillow can't write."""
    import struct
    import zlib

    height, width, bands = values.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    out = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    out.seek(0, io.SEEK_END)
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        out.write(struct.pack(">I", len(data)) + kind + data)
        out.write(struct.pack(">I", zlib.crc32(kind + data)))
    return out.getvalue()


RESIZED = st.one_of(st.none(), SIZES)


@given(SIZES, SEEDS, RESIZED, st.sampled_from([1, 3]), st.sampled_from(["png", "gif", "tiff"]))
def test_a_palette_gives_the_pixels_that_its_colours_give(
    folder, size, seed, resize, channels, kind
):
    palette = drawn("P", size, seed)
    recipe = Recipe(channels=channels, resize=resize)
    coloured = read(saved(folder, palette.convert("RGB"), "png"))
    indexed = read(saved(folder, palette, kind))
    assert torch.equal(recipe("a", coloured), recipe("b", indexed))


@given(SIZES, SEEDS, RESIZED)
def test_single_bits_give_the_pixels_that_black_and_white_give(folder, size, seed, resize):
    bits = drawn("1", size, seed)
    recipe = Recipe(channels=1, resize=resize)
    grey = recipe("a", read(saved(folder, bits.convert("L"), "png")))
    for kind in ("png", "tiff"):
        assert torch.equal(recipe("b", read(saved(folder, bits, kind))), grey)


@given(SIZES, SEEDS, RESIZED, st.sampled_from(["L", "RGB"]), st.sampled_from([1, 3]))
def test_plain_pictures_are_scaled_and_converted_as_pillow_does(
    folder, size, seed, resize, mode, channels
):
    """The pixels on which networks were trained before there was this reader."""
    image = drawn(mode, size, seed)
    found = Recipe(channels=channels, resize=resize)("a", read(saved(folder, image, "png")))
    if resize is not None:
        image = image.resize(resize[::-1], Image.Resampling.BILINEAR)
    wanted = np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(
        *image.size[::-1], -1
    )
    assert found.dtype == torch.uint8
    assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)


@given(SIZES, SEEDS, RESIZED, st.sampled_from([np.uint16, np.int32, np.uint32, np.float32]))
def test_bytes_in_a_wider_type_are_the_same_picture(folder, size, seed, resize, kind):
    values = np.random.default_rng(seed).integers(0, 256, size)
    whole = np.uint8(255) if kind != np.float32 else 255.0
    values.flat[0] = 255
    narrow = read(saved(folder, Image.fromarray(values.astype(np.uint8)), "png"))
    wide = (values / whole).astype(kind) if kind == np.float32 else values.astype(kind)
    tifffile.imwrite(folder / "wide.tif", wide)
    picture = read(folder / "wide.tif")
    span, _ = detected([extremes(picture)], [picture.values.dtype])
    deep = Recipe(channels=1, span=span, resize=resize)("a", picture)
    plain = Recipe(channels=1, resize=resize)("b", narrow).float() / 255
    tolerance = 1e-6 if resize is None else 1.01 / 255  # Pillow rounds bytes twice on the way
    assert float((deep - plain).abs().max()) <= tolerance


@given(st.integers(1, 16), st.integers(0, 2**16 - 1), SEEDS)
def test_the_brightest_of_all_pictures_uses_more_than_half_of_the_range(bits, low, seed):
    top = 2**bits - 1
    ends = [(float(min(low, top)), float(top)), (0.0, float(seed % (top + 1)))]
    (black, white), _ = detected(ends, [np.dtype(np.uint16)])
    assert black == 0
    assert white == max(255, top)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_numbers_below_zero_or_fractions_beyond_one_are_read_from_smallest_to_largest(low, room):
    high = low + room
    (black, white), _ = detected([(low, high)], [np.dtype(np.float32)])
    assert (black, white) == ((0, 1) if low >= 0 and high <= 1 else (low, high))


@given(SIZES, SEEDS)
def test_what_is_transparent_shows_what_is_declared_to_lie_under_it(folder, size, seed):
    image = drawn("RGBA", size, seed)
    picture = read(saved(folder, image, "png"))
    values = np.asarray(image).astype(np.float64)
    colours, share = values[..., :3], values[..., 3:] / 255
    wanted = {
        "over_black": colours * share,
        "over_white": colours * share + 255 * (1 - share),
        "drop": colours,
        "mask": colours,
    }
    for alpha, one in wanted.items():
        found = Recipe(channels=3, alpha=alpha)("a", picture).permute(1, 2, 0).numpy()
        assert np.abs(found - one).max() <= 0.5 + 1e-9
