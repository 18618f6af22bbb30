"""Training: what can be chosen, here; the loop itself, and with it Lightning, in `loop`.

Lightning takes seconds to import, which a run that trains nothing need not wait for.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import ops
from xai_exp.config import Added, InputError, Range, configured
from xai_exp.models.asked import last_layers
from xai_exp.training.store import TrainingResult
from xai_exp.types import Dataset, Index, Labels, Logits, Split


@runtime_checkable
class Bar(Protocol):
    """A bar over more than this training."""

    @property
    def as_bar(self) -> bool:
        """Whether it is drawn, so that others show none."""
        ...

    def say(self, words: str) -> None:
        """What goes on within a step."""
        ...


Freeze = Literal["auto", "nothing", "backbone", "everything"]


@configured
class Trainer:
    """AdamW on a one-cycle schedule (Smith and Topin 2018) until the target accuracy holds.

    Args:
        samples: how many images are seen, rounded to whole epochs, of which there is one at least;
            fewer once the target is reached.
        max_epochs: the number of epochs itself; null: from `samples`.
        epoch_samples: how many images an epoch has at most, each epoch others; null: all of them.
        batch_size: images in a step.
        learning_rate: the schedule's peak.
        weight_decay: of AdamW.
        gradient_clip: the largest norm of a step's gradient (Pascanu et al. 2013); null: any. One
            wild step early on can leave every ReLU of the hidden layer dead for good.
        target_accuracy: training ends once the validation split is at least as accurate, in 0..1.
        precision: 32, bf16 (autocast), or auto: bf16 where the hardware computes in it.
        freeze: what is not trained. auto: nothing, but networks that bring weights stay as they
            are; nothing: all is trained, from the weights that there are; backbone: all but the
            last linear layer, batch norm and dropout included; everything.
        processes: how many of this machine train together, each on its part of every batch: on
            CPUs they share the cores, on GPUs each has one of its own. Gradients, batch norm and
            accuracies are those of whole batches, as of one process but for rounding; dropout
            draws otherwise.
    """

    samples: Annotated[int, Range(1)] = 200_000
    max_epochs: Annotated[int, Range(1)] | None = None
    batch_size: Annotated[int, Range(2)] = 64
    learning_rate: Annotated[float, Range(0, exclusive_low=True)] = 5e-3
    weight_decay: Annotated[float, Range(0)] = 1e-2
    gradient_clip: Annotated[float, Range(0, exclusive_low=True)] | None = 1.0
    target_accuracy: Annotated[float, Range(0, 1)] = 0.9995
    precision: Literal["auto", "32", "bf16"] = "auto"
    freeze: Annotated[Freeze, Added("auto")] = "auto"
    processes: Annotated[int, Range(1), Added(1)] = 1
    epoch_samples: Annotated[int | None, Range(1), Added(None)] = None

    def __post_init__(self) -> None:
        """A process has at least two images of a batch."""
        if self.processes > 1 and self.batch_size < 2 * self.processes:
            raise InputError(
                f"Trainer.processes: got {self.processes} for batches of {self.batch_size} images; "
                f"allowed: at most {max(1, self.batch_size // 2)}, two images each"
            )

    def batch(
        self,
        split: Split,
        index: Index,
        generator: torch.Generator,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """The images and labels that a step learns from, at `index` of the training split."""
        return split.images(index), split.labels.to(index.device)[index]

    def loss(self, logits: Logits, labels: Labels) -> Tensor:
        """What a step lowers: cross entropy. A mean over images, or processes can't share it."""
        return functional.cross_entropy(logits, labels)

    def certificate(
        self,
        network: nn.Module,  # noqa: ARG002
        data: Dataset,  # noqa: ARG002
        device: torch.device,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> Mapping[str, float] | None:
        """What is known for certain of the trained network: nothing."""
        return None

    def epochs(self, images: int) -> int:
        """How many epochs there are at most."""
        return self.max_epochs or max(1, round(self.samples / self.epoch(images)))

    def epoch(self, images: int) -> int:
        """How many of the training images an epoch has."""
        return min(images, self.epoch_samples or images)

    def fit(
        self,
        data: Dataset,
        network: nn.Module,
        *,
        seed: int,
        folder: Path,
        device: torch.device,
        progress: bool = True,
        watch: Callable[[int, float], None] | None = None,
        bar: Bar | None = None,
    ) -> TrainingResult:
        """Train `network` in place, or go on where an interrupted run stopped.

        A network without anything to learn (all parameters frozen) is only measured.

        Args:
            data: what to learn.
            network: untrained, on the CPU; it ends up on `device`.
            seed: of the order of images and of dropout; the caller seeds the weights.
            folder: where the checkpoint of every epoch is kept.
            device: where to train.
            progress: whether to show a progress bar.
            watch: told the epoch and its validation accuracy; it may raise, to end training.
            bar: one that is shown already, which is told instead of showing another.

        Raises:
            InputError: when the loss is no longer finite, for more processes than there can be, or
                when one of several died.
        """
        thaw(network, self.freeze, len(data.classes))
        if not any(parameter.requires_grad for parameter in network.parameters()):
            return _measured(data, network.to(device).eval(), device)
        from xai_exp.training import loop

        options = {"seed": seed, "folder": folder, "device": device, "progress": progress}
        return loop.fit(self, data, network, watch=watch, bar=bar, **options)


def thaw(network: nn.Module, freeze: Freeze, classes: int) -> None:
    """Say of every parameter whether it is trained.

    Raises:
        InputError: when all but the last layer is to be kept and that one is not linear.
    """
    if freeze == "auto":
        return
    network.requires_grad_(freeze == "nothing")
    if freeze == "backbone":
        last = next(last_layers(network, classes), None)
        if last is None:
            raise InputError(
                f"trainer.freeze: got backbone for a network without a last linear layer of "
                f"{classes} outputs; allowed: auto, nothing, everything"
            )
        network.get_submodule(last).requires_grad_(True)


def _measured(data: Dataset, network: nn.Module, device: torch.device) -> TrainingResult:
    """What is known of a network that has nothing to learn."""
    return TrainingResult(
        accuracy=accuracy(network, data.test, device),
        validation_accuracy=accuracy(network, data.validation, device),
        epochs=0,
        seconds=0.0,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        history=(),
    )


def accuracy(network: nn.Module, split: Split, device: torch.device, chunk: int = 256) -> float:
    """The share of a split's images whose largest logit is the label's, in 0..1."""
    right = 0
    with ops.evaluating(network):
        for index in torch.arange(len(split), device=device).split(chunk):
            labels = split.labels[index.to(split.labels.device)].to(device)
            right += int((ops.logits(network, split.images(index)).argmax(1) == labels).sum())
    return right / len(split)
