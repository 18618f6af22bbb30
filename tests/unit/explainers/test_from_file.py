"""Heatmaps made elsewhere: found by file or by order, measured as they are, never stretched."""

import logging

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import nn

import xai_exp as xe
from xai_exp import build, pipeline, scoring
from xai_exp.compute.values import Question
from xai_exp.config import InputError, config_folder, identity
from xai_exp.data.image_folder import ImageFolder
from xai_exp.explainers.from_file import FromFile
from xai_exp.explainers.gradients import Gradient
from xai_exp.metrics.complexity import Sparseness
from xai_exp.metrics.robustness import Sensitivity

NUMBERS = torch.arange(4)


@pytest.fixture
def pictures(generator):
    return torch.rand(4, 1, 5, 6, generator=generator)


@pytest.fixture
def maps(generator):
    return torch.randn(4, 5, 6, generator=generator).numpy()


@pytest.fixture
def logits():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(30, 3)).eval()


def bound(path, pictures, files=None, **fields):
    return FromFile(path=str(path), **fields).for_images(pictures, NUMBERS, files)


def saved(path, maps, **beside):
    np.savez(path, heatmaps=maps, **beside)
    return path


def test_heatmaps_come_in_order_whatever_their_type_and_file(tmp_path, pictures, maps, logits):
    targets = logits(pictures).argmax(1)
    np.save(tmp_path / "a.npy", maps.astype(np.float64))
    np.savez(tmp_path / "b.npz", maps)
    saved(tmp_path / "c.npz", maps, targets=targets.numpy())
    np.savez(tmp_path / "d.npz", **{"heatmaps/x": maps, "heatmaps/y": -maps})
    for name, field in (("a.npy", None), ("b.npz", None), ("c.npz", None), ("d.npz", "x")):
        explainer = bound(tmp_path / name, pictures, name=field)
        assert np.array_equal(explainer(logits, pictures, targets).numpy(), maps)
        some = torch.tensor([2, 0])
        assert np.array_equal(explainer(logits, pictures[some], targets[some]), maps[[2, 0]])


def test_heatmaps_are_found_by_the_names_of_files(tmp_path, pictures, maps, logits):
    files = ["b/1.png", "a/1.png", "a/2.png", "b/2.png"]
    order = [1, 2, 0, 3]
    by_name = {files[i]: maps[i] for i in order} | {"a/9.png": maps[0, :3]}
    np.savez(tmp_path / "a.npz", **by_name)
    saved(tmp_path / "b.npz", maps[order], files=np.array(files)[order], targets=np.array(order))
    for name in ("a.npz", "b.npz"):
        explainer = bound(tmp_path / name, pictures, files)
        assert np.array_equal(explainer(logits, pictures, NUMBERS).numpy(), maps)
    with pytest.raises(InputError, match=r"no heatmap of c/1.png \(1 of 4 are missing; it has a/1"):
        bound(tmp_path / "b.npz", pictures, ["c/1.png", *files[1:]])
    with pytest.raises(InputError, match="names of files for data that have none"):
        bound(tmp_path / "b.npz", pictures)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m[:3], "got 3 heatmaps; allowed: 4, .* or images=3"),
        (lambda m: m[:, :4], r"heatmap 0 of shape \(4, 6\); allowed: \(5, 6\)"),
        (lambda m: m.transpose(0, 2, 1), r"heatmap 0 of shape \(6, 5\)"),
        (lambda m: m[:, None], r"\(4, 1, 5, 6\); allowed: .* sum over the channels"),
        (lambda m: np.where(m == m[2, 1, 1], np.nan, m), "NaN or infinity in heatmap 2"),
        (lambda m: 1e60 * m.astype(np.float64), "NaN or infinity in heatmap 0"),
        (lambda m: m.astype(str), "of type <U"),
        (lambda m: m.astype(object), "can't be read as plain arrays"),
    ],
)
def test_what_is_no_heatmap_of_each_image_is_refused(tmp_path, pictures, maps, change, words):
    with pytest.raises(InputError, match=words):
        bound(saved(tmp_path / "m.npz", change(maps)), pictures)


def test_other_pictures_targets_and_sets_are_refused(tmp_path, pictures, maps, logits):
    kept = (255 * pictures).round().byte().numpy()
    bound(saved(tmp_path / "m.npz", maps, images=kept), pictures)
    with pytest.raises(InputError, match="heatmap 0 with another picture"):
        bound(saved(tmp_path / "m.npz", maps, images=kept[::-1]), pictures)
    explainer = bound(saved(tmp_path / "m.npz", maps, targets=np.array([0, 1, 2, 0])), pictures)
    with pytest.raises(InputError, match=r"1 of 4 images .*: class 2 where 1 is asked about"):
        explainer(logits, pictures, torch.tensor([0, 1, 1, 0]))
    with pytest.raises(InputError, match="no heatmaps of"):
        explainer(logits, pictures.flip(3), NUMBERS)
    with pytest.raises(InputError, match="got 3 targets for 4 heatmaps"):
        bound(saved(tmp_path / "m.npz", maps, targets=np.arange(3)), pictures)
    np.savez(tmp_path / "d.npz", **{"heatmaps/x": maps, "heatmaps/y": -maps})
    with pytest.raises(InputError, match=r"2 sets of heatmaps \(x, y\).*from_file.name=NAME"):
        bound(tmp_path / "d.npz", pictures)
    with pytest.raises(InputError, match="no 'z' in it; allowed: x, y"):
        bound(tmp_path / "d.npz", pictures, name="z")
    twice = FromFile(path=str(tmp_path / "m.npz"))
    with pytest.raises(InputError, match="one target an image"):
        twice.for_images(pictures, torch.tensor([0, 0, 1, 1]), None)
    with pytest.raises(InputError, match="which is no file"):
        FromFile(path="nowhere.npz")


