"""A trained network serves every variant of the test split, each with an accuracy of its own."""

import gzip
import math
import os
import struct
from io import StringIO
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from rich.console import Console

from xai_exp import build, pipeline
from xai_exp.training.store import ModelStore

CONF = Path(__file__).parents[2] / "conf"
CPU = torch.device("cpu")
TINY = [
    *("tracking=off", "dataset=counting", "dataset.count=300", "dataset.pixels=32"),
    *("dataset.max_objects=2", "dataset.validation_share=0.2", "dataset.test_share=0.3"),
    *("model.width=2", "model.hidden=8", "trainer.max_epochs=1"),
]


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides)
    return build.experiment(config)


def job(experiment):
    return pipeline.Job(
        experiment=experiment,
        tracker=experiment.tracking.open(),
        device=CPU,
        console=Console(file=StringIO()),
    )


def key_of(*overrides):
    return composed("tracking=off", *overrides).model_key


def trained(folder, *overrides):
    experiment = composed(*TINY, f"models={folder}", *overrides)
    return pipeline.train_or_reuse(job(experiment)), experiment.dataset


def measured(network, split):
    images = split.images(torch.arange(len(split)))
    return float((network(images).argmax(1) == split.labels).float().mean())


@pytest.mark.parametrize(
    "variant",
    ["dataset.test_shape=mixed", "dataset.test_min_radius=1", "dataset.test_max_radius=3.5"],
)
def test_a_variant_of_the_test_split_uses_the_same_network_and_has_its_own_accuracy(
    tmp_path, variant
):
    first, data = trained(tmp_path)
    second, other = trained(tmp_path, variant)
    again, _ = trained(tmp_path)
    assert [run.reused for run in (first, second, again)] == [False, True, True]
    assert first.key == second.key == again.key
    assert first.result.accuracy == pytest.approx(measured(first.network, data.test))
    assert second.result.accuracy == pytest.approx(measured(first.network, other.test))
    assert again.result == first.result


def test_an_accuracy_is_measured_once(tmp_path):
    kept, asked = ModelStore(root=tmp_path), []

    def measure():
        asked.append(1)
        return 0.1 + 0.2

    assert [kept.accuracy("k", "a", measure) for _ in range(3)] == [0.1 + 0.2] * 3
    assert kept.accuracy("k", "b", lambda: 0.5) == 0.5
    assert kept.accuracy("k", "a", measure) == 0.1 + 0.2
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("base", "undeciding"),
    [
        ("counting", "dataset.test_shape=mixed"),
        ("counting", "dataset.test_min_radius=2"),
        ("counting", "dataset.test_max_radius=6"),
    ],
)
def test_the_key_stays_with_what_training_never_sees(base, undeciding):
    small = (f"dataset={base}", "dataset.count=60")
    assert key_of(*small, undeciding) == key_of(*small)


@pytest.mark.parametrize(
    ("base", "deciding"),
    [
        ("counting", "dataset.shape=mixed"),
        ("counting", "dataset.min_radius=2"),
        ("counting", "dataset.gap=3"),
        ("counting", "dataset.min_contrast=0.2"),
        ("triangles_squares", "dataset.rotate=false"),
        ("triangles_squares", "dataset.move=true"),
    ],
)
def test_the_key_changes_with_what_training_sees(base, deciding):
    small = (f"dataset={base}", "dataset.count=60")
    assert key_of(*small, deciding) != key_of(*small)


