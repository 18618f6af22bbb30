"""Rows of captum: gradients, differences from a baseline, removal, activation maps."""

from functools import partial
from typing import Any
from unittest import mock

import torch
from captum import attr
from torch import Tensor
from torch.nn import functional

from equals.common import BLACK, GRID, Row, Setting, Theirs, cells, references
from xai_exp.compute import ops
from xai_exp.explainers import activation, deeplift, gradients
from xai_exp.explainers.gradients.averaged import noise
from xai_exp.explainers.perturbation import KernelSHAP, Occlusion, ShapleySampling

row = partial(Row, library="captum")
DRAWN = "both draw: 500 places there"


def of_captum(name: str, /, **given: Any) -> Theirs:  # noqa: ANN401
    """One of captum's methods of a network."""

    def compute(one: Setting) -> Tensor:
        made = getattr(attr, name)(one.network)
        return made.attribute(one.images.clone(), target=one.targets, **given).detach().sum(1)

    return compute


def saliency(one: Setting) -> Tensor:
    """Captum's plain gradient."""
    made = attr.Saliency(one.network)
    return made.attribute(one.images.clone(), target=one.targets, abs=False).detach().sum(1)


def grad_cam(one: Setting) -> Tensor:
    """Captum's Grad-CAM of the last ReLU of a convolution, enlarged bilinearly."""
    made = attr.LayerGradCam(one.network, one.network[4])  # pyright: ignore
    coarse = made.attribute(
        one.images, target=one.targets, relu_attributions=True, attr_dim_summation=True
    )
    size = tuple(one.images.shape[2:])
    return functional.interpolate(coarse, size, mode="bilinear").detach()[:, 0]  # pyright: ignore


def guided_grad_cam(one: Setting) -> Tensor:
    """Captum's guided Grad-CAM, enlarged bilinearly."""
    made = attr.GuidedGradCam(one.network, one.network[4])  # pyright: ignore
    given = {"target": one.targets, "interpolate_mode": "bilinear"}
    return made.attribute(one.images.clone(), **given).detach().sum(1)  # pyright: ignore


def smoothed(kind: str) -> Theirs:
    """Captum's noise tunnel, with the noise that is drawn here."""

    def compute(one: Setting) -> Tensor:
        drawn = noise(ops.image_keys(one.images), range(8), one.images, "smoothgrad")

        def normal(_mean: float, deviation: Tensor) -> Tensor:
            return deviation * drawn.transpose(0, 1).flatten(0, 1)

        made: Any = attr.NoiseTunnel(attr.Saliency(one.network))
        given = {"target": one.targets, "abs": False, "nt_samples": 8, "stdevs": 0.1}
        with mock.patch.object(torch, "normal", normal):
            return made.attribute(one.images.clone(), nt_type=kind, **given).detach().sum(1)

    return compute


def expected(deviation: float) -> Theirs:
    """Captum's GradientShap of many draws."""

    def compute(one: Setting) -> Tensor:
        given = {"target": one.targets, "n_samples": 500, "stdevs": deviation}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = attr.GradientShap(one.network)
            found = made.attribute(one.images.clone(), baselines=references(), **given)
        return found.detach().sum(1)

    return compute


def of_references(one: Setting) -> Tensor:
    """Captum's DeepLiftShap."""
    made = attr.DeepLiftShap(one.network)
    found = made.attribute(one.images.clone(), baselines=references(), target=one.targets)
    return found.detach().sum(1)  # pyright: ignore[reportAttributeAccessIssue]


def rows() -> list[Row]:
    """Every statement about captum, but for its relevance propagation."""
    return [*_gradients(), *_averages(), *_differences(), *_removal(), *_maps()]


def _gradients() -> list[Row]:
    integrated = of_captum("IntegratedGradients", n_steps=32, method="gausslegendre")
    absolute = gradients.Gradient(absolute=True)
    found = [
        ("gradient", gradients.Gradient(), "`Saliency(abs=False)`", saliency),
        ("sensitivity", absolute, "Saliency", of_captum("Saliency")),
        (
            "input_x_gradient",
            gradients.InputXGradient(),
            "InputXGradient",
            of_captum("InputXGradient"),
        ),
        (
            "integrated_gradients",
            gradients.IntegratedGradients(steps=32),
            "IntegratedGradients",
            integrated,
        ),
    ]
    return [
        row(ours=ours, explainer=one, theirs=f"captum {theirs}", compute=compute)
        for ours, one, theirs, compute in found
    ]


