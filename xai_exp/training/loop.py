"""The training loop, by Lightning: as fast as the hardware lets it, and unharmed by a kill.

Everything random in an epoch (the order of images, dropout) comes from (seed, epoch), so a run
that goes on from its last checkpoint ends with the same weights, bit for bit on a CPU, as one that
was never interrupted.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn import functional

from xai_exp.compute import machine
from xai_exp.config import InputError
from xai_exp.training import Bar, Trainer, accuracy, parallel
from xai_exp.training.callbacks import Checkpoint, Meter, Progress, Watch, quiet
from xai_exp.training.norm import fused
from xai_exp.training.shares import Share
from xai_exp.training.store import CHECKPOINT, TrainingResult
from xai_exp.types import Dataset, Split

_CHECK_EVERY = 50  # steps between looks at the loss on a GPU, where a look waits for the device
_ONEDNN_BLOCK = 16
_log = logging.getLogger(__name__)


def fit(
    config: Trainer,
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

    Raises:
        InputError: when the loss is no longer finite, or several processes could not train.
    """
    learner = Learner(config, data, network, seed, device)
    checkpoint, meter = folder / CHECKPOINT, Meter(progress, bar)
    with torch.random.fork_rng([device] if device.type == "cuda" else []), quiet():
        saved = _saved(checkpoint)
        if config.processes > 1:
            if not _is_done(saved, config, data):
                job = parallel.Job(config, data, network, seed, folder, device, bool(saved))
                parallel.train(job, meter, watch)
                saved = _saved(checkpoint)
            learner.take(saved)
        elif _reached(saved, config):
            learner.take(saved)
        else:
            watching = [Watch(watch)] if watch else []
            run(learner, folder, [Progress(meter), *watching], resume=bool(saved))
    network.to(device).eval()
    return TrainingResult(
        accuracy=accuracy(network, data.test, device),
        validation_accuracy=learner.history[-1]["validation_accuracy"],
        epochs=len(learner.history),
        seconds=sum(row["seconds"] for row in learner.history),
        parameters=sum(p.numel() for p in network.parameters()),
        history=tuple(learner.history),
        certificate=config.certificate(network, data, device, seed),
    )


def _reached(saved: Mapping[str, Any], config: Trainer) -> bool:
    """Whether the target holds after the last epoch that was kept."""
    return bool(saved) and saved["history"][-1]["validation_accuracy"] >= config.target_accuracy


def _is_done(saved: Mapping[str, Any], config: Trainer, data: Dataset) -> bool:
    """Whether there is no epoch left for processes to be started for."""
    whole = config.epochs(len(data.train))
    return _reached(saved, config) or (bool(saved) and len(saved["history"]) >= whole)


