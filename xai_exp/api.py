"""The Python API: explain networks and pictures of one's own, as short as on the command line.

`import xai_exp as xe`; every name here is `xe.NAME`. Names and fields are those of conf/, wrong
ones are answered by the command line's own line (`InputError`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from xai_exp.compute.values import Question
from xai_exp.config import InputError
from xai_exp.errors import unknown
from xai_exp.explainers.reference import Reference
from xai_exp.notebook import elsewhere, explaining, networks, pictures, scores
from xai_exp.notebook.choices import Choices, Help, described
from xai_exp.notebook.composing import chosen
from xai_exp.notebook.composing import experiment as made_of
from xai_exp.notebook.heatmaps import Heatmaps
from xai_exp.notebook.networks import Preprocessing
from xai_exp.notebook.pictures import Masks, Pictures
from xai_exp.notebook.running import Run
from xai_exp.truth.games import Truth, attribute
from xai_exp.types import Dataset, Scenes, Value

__all__ = [
    "Choices",
    "Heatmaps",
    "InputError",
    "Preprocessing",
    "Run",
    "Truth",
    "dataset",
    "datasets",
    "describe",
    "explain",
    "explainers",
    "load",
    "metrics",
    "models",
    "run",
    "score",
    "train",
    "worth",
]

Targets = int | Sequence[int] | np.ndarray | Tensor | None


def explain(
    network: nn.Module,
    images: Pictures | Scenes,
    explainers: explaining.Names = "lrp",
    *,
    targets: Targets = None,
    preprocessing: Preprocessing | None = None,
    references: Pictures | int | None = None,
    masks: Masks | None = None,
    value: Value = "centred",
    against: int | None = None,
    reference: Reference = "own",
    seed: int = 0,
    **fields: Any,  # noqa: ANN401
) -> Heatmaps:
    """Heatmaps of a network's answers to images, by one explainer or several.

    The network is left as it was: mode, gradients, hooks, device. Images go to its device.

    Args:
        network: any torch network from a batch of images to logits (batch, class). One logit an
            image is read as a binary question: class 1 has half of it, class 0 the negative. A
            softmax or sigmoid at the end is cut; `note` of what is returned says so.
        images: a tensor (channels first), an array (channels last), a PIL image, or a list of
            them; single or a batch; bytes, or floats in 0..1. Or rendered scenes, whose masks and
            exact truth `xe.score` then knows.
        explainers: a name or a list, see `xe.explainers()`; a mapping gives ready ones names:
            {"mine": function of (model, images, targets)}.
        targets: the class that is explained: one for all images, or one for each; None: the
            predicted one.
        value: which value of it: centred (logit minus the mean logit), pair (against another
            class), log_odds, probability or logit.
        against: the other class of value="pair".
        reference: the image that counts as nothing: own (each explainer's), black, grey, mean,
            border (the median of an image's border, where DeepLIFT and integrated gradients were
            nearest to exact truth), or background (of rendered scenes).
        preprocessing: what images go through before the network, `xe.Preprocessing(mean=, std=,
            size=)`; heatmaps are in the pixels of the images as given.
        references: images like those the network learnt from, for explainers that compare with
            them. A number is the field of that name.
        masks: what is in the images, (image, height, width) or (image, part, height, width).
        seed: of explainers that draw random numbers.
        fields: of the explainers, such as rule="gamma"; one that several have goes to each of
            them, lrp={"rule": "gamma"} to that one alone. `xe.describe("lrp")` lists them with
            what they allow.

    Returns:
        A set of heatmaps by name: signed, (batch, height, width), on the CPU.

    Raises:
        InputError: in one line, for what can't be understood or explained. Of several explainers,
            those that can't explain this network are skipped with a warning.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> heatmaps = explain(network, torch.rand(5, 3, 8, 8), ["lrp", "gradient"], rule="gamma")
    >>> heatmaps["lrp"].shape
    torch.Size([5, 8, 8])
    """
    if isinstance(references, int):
        fields["references"], references = references, None
    _refuse_fields_of_preprocessing(fields)
    ready = explaining.made(explainers, fields, seed)
    sample = explaining.sampled(network, images, masks)
    looked = networks.asked(network, sample.images, preprocessing)
    asked = looked.network
    ready = networks.with_layers_of(asked, ready)
    logits = networks.predicted(asked, sample.images)
    sample.labels.copy_(networks.targets_of(targets, logits))
    known = None if references is None else pictures.read(references).to(sample.images.device)
    question = _question(value, against, logits.shape[1])
    note = "; ".join(looked.notes)
    predictions = logits.argmax(1)
    return explaining.explained(
        asked, ready, sample, predictions, known, question, note, _reference(reference)
    )


def _reference(given: Reference) -> Reference:
    if given not in get_args(Reference):
        allowed = ", ".join(get_args(Reference))
        raise InputError(f"reference: got {given!r}; allowed: one of {allowed}")
    return given


def score(
    heatmaps: Heatmaps | elsewhere.Given,
    metrics: str | Sequence[str] = "quick",
    *,
    network: nn.Module | None = None,
    images: Pictures | None = None,
    targets: Targets = None,
    preprocessing: Preprocessing | None = None,
    value: Value = "centred",
    masks: Masks | None = None,
    imputer: str = "noise",
    seed: int = 0,
    **fields: Any,  # noqa: ANN401
) -> pd.DataFrame:
    """Scores of heatmaps, one for each image: what `xe.explain` gave is measured as it is.

    Heatmaps of other libraries are measured likewise, with the network and the images that they
    explain; metrics that need heatmaps of other images, too, have no score for them.

    Args:
        heatmaps: of `xe.explain`, or an array (image, height, width), signed; several by name.
        network: what heatmaps made elsewhere explain, as in `xe.explain`.
        images: likewise.
        targets: likewise.
        preprocessing: likewise.
        value: likewise.
        metrics: a name or a list, see `xe.metrics()`, which also says which direction is better.
        masks: what is in the images, (image, height, width) or (image, part, height, width), for
            metrics that need it; None: those that `xe.explain` was given, if any.
        imputer: how pixels are taken away, see conf/imputer; no way is neutral.
        seed: of metrics that draw random numbers.
        fields: of the metrics, as in `xe.explain`; `xe.describe("road")` lists them.

    Returns:
        A row an image, explainer and metric: image, explainer, metric, score, reason. A score that
        is undefined, or needs what is not given, is missing (NaN) and has its reason.

    Raises:
        InputError: in one line, for a name, field or value that there is not.

    >>> import torch
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    >>> heatmaps = explain(network, torch.rand(2, 1, 8, 8), ["gradient", "random"])
    >>> table = score(heatmaps, ["sparseness", "pointing_game"])
    >>> len(table), sorted(set(table["reason"]))
    (8, ['', 'it needs masks of what is in the images (masks=...)'])
    """
    if not isinstance(heatmaps, Heatmaps):
        asked = elsewhere.Asked(
            network=network, images=images, targets=targets, before=preprocessing, value=value
        )
        heatmaps = elsewhere.taken(heatmaps, asked)
    elif (network, images, targets, preprocessing) != (None, None, None, None):
        raise InputError(
            "score: got network, images, targets or preprocessing with what xe.explain gave, which "
            "has its own; allowed: them with an array"
        )
    made = scores.made(metrics, fields, imputer, seed)
    return scores.table(heatmaps, made, masks, seed)


def dataset(name: str, **fields: Any) -> Dataset:  # noqa: ANN401
    """A dataset by its name, with its fields as keywords; `xe.datasets()` lists them.

    Its splits `train`, `validation` and `test` give `images`, `scenes` and `parts` at positions:
    `data.test.images([0, 1, 2])`.

    Raises:
        InputError: in one line, for a name, field or value that there is not.

    >>> dataset("counting", max_objects=2).test.images([0, 1, 2]).shape
    torch.Size([3, 1, 64, 64])
    """
    return made_of(chosen("dataset", [name], fields)).dataset


def train(
    model: str,
    data: Dataset,
    *,
    seed: int = 0,
    trainer: str | Mapping[str, object] = "default",
    device: str = "auto",
    store: str = "mlruns/models",
    **fields: Any,  # noqa: ANN401
) -> nn.Module:
    """A trained network in evaluation mode; one that was trained before is found, not made again.

    The store is the command line's: what it trained is found here, and the other way round. A
    training that was killed goes on where it stopped.

    Args:
        model: a name, see `xe.models()`.
        data: what to learn, of `xe.dataset` or any object like it (whose networks aren't kept).
        seed: of the weights and the order of training.
        trainer: default, quick, or fields of the default one: {"max_epochs": 2}.
        device: auto, cpu, cuda ...
        store: the folder where trained networks are kept.
        fields: of the model.

    Raises:
        InputError: in one line, for what there is not, or a loss that is no longer finite.

    >>> data = dataset("counting", count=300, max_objects=2)
    >>> from tempfile import mkdtemp
    >>> network = train("whitebox_counter", data, store=mkdtemp())  # doctest: +ELLIPSIS
    model trained in 0 s: test accuracy ... % after 0 epochs
    >>> network.training
    False
    """
    from xai_exp.notebook import training

    settings = {"seed": seed, "device": device, "models": str(store)}
    return training.trained(model, data, trainer=trainer, given=fields, settings=settings)


def load(path: str | Path) -> nn.Module:
    """The network in a file, for `xe.explain`: from pictures in 0..1 to logits.

    What the file says of means and sizes goes in front, a softmax at the end is cut, and what was
    changed is said. A network whose operators have no torch function runs as a black box: methods
    by removal work on it. Needs `pip install 'xai-exp[formats]'`.

    Args:
        path: NAME.onnx, a folder with graph.nnef, NAME.pb of MMdnn, or a file of
            torch.export.save or torch.jit.save.

    Raises:
        InputError: in one line, for a file that is damaged, or no image classifier.
    """
    from xai_exp.models.exchanged import load as loaded

    return loaded(path)


def worth(
    network: nn.Module,
    scenes: Scenes,
    targets: Targets = None,
    *,
    value: Value = "centred",
    against: int | None = None,
) -> Truth:
    """What the parts of rendered scenes are worth to a network: their exact Shapley values.

    The value of a set of parts is the centred logit of the target on the scene drawn with these
    parts alone; all sets are drawn (2^parts images). With more than 12 parts values are means over
    256 random orders, and `error` holds their standard errors, which are 0 where values are exact.

    Args:
        network: as in `xe.explain`.
        scenes: such as `data.test.scenes([0, 1, 2])`; `.divided("corners")` has other parts.
        targets: as in `xe.explain`.
        value: likewise.
        against: likewise.

    Returns:
        `shapley` (batch, part) in units of logit, with `effect`, `interaction`, `present`, `empty`
        and `whole`; the values of an image sum to whole - empty.

    Raises:
        InputError: in one line, for other than scenes or a network that can't be asked.

    >>> import torch
    >>> data = dataset("counting", max_objects=2)
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 3))
    >>> truth = worth(network, data.test.scenes([0, 1, 2]))
    >>> torch.allclose(truth.shapley.sum(1), truth.whole - truth.empty, atol=1e-5)
    True
    """
    if not isinstance(scenes, Scenes) or isinstance(scenes, Tensor):
        raise InputError(
            f"worth: got a {type(scenes).__name__}; allowed: rendered scenes, such as "
            "data.test.scenes([0, 1, 2])"
        )
    sample = explaining.sampled(network, scenes, None)
    assert sample.scenes is not None
    asked = networks.asked(network, sample.images, None).network
    logits = networks.predicted(asked, sample.images)
    question = _question(value, against, logits.shape[1])
    answering = explaining.answers(asked, sample, question)
    return attribute(answering, sample.scenes, networks.targets_of(targets, logits))


def _question(value: Value, against: int | None, classes: int) -> Question:
    """The value that is asked for; targets are the labels of the sample.

    Raises:
        InputError: for a value that there is not, or a pair without the other class.
    """
    if value not in get_args(Value):
        raise InputError(unknown("value", str(value), list(get_args(Value))))
    if value == "pair" and (against is None or not 0 <= against < classes):
        raise InputError(f"against: got {against}; allowed: a class from 0 to {classes - 1}")
    return Question(target="label", value=value, against=0 if against is None else against)


def run(*arguments: str) -> Run:
    """One whole experiment, as `python -m xai_exp` does it with the same arguments.

    Data, a trained network, heatmaps, scores, and all of it tracked; what is finished is found.

    Args:
        arguments: GROUP=NAME, GROUP=[NAME,NAME] and KEY=VALUE.

    Returns:
        `scores` (a row an image, explainer and metric), `means()`, `objective` and `config`.

    Raises:
        InputError: with the command line's line; also for experiments of several jobs.

    >>> run("dataset=digits", "explainer=lpr")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    xai_exp.config.InputError: unknown explainer: got 'lpr' (did you mean lrp?); allowed: ...
    """
    from xai_exp.notebook import running

    return running.run(running.configuration(*arguments))


def explainers() -> Choices:
    """The names of all explainers with their meaning; `xe.explainers()["lrp"]` shows its fields.

    >>> print(explainers()["gradient"].meaning)
    The gradient of the target's logit, signed.
    """
    return Choices("explainer")


def metrics() -> Choices:
    """The names of all metrics with their meaning; `xe.metrics()["road"]` shows its fields.

    >>> "pixel_flipping" in metrics()
    True
    """
    return Choices("metric")


def datasets() -> Choices:
    """The names of all datasets with their meaning; `xe.datasets()["counting"]` shows its fields.

    >>> "counting" in datasets()
    True
    """
    return Choices("dataset")


def models() -> Choices:
    """The names of all architectures with their meaning; `xe.models()["cnn"]` shows its fields.

    >>> "cnn" in models()
    True
    """
    return Choices("model")


def describe(name: str) -> Help:
    """What a name of conf/ means, its fields, their defaults and what they allow.

    Raises:
        InputError: for a name that there is not.

    >>> print(describe("gradient"))
    gradient (explainer): The gradient of the target's logit, signed.
      absolute = False; allowed: true or false
    """
    return described(name)


def _refuse_fields_of_preprocessing(fields: Mapping[str, object]) -> None:
    for name in ("mean", "std"):
        if name in fields:
            raise InputError(
                f"{name}: got a field of no explainer; allowed: "
                f"preprocessing=xe.Preprocessing({name}=...)"
            )


def _with_names() -> str:
    """What can be chosen, for the end of `xe.explain?`."""
    return "\n".join(["", "", "Explainers and their fields:", "", *Choices("explainer").outlines()])


explain.__doc__ = (explain.__doc__ or "").rstrip() + _with_names()
