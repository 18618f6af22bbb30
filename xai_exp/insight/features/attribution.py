"""Which channels and places of a layer speak for a class or a later layer, and in what groups."""

from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import NMF
from torch import Tensor

from xai_exp.compute import ops
from xai_exp.compute.norms import right_gradients
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.features.lens import Layer, Seen, activations, as_maps, chosen_layer
from xai_exp.insight.features.objectives import along
from xai_exp.insight.features.optimise import Made, optimised
from xai_exp.insight.features.tiles import shown
from xai_exp.insight.features.visualise import Visualise
from xai_exp.report.figures import ink
from xai_exp.types import Images, Scores

_TOP = 6  # channels that are shown of an image


class Ways:
    """Directions of a layer, an image each: an objective for `optimised`."""

    def __init__(self, layer: str, ways: Tensor, cosine: int = 2) -> None:
        self.layers, self._ways, self._cosine = (layer,), ways, cosine
        self.names = tuple(str(one) for one in range(len(ways)))

    def __call__(self, seen: Seen, images: Images) -> Scores:  # noqa: ARG002
        """How far each image goes along its direction."""
        maps = as_maps(seen[self.layers[0]])
        return along(maps, self._ways, self._cosine).mean((1, 2))


def icons(subject: Subject, layer: str, ways: Tensor, steps: int) -> Made:
    """An image for every direction (direction, channel) of a layer."""
    return optimised(subject, [(1.0, Ways(layer, ways))], Visualise(steps=steps).plan())


def attributed(subject: Subject, layer: str, to: str | None, images: Images) -> Tensor:
    """Activation times gradient of the target: (image, channel, rows, columns).

    The target is the centred logit of the predicted class, or half the squared length of what a
    later layer says at its most active cell.

    Raises:
        InputError: when the target does not depend on the layer.
    """
    kept: dict[str, Tensor] = {}

    def keep(_module: object, _given: object, out: Tensor) -> Tensor:
        kept["start"] = out.detach().requires_grad_()
        return kept["start"].clone()

    def keep_later(_module: object, _given: object, out: Tensor) -> None:
        kept["end"] = out

    network = subject.network
    with right_gradients(images), ops.evaluating(network):
        hooks = [network.get_submodule(layer).register_forward_hook(keep)]
        if to is not None:
            hooks.append(network.get_submodule(to).register_forward_hook(keep_later))
        try:
            logits = network(images)
        finally:
            for hook in hooks:
                hook.remove()
        if to is None:
            centred = logits - logits.mean(1, keepdim=True)
            target = ops.pick(centred, logits.argmax(1)).sum()
        else:
            lengths = as_maps(kept["end"]).pow(2).sum(1).flatten(1)
            target = lengths.amax(1).sum() / 2
        slope = None
        if target.requires_grad:
            (slope,) = torch.autograd.grad(target, kept["start"], allow_unused=True)
    if slope is None:
        raise InputError(
            f"attribution: got layer {layer}, on which {to or 'the logits'} do not depend; "
            "allowed: an earlier one"
        )
    return as_maps(kept["start"].detach() * slope)


@configured
class Attribution:
    r"""Channel and spatial attribution between a layer and a class or a later layer (Olah 2018).

    $a \cdot \partial t / \partial a$, summed over places (of a channel) or over channels (of a
    place). Signed; the sum over everything is the target itself where what lies between is linear.
    Linear elsewhere too only as an approximation.

    Args:
        layer: a module; null: the last with maps.
        to: a later module; null: the predicted class.
        images: of the test split, the first ones.
    """

    shows: ClassVar[str] = "which channels and places of a layer speak for the answer"
    layer: Layer = None
    to: Layer = None
    images: Annotated[int, Range(1, 16)] = 4

    def __call__(self, subject: Subject) -> Finding:
        """The attributions."""
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        to = None if self.to is None else chosen_layer(subject.network, self.to)
        images = subject.images(self.images)
        found = attributed(subject, layer, to, images)
        channels = found.sum((2, 3)).cpu()
        table = pd.DataFrame(channels.numpy()).rename_axis("image").reset_index()
        said = subject.logits(self.images).argmax(1).tolist()
        titles = [subject.data.classes[one] for one in said]
        return Finding(
            figures={
                "attribution": partial(
                    _attributions, images.cpu(), found.sum(1).cpu(), channels, titles, layer
                )
            },
            tables={"channels": table},
            numbers={"strongest_share": _strongest(channels)},
            lines=(f"of {layer}; the strongest channel has {100 * _strongest(channels):.0f} %",),
        )