def run(learner: "Learner", folder: Path, callbacks: Sequence[Callback], *, resume: bool) -> None:
    """Train, as this process's share says, with a checkpoint in `folder` after every epoch."""
    config, checkpoint = learner.config, folder / CHECKPOINT
    trainer = lightning.Trainer(
        **_devices(learner),
        max_epochs=config.epochs(len(learner.data.train)),
        precision="bf16-mixed" if _use_bf16(config, learner.where) else "32-true",
        callbacks=[Checkpoint(checkpoint), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=folder,
    )
    _fit(trainer, learner, checkpoint if resume else None)


def _devices(learner: "Learner") -> dict[str, Any]:
    """Where Lightning trains, and how processes take turns."""
    device, count = learner.where, learner.share.processes
    is_gpu = device.type == "cuda"
    if count == 1:
        return {
            "accelerator": "gpu" if is_gpu else device.type,
            "devices": [device.index or 0] if is_gpu else 1,
        }
    # Buckets that are not rebuilt: a sum over three and more processes is then taken in one order
    # in every step, the first one after an interruption included.
    strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    return {
        "accelerator": "gpu" if is_gpu else "cpu",
        "devices": list(range(count)) if is_gpu else count,
        "strategy": strategy,
        "plugins": [LightningEnvironment()],  # and not Slurm's, were this one of its jobs
        "use_distributed_sampler": False,
        "sync_batchnorm": is_gpu,
    }


def _fit(trainer: lightning.Trainer, learner: "Learner", checkpoint: Path | None) -> None:
    """Train; Lightning makes a success (exit code 0) of SIGTERM, and a silent exit of Ctrl-C."""
    try:
        trainer.fit(learner, ckpt_path=checkpoint)
    except SystemExit as stopped:
        if isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped
        raise SystemExit(128 + signal.SIGTERM) from stopped


def _use_bf16(config: Trainer, device: torch.device) -> bool:
    if config.precision != "auto":
        return config.precision == "bf16"
    return machine.computes_bfloat16(device)


def layout(network: nn.Module, device: torch.device) -> torch.memory_format:
    """How to keep images and weights while training: channels_last, where it is safe.

    On a CPU, oneDNN (issue 6035 of its repository) writes past its workspace when it takes the
    gradient of a strided 1x1 convolution's weights in channels_last and the input has fewer
    channels than a block: wrong gradients or a segmentation fault.
    """
    unsafe = device.type == "cpu" and any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels // module.groups < _ONEDNN_BLOCK
        for module in network.modules()
    )
    return torch.contiguous_format if unsafe else torch.channels_last


class _Batches:
    """One epoch of a split as (images, labels), indexed or rendered on the device."""

    def __init__(self, learner: "Learner", split: Split, size: int) -> None:
        self.split, self.size, self.share = split, size, learner.share
        self.device, self.layout = learner.where, learner.layout
        self.own = self.share.of(torch.arange(len(split), device=self.device))

    def __len__(self) -> int:
        return math.ceil(len(self.own) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.split.labels.to(self.device)
        for index in self.own.split(self.size):
            yield self.split.images(index).contiguous(memory_format=self.layout), labels[index]


class _Shuffled(_Batches):
    """One epoch in the order that its seed draws, as the trainer wants its batches.

    Processes share the order; what else is drawn, each but the first draws by itself.
    """

    def __init__(self, learner: "Learner", epoch: int) -> None:
        super().__init__(learner, learner.data.train, learner.size)
        self.config, seed = learner.config, learner.seed_of(epoch)
        self.order = torch.Generator().manual_seed(seed)
        first = self.share.rank == 0
        own = self.order if first else torch.Generator().manual_seed(self.share.seed(seed))
        self.generator = own

    def __len__(self) -> int:
        return max(1, self.config.epoch(len(self.split)) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.split), generator=self.order).to(self.device)
        for index in order.split(self.size)[: len(self)]:
            images, labels = self.config.batch(self.split, self.share.of(index), self.generator)
            yield images.contiguous(memory_format=self.layout), labels