def test_where_mnist_lies_does_not_decide_and_how_it_is_split_does(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        for part, count in (("train", 60), ("t10k", 20)):
            for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
                values = torch.arange(math.prod(shape)) % 10
                head = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
                path = tmp_path / name / f"{part}-{kind}-ubyte"
                path.write_bytes(head + bytes(values.tolist()))
    mnist = ("dataset=mnist", f"dataset.root={tmp_path}/here")
    assert key_of(*mnist) == key_of(*mnist, "dataset.download=false")
    assert key_of(*mnist) == key_of("dataset=mnist", f"dataset.root={tmp_path}/there")
    labels = tmp_path / "there" / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    packed = labels.with_name(labels.name + ".gz")
    packed.write_bytes(gzip.compress(whole))
    labels.unlink()
    assert key_of(*mnist) == key_of("dataset=mnist", f"dataset.root={tmp_path}/there")
    packed.write_bytes(gzip.compress(whole[:8] + whole[:7:-1]))  # the same labels, back to front
    assert key_of(*mnist) != key_of("dataset=mnist", f"dataset.root={tmp_path}/there")
    assert key_of(*mnist) != key_of(*mnist, "dataset.validation_share=0.1")


def idx(path, values, *shape):
    path.write_bytes(struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(values))


def test_two_folders_of_the_same_names_have_a_network_each(tmp_path):
    labels = [number % 10 for number in range(60)]
    for name, given in (("here", labels), ("there", labels[::-1])):
        (tmp_path / name).mkdir()
        for part in ("train", "t10k"):
            pixels = [25 * label for label in labels for _ in range(28 * 28)]
            idx(tmp_path / name / f"{part}-images-idx3-ubyte", pixels, 60, 28, 28)
            idx(tmp_path / name / f"{part}-labels-idx1-ubyte", given, 60)

    def run(name):
        words = ("dataset=mnist", f"dataset.root={tmp_path}/{name}", "trainer.max_epochs=1")
        small = ("model.width=2", "model.hidden=8", "tracking=off", f"models={tmp_path}/models")
        return pipeline.train_or_reuse(job(composed(*words, *small)))

    first, other = run("here"), run("there")
    assert (first.reused, other.reused) == (False, False)
    assert first.key != other.key
    assert run("here").reused
    idx(tmp_path / "here" / "train-labels-idx1-ubyte", labels[::-1], 60)
    assert not run("here").reused  # other files at the same place


@pytest.fixture
def folder(tmp_path):
    for name in ("images/a", "images/b", "masks/a", "masks/b"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(3):
            level = 40 * number if name.startswith("images") else 255 * min(number, 1)
            Image.new("L", (8, 8), level).save(tmp_path / name / f"{number}.png")
    return tmp_path


def folder_keys(folder):
    """The model's key and the fingerprint of the masks."""
    experiment = composed(
        *("tracking=off", "dataset=image_folder"),
        *(f"dataset.root={folder}/images", f"dataset.masks={folder}/masks"),
    )
    key = experiment.model_key
    return key, experiment.dataset.truth_fingerprint


def test_other_images_train_anew_and_other_masks_score_anew(folder):
    model, truth = folder_keys(folder)
    assert folder_keys(folder) == (model, truth)
    Image.new("L", (8, 8), 255).save(folder / "masks" / "a" / "0.png")
    assert folder_keys(folder)[0] == model
    assert folder_keys(folder)[1] != truth
    Image.new("L", (8, 8), 255).save(folder / "images" / "a" / "new.png")
    Image.new("L", (8, 8), 255).save(folder / "masks" / "a" / "new.png")
    assert folder_keys(folder)[0] != model


def test_other_pixels_in_a_file_of_the_same_name_size_and_time_train_anew(folder):
    path = folder / "images" / "b" / "1.bmp"
    (folder / "images" / "b" / "1.png").unlink()
    Image.new("L", (8, 8), 40).save(path)
    model, _ = folder_keys(folder)
    before = path.stat()
    Image.new("L", (8, 8), 41).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert folder_keys(folder)[0] != model


def test_the_same_content_at_another_time_keeps_its_network(folder):
    model, _ = folder_keys(folder)
    path = folder / "images" / "b" / "1.png"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1000))
    assert folder_keys(folder)[0] == model


def test_another_name_trains_anew_since_names_decide_the_split(folder):
    model, _ = folder_keys(folder)
    path = folder / "images" / "b" / "1.png"
    path.rename(path.with_name("9.png"))
    (folder / "masks" / "b" / "1.png").rename(folder / "masks" / "b" / "9.png")
    assert folder_keys(folder)[0] != model


def test_a_folder_that_is_moved_keeps_its_network(folder):
    model, truth = folder_keys(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert folder_keys(moved) == (model, truth)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["dataset=digits"], "1753bc9b24eb77f2"),
        (
            ["dataset=counting", "dataset.count=600", "model=resnet18", "model.width=8"],
            "838b81e489837837",
        ),
        (
            [
                *("dataset=triangles_squares_shortcut", "dataset.count=600"),
                *("model=vit", "trainer=quick", "seed=3"),
            ],
            "2d42c12f99978aaa",
        ),
    ],
)
def test_networks_trained_before_files_moved_are_still_found(tmp_path, overrides, key):
    experiment = composed("tracking=off", *overrides)
    assert experiment.former_model_key == key
    store = ModelStore(root=tmp_path)
    assert pipeline.stored_key(experiment, store) == experiment.model_key != key
    store.folder(key).joinpath("result.json").write_text("{}")
    assert pipeline.stored_key(experiment, store) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gradient", "e276fd11b9596c1c"),
        ("input_x_gradient", "44e9a808c0535d25"),
        ("occlusion", "aab73500cdbf2511"),
        ("rise", "d756c92c6bd8dc1d"),
    ],
)
def test_scores_from_before_files_moved_are_still_found(name, key):
    experiment = composed(
        *("tracking=off", "dataset=counting", "dataset.count=600", "images=16"),
        "explainer=[gradient,input_x_gradient,occlusion,rise]",
        "value=logit",
        "metric=[pixel_flipping,part_shapley,relevance_mass]",
    )
    assert experiment.former_explain_key(name, "936f162464843d35", 16) == key


def test_a_newer_version_is_not_taken_for_the_work_of_an_older_one(monkeypatch):
    experiment = composed(
        "tracking=off", "dataset=digits", "explainer=gradient", "metric=sparseness", "value=logit"
    )
    before = experiment.explain_key("gradient", "m", 4)
    assert experiment.former_explain_key("gradient", "m", 4) is not None
    monkeypatch.setattr(type(experiment.explainers["gradient"]), "version", 2)
    assert experiment.explain_key("gradient", "m", 4) != before
    assert experiment.former_explain_key("gradient", "m", 4) is None


def test_a_key_does_not_say_where_code_lives(monkeypatch):
    before = composed("tracking=off", "dataset=digits").model_key
    from xai_exp.models.cnn import CNN

    monkeypatch.setattr(CNN, "__module__", "xai_exp.elsewhere")
    assert composed("tracking=off", "dataset=digits").model_key == before
