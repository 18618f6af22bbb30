"""Rows of saliency (PAIR), and of lime by its authors."""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from equals.common import BLACK, GRID, Row, Setting, Theirs, by_segment, cells
from xai_exp.compute import ops
from xai_exp.explainers import gradients
from xai_exp.explainers.perturbation import LIME, Occlusion

SAMPLES, SIDE = 64, 4
MINE = LIME(segments=16, samples=SAMPLES, **GRID)


def of_saliency(name: str, **given: Any) -> Theirs:  # noqa: ANN401
    """One of its methods, image by image."""

    def compute(one: Setting) -> Tensor:
        module: Any = importlib.import_module("saliency.core")
        found = []
        for image, target in zip(one.images, one.targets, strict=True):
            ask = partial(_asked, one.network, int(target), module)
            with mock.patch.object(np, "quantile", _quantile(np.quantile)):
                made = getattr(module, name)().GetMask(image.permute(1, 2, 0).numpy(), ask, **given)
            found.append(torch.as_tensor(made).sum(-1))
        return torch.stack(found)

    return compute


def _asked(
    network: nn.Module,
    target: int,
    module: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    call_model_args: Any = None,  # noqa: ANN401, ARG001
    expected_keys: Any = (),  # noqa: ANN401
) -> dict[str, np.ndarray]:
    # Laid out in memory as ours are: of equal values max pooling takes another one otherwise.
    given = torch.as_tensor(np.asarray(images)).permute(0, 3, 1, 2)
    pixels = given.clone(memory_format=torch.contiguous_format).requires_grad_()
    values = network(pixels)[:, target]
    if module.INPUT_OUTPUT_GRADIENTS not in expected_keys:
        return {module.OUTPUT_LAYER_VALUES: values.detach().numpy()}
    slopes = torch.autograd.grad(values.sum(), pixels)[0]
    return {module.INPUT_OUTPUT_GRADIENTS: slopes.permute(0, 2, 3, 1).numpy()}


def _quantile(quantile: Callable[..., Any]) -> Callable[..., Any]:
    """By the name that its argument had before."""
    return lambda values, share, interpolation="linear": quantile(
        values, share, method=interpolation
    )


def occluded(one: Setting) -> Tensor:
    """Its Occlusion adds up what ours takes the mean of."""
    places, window = torch.ones(1, 1, 12, 12).double(), torch.ones(1, 1, 5, 5).double()
    number = nn.functional.conv_transpose2d(places, window)[0]
    return of_saliency("Occlusion", size=5)(one) / number


class Drawn:
    """In place of a source of random numbers: the sets of segments that are drawn here."""

    def __init__(self, kept: Tensor) -> None:
        self.kept = kept

    def randint(self, low: int, high: int, size: int | None = None) -> Any:  # noqa: ANN401
        """The sets, or a seed that is not used."""
        return low if size is None else self.kept.flatten().numpy().astype(int) % high


def lime(one: Setting) -> Tensor:
    """Lime by its authors, of the logit, with our sets of segments."""
    module: Any = importlib.import_module("lime.lime_image")
    keys = ops.named_keys(ops.image_keys(one.images), "lime")
    drawn = MINE._drawn(keys, torch.ones(len(keys), 16, dtype=torch.bool))
    found = []

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return one.network(torch.as_tensor(images).permute(0, 3, 1, 2)).numpy()

    for image, target, kept in zip(one.images, one.targets, drawn, strict=True):
        made = module.LimeImageExplainer(kernel_width=0.25)
        made.random_state = Drawn(kept)
        told = made.explain_instance(
            image.permute(1, 2, 0).numpy(),
            logits,
            labels=(int(target),),
            top_labels=None,
            hide_color=0,
            num_samples=SAMPLES,
            segmentation_fn=lambda _: cells(SIDE).numpy(),
        )
        found.append(torch.tensor([worth for _, worth in sorted(told.local_exp[int(target)])]))
    return by_segment(torch.stack(found), SIDE)


def rows() -> list[Row]:
    """Every statement about them."""
    pair = partial(Row, library="saliency")
    free: Any = {"steps": 50, "fraction": 0.25, "anchors": 0, "method": "left"}
    return [
        pair(
            ours="`guided_ig anchors=0 method=left`",
            explainer=gradients.GuidedIG(**free),
            theirs="saliency (PAIR) `GuidedIG(max_dist=1)`",
            compute=of_saliency("GuidedIG", x_steps=50, fraction=0.25, max_dist=1.0),
            note="of equal values max pooling must take the same one",
        ),
        pair(
            ours="blur_ig",
            explainer=gradients.BlurIG(steps=200, sigma=0.1),
            theirs="saliency (PAIR) BlurIG",
            compute=of_saliency("BlurIG", max_sigma=1.6, steps=200, grad_step=1e-3),
            note="differs: black comes in at the border there",
        ),
        pair(
            ours="`occlusion shared=false`",
            explainer=Occlusion(imputer=BLACK, size=5, stride=1, shared=False),
            theirs="saliency (PAIR) Occlusion",
            compute=occluded,
            note="there the drops of all windows are added up; divided by their number",
        ),
        Row(
            ours="`lime shared=false`",
            explainer=MINE,
            library="lime",
            theirs="lime (authors) LimeImageExplainer",
            compute=lime,
            note="the same sets of 16 squares",
        ),
    ]
