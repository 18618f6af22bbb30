"""What goes on around the training loop: checkpoints, progress, and Lightning kept quiet."""

import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from tqdm import tqdm

from xai_exp.files import whole
from xai_exp.training import Bar

_LINES = 20
_TELL = 0.1  # seconds between words about steps


class Checkpoint(Callback):
    """A checkpoint after each epoch, written beside the last one and then put in its place.

    Of several processes the first one writes, and all take part.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Keep everything that the next epoch starts from."""
        with whole(self.path) if trainer.is_global_zero else nullcontext(self.path) as part:
            trainer.save_checkpoint(part)


class Meter:
    """One bar for the whole training; in a file or a pipe, at most twenty lines."""

    def __init__(self, shown: bool, around: Bar | None = None) -> None:
        self.bar: tqdm | None = None
        self.steps = self.epochs = 0
        self.around = around
        within = around is not None and around.as_bar
        self.as_bar = shown and sys.stderr.isatty() and not within
        self.as_lines = shown and not self.as_bar and not within

    def start(self, done: int, steps: int, epochs: int) -> None:
        """Open the bar, at the step where an interrupted run stopped."""
        self.steps, self.epochs = done, epochs
        self.bar = tqdm(
            total=steps,
            initial=done,
            desc="train",
            unit="batch",
            disable=not self.as_bar,
            dynamic_ncols=True,
        )

    def step(self, count: int = 1) -> None:
        """So many steps further."""
        if self.bar is not None:
            self.bar.update(count)
            if self.around is not None:
                self.steps += count
                self.around.say(f"train: {self.steps / (self.bar.total or 1):.0%}")

    def epoch(self, row: Mapping[str, float | int]) -> None:
        """Say what the epoch came to."""
        accuracy = f"validation accuracy {100 * row['validation_accuracy']:.2f} %"
        if self.bar is not None:
            self.bar.set_postfix_str(accuracy)
        if self.as_lines and row["epoch"] % -(-self.epochs // _LINES) == 0:
            sys.stderr.write(
                f"train: epoch {row['epoch']} of at most {self.epochs}, {accuracy}, "
                f"loss {row['train_loss']:.4f}, {row['images_per_second']:.0f} images/s\n"
            )

    def close(self) -> None:
        """Close the bar, however training ended."""
        if self.bar is not None:
            self.bar.close()


class Progress(Callback):
    """Has a meter show how far Lightning is."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Begin, at the step where an interrupted run stopped."""
        steps = int(trainer.num_training_batches) * trainer.max_epochs
        self.meter.start(int(trainer.global_step), steps, int(trainer.max_epochs))

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """One step further."""
        self.meter.step()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Say what the epoch came to."""
        self.meter.epoch(pl_module.history[-1])

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ANN401, ARG002
        """End, however training ended."""
        self.meter.close()


class Watch(Callback):
    """Tells someone how training goes; raising there ends it, with the checkpoint kept."""

    def __init__(self, watch: Callable[[int, float], None]) -> None:
        self.watch = watch

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Tell the epoch's number and validation accuracy."""
        row = pl_module.history[-1]
        self.watch(row["epoch"], row["validation_accuracy"])


class Told(Callback):
    """Tells another process how far several are; the first of these speaks for all.

    Args:
        say: what is called with the name of a method of `Meter` and its arguments, and with "kept"
            and what `Watch` tells, once there is the checkpoint.
        go: returns when training may go on.
    """

    def __init__(self, say: Callable[..., None], go: Callable[[], object]) -> None:
        self.say, self.go = say, go
        self.steps, self.last = 0, 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401, ARG002
        """Begin; SIGTERM ends this process, where Lightning would have all wait for all."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if trainer.is_global_zero:
            steps = int(trainer.num_training_batches) * trainer.max_epochs
            self.say("start", int(trainer.global_step), steps, int(trainer.max_epochs))

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Tell of steps, a few times a second."""
        self.steps += 1
        if trainer.is_global_zero and time.monotonic() - self.last > _TELL:
            self._steps()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Tell what the epoch came to."""
        if trainer.is_global_zero:
            self._steps()
            self.say("epoch", pl_module.history[-1])

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ANN401
        """Tell that the epoch is kept, and wait for leave to go on."""
        if trainer.is_global_zero:
            row = pl_module.history[-1]
            self.say("kept", row["epoch"], row["validation_accuracy"])
            self.go()

    def _steps(self) -> None:
        self.say("step", self.steps)
        self.steps, self.last = 0, time.monotonic()


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice about loaders and loggers is not for the users of this program."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric).*")
        warnings.filterwarnings("ignore", message=".*treespec.*|.*LeafSpec.*")
        yield
