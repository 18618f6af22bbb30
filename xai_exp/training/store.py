"""Where trained networks are kept: one folder a key, finished when its result is there."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai_exp.config import InputError
from xai_exp.files import digest, locked, whole, write_whole

TRAINING_VERSION = 2  # raise it when a change of data, models or training changes trained weights

CHECKPOINT = "last.ckpt"  # what an interrupted training goes on from

_WEIGHTS = "weights_sha256"  # in result.json
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

    Raises:
        ValueError: for what has a `version` of its own, which that of training would replace.
    """
    if "version" in deciding:
        raise ValueError("model_key: got a version; allowed: it by another name")
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
        if self.finished(key) and not os.access(self.root / key, os.W_OK):
            yield  # nobody can work on it
            return
        with locked(self.folder(key) / "lock", f"trains model {key}"):
            yield

    def save(self, key: str, network: nn.Module, result: TrainingResult) -> None:
        """Keep the weights, then the result that declares them whole; the checkpoint has served."""
        folder = self.folder(key)
        with whole(folder / "model.pt") as part:
            torch.save(network.state_dict(), part)
        told = {**asdict(result), _WEIGHTS: digest(folder / "model.pt")}
        write_whole(folder / "result.json", json.dumps(told, indent=1))
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def accuracy(self, key: str, data: str, measure: Callable[[], float]) -> float:
        """The network's accuracy on the test split of `data` (a key), measured when first asked.

        Datasets that differ in their test split alone share one network, not one accuracy.
        """
        path = self.folder(key) / "accuracy.json"
        known = _numbers(path)
        if data not in known:
            known[data] = measure()
            write_whole(path, json.dumps(known, indent=1))
        return known[data]

    def fault(self, key: str) -> str:
        """What is wrong with a finished network's files; empty if they are whole.

        Weights are compared with the digest that was noted when they were written. Of networks from
        before there was one, only what can't be read or is not finite is found.
        """
        folder = self.root / key
        try:
            told = json.loads((folder / "result.json").read_text())
            _result(told)
            if told.get(_WEIGHTS, found := digest(folder / "model.pt")) != found:
                return "model.pt holds other weights than those that were trained"
            weights = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
            strange = [name for name, one in weights.items() if not bool(one.isfinite().all())]
            return f"{strange[0]} is not finite" if strange else ""
        except OSError as error:
            return f"{Path(str(error.filename)).name}: {error.strerror}"
        except Exception as error:
            return f"files that can't be read ({type(error).__name__})"

    def discard(self, key: str) -> None:
        """Forget a network, so that it is trained again; its result goes first."""
        for name in ("result.json", "accuracy.json", "model.pt"):
            (self.root / key / name).unlink(missing_ok=True)

    def load(self, key: str, network: nn.Module) -> TrainingResult:
        """Give `network` the trained weights.

        Raises:
            InputError: when the files are broken.
        """
        folder = self.root / key
        try:
            weights = torch.load(folder / "model.pt", map_location="cpu", weights_only=True)
            network.load_state_dict(weights)
            return _result(json.loads((folder / "result.json").read_text()))
        except Exception as error:
            raise InputError(
                f"{folder}: got a trained model that can't be read ({type(error).__name__}); "
                "allowed: whole files; remove the folder to train it again"
            ) from error


def _result(told: Mapping[str, Any]) -> TrainingResult:
    """What result.json says of training.

    Raises:
        ValueError: for what no training comes to.
    """
    fields = {name: value for name, value in told.items() if name != _WEIGHTS}
    found = TrainingResult(**{**fields, "history": tuple(fields["history"])})
    _share(found.accuracy)
    _share(found.validation_accuracy)
    if not all(isinstance(row, Mapping) for row in found.history):
        raise ValueError("history: not a row an epoch")
    return found


def _share(value: Any) -> float:  # noqa: ANN401
    """A number in 0..1, which NaN is not.

    Raises:
        ValueError: for another.
    """
    if not 0 <= (number := float(value)) <= 1:
        raise ValueError(f"{number} is no share")
    return number


def _numbers(path: Path) -> dict[str, float]:
    """Numbers by name; none of a file that is broken, which is said."""
    if not path.is_file():
        return {}
    try:
        return {str(name): _share(value) for name, value in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError):
        _log.warning("%s is broken: accuracies are measured again", path)
        return {}
