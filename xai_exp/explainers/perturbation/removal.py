"""What explainers by removal share: perturbed copies, the outputs for them, sets of segments.

An explanation should not change because a metric is asked with another imputer, so each of these
explainers has its own (`border` by default, the background of rendered scenes).
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import nn

from xai_exp.compute import ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import Range
from xai_exp.explainers.cost import Cost, Costing
from xai_exp.explainers.promises import Promises
from xai_exp.removal.segments import means
from xai_exp.types import (
    Copies,
    Curves,
    Effects,
    Explainer,
    Heatmaps,
    Images,
    Imputer,
    Keep,
    Labels,
    NeedsScenes,
    Removal,
    Scenes,
    Scores,
    Segments,
    Subsets,
)

Output = Literal["logit", "probability"]
Seed = Annotated[int, Range(0)]


class Removing(Promises):
    """An explainer that takes pixels away by an imputer; bound to scenes if that one needs them."""

    imputer: Imputer
    seed: int

    def with_scenes(self, images: Images, scenes: Scenes) -> Explainer:
        """This explainer for these images and their scenes; itself, if its imputer needs none."""
        if not (isinstance(self.imputer, NeedsScenes) and self.imputer.needs_scenes):
            return self
        return WithScenes(explainer=self, images=images, scenes=scenes)

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmap of each image."""
        return self.explain(model, images, targets, None)

    @abstractmethod
    def explain(
        self, model: nn.Module, images: Images, targets: Labels, scenes: Scenes | None
    ) -> Heatmaps:
        """The heatmap of each image, whose scenes an imputer may look at."""

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores | None:
        """What the heatmap adds up to without scenes."""
        return self.promised_with(model, images, targets, None)

    def promised_with(
        self,
        model: nn.Module,  # noqa: ARG002
        images: Images,  # noqa: ARG002
        targets: Labels,  # noqa: ARG002
        scenes: Scenes | None,  # noqa: ARG002
    ) -> Scores | None:
        """What the heatmap adds up to; nothing that is known."""
        return None

    def removal(self, images: Images, scenes: Scenes | None) -> Removal:
        """The images made ready to lose pixels, a random imputer's draw being each image's own."""
        keys = ops.named_keys(ops.image_keys(images, self.seed), "imputer")
        return self.imputer(images, scenes, keys)


@dataclass(frozen=True, kw_only=True)
class WithScenes(Promises):
    """An explainer whose imputer gets the scene of the nearest image that this is bound to.

    `only_known_images` tells metrics that an image which is moved or turned has no scene here.
    """

    only_known_images: ClassVar[bool] = True
    explainer: Removing
    images: Images
    scenes: Scenes

    @property
    def cost(self) -> Cost:
        """Passes for one heatmap."""
        assert isinstance(self.explainer, Costing)
        return self.explainer.cost

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """The heatmap of each image."""
        own = self.scenes[ops.nearest(images, self.images)]
        return self.explainer.explain(model, images, targets, own)

    def promised(self, model: nn.Module, images: Images, targets: Labels) -> Scores | None:
        """What the heatmap adds up to."""
        own = self.scenes[ops.nearest(images, self.images)]
        return self.explainer.promised_with(model, images, targets, own)


@torch.no_grad()
def outputs(
    model: nn.Module,
    images: Images,
    targets: Labels,
    copies: Callable[[slice, slice], Copies],
    steps: int,
    output: Output = "logit",
) -> Curves:
    """Each target's output for perturbed copies of its image: (batch, step).

    `copies(rows, steps)` makes those of some images and steps, flat, all steps of the first image
    first. A batch for the model holds many images x many steps.
    """

    def block(rows: slice, columns: slice) -> Curves:
        logits = quick(copies(rows, columns))
        width = columns.stop - columns.start
        values = logits if output == "logit" else logits.softmax(1)
        return ops.pick(values, targets[rows].repeat_interleave(width)).view(-1, width)

    with ops.evaluating(model):
        quick = streamlined(model, images[:1])
        return ops.in_grid(block, len(images), steps, ops.chunk_size(images), images)


def outputs_of_subsets(
    model: nn.Module,
    images: Images,
    targets: Labels,
    removal: Removal,
    cut: Segments,
    kept: Callable[[slice, slice], Subsets],
    steps: int,
    output: Output = "logit",
) -> Curves:
    """Each target's output where only some segments are kept: (batch, step).

    `kept(rows, steps)` says which, for some images (or once for all of them) and steps.
    """
    places = cut.flatten(1)

    def copies(rows: slice, columns: slice) -> Copies:
        some, width = places[rows], columns.stop - columns.start
        subsets = kept(rows, columns).expand(len(some), -1, -1)
        stays = subsets.gather(2, some[:, None].expand(-1, width, -1))
        return removal(rows, ~stays.view(len(some), width, *images.shape[2:]))

    return outputs(model, images, targets, copies, steps, output)


def spread(effects: Effects, cut: Segments, *, shared: bool = True) -> Heatmaps:
    """Each segment's effect in equal shares for its pixels, so that sums are kept.

    Not `shared`, each pixel gets the whole effect, so that large segments weigh more.
    """
    if shared:
        _, sizes = means(torch.zeros_like(cut, dtype=effects.dtype), cut, effects.shape[1])
        effects = effects / sizes.clamp(min=1)
    return effects.gather(1, cut.flatten(1)).view(cut.shape)


def existing(cut: Segments, number: int) -> Keep:
    """Which of `number` segments have pixels, (batch, segment): a superpixel may be empty."""
    flags = torch.zeros(len(cut), number, dtype=torch.bool, device=cut.device)
    return flags.scatter(1, cut.flatten(1), value=True)


def gone_entirely(images: Images, removal: Removal) -> Images:
    """The images with all of their pixels taken away."""
    everything = torch.ones_like(images[:, :1], dtype=torch.bool)
    return removal(slice(0, len(images)), everything)


def worth(
    model: nn.Module, images: Images, targets: Labels, removal: Removal, output: Output
) -> Scores:
    """The target's output on each image less that with all of its pixels taken away."""

    def copies(rows: slice, columns: slice) -> Copies:
        steps = torch.arange(2, device=images.device)[columns]
        gone = (steps == 1)[None, :, None, None].expand(
            rows.stop - rows.start, -1, *images.shape[2:]
        )
        return removal(rows, gone)

    found = outputs(model, images, targets, copies, 2, output)
    return found[:, 0] - found[:, 1]
