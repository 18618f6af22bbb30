"""One picture and a network, trained here or with weights of its own: heatmaps as files."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from omegaconf import OmegaConf
from torch import Tensor, nn

from xai_exp import pipeline
from xai_exp.build import Experiment
from xai_exp.compute import machine
from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.data.image_folder import ImageFolder
from xai_exp.data.own import geo, pixels
from xai_exp.data.own.content import readable
from xai_exp.data.own.pixels import Recipe, Span
from xai_exp.data.own.reader import Header, Picture, look, read
from xai_exp.data.own.together import by
from xai_exp.models import weights
from xai_exp.models.exchanged import Onnx
from xai_exp.models.exchanged.torch_program import Program
from xai_exp.models.file import File
from xai_exp.models.torchvision import Torchvision
from xai_exp.notebook import explaining, networks
from xai_exp.notebook.composing import composed
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.notebook.heatmaps import Heatmaps
from xai_exp.training.store import ModelStore
from xai_exp.types import Logits


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A picture's file, looked at and read."""

    path: Path
    header: Header
    picture: Picture

    @property
    def name(self) -> str:
        """The file's name as text."""
        return readable(self.path)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What is explained: a network, the picture as it sees it, and the names of its classes."""

    network: nn.Module
    images: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def explain(given: argparse.Namespace) -> None:
    """Write heatmaps of one picture: a PNG a method, all side by side, and the numbers (npz).

    Args:
        given: the words of `python -m xai_exp explain`: `picture`, `model`, `explainer`, `out` and
            `settings`.

    Raises:
        InputError: for a picture, a network or an explainer that can't be used.
    """
    opened = Opened(path=given.picture, header=look(given.picture), picture=read(given.picture))
    settings = [word for word in given.settings if not word.startswith("target=")]
    if any(word.startswith(("dataset=", "dataset.root=")) for word in settings):
        made = _made(given, settings)
        ready = _trained(made, opened)
    else:
        own = [word for word in settings if word.startswith("dataset.")]
        made = _made(given, ["dataset.count=60", *(word for word in settings if word not in own)])
        ready = _weighted(made, _declared(own), opened)
    with machine.settled(deterministic=made.settings.deterministic):
        found = _explained(made, ready, _target_of(given.settings), opened)
    given.out.mkdir(parents=True, exist_ok=True)
    for line in [*ready.notes, *_saved(found, given.out, opened)]:
        sys.stdout.write(f"{line}\n")
    said = int(found.predictions)
    sys.stdout.write(
        f"predicted: {found.named(said)}; explained: {found.named(int(found.targets))}; "
        f"{len(found)} heatmaps in {given.out}\n"
    )


def _declared(words: Sequence[str]) -> ImageFolder:
    """How pictures are read, by the fields of a folder of them."""
    node = composed("dataset=image_folder", "dataset.root=.", *words).dataset
    fields: Any = OmegaConf.to_container(node, resolve=True)
    return ImageFolder(**{name: value for name, value in fields.items() if name != "_target_"})


def _made(given: argparse.Namespace, settings: Sequence[str]) -> Experiment:
    fixed = ("tracking=off", "metric=complexity", f"model={given.model}")
    made = made_of(composed(*fixed, f"explainer=[{given.explainer}]", *settings))
    if made.settings.value == "pair":
        raise InputError("value: got pair; allowed: the other values")
    return made


def _target_of(settings: Sequence[str]) -> str:
    given = [word.partition("=")[2] for word in settings if word.startswith("target=")]
    return given[-1] if given else "predicted"


def _trained(made: Experiment, opened: Opened) -> Ready:
    """The network of a finished run, and the picture as that run's data were read."""
    store = ModelStore(root=Path(made.settings.models))
    if not store.finished(pipeline.stored_key(made, store)):
        raise InputError(
            f"explain: got settings with which no network was trained ({store.root}); allowed: "
            "those of a finished run: python -m xai_exp dataset=... model=..., and the same here"
        )
    data = made.dataset
    if isinstance(data, ImageFolder):
        recipe = data.recipe
        _refuse_other_depth(data, recipe, opened)
    else:
        recipe = Recipe(channels=data.channels)
        _refuse_deep(opened)
    images = _pixels(recipe, opened)
    height, width = images.shape[2:]
    if (height, width) != tuple(data.size):
        raise InputError(
            f"{opened.name}: got {by((height, width))} pixels; allowed: {by(data.size)}, "
            "those of the pictures that the network learnt from"
        )
    network = pipeline.trained_network(made, machine.device(made.settings.device))
    return Ready(
        network=network,
        images=images,
        classes=tuple(data.classes),
        notes=tuple(_clipped(recipe, opened)),
    )


def _refuse_other_depth(data: ImageFolder, recipe: Recipe, opened: Opened) -> None:
    """A range that was found from deeper files, or was not needed, is none for this file."""
    if recipe.span is None:
        _refuse_deep(opened)
    elif data.range == "auto" and opened.header.dtype == np.uint8:
        raise InputError(
            f"{opened.name}: got a picture of 8 bits, where the network learnt from deeper ones; "
            "allowed: one like those, or dataset.range=[low,high] in the run and here"
        )


def _refuse_deep(opened: Opened) -> None:
    if opened.header.dtype != np.uint8:
        raise InputError(
            f"{opened.name}: got numbers of type {opened.header.dtype}, where the network learnt "
            "from pictures of 8 bits; allowed: 8 bits a channel"
        )


