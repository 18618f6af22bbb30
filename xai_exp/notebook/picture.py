"""One picture and a network with weights of its own: heatmaps as files, from the command line."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.data.own.content import readable
from xai_exp.data.own.pixels import Recipe
from xai_exp.data.own.reader import read
from xai_exp.errors import Arguments
from xai_exp.notebook import explaining, networks
from xai_exp.notebook.composing import composed
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.types import NamesClasses


def explain(arguments: Sequence[str]) -> None:
    """Write one PNG a method, all side by side, and the numbers (npz), of one picture.

    Raises:
        InputError: for a picture, a network or an explainer that can't be used.
    """
    words = Arguments(prog="python -m xai_exp explain", description=explain.__doc__)
    words.add_argument("picture", type=Path, help="a file of 8 bits a channel")
    words.add_argument("--model", default="file", help="file, or torchvision with model.weights")
    words.add_argument("--explainer", default="lrp", help="names, with commas between")
    words.add_argument("--out", default="heatmaps", type=Path, help="the folder to write to")
    words.add_argument("settings", nargs="*", help="KEY=VALUE, such as model.path=net.pt")
    given = words.parse_intermixed_args(arguments)
    made = made_of(
        composed(
            *("tracking=off", "metric=complexity", f"model={given.model}"),
            f"explainer=[{given.explainer}]",
            *given.settings,
        )
    )
    architecture = made.architecture
    if not isinstance(architecture, NamesClasses) or not getattr(architecture, "weights", True):
        raise InputError(
            f"--model: got {given.model}, which brings no weights; allowed: file with model.path "
            "and model.factory, or torchvision with model.weights"
        )
    recipe = Recipe(channels=3, bands=None, alpha=None, span=None, resize=None)
    pixels = recipe(readable(given.picture), read(given.picture))[None]
    images = pixels.float() / 255 if not pixels.is_floating_point() else pixels
    network = architecture.build(3, (images.shape[2], images.shape[3]), 0)
    sample = explaining.sampled(network, images, None)
    looked = networks.asked(network, sample.images, None)
    logits = networks.predicted(looked.network, sample.images)
    target = None if isinstance(made.settings.target, str) else made.settings.target
    sample.labels.copy_(networks.targets_of(target, logits))
    ready = networks.with_layers_of(looked.network, made.explainers)
    question = Question(target="label", value=made.settings.value, against=0)
    found = explaining.explained(
        *(looked.network, ready, sample, logits.argmax(1), None, question),
        "; ".join(looked.notes),
    )
    given.out.mkdir(parents=True, exist_ok=True)
    stem = given.picture.stem
    for name in found:
        replace(found, maps={name: found[name]}).save(given.out / f"{stem}-{name}.png")
    found.save(given.out / f"{stem}.png")
    found.save(given.out / f"{stem}.npz")
    names, said = getattr(architecture, "names", None), int(logits.argmax(1))
    sys.stdout.write(
        f"predicted: {names[said] if names else said}; {len(found)} heatmaps in {given.out}\n"
    )
