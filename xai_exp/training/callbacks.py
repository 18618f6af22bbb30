"""What goes on around the training loop: checkpoints, progress, and Lightning kept quiet."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from xai_exp.files import whole
from xai_exp.training import Bar

_LINES = 20


class Checkpoint(Callback):
    """A checkpoint after each epoch, written beside the last one and then put in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Keep everything that the next epoch starts from."""
        with whole(self.path) as part:
            trainer.save_checkpoint(part)


class Progress(Callback):
    """One bar for the whole training; in a file or a pipe, at most twenty lines."""

    def __init__(self, shown: bool, around: Bar | None = None) -> None:
        self.bar: tqdm | None = None
        self.steps = 0
        self.around = around
        within = around is not None and around.as_bar
        self.as_bar = shown and sys.stderr.isatty() and not within
        self.as_lines = shown and not self.as_bar and not within

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Open the bar, at the step where an interrupted run stopped."""
        self.steps = int(trainer.global_step)
        self.bar = tqdm(
            total=int(trainer.num_training_batches) * trainer.max_epochs,
            initial=trainer.global_step,
            desc="train",
            unit="batch",
            disable=not self.as_bar,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """One step further."""
        if self.bar is not None:
            self.bar.update()
            if self.around is not None:
                self.steps += 1
                self.around.say(f"train: {self.steps / (self.bar.total or 1):.0%}")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Say what the epoch came to."""
        row = pl_module.history[-1]
        accuracy = f"validation accuracy {100 * row['validation_accuracy']:.2f} %"
        if self.bar is not None:
            self.bar.set_postfix_str(accuracy)
        if self.as_lines and row["epoch"] % -(-trainer.max_epochs // _LINES) == 0:
            sys.stderr.write(
                f"train: epoch {row['epoch']} of at most {trainer.max_epochs}, {accuracy}, "
                f"loss {row['train_loss']:.4f}, {row['images_per_second']:.0f} images/s\n"
            )

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ANN401, ARG002
        """Close the bar, however training ended."""
        if self.bar is not None:
            self.bar.close()


class Watch(Callback):
    """Tells someone how training goes; raising there ends it, with the checkpoint kept."""

    def __init__(self, watch: Callable[[int, float], None]) -> None:
        self.watch = watch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Tell the epoch's number and validation accuracy."""
        row = pl_module.history[-1]
        self.watch(row["epoch"], row["validation_accuracy"])


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice about loaders and loggers is not for the users of this program."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric).*")
        warnings.filterwarnings("ignore", message=".*treespec.*|.*LeafSpec.*")
        yield
