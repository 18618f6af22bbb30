"""From an ONNX file to a torch network of the same answers, or one line that says why not."""

import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_exp.config import InputError
from xai_exp.formats.card import Card
from xai_exp.formats.card import read as card_of
from xai_exp.formats.needed import library
from xai_exp.formats.onnx import reading
from xai_exp.formats.onnx.black_box import BlackBox
from xai_exp.formats.onnx.imported import Imported
from xai_exp.formats.onnx.node import MOST, UnconvertedError
from xai_exp.formats.onnx.reading import Graph
from xai_exp.formats.onnx.simplify import simplified

MOST_ERROR = 1e-4  # of the largest logit, by which ours may differ from onnxruntime's
SIZES = (224, 64, 32, 28, 299, 384)  # tried where the file names none
_COLOURS = (1, 3, 4)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network of a file.

    Args:
        network: from pictures (batch, channel, height, width) to logits (batch, class).
        model: its ModelProto.
        card: what the file says of preprocessing and classes; `size` also if the graph fixes it.
        channels: of its pictures.
        notes: what was changed, a line each.
        error: the largest difference to onnxruntime, as a share of the largest logit.
    """

    network: nn.Module
    model: Any
    card: Card
    channels: int | None
    notes: tuple[str, ...]
    error: float

    @property
    def converted(self) -> bool:
        """Whether it is torch's functions, not a black box."""
        return not any(isinstance(one, BlackBox) for one in self.network.modules())

    def compare(self, images: Tensor) -> float:
        """The largest difference of our logits to onnxruntime's, as a share of the largest."""
        ours = self.network(images)
        theirs = Entry(BlackBox(self.model, ""), *_kind(self.network))(images)
        return difference(ours, theirs)


def _kind(network: nn.Module) -> tuple[bool, bool]:
    assert isinstance(network, Entry)
    return network.channels_last, True if network.fixed else network.single


class Entry(nn.Module):
    """The way into a network of a file: pictures channels first, any number at a time.

    Args:
        network: what the file holds.
        channels_last: whether it wants (batch, height, width, channel).
        single: whether it takes one picture at a time.
        fixed: whether the file fixes the number of pictures, though ours takes any.
    """

    def __init__(
        self, network: nn.Module, channels_last: bool, single: bool, fixed: bool = False
    ) -> None:
        super().__init__()
        self.network, self.channels_last = network, channels_last
        self.single, self.fixed = single, fixed
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, class); further axes of length 1 are left out."""
        given = torch.permute(images, (0, 2, 3, 1)) if self.channels_last else images
        if self.single and len(given) != 1:
            parts = [self.network(given[i : i + 1]) for i in range(len(given))]
            answer = torch.cat(parts) if parts else self.network(given)
        else:
            answer = self.network(given)
        many = answer.dim() > 2 and math.prod(answer.shape[1:]) == max(answer.shape[1:])
        return torch.flatten(answer, 1) if many else answer


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite for another shape or NaN."""
    if ours.shape != theirs.shape:
        return float("inf")
    apart = (ours.double() - theirs.double()).abs().max()
    found = float(apart / theirs.double().abs().max().clamp_min(1e-30))
    return found if found == found else float("inf")


def load(path: str | Path) -> Loaded:
    """The network in an ONNX file.

    Raises:
        InputError: in one line, for a file that is damaged or no image classifier.
    """
    return of_model(reading.parsed(Path(path).expanduser()), str(path))


def of_model(model: Any, where: str) -> Loaded:  # noqa: ANN401
    """The network in a ModelProto that holds all of its numbers itself.

    Raises:
        InputError: likewise.
    """
    reading.refuse_disorder(model)
    end = reading.without_end(model)
    refuse_large(model)
    way = _way_in(_input_of(model, where), where)
    notes = [f"a {end} at the end is cut: what is explained are its logits"] if end else []
    notes += ["pictures are turned to channels last in front of it"] if way.last else []
    notes += ["of its outputs the first is explained"] if len(model.graph.output) > 1 else []
    graph, why = _graph(model)
    box = BlackBox(model, "")
    theirs = Entry(box, way.last, way.fixed)
    ours = None if graph is None else Entry(Imported(graph), way.last, single=way.fixed)
    images, wanted = _asked(theirs, ours, way, where)
    try:
        if graph is None:
            raise UnconvertedError(why)
        network, more = _converted(graph, way, images, wanted, box.session.runner)
        error = difference(network(images), wanted)
    except UnconvertedError as unconverted:
        box.why, network, error = str(unconverted), theirs, 0.0
        more = [
            f"it runs as a black box: {unconverted}; methods by removal work, those by gradients, "
            "relevance or layers don't"
        ]
    card = card_of({entry.key: entry.value for entry in model.metadata_props})
    if way.size is not None and card.size is None:
        card = replace(card, size=way.size)
    said = (*notes, *more)
    return Loaded(
        network=network, model=model, card=card, channels=way.channels, notes=said, error=error
    )


@dataclass(frozen=True, kw_only=True)
class _Way:
    """How pictures go in: channels last, exactly one at a time, how many channels, which size."""

    last: bool
    fixed: bool
    channels: int | None
    size: tuple[int, int] | None