def _averages() -> list[Row]:
    kinds = (
        ("smoothgrad", "mean", "smoothgrad"),
        ("smoothgrad_squared", "squared", "smoothgrad_sq"),
        ("vargrad", "variance", "vargrad"),
    )
    found = [
        row(
            ours=f"`{name} scale=unit`",
            explainer=gradients.SmoothGrad(
                statistic=statistic,  # pyright: ignore[reportArgumentType]
                samples=8,
                sigma=0.1,
                scale="unit",
            ),
            theirs=f'captum `NoiseTunnel(Saliency, "{theirs}")`',
            compute=smoothed(theirs),
            note="the same noise",
        )
        for name, statistic, theirs in kinds
    ]
    for name, deviation in (("expected_gradients", 0.0), ("gradient_shap", 0.1)):
        explainer: Any = gradients.ExpectedGradients(samples=500, sigma=deviation)
        theirs = "captum GradientShap" if deviation else "captum `GradientShap(stdevs=0)`"
        compute = expected(deviation)
        found.append(
            row(ours=name, explainer=explainer, theirs=theirs, compute=compute, note=DRAWN)
        )
    return found


def _differences() -> list[Row]:
    lift, plain = of_captum("DeepLift"), deeplift.DeepLIFT()
    why = "captum passes the plain gradient where max pooling stands behind an activation"
    of_gradient = "`{} pooling=gradient`"
    shap: Any = deeplift.DeepLIFTSHAP(references=4, pooling="gradient")
    one = partial(row, theirs="captum DeepLift", compute=lift)
    return [
        one(
            ours=of_gradient.format("deeplift"),
            explainer=deeplift.DeepLIFT(pooling="gradient"),
            note=why,
        ),
        one(ours="deeplift", explainer=plain, note="differs: ours sums to f(x) - f(x')"),
        one(ours="deeplift", explainer=plain, change="average pooling"),
        row(
            ours=of_gradient.format("deeplift_shap"),
            explainer=shap,
            theirs="captum DeepLiftShap",
            compute=of_references,
            note="the same references",
        ),
    ]


def _removal() -> list[Row]:
    window = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4), "baselines": 0.0}
    ablated = of_captum("FeatureAblation", feature_mask=cells(4)[None, None], baselines=0.0)
    exact = of_captum("ShapleyValues", feature_mask=cells(8)[None, None], baselines=0.0)
    windows = partial(
        row,
        ours="`occlusion shared=false`",
        explainer=Occlusion(imputer=BLACK, size=4, stride=4, shared=False),
    )
    sampled = ShapleySampling(segments=4, **GRID)
    shapley = partial(row, ours="`shapley_sampling` of 4 segments", explainer=sampled)
    kernel = partial(
        row, ours="`kernel_shap` of 4 segments", explainer=KernelSHAP(segments=4, **GRID)
    )
    drawn = {"feature_mask": cells(8)[None, None], "baselines": 0.0}
    return [
        windows(theirs="captum Occlusion", compute=of_captum("Occlusion", **window)),
        windows(theirs="captum FeatureAblation", compute=ablated, note="windows side by side"),
        shapley(theirs="captum ShapleyValues", compute=exact),
        shapley(
            theirs="captum ShapleyValueSampling",
            compute=seeded(of_captum("ShapleyValueSampling", n_samples=200, **drawn)),
            note="200 orders are drawn there",
        ),
        kernel(theirs="captum ShapleyValues", compute=exact),
        kernel(
            theirs="captum KernelShap",
            compute=seeded(one_by_one(of_captum("KernelShap", n_samples=500, **drawn))),
            note="500 sets are drawn there",
        ),
    ]


def seeded(compute: Theirs) -> Theirs:
    """With draws that are the same every time."""

    def again(one: Setting) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return compute(one)

    return again


def one_by_one(compute: Theirs) -> Theirs:
    """Image by image."""

    def each(one: Setting) -> Tensor:
        few = [slice(i, i + 1) for i in range(len(one.images))]
        return torch.cat(
            [compute(Setting(one.network, one.images[i], one.targets[i])) for i in few]
        )

    return each


def _maps() -> list[Row]:
    return [
        row(
            ours="grad_cam",
            explainer=activation.GradCAM(),
            theirs="captum `LayerGradCam(relu_attributions=True)`",
            compute=grad_cam,
            note="enlarged bilinearly",
        ),
        row(
            ours="guided_grad_cam",
            explainer=activation.GuidedGradCAM(),
            theirs='captum `GuidedGradCam(interpolate_mode="bilinear")`',
            compute=guided_grad_cam,
        ),
    ]
