"""A torch network as an ONNX file: opset 17, any number of pictures, and a card of its own."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.config import InputError
from xai_exp.errors import in_a_line
from xai_exp.files import whole
from xai_exp.formats.card import Card
from xai_exp.formats.needed import library
from xai_exp.formats.onnx.black_box import Session
from xai_exp.formats.onnx.importing import difference

OPSET = 17
MOST_ERROR = 1e-5  # of the largest logit
_PREPROCESSING = (
    "pictures in 0..1, (batch, channel, height, width), float32; whatever else is done to them "
    "is in the graph"
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        model: the ModelProto.
        error: the largest difference of onnxruntime's logits to torch's, over the largest logit.
    """

    model: Any
    error: float


def exported(network: nn.Module, images: Tensor, card: Card | None = None) -> Exported:
    """The network as an ONNX model, which onnxruntime answers as torch does.

    Raises:
        InputError: when the exporter can't write it, or it answers differently.
    """
    onnx = library("onnx")
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    images = images[:3].to(device)
    buffer = io.BytesIO()
    try:
        with _unsaid(), warnings.catch_warnings(), ops.evaluating(network):
            warnings.simplefilter("ignore")  # the exporter's own words about itself
            others = torch.rand((2, *images.shape[1:]), generator=torch.Generator().manual_seed(0))
            pictures = (images, images[:1], others.to(images))
            with torch.no_grad():
                wanted = [network(some).cpu() for some in pictures]
                torch.onnx.export(
                    network, (images,), buffer,  # pyright: ignore[reportArgumentType]
                    opset_version=OPSET, dynamo=False,
                    input_names=["images"], output_names=["logits"],
                    dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
                )  # fmt: skip
    except InputError:
        raise
    except Exception as error:
        why = in_a_line(error)[:160]
        raise InputError(
            f"export: torch can't write this network as ONNX ({why}); allowed: networks that its "
            "exporter knows"
        ) from error
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name = "xai_exp"
    words = {**(card or Card()).words(), "preprocessing": _PREPROCESSING}
    for key, value in words.items():
        model.metadata_props.add(key=key, value=value)
    error = _apart(model, [some.cpu() for some in pictures], wanted)
    if not error <= MOST_ERROR:
        raise InputError(
            f"export: got a file that answers differently, by {error:.1g} of the largest logit; "
            f"allowed: up to {MOST_ERROR:g}"
        )
    return Exported(model=model, error=error)


@contextmanager
def _unsaid() -> Iterator[None]:
    """Without the graph that the exporter prints where it fails."""
    before = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *_: None
    try:
        yield
    finally:
        torch._C._jit_onnx_log = before


def _apart(model: Any, pictures: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:  # noqa: ANN401
    """The largest difference of logits on any pictures: what is traced may hang on one."""
    session = Session(model)
    try:
        found = [torch.from_numpy(session(some.numpy())) for some in pictures]
    except ValueError as error:
        raise InputError(
            f"export: got a file that {session.runner} can't answer ({error}); allowed: a network "
            "whose layers take any number of pictures"
        ) from error
    return max(map(difference, found, wanted))


def export(network: nn.Module, images: Tensor, path: Path, card: Card | None = None) -> None:
    """As `exported`, into a file.

    Raises:
        InputError: likewise.
    """
    write(exported(network, images, card), path)


def write(exported: Exported, path: Path) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        Path(part).write_bytes(exported.model.SerializeToString())