def _way_in(value: reading.Value, where: str) -> _Way:
    shape = value.shape or (None,) * 4
    last = shape[3] in _COLOURS and shape[1] not in _COLOURS
    if shape[0] is not None and shape[0] > 1:
        raise InputError(
            f"onnx: got {where}, which takes {shape[0]} pictures at a time and no other number; "
            "allowed: one or any number"
        )
    height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
    size = None if height is None or width is None else (height, width)
    channels = shape[3] if last else shape[1]
    return _Way(last=last, fixed=shape[0] == 1, channels=channels, size=size)


def _graph(model: Any) -> tuple[Graph | None, str]:  # noqa: ANN401
    """The graph of torch's functions, or why there is none."""
    try:
        graph = simplified(reading.graph_of(model))
        graph = replace(graph, outputs=graph.outputs[:1])
        Imported(graph)
    except UnconvertedError as error:
        return None, str(error)
    return graph, ""


def _input_of(model: Any, where: str) -> reading.Value:  # noqa: ANN401
    held = {one.name for one in model.graph.initializer}
    inputs = [reading.value_of(one) for one in model.graph.input if one.name not in held]
    if len(inputs) != 1 or (inputs[0].shape is not None and len(inputs[0].shape) != 4):
        said = "; ".join(f"{one.name[:40]!r} {one.shape}" for one in inputs[:3])
        raise InputError(
            f"onnx: got {where} with the inputs {said or 'none'}; allowed: one, pictures of four "
            "axes"
        )
    if inputs[0].type != torch.float32:
        raise InputError(
            f"onnx: got {where} for pictures of type {inputs[0].type}; allowed: 32-bit floats"
        )
    return inputs[0]


def refuse_large(model: Any) -> None:  # noqa: ANN401
    """Refuse values that the file itself says are too large, before any is calculated.

    Raises:
        InputError: above 2^28 numbers.
    """
    try:
        known = library("onnx.shape_inference").infer_shapes(model, data_prop=True)
    except InputError:
        raise
    except Exception:
        known = model  # what is wrong with it is said where it is read
    for info in (*known.graph.value_info, *known.graph.output, *known.graph.input):
        many = 1
        for dim in info.type.tensor_type.shape.dim:
            many *= max(dim.dim_value, 1) if dim.HasField("dim_value") else 1
        if many > MOST:
            raise InputError(
                f"onnx: got a value {info.name[:80]!r} of {many:.1g} numbers; allowed: up to 2^28"
            )


def _asked(
    theirs: nn.Module, ours: nn.Module | None, way: _Way, where: str
) -> tuple[Tensor, Tensor]:
    """Random pictures of the first size that it takes, and its answer.

    Ours is asked first, since it refuses what would take too much memory.
    """
    why = ""
    for height, width in [way.size] if way.size else [(one, one) for one in SIZES]:
        drawn = torch.Generator().manual_seed(0)
        images = torch.rand(3, way.channels or 3, height, width, generator=drawn)
        images[1] = images[1] * 4 - 2  # as after preprocessing
        try:
            if ours is not None:
                with suppress(UnconvertedError, RuntimeError), torch.no_grad():
                    ours(images[:1])
            return images, theirs(images)
        except InputError:
            raise
        except ValueError as error:
            why = why or str(error)
    raise InputError(f"onnx: got {where}, which can't be asked with pictures ({why[:160]})")


def _converted(
    graph: Graph, way: _Way, images: Tensor, wanted: Tensor, runner: str
) -> tuple[nn.Module, list[str]]:
    """The network of torch's functions, compared with what is wanted.

    Raises:
        UnconvertedError: when there is none, or it answers differently.
    """
    found = float("inf")
    with torch.no_grad():
        for network in _candidates(graph, way.last, way.fixed):
            try:
                answer = network(images)
            except UnconvertedError:
                if network.single or not way.fixed:
                    raise
                continue
            except (RuntimeError, ValueError, IndexError) as error:
                why = " ".join(str(error).split())[:120]
                found = why if not way.fixed or network.single else found
                continue
            found = difference(answer, wanted)
            if found <= MOST_ERROR:
                alone = ["it takes one picture at a time"] if network.single else []
                return network, [*graph.notes, *alone]
    said = found if isinstance(found, str) else f"{found:.1g} of the largest logit"
    raise UnconvertedError(f"onnx: what was converted differs from {runner}: {said}")


def _candidates(graph: Graph, last: bool, fixed: bool) -> Iterator[Entry]:
    if fixed:
        yield Entry(Imported(_any_batch(graph)), last, single=False, fixed=True)
    yield Entry(Imported(graph), last, single=fixed)


def _any_batch(graph: Graph) -> Graph:
    """With shapes that copy the number of pictures where the file says one."""
    constants = dict(graph.constants)
    nodes = []
    for node in graph.nodes:
        shape = constants.get(node.inputs[1]) if node.op == "Reshape" else None
        if shape is not None and shape.dim() == 1 and len(shape) and int(shape[0]) == 1:
            name = f"{node.inputs[1]} of {node.name}"
            constants[name] = shape.clone()
            constants[name][0] = 0 if bool((shape == -1).any()) else -1
            node = replace(node, inputs=(node.inputs[0], name))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def say(notes: tuple[str, ...], where: str) -> None:
    """Say what was changed."""
    for note in notes:
        _log.warning("%s: %s", where, note)
