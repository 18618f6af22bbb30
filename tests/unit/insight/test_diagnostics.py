"""Diagnostics count what they say they count."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xai_exp.config import InputError
from xai_exp.data.digits import Digits
from xai_exp.insight.diagnostics import answers, chances, features, trainings
from xai_exp.models.cnn import CNN
from xai_exp.models.mlp import MLP
from xai_exp.models.whitebox import LinearSum

NAMES = ("a", "b", "c")
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
LOGITS = torch.tensor(
    [[3.0, 0, 0], [0, 2, 0], [0, 1, 0], [0, 3, 1], [0, 0, 2], [1, 0, 0.5], [0, 0.1, 4], [2, 0, 1]]
)


def test_confusions_and_reports_are_those_counted_by_hand(said):
    subject = said(LOGITS, LABELS, NAMES)
    table = answers.ConfusionMatrix()(subject).tables["confusion_matrix"]
    assert table[["a", "b", "c"]].to_numpy().tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 2]]
    report = answers.ClassificationReport()(subject).tables["classification_report"]
    assert report["precision"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert report["recall"].tolist() == pytest.approx([2 / 3, 1, 2 / 3])
    assert report["images"].tolist() == [3, 2, 3]
    assert answers.ClassPredictionError()(subject).numbers == {"errors": 2}


def test_the_area_is_the_chance_of_the_right_order(said):
    found = chances.RocCurves()(said(LOGITS, LABELS, NAMES)).tables["roc_auc"]
    p = LOGITS.double().softmax(1).numpy()
    for k, area in enumerate(found["auc"]):
        mine, others = p[k == LABELS, k], p[k != LABELS, k]
        pairs = (mine[:, None] > others).mean() + 0.5 * (mine[:, None] == others).mean()
        assert area == pytest.approx(pairs)


def test_average_precision_is_the_sum_over_ranks(said):
    found = chances.PrecisionRecall()(said(LOGITS, LABELS, NAMES)).tables["precision_recall"]
    p = LOGITS.double().softmax(1).numpy()
    for k, area in enumerate(found["average_precision"]):
        hits = (LABELS.numpy() == k)[np.argsort(-p[:, k], kind="stable")]
        precisions = np.cumsum(hits) / np.arange(1, 9)
        assert area == pytest.approx(precisions[hits].mean())


def test_calibration_is_perfect_where_the_share_is_the_probability(said):
    sure = torch.tensor([[0.75, 0.25]]).log().expand(40, 2)
    labels = torch.tensor([0, 0, 0, 1] * 10)
    assert chances.Calibration()(said(sure, labels, ("a", "b"))).numbers["ece"] < 1e-6
    wrong = chances.Calibration()(said(sure, torch.zeros(40).long(), ("a", "b"))).numbers
    assert wrong["ece"] == pytest.approx(0.25)
    assert wrong["overconfidence"] == pytest.approx(-0.25)


def test_the_threshold_of_two_classes_is_where_f1_is_largest(said):
    logits = torch.tensor([[2.0, 0], [1, 0], [0.5, 0], [0, 1]])
    found = chances.DiscriminationThreshold()(said(logits, torch.tensor([0, 0, 1, 1]), ("a", "b")))
    assert found.numbers["f1"] == 1
    assert float((-logits[1, 0]).sigmoid()) < found.numbers["threshold"] <= 0.38


def test_what_can_not_be_is_refused(said, of):
    with pytest.raises(InputError, match="got 3 classes; allowed: two"):
        chances.DiscriminationThreshold()(said(LOGITS, LABELS, NAMES))
    with pytest.raises(InputError, match="one class only"):
        chances.RocCurves()(said(LOGITS, LABELS * 0, NAMES))
    with pytest.raises(InputError, match="nothing to learn"):
        trainings.LearningCurve()(of(Digits(), LinearSum()))
    with pytest.raises(InputError, match="unknown field of Trainer"):
        trainings.ValidationCurve(field="trainer.rate")(of(Digits(), MLP()))
    subject = replace(of(Digits(), LinearSum()), network=torch.nn.Flatten())
    with pytest.raises(InputError, match="without a last linear layer"):
        features.Embedding()(subject)


def test_the_penultimate_layer_is_what_the_last_one_reads(of):
    subject = of(Digits(), CNN(width=2, hidden=8))
    found = torch.from_numpy(features.penultimate(subject, 20)).float()
    last = subject.network[-1]
    assert torch.allclose(last(found), subject.logits(20), atol=1e-5)
    pca = features.Embedding(images=30)(subject)
    assert pca.tables["pca"].shape == (30, 3)


@pytest.mark.slow
def test_learning_curves_come_of_real_trainings(of):
    subject = of(Digits(), MLP())
    found = trainings.LearningCurve(shares=(0.02, 1.0), samples=2000)(subject)
    few, many = found.tables["learning_curve"]["validation_accuracy"]
    assert few < many
    assert many > 0.7