def _clipped(recipe: Recipe, opened: Opened) -> Iterator[str]:
    """That numbers are outside of the range that becomes 0 to 1."""
    chosen = pixels.select(opened.name, opened.picture, recipe.bands, recipe.alpha)
    ends = pixels.extremes(chosen)
    if isinstance(recipe.span, tuple) and ends is not None:
        (low, high), (smallest, largest) = recipe.span, ends
        if smallest < low or largest > high:
            yield (
                f"{opened.name}: numbers from {smallest:.9g} to {largest:.9g} are clipped to "
                f"{low:.9g} .. {high:.9g}"
            )


def _weighted(made: Experiment, data: ImageFolder, opened: Opened) -> Ready:
    """The network with weights of its own, and the picture as `data` declares it."""
    architecture = made.architecture
    planes = None
    if isinstance(architecture, Onnx | Program):
        planes = architecture.channels
    elif isinstance(architecture, File):
        planes = weights.planes(weights.read(architecture.path))
    elif isinstance(architecture, Torchvision) and architecture.weights is not None:
        planes = weights.planes(weights.read(architecture.weights))
    if planes is None or not isinstance(architecture, File | Torchvision | Onnx | Program):
        raise InputError(
            f"--model: got {made.names['model']}, which brings no weights; allowed: file with "
            "model.path and model.factory, onnx or program with model.path, torchvision with "
            "model.weights, or dataset=... and the settings of a finished run"
        )
    if architecture.head == "new":
        raise InputError(
            "model.head: got new, a last layer that is still to be learnt; allowed: weights, or "
            "dataset=... and the settings of the run that has learnt it"
        )
    span, notes = _span(data, opened)
    recipe = Recipe(
        channels=_channels(data, planes),
        bands=data.bands,
        alpha=data.alpha,
        span=span,
        resize=data.resize,
    )
    images = _pixels(recipe, opened)
    network = architecture.build(recipe.channels, (images.shape[2], images.shape[3]), 0)
    if opened.header.bands > 1 and recipe.channels == 1:
        notes = [*notes, f"{opened.name}: the network wants grey pictures: colours become grey"]
    return Ready(
        network=network.to(machine.device(made.settings.device)),
        images=images,
        classes=architecture.names or (),
        notes=(*notes, *_clipped(recipe, opened)),
    )


def _channels(data: ImageFolder, planes: int) -> int:
    if data.bands is not None:
        return len(data.bands)
    return {"grey": 1, "rgb": 3}.get(data.color) or planes


def _span(data: ImageFolder, opened: Opened) -> tuple[Span | Literal["dtype"] | None, list[str]]:
    """The numbers that become 0 and 1, and a line of how they were found."""
    if isinstance(data.range, tuple):
        return data.range, []
    if opened.header.dtype == np.uint8:
        return None, []
    if data.range == "dtype":
        return "dtype", []
    chosen = pixels.select(opened.name, opened.picture, data.bands, data.alpha)
    ends = pixels.extremes(chosen) or (0.0, 0.0)
    (low, high), why = pixels.detected([ends], [opened.header.dtype])
    line = (
        f"{opened.name}: numbers from {ends[0]:.9g} to {ends[1]:.9g} are {why}: {low:.9g} is "
        f"black, {high:.9g} is white; dataset.range=[low,high] for what the network learnt from"
    )
    return (low, high), [line]


def _pixels(recipe: Recipe, opened: Opened) -> Tensor:
    made = recipe(opened.name, opened.picture)[None]
    return made if made.is_floating_point() else made.float() / 255


def _explained(made: Experiment, ready: Ready, target: str, opened: Opened) -> Heatmaps:
    sample = explaining.sampled(ready.network, ready.images, None)
    looked = networks.asked(ready.network, sample.images, None)
    logits = networks.predicted(looked.network, sample.images)
    sample.labels.copy_(networks.targets_of(_class(target, ready.classes, logits), logits))
    found = explaining.explained(
        looked.network,
        networks.with_layers_of(looked.network, made.explainers),
        sample,
        logits.argmax(1),
        None,
        Question(target="label", value=made.settings.value, against=0),
        "; ".join(looked.notes),
        made.settings.reference,
    )
    return replace(found, classes=ready.classes, files=(readable(opened.path.name),))


def _class(given: str, classes: Sequence[str], logits: Logits) -> int | None:
    """The class that is asked for: predicted, runner_up, its name or its number."""
    if given == "predicted":
        return None
    if given == "runner_up":
        return int(logits.topk(2, 1).indices[0, 1])
    if given in classes:
        return list(classes).index(given)
    if given.isdecimal():
        return int(given)
    words = ", ".join(["predicted", "runner_up", *classes[:8], "a class's number"])
    raise InputError(f"target: got {given!r}; allowed: one of {words}")


def _saved(found: Heatmaps, folder: Path, opened: Opened) -> Iterator[str]:
    """Everything is written; a line for what is not."""
    stem = opened.path.stem
    for name in found:
        replace(found, maps={name: found[name]}).save(folder / f"{stem}-{name}.png")
    found.save(folder / f"{stem}.png")
    found.save(folder / f"{stem}.npz")
    where = geo.georeference(opened.path)
    if where is None:
        return
    if where.size != tuple(found.images.shape[2:]):
        yield f"{opened.name}: heatmaps of a picture that is scaled have no georeference"
        return
    there = opened.picture.valid
    for name, one in found.items():
        values = one[0].numpy().copy()
        if there is not None:
            values[~there.all(axis=2)] = np.nan
        geo.save(folder / f"{stem}-{name}.tif", values, where)
