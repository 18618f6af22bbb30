"""Captum and zennit beside ours."""

from typing import Any

from bridges.row import BLACK, DRAWN, EXACT, FOUR, HIGH, POOLING, Row
from xai_exp.bridges.captum import Captum, CaptumReferences
from xai_exp.bridges.zennit import Zennit
from xai_exp.explainers import activation, deeplift, gradients, lrp
from xai_exp.explainers import perturbation as removal
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop


def _captum(name: str, ours: str, mine: Any, *given: str, **beside: Any) -> Row:  # noqa: ANN401
    kept = {key: beside.pop(key) for key in ("why", "change") if key in beside}
    said = ", ".join([*(f"{key}={one}" for key, one in beside.items()), *given])
    theirs = f"{name}({said})" if said else name
    made = Captum(method=name, arguments=given, **beside)
    return Row(theirs=theirs, ours=ours, bridge=made, explainer=mine, **kept)


def of_captum() -> list[Row]:
    """Gradients, differences, rules, maps and removal."""
    lift, cut = "deeplift pooling=gradient", {"segments": 4}
    referred: Any = deeplift.DeepLIFTSHAP(references=4, pooling="gradient")
    drawn: Any = gradients.ExpectedGradients(samples=500, sigma=0.1)
    windows = removal.Occlusion(imputer=BLACK, size=4, stride=4, shared=False)
    signed = ("relu_attributions=True", "attr_dim_summation=True")
    exact, sampled = removal.KernelSHAP(**FOUR), removal.ShapleySampling(**FOUR)
    return [
        _captum("Saliency", "gradient", gradients.Gradient(), "abs=False"),
        _captum("Saliency", "sensitivity", gradients.Gradient(absolute=True)),
        _captum("InputXGradient", "input_x_gradient", gradients.InputXGradient()),
        _captum(
            "IntegratedGradients",
            "integrated_gradients",
            gradients.IntegratedGradients(steps=32),
            "n_steps=32",
        ),
        _captum(
            "NoiseTunnel",
            "smoothgrad scale=unit",
            gradients.SmoothGrad(**HIGH),
            "abs=False",
            "nt_samples=200",
            "stdevs=0.1",
            why=DRAWN,
        ),
        _captum(
            "DeepLift", "deeplift", deeplift.DeepLIFT(), why=f"{POOLING}; ours sums to f(x) - f(x')"
        ),
        _captum("DeepLift", lift, deeplift.DeepLIFT(pooling="gradient")),
        _captum("DeepLift", "deeplift", deeplift.DeepLIFT(), change="average pooling"),
        Row(
            theirs="DeepLiftShap",
            ours="deeplift_shap pooling=gradient",
            bridge=CaptumReferences(method="DeepLiftShap", references=4),
            explainer=referred,
        ),
        Row(
            theirs="GradientShap(n_samples=500, stdevs=0.1)",
            ours="gradient_shap",
            bridge=CaptumReferences(references=4, arguments=("n_samples=500", "stdevs=0.1")),
            explainer=drawn,
            why=DRAWN,
        ),
        _captum("LRP", "lrp_z", lrp.LRP(rule="z"), why="it has no rule for Flatten"),
        _captum("GuidedBackprop", "guided_backprop", GuidedBackprop()),
        _captum("Deconvolution", "deconvnet", DeconvNet()),
        _captum("LayerGradCam", "grad_cam", activation.GradCAM(), *signed),
        _captum(
            "GuidedGradCam",
            "guided_grad_cam",
            activation.GuidedGradCAM(),
            "interpolate_mode=bilinear",
        ),
        _captum("Occlusion", "occlusion shared=false", windows, window=4),
        _captum(
            "FeatureAblation",
            "occlusion shared=false",
            removal.Occlusion(imputer=BLACK, size=8, stride=8, shared=False),
            **cut,
        ),
        _captum("ShapleyValues", "kernel_shap", exact, **cut),
        _captum(
            "ShapleyValueSampling",
            "shapley_sampling",
            sampled,
            "n_samples=200",
            **cut,
            why=f"200 orders {EXACT}",
        ),
        _captum(
            "KernelShap",
            "kernel_shap",
            exact,
            "n_samples=200",
            **cut,
            why="sets are drawn there, and the constraint on the sum is a weight of 1e6",
        ),
        _captum(
            "Lime",
            "lime",
            removal.LIME(samples=200, **FOUR),
            "n_samples=200",
            **cut,
            why="both draw, and a lasso is fitted there",
        ),
    ]


def of_zennit() -> list[Row]:
    """Composites; the stabilizer is 1e-6 by default, ours next to nothing."""
    names = {
        "EpsilonPlus": "lrp",
        "EpsilonPlusFlat": "lrp_epsilon_plus_flat",
        "EpsilonAlpha2Beta1": "lrp_epsilon_alpha2_beta1",
        "EpsilonAlpha2Beta1Flat": "lrp_epsilon_alpha2_beta1_flat",
        "EpsilonGammaBox": "lrp_epsilon_gamma_box",
    }
    rules = dict(
        zip(names, ("epsilon_plus", *(one[4:] for one in list(names.values())[1:])), strict=True)
    )
    exact = [
        Row(
            theirs=f"{name}(stabilizer=1e-12)",
            ours=ours,
            bridge=Zennit(composite=name, arguments=("stabilizer=1e-12",)),
            explainer=lrp.LRP(rule=rules[name]),  # pyright: ignore[reportArgumentType]
        )
        for name, ours in names.items()
    ]
    plain = Row(
        theirs="EpsilonPlus",
        ours="lrp",
        bridge=Zennit(composite="EpsilonPlus"),
        explainer=lrp.LRP(),
        why="its stabilizer of 1e-6",
    )
    back = (
        (None, "gradient", gradients.Gradient()),
        ("GuidedBackprop", "guided_backprop", GuidedBackprop()),
        ("DeconvNet", "deconvnet", DeconvNet()),
        ("BetaSmooth", "beta_smooth", BetaSmooth()),
    )
    one = [
        Row(
            theirs=name or "no composite",
            ours=ours,
            bridge=Zennit(composite=name, start="one"),
            explainer=mine,
        )
        for name, ours, mine in back
    ]
    excited = Row(
        theirs="ExcitationBackprop(zero_params=bias)",
        ours="excitation_backprop",
        bridge=Zennit(
            composite="ExcitationBackprop",
            start="one",
            arguments=("zero_params=bias", "stabilizer=1e-12"),
        ),
        explainer=lrp.ExcitationBackprop(),
    )
    return [*exact, plain, *one, excited]
