"""A trained network as a file for others: `python -m xai_exp export dataset=... model=...`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_exp import pipeline, records
from xai_exp.compute import machine
from xai_exp.config import InputError
from xai_exp.formats import exporting, opening
from xai_exp.formats.mmdnn import writing as mmdnn
from xai_exp.formats.nnef import writing as nnef
from xai_exp.formats.onnx import importing
from xai_exp.notebook.composing import composed
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.training.store import ModelStore


def export(settings: Sequence[str], out: Path | None = None) -> None:
    """Write the network of a finished run as ONNX, NNEF or MMdnn, by the name of the file.

    Args:
        settings: those of the finished run, as on the command line.
        out: NAME.onnx, NAME.pb, or a folder for NNEF; the network's key as ONNX if none.

    Raises:
        InputError: when no such run is finished, or the network can't be written.
    """
    made = made_of(composed(*settings, "tracking=off"))
    store = ModelStore(root=Path(made.settings.models))
    key = pipeline.stored_key(made, store)
    if not store.finished(key):
        raise InputError(
            f"export: got settings with which no network was trained ({store.root}); allowed: "
            "those of a finished run: python -m xai_exp dataset=... model=..., and the same here"
        )
    network = pipeline.trained_network(made, machine.device("cpu"))
    data = made.dataset
    images = data.test.images(list(range(min(3, len(data.test))))).to(torch.float32)
    found = exporting.exported(network, images, records.card(data))
    out = out or Path(f"{key}.onnx")
    error = _written(found, out, (1, data.channels, *data.size), images, network)
    sys.stdout.write(f"written: {out}; its logits differ from torch's by {error:.1g}\n")


def _written(
    found: exporting.Exported, out: Path, shape: tuple[int, ...], images: Tensor, network: nn.Module
) -> float:
    """Write one format; the largest difference of logits, as a share of the largest."""
    if out.suffix.lower() == ".onnx":
        exporting.write(found, out)
        return found.error
    if out.suffix.lower() == ".pb":
        mmdnn.write(found.model, out, shape)
    elif not out.suffix:
        nnef.write(found.model, out, shape)
    else:
        raise InputError(f"--out: got {out}; allowed: NAME.onnx, NAME.pb, or a folder for NNEF")
    back = opening.opened(out)
    with torch.no_grad():
        return importing.difference(back.network(images), network(images))
