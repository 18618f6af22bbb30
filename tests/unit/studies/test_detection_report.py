"""What is needed to find a shortcut, and blind identification, from what runs left."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.worths import WeightedCounting
from xai_exp.statistics.identification import identified
from xai_exp.studies import certified_report, detection_report
from xai_exp.studies.certified_report import TRUTH, gathered
from xai_exp.studies.detection_report import needed_by

IMAGES = 6


def test_the_explainer_that_shows_more_of_the_shortcut_needs_fewer_heatmaps():
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1, (6, 50))
    clear, faint = sound + 3, sound + 0.5
    table = needed_by(
        {"faint": {0.5: sound, 1.0: faint}, "clear": {0.5: sound, 1.0: clear}},
        *(0.5, 0.05, 0.8, 60),
    )
    assert list(table["explainer"]) == ["clear", "faint"]
    first, second = table["heatmaps"]
    assert first <= 2
    assert second > 10


def left(data, worths, *, seed, same=True):
    """What a run on one network left: an explainer that shows its worths, and one that does not."""
    scenes = data.test.scenes(torch.arange(IMAGES))
    kinds = data.kinds_of(scenes).numpy()
    rng = np.random.default_rng(seed)
    worth = np.where(kinds >= 0, np.array([*worths, 0])[kinds], 0.0)
    shown = np.concatenate([worth + 0.01 * rng.normal(size=worth.shape), 0 * worth[:, :1]], 1)
    alike = np.concatenate([(kinds >= 0).astype(float), 0 * worth[:, :1]], 1)
    images = np.zeros((IMAGES, 1)) + (0 if same else seed)
    found = {}
    for name, one in (("good", shown), ("blind", alike)):
        arrays = {"images": images, "worth/objects": worth, "shown/objects": one}
        kept = {"accuracy": 1.0, "tags": {"model_key": f"{worths} {seed}"}}
        found[name] = SimpleNamespace(**kept, arrays=lambda arrays=arrays: arrays)
    return found


@pytest.fixture
def data():
    return WeightedCounting(count=300, pixels=48, max_objects=4, by="color", color="rgb")


def test_shares_are_summed_by_kind_and_tell_the_mechanism(data):
    job = SimpleNamespace(dataset=data, settings=SimpleNamespace(images=IMAGES))
    runs = [(worths, seed) for worths in ((1, 0, 0, 0), (0, 1, 0, -1)) for seed in range(4)]
    kept = [left(data, worths, seed=seed) for worths, seed in runs]
    shown = gathered([job] * 8, kept, [str(worths) for worths, _ in runs])
    assert list(shown.groups) == ["red", "green", "blue", "yellow"]
    scenes = data.test.scenes(torch.arange(IMAGES))
    kinds = data.kinds_of(scenes).numpy()[scenes.present.any(1).numpy()]
    red = (kinds == 0).sum(1)
    assert np.allclose(shown.shares[TRUTH][0, :, 0], red > 0)
    assert np.allclose(shown.shares[TRUTH][0, :, 1:], 0)
    blind = (kinds == 1).sum(1) / (kinds >= 0).sum(1)
    assert np.allclose(shown.shares["blind"][0, :, 1], blind)
    found = {name: identified(one, [0] * 4 + [1] * 4) for name, one in shown.shares.items()}
    assert found["good"].rate.mean > 0.6
    assert found["blind"].rate.mean == pytest.approx(0.5)
    words = certified_report.answer(shown, found)
    assert "of good tells which of 2 mechanisms" in words
    assert "chance is 50 %" in words
    assert isinstance(certified_report.tidy(shown, found), pd.DataFrame)
    page = certified_report.listed(shown, found) + certified_report.confused(shown, found, [TRUTH])
    assert page.count("<table") == 2


def test_networks_that_explain_other_images_are_refused(data):
    job = SimpleNamespace(dataset=data, settings=SimpleNamespace(images=IMAGES))
    kept = [left(data, (1, 0, 0, 0), seed=seed, same=False) for seed in (1, 2)]
    with pytest.raises(InputError, match="explain different images"):
        gathered([job] * 2, kept, ["a", "b"])
    with pytest.raises(InputError, match="several explanations of one network"):
        gathered([job] * 2, [kept[0]] * 2, ["a", "a"])


def test_a_heatmap_on_what_a_person_uses_foretells_right_answers(monkeypatch):
    wrong = np.array([False, False, True, True])
    owned = np.zeros((4, 2, 1, 2))
    owned[:, 0, 0, 0] = owned[:, 1, 0, 1] = 1
    confident = np.array([0.9, 0.6, 0.7, 0.5])
    asked = (owned, np.array([True, False]), confident, wrong)
    monkeypatch.setattr(detection_report, "_asked", lambda _: asked)
    heatmaps = np.where(wrong[:, None, None], [[0.1, 0.9]], [[-0.9, 0.1]])
    kept = {"good": SimpleNamespace(accuracy=1.0, arrays=lambda: {"heatmaps": heatmaps})}
    told = detection_report.told_wrong([None, None], [kept, kept])
    page = detection_report.foretold(told)
    assert page.index(">good<") < page.index(">confidence<")
    assert ">1.00<" in page
    assert "0.75" in page
    monkeypatch.setattr(detection_report, "_asked", lambda _: (*asked[:3], np.zeros(4, bool)))
    told = detection_report.told_wrong([None], [kept])
    assert "nothing to foretell" in detection_report.foretold(told)
    assert told.table().empty