class Learner(lightning.LightningModule):
    """Cross entropy on logits; keeps the history that a checkpoint has to carry."""

    def __init__(
        self,
        config: Trainer,
        data: Dataset,
        network: nn.Module,
        seed: int,
        device: torch.device,
        share: Share = Share(),  # noqa: B008, it is frozen
    ) -> None:
        super().__init__()
        self.config, self.data, self.seed, self.where = config, data, seed, device
        self.share, self.size = share, min(config.batch_size, config.epoch(len(data.train)))
        self.weight = share.weight(self.size)
        self.layout = layout(network, device)
        self.network = network.train().to(memory_format=self.layout)  # pyright: ignore
        self.history: list[dict[str, float | int]] = []
        self._losses: list[Tensor] = []
        self._held: list[tuple[Tensor, Tensor]] = []
        self._fused = (self.network,)  # in a tuple, where Lightning does not look for modules
        self._start = self._trained = time.perf_counter()

    def train_dataloader(self) -> _Batches:
        """The training images in this epoch's order."""
        return _Shuffled(self, self.current_epoch)

    def val_dataloader(self) -> _Batches:
        """The validation images."""
        return _Batches(self, self.data.validation, 2 * self.config.batch_size)

    def seed_of(self, epoch: int) -> int:
        """Of what is random in an epoch."""
        return self.seed * 100_003 + epoch

    def on_train_epoch_start(self) -> None:
        """Seed dropout by the epoch; the caller keeps the global generator from changing."""
        torch.manual_seed(self.share.seed(self.seed_of(self.current_epoch)))
        _wake(self.network)
        if self.where.type == "cpu":
            self._fused = (fused(self.network),)
        self._start = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        """The loss of one batch."""
        images, labels = batch
        (network,) = self._fused
        loss = self.config.loss(network(images).float(), labels)
        if self.where.type == "cpu" or number % _CHECK_EVERY == 0:
            self._refuse_if_not_finite(loss)
        self._losses.append(loss.detach() * self.weight)
        return loss * self.weight

    def _refuse_if_not_finite(self, loss: Tensor) -> None:
        if not bool(loss.isfinite()):
            raise InputError(
                f"training: got a loss of {loss.item()} in epoch {self.current_epoch + 1}; "
                "allowed: a finite one; try trainer.learning_rate below "
                f"{self.config.learning_rate:g}"
            )

    def on_before_optimizer_step(self, optimizer: Any) -> None:  # noqa: ANN401, ARG002
        """Clip the gradient; Lightning's own clipping refuses fused optimizers under autocast."""
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)

    def on_validation_epoch_start(self) -> None:
        """The speed of training leaves validation out."""
        self._trained = time.perf_counter()
        self.share.agree(self.network)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Keep what the epoch's accuracy is made of."""
        images, labels = batch
        logits = self.network(images).float()
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        self._held.append((loss, (logits.argmax(1) == labels).sum()))

    def on_validation_epoch_end(self) -> None:
        """Close the epoch's row, and training if the target is reached."""
        count, processes = len(self.data.validation), self.share.processes
        losses = self.share.total(torch.stack(self._losses)) / processes
        held = self.share.total(torch.stack([loss for loss, _ in self._held]).sum()) / count
        right = self.share.total(torch.stack([right for _, right in self._held]).sum())
        self._refuse_if_not_finite(losses.sum())
        self._refuse_if_not_finite(held)
        seen = len(losses) * self.size
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "train_loss": float(losses.mean()),
                "validation_loss": float(held),
                "validation_accuracy": int(right) / count,
                "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
                "images_per_second": seen / (self._trained - self._start),
                "seconds": time.perf_counter() - self._start,
            }
        )
        self._losses, self._held = [], []
        if self.history[-1]["validation_accuracy"] >= self.config.target_accuracy:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history travels with the weights."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history = list(checkpoint["history"])

    def take(self, saved: Mapping[str, Any]) -> None:
        """Be what was kept, as training left it."""
        self.load_state_dict(saved["state_dict"])
        self.history = list(saved["history"])

    def configure_optimizers(self) -> Any:  # noqa: ANN401
        """AdamW and its one-cycle schedule."""
        config = self.config
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        steps = len(self.train_dataloader()) * config.epochs(len(self.data.train))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def _wake(network: nn.Module) -> None:
    """Training mode, but for what is not trained where something is: it works as it will later."""
    if all(parameter.requires_grad for parameter in network.parameters()):
        network.train()
        return
    network.eval()
    for module in network.modules():
        module.training = any(p.requires_grad for p in module.parameters(recurse=False))


def _saved(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint of an interrupted run; empty if there is none."""
    if not checkpoint.is_file():
        return {}
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if saved["history"][-1]["validation_accuracy"] >= 0 and saved["state_dict"]:
            return saved
        reason = "no number"
    except Exception as error:
        reason = type(error).__name__
    _log.warning("%s is broken (%s): training begins anew", checkpoint, reason)
    checkpoint.unlink()
    return {}
