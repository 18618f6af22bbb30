"""Training to ignore, and the certificate of how far a network does."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.data.scenes.counterfactual import changed
from xai_exp.data.shortcut import TrianglesSquaresShortcut
from xai_exp.data.triangles_squares import TrianglesSquares
from xai_exp.data.worths import TypedCounting, WeightedCounting
from xai_exp.models.whitebox import TagReader
from xai_exp.models.whitebox.kinds import WeightedCounter
from xai_exp.training.invariance import InvariantTrainer, certified

CPU = torch.device("cpu")
SHORTCUT = TrianglesSquaresShortcut(count=400, pixels=32)
INDEX = torch.arange(20)


def test_a_counterfactual_differs_in_the_tag_alone(generator):
    split = SHORTCUT.train
    one, other = split.images(INDEX), changed(split, INDEX, "tag", generator)
    differs = (one != other)[:, 0]
    assert bool(differs[:, 1:5, 1:5].all())
    assert int(differs.sum()) == 20 * 16


def test_a_counterfactual_lacks_some_ignored_objects_and_no_others(generator):
    data = TypedCounting(count=400, pixels=48, max_counted=3, max_ignored=3)
    scenes = data.train.scenes(INDEX)
    assert torch.equal(scenes.ignored, scenes.sides > 1)
    gone = (data.train.images(INDEX) - changed(data.train, INDEX, "ignored", generator)).abs()
    covered = (scenes.parts() * scenes.ignored[..., None, None]).sum(1) > 0
    assert bool((gone[:, 0][~covered] < 1e-6).all())
    assert 0.2 < float((gone[:, 0][covered] > 1e-3).float().mean()) < 0.8


def test_a_network_that_ignores_has_a_certificate_that_holds():
    data = WeightedCounting(count=600, pixels=48, max_objects=3, by="color", color="rgb")
    network = WeightedCounter().build(3, data.size, 9)
    found = certified(network, data.test, "ignored", CPU, 0)
    assert found["counterfactuals"] == 10_000
    assert found["share"] < 0.001
    assert found["holds"] == 1


def test_a_network_that_does_not_has_one_that_says_so():
    found = certified(TagReader().build(1, (32, 32), 2), SHORTCUT.test, "tag", CPU, 0)
    scenes = SHORTCUT.test.everything
    contrast = float((scenes.levels[:, -1] - scenes.background).abs().max())
    assert found["largest"] == pytest.approx(10 * contrast, rel=1e-3)
    assert found["holds"] == 0


def test_the_loss_asks_for_equal_logits_of_a_pair():
    trainer = InvariantTrainer(weight=10.0)
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 0])
    plain = nn.functional.cross_entropy(logits, labels)
    change = torch.tensor([1.0, 0.0]).square().mean() / logits.var()
    torch.testing.assert_close(trainer.loss(logits, labels), plain + 10 * change)


def test_a_trained_network_carries_its_certificate(tmp_path, caplog):
    network = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2))
    trainer = InvariantTrainer(invariance="tag", max_epochs=1, batch_size=50)
    result = trainer.fit(SHORTCUT, network, seed=0, folder=tmp_path, device=CPU, progress=False)
    assert result.certificate is not None
    assert set(result.certificate) == {"counterfactuals", "largest", "range", "share", "holds"}
    assert json.loads(json.dumps(asdict(result)))["certificate"] == result.certificate
    assert ("not invariant to tag" in caplog.text) is (result.certificate["holds"] == 0)


def test_data_without_the_factor_are_refused_in_one_line(generator):
    plain = TrianglesSquares(count=60).train
    for factor in ("tag", "ignored"):
        with pytest.raises(InputError, match=f"trainer.invariance: got {factor} on data without"):
            changed(plain, torch.arange(2), factor, generator)
