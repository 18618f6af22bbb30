"""Rows of captum: gradients, differences from a baseline, removal, activation maps."""

from functools import partial
from typing import Any

from captum import attr
from torch import Tensor
from torch.nn import functional

from equals.common import BLACK, GRID, Row, Setting, Theirs, cells
from xai_exp.explainers import activation, deeplift, gradients
from xai_exp.explainers.perturbation import KernelSHAP, Occlusion, ShapleySampling

row = partial(Row, library="captum")


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


def rows() -> list[Row]:
    """Every statement about captum, but for its relevance propagation."""
    return [*_gradients(), *_differences(), *_removal(), *_maps()]


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


def _differences() -> list[Row]:
    lift, plain = of_captum("DeepLift"), deeplift.DeepLIFT()
    why = "captum passes the plain gradient where max pooling stands behind an activation"
    one = partial(row, theirs="captum DeepLift", compute=lift)
    return [
        one(
            ours="`deeplift pooling=gradient`",
            explainer=deeplift.DeepLIFT(pooling="gradient"),
            note=why,
        ),
        one(ours="deeplift", explainer=plain, note="differs: ours sums to f(x) - f(x')"),
        one(ours="deeplift", explainer=plain, change="average pooling"),
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
    return [
        windows(theirs="captum Occlusion", compute=of_captum("Occlusion", **window)),
        windows(theirs="captum FeatureAblation", compute=ablated, note="windows side by side"),
        shapley(theirs="captum ShapleyValues", compute=exact),
        kernel(
            theirs="captum ShapleyValues",
            compute=exact,
            note="captum's KernelShap draws its sets",
        ),
    ]


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