def test_the_file_counts_by_its_content(tmp_path, maps):
    path = tmp_path / "m.npz"
    first = identity(FromFile(path=str(saved(path, maps))))
    (tmp_path / "other.npz").write_bytes(path.read_bytes())
    assert identity(FromFile(path=str(tmp_path / "other.npz"))) == first
    assert identity(FromFile(path=str(saved(path, -maps)))) != first


def test_no_metric_takes_a_given_heatmap_for_that_of_another_image(
    tmp_path, pictures, logits, caplog
):
    maps = Gradient()(logits, pictures, logits(pictures).argmax(1))
    caplog.set_level(logging.WARNING)
    explainer = bound(saved(tmp_path / "m.npz", maps.numpy()), pictures)
    assert "does not say which classes" in caplog.text
    sample = scoring.Sample(
        images=pictures, labels=torch.zeros(4, dtype=torch.long), scenes=None, parts=None
    )
    metrics = {"sparseness": Sparseness(), "max_sensitivity": Sensitivity(samples=2)}
    found = {
        name: scoring.score(
            one, metrics, logits, sample, asked=Question(value="logit"), seed=0
        ).scores
        for name, one in (("given", explainer), ("made", Gradient()))
    }
    given, made = (one.set_index("metric") for one in found.values())
    assert np.array_equal(given.loc["sparseness", "score"], made.loc["sparseness", "score"])
    assert given.loc["max_sensitivity", "score"].isna().all()
    assert given.loc["max_sensitivity", "reason"].str.contains("made elsewhere").all()
    assert made.loc["max_sensitivity", "score"].notna().all()


def test_a_run_scores_them_by_the_names_of_the_pictures(tmp_path, generator, scored):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(5):
            pixels = torch.randint(0, 256, (8, 8), generator=generator, dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    split = ImageFolder(root=str(tmp_path / "data")).test
    numbers = torch.arange(len(split))
    files = split.files(numbers)
    wanted = split.images(numbers)[:, 0].numpy()
    np.savez(tmp_path / "m.npz", **dict(zip(files[::-1], wanted[::-1], strict=True)))
    words = [f"dataset.root={tmp_path}/data", f"explainer.from_file.path={tmp_path}/m.npz"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose(
            "config",
            [
                *("dataset=image_folder", "explainer=from_file", "metric=sparseness", *words),
                *("trainer.max_epochs=1", "model.width=2", "tracking=off", f"models={tmp_path}/m"),
            ],
        )
    pipeline.run(build.experiment(config))
    assert np.array_equal(scored[0].heatmaps.numpy(), wanted)
    assert scored[0].scores["file"].tolist() == files
    assert scored[0].scores["class"].tolist() == [name[0] for name in files]


def test_arrays_are_scored_from_python_as_what_was_made_here(pictures, logits):
    made = xe.explain(logits, pictures, "gradient")
    metrics = ["sparseness", "pixel_flipping", "random_logit"]
    wanted = xe.score(made, metrics, steps=4)
    given = {"network": logits, "images": pictures}
    found = xe.score(made["gradient"].numpy(), metrics, steps=4, **given)
    easy = wanted["metric"] != "random_logit"
    assert set(found["explainer"]) == {"given"}
    assert found["score"][easy].to_numpy() == pytest.approx(wanted["score"][easy].to_numpy())
    assert found["score"][~easy].isna().all()
    assert found["reason"][~easy].str.contains("made elsewhere").all()
    named = xe.score({"a": made["gradient"], "b": -made["gradient"]}, "sparseness", **given)
    assert named.groupby("explainer").size().to_dict() == {"a": 4, "b": 4}
    two = xe.explain(logits, pictures, "gradient", targets=2)
    other = xe.score(two["gradient"].numpy(), "pixel_flipping", targets=2, steps=4, **given)
    same = xe.score(two, "pixel_flipping", steps=4)
    assert other["score"].to_numpy() == pytest.approx(same["score"].to_numpy())


@pytest.mark.parametrize(
    ("given", "keys", "words"),
    [
        (np.zeros((4, 5, 6)), {"images": None}, "heatmaps as an array; allowed: .* network= and"),
        (np.zeros((3, 5, 6)), {}, r"shape \(3, 5, 6\); allowed: \(4, 5, 6\)"),
        (np.zeros((4, 1, 5, 6)), {}, r"\(4, 1, 5, 6\); allowed: .*sum over the channels"),
        (np.full((4, 5, 6), np.nan), {}, "not finite"),
        ({}, {}, "got no heatmaps"),
    ],
)
def test_what_can_not_be_scored_is_refused(pictures, logits, given, keys, words):
    with pytest.raises(InputError, match=words):
        xe.score(given, "sparseness", **{"network": logits, "images": pictures, **keys})
