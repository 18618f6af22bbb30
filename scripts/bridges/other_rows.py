"""Xplique and Quantus beside ours."""

from typing import Any

from bridges.row import BLACK, DRAWN, FOUR, HIGH, Row
from xai_exp.bridges.quantus import Quantus, QuantusMasks
from xai_exp.bridges.xplique import Xplique
from xai_exp.explainers import gradients
from xai_exp.explainers import perturbation as removal
from xai_exp.explainers.modified import GuidedBackprop
from xai_exp.metrics import complexity
from xai_exp.metrics.localisation import masks, overlap


def of_xplique() -> list[Row]:
    """By its wrapper of torch networks, in single precision."""

    def one(name: str, ours: str, mine: Any, *given: str, why: str = "") -> Row:  # noqa: ANN401
        theirs = f"{name}({', '.join(given)})" if given else name
        made = Xplique(method=name, arguments=given)
        return Row(theirs=theirs, ours=ours, bridge=made, explainer=mine, why=why, single=True)

    windows = removal.Occlusion(imputer=BLACK, size=4, stride=4, shared=False)
    rise = removal.RISE(imputer=BLACK, masks=2000, cells=4, keep=0.5, centred=False)
    cut = "it cuts superpixels of its own, and both draw"
    cubic = "both draw, and it enlarges cells by a cubic (the same on the same sets: tests/golden)"
    trapezoid = gradients.IntegratedGradients(steps=32, method="trapezoid")
    statistics: Any = (
        ("SmoothGrad", "mean", ""),
        ("SquareGrad", "squared", "_squared"),
        ("VarGrad", "variance", ""),
    )
    return [
        one("Saliency", "sensitivity", gradients.Gradient(absolute=True)),
        one("GradientInput", "input_x_gradient", gradients.InputXGradient()),
        one(
            "IntegratedGradients",
            "integrated_gradients method=trapezoid steps=32",
            trapezoid,
            "steps=32",
        ),
        *(
            one(
                name,
                "vargrad" if name == "VarGrad" else f"smoothgrad{end}",
                gradients.SmoothGrad(**{**HIGH, "statistic": kind}),
                "nb_samples=200",
                "noise=0.1",
                why=DRAWN,
            )
            for name, kind, end in statistics
        ),
        one("Occlusion", "occlusion shared=false", windows, "patch_size=4", "patch_stride=4"),
        one("Rise", "rise centred=false", rise, "nb_samples=2000", "grid_size=4", why=DRAWN),
        one(
            "SobolAttributionMethod",
            "sobol",
            removal.SobolIndices(imputer=BLACK, cells=4),
            "grid_size=4",
            "nb_design=32",
            why=cubic,
        ),
        one(
            "HsicAttributionMethod",
            "hsic",
            removal.HSIC(imputer=BLACK, cells=4, samples=500),
            "grid_size=4",
            "nb_design=500",
            why=f"{cubic}; its kernel is as wide as the median output",
        ),
        one("Lime", "lime", removal.LIME(samples=500, **FOUR), "nb_samples=500", why=cut),
        one("KernelShap", "kernel_shap", removal.KernelSHAP(**FOUR), "nb_samples=500", why=cut),
        one(
            "GuidedBackprop",
            "guided_backprop",
            GuidedBackprop(),
            why="it changes TensorFlow's layers only",
        ),
    ]


def of_quantus() -> list[Row]:
    """Metrics of a heatmap and of a mask; it normalises by itself."""
    absolute, plain = ("abs=True",), ("abs=False", "normalise=False")
    pairs: tuple[tuple[Any, str, tuple[str, ...], str, Any], ...] = (
        (Quantus, "Sparseness", absolute, "sparseness", complexity.Sparseness()),
        (Quantus, "Complexity", absolute, "complexity", complexity.Complexity()),
        (QuantusMasks, "PointingGame", plain, "pointing_game", masks.PointingGame()),
        (QuantusMasks, "RelevanceRankAccuracy", plain, "relevance_rank", masks.RelevanceRank()),
        (
            QuantusMasks,
            "RelevanceMassAccuracy",
            absolute,
            "relevance_mass pooling=absolute",
            masks.RelevanceMass(pooling="absolute"),
        ),
        (QuantusMasks, "AUC", plain, "auc", overlap.AUC()),
    )
    return [
        Row(
            theirs=f"{name}({', '.join(given)})",
            ours=ours,
            bridge=kind(method=name, arguments=given),
            explainer=mine,
            single=True,
            scored=True,
        )
        for kind, name, given, ours, mine in pairs
    ]
