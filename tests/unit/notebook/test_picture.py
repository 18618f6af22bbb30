"""`python -m xai_exp explain`: one picture of any kind, a network of one's own or of a run."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import nn

import xai_exp as xe
from xai_exp import build, pipeline
from xai_exp.cli import explain
from xai_exp.config import InputError, config_folder

FACTORY = """
from torch import nn
def rgb():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 8 * 6, 3))
def grey():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 8 * 6, 2))
"""
METHODS = ("gradient", "sobel", "input_x_gradient")
SCALE = (33550, 12, 3, (0.5, 0.5, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 4.5e5, 5.2e6, 0.0), True)
KEYS = (34735, 3, 8, (1, 1, 0, 1, 3072, 0, 1, 32633), True)
TEXT = (34737, 2, 0, "WGS 84 / UTM zone 33N|", True)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with weights rgb.pt (classes a, b, c) and grey.pt, and the code that they need."""
    (tmp_path / "own_picture_nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    nets = importlib.import_module("own_picture_nets")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, classes in (("rgb", {"classes": ["a", "b", "c"]}), ("grey", {})):
            torch.save({"state_dict": getattr(nets, name)().state_dict(), **classes}, f"{name}.pt")
    return tmp_path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(1, 256, (10, 8, 3), dtype=np.uint8)


def by(net, picture, *words, explainer="gradient"):
    """What is in the npz of a picture explained by one of the networks."""
    where = (f"model.path={net}.pt", f"model.factory=own_picture_nets:{net}")
    explain([str(picture), f"--explainer={explainer}", "--out=out", *where, *words])
    with np.load(f"out/{Path(picture).stem}.npz") as held:
        return dict(held)


def loaded(net):
    network = getattr(importlib.import_module("own_picture_nets"), net)()
    network.load_state_dict(torch.load(f"{net}.pt", weights_only=True)["state_dict"])
    return network.eval()


def test_every_method_has_its_files_and_the_class_its_name(own, pixels, capsys):
    Image.fromarray(pixels).save("x.png")
    held = by("rgb", "x.png", "target=b", explainer="gradient,sobel")
    said = capsys.readouterr().out
    wanted = xe.explain(loaded("rgb"), pixels, "gradient", targets=1)
    assert np.allclose(held["heatmaps/gradient"], wanted["gradient"].numpy(), atol=1e-6)
    assert held["classes"].tolist() == ["a", "b", "c"]
    held = by("rgb", "x.png", "target=b", "reference=border", explainer="input_x_gradient")
    wanted = xe.explain(loaded("rgb"), pixels, "input_x_gradient", targets=1, reference="border")
    own_reference = xe.explain(loaded("rgb"), pixels, "input_x_gradient", targets=1)
    found = held["heatmaps/input_x_gradient"]
    assert np.allclose(found, wanted["input_x_gradient"].numpy(), atol=1e-6)
    assert not np.allclose(found, own_reference["input_x_gradient"].numpy(), atol=1e-3)
    assert f"predicted: {'abc'[int(wanted.predictions)]}; explained: b; 2 heatmaps" in said
    made = {path.name for path in (own / "out").iterdir()}
    assert made == {"x.png", "x.npz", *(f"x-{name}.png" for name in METHODS)}
    with pytest.raises(InputError, match="target: got 'd'; allowed: one of predicted"):
        by("rgb", "x.png", "target=d")


@pytest.mark.usefixtures("own")
def test_a_picture_is_read_as_the_network_wants_it_and_as_it_is_declared(pixels, capsys):
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    Image.fromarray(grey).save("grey.png")
    assert np.array_equal(by("rgb", "grey.png")["images"][0] * 255, np.stack([grey] * 3))
    Image.fromarray(pixels).save("x.png")
    assert np.allclose(by("grey", "x.png")["images"][0, 0] * 255, grey)
    assert "colours become grey" in capsys.readouterr().out
    deep = pixels[..., 0].astype(np.uint16) * 16
    Image.fromarray(deep).save("deep.png")
    assert np.allclose(by("grey", "deep.png")["images"][0, 0], deep / 4095, atol=1e-6)
    assert "read as 12 bits: 0 is black, 4095 is white" in capsys.readouterr().out
    seen = by("grey", "deep.png", "dataset.range=[0,2000]")["images"][0, 0]
    assert np.allclose(seen, (deep / 2000).clip(0, 1), atol=1e-6)
    assert "are clipped to 0 .. 2000" in capsys.readouterr().out
    clear = np.dstack([pixels, np.full((10, 8), 51, np.uint8)])
    Image.fromarray(clear).save("clear.png")
    with pytest.raises(InputError, match=r"transparent.*dataset\.alpha=over_black"):
        by("rgb", "clear.png")
    white = by("rgb", "clear.png", "dataset.alpha=over_white")["images"][0]
    assert np.abs(white * 255 - (0.2 * pixels + 0.8 * 255).transpose(2, 0, 1)).max() <= 1


def test_heatmaps_of_a_geotiff_lie_where_it_lies(own, pixels, capsys):
    pixels[2, 3] = 0
    nodata = (42113, 2, 0, "0", True)
    tags = [SCALE, TIE, KEYS, TEXT, nodata]
    tifffile.imwrite("map.tif", pixels, photometric="rgb", extratags=tags, metadata=None)
    held = by("rgb", "map.tif")["heatmaps/gradient"][0]
    with tifffile.TiffFile(own / "out" / "map-gradient.tif") as file:
        page = file.pages[0]
        values = page.asarray()
        for code, _, _, value, _ in (SCALE, TIE, KEYS):
            assert page.tags[code].value == value
        assert page.tags[34737].value == TEXT[3]
        assert page.tags[42113].value == "nan"
    assert np.argwhere(np.isnan(values)).tolist() == [[2, 3]]
    known = ~np.isnan(values)
    assert np.array_equal(values[known], held[known])
    assert values.dtype == np.float32
    large = np.kron(pixels, np.ones((2, 2, 1), np.uint8))
    tifffile.imwrite("large.tif", large, photometric="rgb", extratags=tags, metadata=None)
    by("rgb", "large.tif", "dataset.resize=[10,8]")
    assert "no georeference" in capsys.readouterr().out
    assert not list((own / "out").glob("large*.tif"))


@pytest.fixture
def run(own):
    """The words of a finished run on a folder of pictures."""
    source = np.random.default_rng(1)
    for name, level in (("dark", 0), ("$0_[b]", 120)):
        (own / "data" / name).mkdir(parents=True)
        for number in range(6):
            values = source.integers(level, level + 120, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(values).save(own / "data" / name / f"{number}.png")
    words = ["dataset=image_folder", "dataset.root=data", "trainer.max_epochs=1", "model.width=2"]
    pipeline.run(experiment("model=cnn", "explainer=gradient", *words))
    return words


def experiment(*words):
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", ["tracking=off", "metric=sparseness", "images=4", *words])
    return build.experiment(config)


def test_the_network_of_a_run_explains_a_picture_as_the_run_read_it(own, run, capsys):
    picture = own / "data" / "$0_[b]" / "2.png"
    explain([str(picture), "--model=cnn", "--explainer=gradient", "--out=out", *run])
    made = experiment("model=cnn", "explainer=gradient", *run)
    network = pipeline.trained_network(made, torch.device("cpu"))
    with Image.open(picture) as image:
        wanted = xe.explain(network, np.asarray(image), "gradient")
    with np.load("out/2.npz") as held:
        assert np.allclose(held["heatmaps/gradient"], wanted["gradient"].numpy(), atol=1e-6)
    assert f"predicted: {made.dataset.classes[int(wanted.predictions)]};" in capsys.readouterr().out
    with pytest.raises(InputError, match="settings with which no network was trained"):
        explain([str(picture), "--model=cnn", "--explainer=gradient", *run, "seed=7"])
    Image.new("RGB", (8, 9)).save("other.png")
    with pytest.raises(InputError, match="got 9x8 pixels; allowed: 8x8"):
        explain(["other.png", "--model=cnn", *run])
    Image.fromarray(np.zeros((8, 8), np.uint16)).save("deep.png")
    with pytest.raises(InputError, match="uint16, where the network learnt from"):
        explain(["deep.png", "--model=cnn", *run])


@pytest.mark.usefixtures("run")
def test_a_new_head_is_learnt_alone_and_explains_only_once_it_is(own):
    torch.save(nets().state_dict(), "wide.pt")
    (own / "own_wide_net.py").write_text(FACTORY.replace("8 * 6, 3", "6 * 6, 3"))
    where = ["model.path=wide.pt", "model.factory=own_wide_net:rgb", "model.head=new"]
    words = ["dataset=image_folder", "dataset.root=data", "trainer.max_epochs=1", *where]
    picture = str(own / "data" / "dark" / "0.png")
    with pytest.raises(InputError, match=r"model\.head: got new"):
        explain([picture, *where])
    made = experiment("model=file", "explainer=gradient", *words)
    pipeline.run(made)
    network = pipeline.trained_network(made, torch.device("cpu"))
    before, after = nets().state_dict(), network.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert after["3.weight"].shape == (2, 72)
    explain([picture, "--model=file", "--explainer=gradient", "--out=out", *words])
    with np.load("out/0.npz") as held:
        assert held["classes"].tolist() == ["$0_[b]", "dark"]


def nets():
    """For pictures of 8x8 pixels, with three classes."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
