"""Where trained networks are kept: one folder a key, finished when its result is there."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from xai_exp.config import InputError
from xai_exp.files import whole, write_whole

TRAINING_VERSION = 2  # raise it when a change of data, models or training changes trained weights

CHECKPOINT = "last.ckpt"  # what an interrupted training goes on from

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """How training went.

    Args:
        accuracy: on the test split, in 0..1.
        validation_accuracy: on the validation split after the last epoch, in 0..1.
        epochs: how many were needed.
        seconds: of training, those before an interruption included.
        parameters: how many numbers were learnt.
        history: a row an epoch: epoch, train_loss, validation_loss, validation_accuracy,
            learning_rate, images_per_second, seconds.
        certificate: how far the network ignores what it was trained to ignore, if it was; see
            `xai_exp.training.invariance`.
    """

    accuracy: float
    validation_accuracy: float
    epochs: int
    seconds: float
    parameters: int
    history: tuple[Mapping[str, float | int], ...]
    certificate: Mapping[str, float] | None = None


def model_key(deciding: Mapping[str, Any]) -> str:
    """Sixteen hex digits of everything that decides the trained weights.

    >>> model_key({"seed": 0}) == model_key({"seed": 0}) != model_key({"seed": 1})
    True
    """
    text = json.dumps({**deciding, "version": TRAINING_VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """A folder of trained networks."""

    root: Path

    def folder(self, key: str) -> Path:
        """The folder of one network, made if need be."""
        path = self.root / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def finished(self, key: str) -> bool:
        """Whether this network is trained."""
        return (self.root / key / "result.json").is_file()

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Wait until no other process works on this network, and keep others from it."""
        lock = FileLock(self.folder(key) / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("another process trains model %s: waiting for it", key)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def save(self, key: str, network: nn.Module, result: TrainingResult) -> None:
        """Keep the weights, then the result that declares them whole; the checkpoint has served."""
        folder = self.folder(key)
        with whole(folder / "model.pt") as part:
            torch.save(network.state_dict(), part)
        write_whole(folder / "result.json", json.dumps(asdict(result), indent=1))
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def accuracy(self, key: str, data: str, measure: Callable[[], float]) -> float:
        """The network's accuracy on the test split of `data` (a key), measured when first asked.

        Datasets that differ in their test split alone share one network, not one accuracy.
        """
        path = self.folder(key) / "accuracy.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        if data not in known:
            known[data] = measure()
            write_whole(path, json.dumps(known, indent=1))
        return known[data]

    def load(self, key: str, network: nn.Module) -> TrainingResult:
        """Give `network` the trained weights.

        Raises:
            InputError: when the files are broken.
        """
        folder = self.root / key
        try:
            weights = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
            network.load_state_dict(weights)
            fields = json.loads((folder / "result.json").read_text())
            return TrainingResult(**{**fields, "history": tuple(fields["history"])})
        except Exception as error:
            raise InputError(
                f"{folder}: got a trained model that can't be read ({type(error).__name__}); "
                "allowed: whole files; remove the folder to train it again"
            ) from error