def _strongest(channels: Tensor) -> float:
    """The share of absolute attribution that the strongest channel has, the mean over images."""
    size = channels.abs()
    return float((size.amax(1) / size.sum(1).clamp(min=1e-12)).mean())


def _attributions(
    images: Images, places: Tensor, channels: Tensor, titles: list[str], layer: str
) -> Figure:
    count = len(images)
    figure = Figure(figsize=(1.9 * count + 0.6, 5.2), dpi=150, layout="constrained")
    grid: np.ndarray = figure.subplots(3, count, squeeze=False)
    for one in range(count):
        shown(grid[0, one], images[one], f"says {titles[one]}")
        far = max(float(places[one].abs().max()), 1e-12)
        grid[1, one].imshow(places[one].numpy(), cmap="RdBu_r", vmin=-far, vmax=far)
        grid[1, one].set_axis_off()
        top = channels[one].abs().topk(min(_TOP, channels.shape[1])).indices
        values = channels[one][top].numpy()
        colours = [ink.RED if value > 0 else ink.BLUE for value in values]
        grid[2, one].barh(range(len(top)), values, color=colours)
        grid[2, one].set_yticks(range(len(top)), [str(int(k)) for k in top])
        grid[2, one].invert_yaxis()
        ink.plain(grid[2, one], grid="x")
    grid[2, 0].set_ylabel("channel")
    figure.suptitle(f"what speaks for the answer in {layer}: places, channels", fontsize=ink.SIZE)
    return figure


@configured
class ActivationGrid:
    """An image cut into cells, each drawn as what the layer sees there (Olah et al. 2018).

    Args:
        layer: a module; null: the last with maps.
        image: its place in the test split.
        cells: of a side at most; larger maps are averaged.
        steps: of Adam.
    """

    shows: ClassVar[str] = "what a layer sees in each cell of an image"
    layer: Layer = None
    image: Annotated[int, Range(0)] = 0
    cells: Annotated[int, Range(1, 12)] = 4
    steps: Count = 64

    def __call__(self, subject: Subject) -> Finding:
        """The grid.

        Raises:
            InputError: for an image that there is not.
        """
        if self.image >= len(subject.data.test):
            raise InputError(
                f"activation_grid: got image {self.image}; allowed: 0 to "
                f"{len(subject.data.test) - 1}"
            )
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        image = subject.images(self.image + 1)[-1:]
        maps = activations(subject.network, image, layer)
        side = (min(self.cells, maps.shape[2]), min(self.cells, maps.shape[3]))
        maps = torch.nn.functional.adaptive_avg_pool2d(maps, side)
        made = icons(subject, layer, maps[0].flatten(1).T, self.steps)
        strength = maps[0].norm(dim=0)
        return Finding(
            figures={
                "grid": partial(_grid, image[0].cpu(), made.images.cpu(), strength.cpu(), layer)
            },
            numbers={"score": float(made.score.mean())},
            lines=(f"{side[0]} x {side[1]} cells of {layer}",),
        )


