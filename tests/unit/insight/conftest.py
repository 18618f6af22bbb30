from dataclasses import dataclass

import pytest
import torch
from torch import nn

from xai_exp.compute.values import Question
from xai_exp.data.counting import Counting
from xai_exp.data.loading import TensorSplit
from xai_exp.insight import Subject
from xai_exp.models.whitebox import LinearSum
from xai_exp.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Plain:
    classes: tuple
    size: tuple
    train: TensorSplit
    validation: TensorSplit
    test: TensorSplit
    channels: int = 1


@pytest.fixture(scope="session")
def of():
    """A subject of a dataset and an architecture that is not trained."""

    def made(data, architecture, value="centred"):
        torch.manual_seed(0)
        network = architecture.build(data.channels, data.size, len(data.classes)).eval()
        return Subject(
            network=network,
            data=data,
            architecture=architecture,
            trainer=Trainer(),
            question=Question(value=value),
            seed=0,
            device=torch.device("cpu"),
        )

    return made


@pytest.fixture(scope="session")
def counting():
    return Counting(
        count=600, pixels=40, min_objects=1, max_objects=3, min_contrast=0.9, test_share=0.3
    )


@pytest.fixture(scope="session")
def said():
    """A subject whose network says these logits of its test images, which are unit vectors."""

    def made(logits, labels, classes):
        count = len(labels)
        split = TensorSplit(pixels=torch.eye(count)[:, None, None], labels=labels)
        data = Plain(classes=classes, size=(1, count), train=split, validation=split, test=split)
        layer = nn.Linear(count, len(classes), bias=False)
        layer.weight.data = logits.T.clone()
        return Subject(
            network=nn.Sequential(nn.Flatten(), layer).eval(),
            data=data,
            architecture=LinearSum(),
            trainer=Trainer(),
            question=Question(),
            seed=0,
            device=torch.device("cpu"),
        )

    return made
