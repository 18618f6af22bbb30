"""The networks that every tool is tried on, and the trained one on which the truth is known."""

from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn import functional

from xai_exp import build, pipeline, scoring
from xai_exp.compute.values import valued
from xai_exp.config import config_folder
from xai_exp.models.cnn import CNN
from xai_exp.models.resnet import ResNet18
from xai_exp.models.torchvision import Torchvision
from xai_exp.models.vit import ViT
from xai_exp.types import Case

SIDE, CLASSES = 48, 5
TRAINED = ("dataset=typed_counting_small", "trainer.samples=60000")
KINDS = {
    "cnn": CNN(), "resnet18": ResNet18(width=16),
    "mobilenet": Torchvision(name="mobilenet_v3_small"), "vit": ViT(),
}  # fmt: skip


class Called(nn.Module):
    """A ReLU that is a call of torch.nn.functional: no hook on nn.ReLU sees it."""

    def forward(self, values: Tensor) -> Tensor:
        """What is above zero."""
        return functional.relu(values)


def networks() -> Iterator[tuple[str, nn.Module]]:
    """Each with random weights and statistics of batches that keep its values alive."""
    for name, kind in KINDS.items():
        torch.manual_seed(0)
        made = settled(kind.build(1, (SIDE, SIDE), CLASSES))
        yield name, made
        if name == "cnn":
            yield "functional", functional_of(made)


def settled(network: nn.Module) -> nn.Module:
    """Batch norms with the statistics of noise, and biases that are not zero."""
    norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
    for one in norms:
        one.momentum = 1.0
        nn.init.normal_(one.bias, std=0.2)
    with torch.no_grad():
        network.train()(torch.rand(32, 1, SIDE, SIDE))
    return network.eval()


def functional_of(network: nn.Module) -> nn.Module:
    """The same function, its ReLUs called instead of modules; weights are shared."""
    return nn.Sequential(
        *(Called() if isinstance(one, nn.ReLU) else one for one in network.children())
    ).eval()


def images(count: int, seed: int = 1) -> Tensor:
    """Noise."""
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def trained(models: Path, count: int) -> tuple[Case, Tensor]:
    """The case without heatmaps on a trained network, its scenes known; and training images."""
    words = [*TRAINED, "tracking=off", "explainer=gradient", "metric=part_skill", "device=cpu"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        made = build.experiment(compose("config", [*words, f"models={models}"]))
    network = pipeline.trained_network(made, torch.device("cpu"))
    sample = scoring.sample(made.dataset, count, torch.device("cpu"))
    asked = valued(network, "centred", sample.images)
    with torch.no_grad():
        targets = asked(sample.images).argmax(1)
    case = Case(
        model=asked, images=sample.images, targets=targets,
        heatmaps=torch.zeros_like(sample.images[:, 0]), explain=made.explainers["gradient"],
        scenes=sample.scenes, parts=sample.parts, generator=torch.Generator().manual_seed(0),
        value="centred",
    )  # fmt: skip
    return case, made.dataset.train.images(torch.arange(64))