def _grid(image: Tensor, made: Images, strength: Tensor, layer: str) -> Figure:
    rows, columns = strength.shape
    figure = Figure(figsize=(6.8, 3.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    shown(left, image, "image")
    height, width = made.shape[2:]
    size = strength / strength.max().clamp(min=1e-12)
    lines = [
        torch.cat([_faded(made[row * columns + k], size[row, k]) for k in range(columns)], 2)
        for row in range(rows)
    ]
    shown(right, torch.cat(lines, 1), f"what {layer} sees, paler where it says less")
    for k in range(1, rows):
        right.axhline(k * height - 0.5, color="white", linewidth=0.5)
    for k in range(1, columns):
        right.axvline(k * width - 0.5, color="white", linewidth=0.5)
    return figure


def _faded(image: Tensor, share: Tensor) -> Tensor:
    return 1 - (0.15 + 0.85 * share) * (1 - image)


@configured
class NeuronGroups:
    """Channels that fire together, as groups: non-negative matrix factorisation (Olah et al. 2018).

    A layer's positive activations at all cells of the evaluation images are written as cells x
    groups times groups x channels. `explained` is the share of their squared sum that the groups
    keep, 0..1, HIGHER is better.

    Args:
        layer: a module; null: the last with maps.
        groups: their number.
        images: of the test split, the first ones.
        steps: of Adam, for a picture of each group.
    """

    shows: ClassVar[str] = "groups of channels that fire together, and where"
    layer: Layer = None
    groups: Annotated[int, Range(1, 16)] = 4
    images: Annotated[int, Range(4)] = 64
    steps: Count = 64

    def __call__(self, subject: Subject) -> Finding:
        """The groups.

        Raises:
            InputError: when nothing fires, or there are fewer channels than groups.
        """
        layer = chosen_layer(subject.network, self.layer, maps=self.layer is None)
        images = subject.images(self.images)
        maps = activations(subject.network, images, layer).clamp(min=0)
        cells = maps.movedim(1, 3).flatten(0, 2).double().cpu().numpy()
        if self.groups > cells.shape[1] or not cells.any():
            raise InputError(
                f"groups: got {self.groups} for layer {layer} of {cells.shape[1]} channels; "
                "allowed: at most as many, of which some fire"
            )
        look: dict[str, Any] = {"n_components": self.groups, "init": "nndsvda", "max_iter": 400}
        model = NMF(**look, random_state=subject.seed, tol=1e-3)
        weights = model.fit_transform(cells)
        left = np.square(cells - weights @ model.components_).sum() / np.square(cells).sum()
        ways = torch.from_numpy(model.components_).float().to(subject.device)
        made = icons(subject, layer, ways, self.steps)
        where = torch.from_numpy(weights).view(len(images), *maps.shape[2:], self.groups)
        table = pd.DataFrame(model.components_).rename_axis("group").reset_index()
        return Finding(
            figures={
                "groups": partial(_groups, images[:6].cpu(), made.images.cpu(), where[:6], layer)
            },
            tables={"groups": table},
            numbers={"explained": float(1 - left)},
            lines=(f"{self.groups} groups keep {100 * (1 - left):.0f} % of {layer}",),
        )


def _groups(images: Images, made: Tensor, where: Tensor, layer: str) -> Figure:
    count, groups = len(images), len(made)
    figure = Figure(
        figsize=(1.15 * (count + 1), 1.25 * (groups + 1)), dpi=150, layout="constrained"
    )
    grid: np.ndarray = figure.subplots(groups + 1, count + 1, squeeze=False)
    grid[0, 0].set_axis_off()
    for one in range(count):
        shown(grid[0, one + 1], images[one])
    for group in range(groups):
        shown(grid[group + 1, 0], made[group], f"group {group}")
        most = max(float(where[..., group].max()), 1e-12)
        for one in range(count):
            axes = grid[group + 1, one + 1]
            axes.imshow(where[one, ..., group].numpy(), cmap="viridis", vmin=0, vmax=most)
            axes.set_axis_off()
    figure.suptitle(f"groups of channels of {layer}, and where they fire", fontsize=ink.SIZE)
    return figure
