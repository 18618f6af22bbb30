"""Shap's explainers: of superpixels by their players, and of pixels by reference images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_exp.bridges.library import (
    Library,
    Unpriced,
    answering,
    by_segment,
    drawing,
    given,
    own,
    takes,
)
from xai_exp.compute import ops
from xai_exp.config import Count, InputError, Range, configured
from xai_exp.removal import Border
from xai_exp.removal.segments import grid
from xai_exp.types import Heatmaps, Images, Imputer, Labels

LIBRARY = Library(module="shap", package="shap", extra="shap", tested="0.51.0")
Seed = Annotated[int, Range(0, 2**31 - 1)]


@configured
class Shap(Unpriced):
    """What an explainer of shap says of superpixels (Lundberg and Lee 2017), each pixel its own's.

    Players are the squares of a grid, taken away by our imputers; PartitionExplainer cuts by itself
    and fills in by `masker`. What the library refuses, breaks on or gets wrong stays as it is.
    Cost: the library does not state it.

    Args:
        method: the class: KernelExplainer, ExactExplainer, PermutationExplainer, SamplingExplainer
            or PartitionExplainer.
        segments: squares of the grid.
        imputer: what stands in the image where a square is gone.
        masker: of PartitionExplainer: black, inpaint_telea, inpaint_ns or blur(8,8).
        arguments: of the call that explains, each NAME=VALUE, such as nsamples=500 or l1_reg=0.
        seed: of its draws.
    """

    method: str = "KernelExplainer"
    segments: Count = 64
    imputer: Imputer = Border()
    masker: str = "black"
    arguments: tuple[str, ...] = ()
    seed: Seed = 0

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What shap says of each image.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        shap = LIBRARY.part()
        kind = LIBRARY.named(shap, self.method, shap.Explainer)
        if kind in (shap.DeepExplainer, shap.GradientExplainer):
            raise InputError(
                f"shap.method: got {self.method}, which compares with reference images; allowed: "
                "explainer=bridge/shap_references"
            )
        with drawing(self.seed):
            if kind is shap.PartitionExplainer:
                return self._parted(shap, own(model), images, targets)
            old = issubclass(kind, shap.KernelExplainer)
            return self._players(kind, own(model), images, targets, old=old)

    def _players(
        self,
        kind: Any,  # noqa: ANN401
        model: nn.Module,
        images: Images,
        targets: Labels,
        *,
        old: bool,
    ) -> Heatmaps:
        cut = grid(images, self.segments)
        count = int(cut.max()) + 1
        none, every = np.zeros((1, count)), np.ones((1, count))
        found = []
        for row, target in enumerate(targets.tolist()):
            made = kind(self._game(model, images[row : row + 1], cut[row], target), none)
            arguments = {"silent": True, **given(self.arguments)}
            # The oldest of its explainers keep their values behind a call of their own.
            told = made.shap_values(every, **arguments) if old else made(every, **arguments).values
            found.append(np.asarray(told).reshape(count))
        return by_segment(torch.as_tensor(np.stack(found)).to(images), cut)

    def _game(
        self, model: nn.Module, image: Images, cut: Tensor, target: int
    ) -> Callable[[np.ndarray], np.ndarray]:
        removal = self.imputer(image, None, ops.image_keys(image, self.seed))

        def game(kept: np.ndarray) -> np.ndarray:
            gone = torch.as_tensor(np.asarray(kept) == 0, device=image.device)[:, cut]
            answers = [
                ops.logits(model, removal(slice(0, 1), some[None])) for some in gone.split(64)
            ]
            return torch.cat(answers)[:, target].double().cpu().numpy()

        return game

    def _parted(
        self,
        shap: Any,  # noqa: ANN401
        model: nn.Module,
        images: Images,
        targets: Labels,
    ) -> Heatmaps:
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        shape = pictures.shape[1:]
        value = np.zeros(shape) if self.masker == "black" else self.masker
        made = shap.PartitionExplainer(answering(model), shap.maskers.Image(value, shape))
        arguments = {"silent": True, "batch_size": 1, **given(self.arguments)}
        found = [
            made(pictures[row : row + 1], outputs=[target], **arguments).values
            for row, target in enumerate(targets.tolist())
        ]
        maps = torch.as_tensor(np.concatenate(found)).reshape(len(images), *shape)
        return maps.sum(-1).to(images)


@configured
class ShapReferences(Unpriced):
    """What shap's DeepExplainer or GradientExplainer says of pixels, against reference images.

    What the library refuses, breaks on or gets wrong stays as it is. Cost: the library does not
    state it.

    Args:
        method: the class: DeepExplainer or GradientExplainer.
        references: how many reference images.
        arguments: of `shap_values`, each NAME=VALUE, such as check_additivity=False.
        seed: of its draws.
    """

    method: str = "DeepExplainer"
    references: Count = 16
    arguments: tuple[str, ...] = ()
    seed: Seed = 0

    def fit(self, model: nn.Module, images: Images) -> "Bound":  # noqa: ARG002
        """This explainer with the first of `images` as its references."""
        return Bound(explainer=self, given=images[: self.references])

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:  # noqa: ARG002
        """Refused: there is nothing to compare with.

        Raises:
            InputError: always.
        """
        raise LIBRARY.unbound()


@dataclass(frozen=True, kw_only=True)
class Bound(Unpriced):
    """One of shap's explainers of pixels with its references."""

    explainer: ShapReferences
    given: Images

    def __call__(self, model: nn.Module, images: Images, targets: Labels) -> Heatmaps:
        """What shap says of each image.

        Raises:
            InputError: when it is not installed or has no such class.
        """
        asked = self.explainer
        shap = LIBRARY.part()
        kind = LIBRARY.named(shap, asked.method, shap.Explainer)
        with torch.enable_grad(), drawing(asked.seed):
            made = kind(own(model), self.given)
            seeded = {"rseed": asked.seed} if takes(made.shap_values, "rseed") else {}
            found = made.shap_values(images.clone(), **{**seeded, **given(asked.arguments)})
        values = torch.as_tensor(np.asarray(found))  # (image, channel, row, column, class)
        rows = torch.arange(len(images))
        return ops.channel_sum(values[rows, ..., targets.cpu()]).to(images)
