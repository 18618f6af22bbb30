"""ONNX's own tests of single operators, as judged here: right, refused by name, or wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xai_exp.config import InputError
from xai_exp.formats.onnx.imported import Imported
from xai_exp.formats.onnx.reading import Graph, graph_of
from xai_exp.formats.onnx.simplify import simplified

_HALF = 2 * float(np.finfo(np.float16).eps)  # two units in the last place of half precision


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of one case, and why."""

    verdict: Literal["right", "refused", "wrong"]
    why: str = ""


def judged(case: Any) -> Judged:  # noqa: ANN401
    """What our conversion makes of a case of `onnx.backend.test`, as it is and cleaned up.

    Right is within the case's own tolerance, for half precision within two units in the last place.
    """
    try:
        graph = graph_of(case.model)
        for one in (graph, simplified(graph)):
            for inputs, outputs in case.data_sets:
                why = _differs(one, inputs, outputs, case.rtol, case.atol)
                if why:
                    return Judged(verdict="wrong", why=why)
    except InputError as error:
        return Judged(verdict="refused", why=str(error))
    return Judged(verdict="right")


def _differs(
    graph: Graph, inputs: Sequence[Any], outputs: Sequence[Any], rtol: float, atol: float
) -> str:
    network = Imported(graph)
    with torch.no_grad():
        found = network.values(*map(_tensor, inputs))
    for ours, theirs in zip(found, outputs, strict=True):
        mine, wanted = ours.numpy(), np.asarray(theirs)
        if (mine.dtype, mine.shape) != (wanted.dtype, wanted.shape):
            return f"{mine.dtype} {mine.shape} for {wanted.dtype} {wanted.shape}"
        share = max(rtol, _HALF) if wanted.dtype == np.float16 else rtol
        if not np.allclose(mine.astype(float), wanted.astype(float), share, atol, equal_nan=True):
            return "other numbers"
    return ""


def _tensor(value: Any) -> Tensor:  # noqa: ANN401
    """An input as a tensor.

    Raises:
        InputError: for sequences, texts and narrow types.
    """
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    if not numbers or value.dtype.name == "bfloat16":
        raise InputError("onnx: got a value that is no tensor of numbers; allowed: one")
    return torch.from_numpy(np.array(value))
