"""SHAP, pytorch-grad-cam, LIME and DIANNA beside ours."""

from functools import partial
from typing import Any

from bridges.row import BLACK, DRAWN, EXACT, FOUR, Row
from xai_exp.bridges.dianna import Dianna
from xai_exp.bridges.grad_cam import PytorchGradCAM
from xai_exp.bridges.lime import LimeImage
from xai_exp.bridges.shap import Shap, ShapReferences
from xai_exp.explainers import activation, deeplift, gradients
from xai_exp.explainers import perturbation as removal


def of_shap() -> list[Row]:
    """By references and by players."""
    players = partial(Shap, segments=4, imputer=BLACK)
    exact: Any = {"ours": "kernel_shap", "explainer": removal.KernelSHAP(**FOUR)}
    sampled: Any = {"ours": "shapley_sampling", "explainer": removal.ShapleySampling(**FOUR)}
    parts = removal.PartitionSHAP(imputer=BLACK, evaluations=100, together=1, smallest=1)
    drawn: Any = gradients.ExpectedGradients(samples=500)
    referred: Any = deeplift.DeepLIFTSHAP(references=4)
    return [
        Row(theirs="KernelExplainer(l1_reg=0)", bridge=players(arguments=("l1_reg=0",)), **exact),
        Row(theirs="ExactExplainer", bridge=players(method="ExactExplainer"), **exact),
        Row(
            theirs="PermutationExplainer",
            bridge=players(method="PermutationExplainer"),
            why=f"orders {EXACT}",
            **sampled,
        ),
        Row(
            theirs="SamplingExplainer",
            bridge=players(method="SamplingExplainer", arguments=("nsamples=800",)),
            why=f"sets {EXACT}",
            **sampled,
        ),
        Row(
            theirs="PartitionExplainer(max_evals=100)",
            ours="partition_shap together=1 smallest=1",
            bridge=Shap(method="PartitionExplainer", arguments=("max_evals=100",)),
            explainer=parts,
        ),
        Row(
            theirs="DeepExplainer",
            ours="deeplift_shap",
            bridge=ShapReferences(references=4),
            explainer=referred,
        ),
        Row(
            theirs="GradientExplainer(nsamples=500)",
            ours="expected_gradients",
            bridge=ShapReferences(
                method="GradientExplainer", references=4, arguments=("nsamples=500",)
            ),
            explainer=drawn,
            why=DRAWN,
            single=True,
        ),
    ]


def of_grad_cam() -> list[Row]:
    """Activation maps, in single precision and stretched to 0..1."""
    same: tuple[tuple[str, str, Any, str], ...] = (
        ("GradCAM", "grad_cam", activation.GradCAM(), ""),
        (
            "GradCAMPlusPlus",
            "grad_cam_plus_plus",
            activation.GradCAMPlusPlus(),
            "1e-6 stands in its denominator",
        ),
        ("LayerCAM", "layer_cam", activation.LayerCAM(), ""),
        ("HiResCAM", "layer_cam positive=false", activation.LayerCAM(positive=False), ""),
        (
            "EigenCAM",
            "eigen_cam",
            activation.EigenCAM(),
            "it subtracts the mean and leaves the sign to chance",
        ),
        (
            "ScoreCAM",
            "score_cam",
            activation.ScoreCAM(maps=1000),
            "it enlarges masks between the centres of their corners",
        ),
        (
            "FullGrad",
            "full_grad postprocess=paper",
            activation.FullGrad(postprocess="paper"),
            "it stretches every map by itself",
        ),
    )
    return [
        Row(
            theirs=name,
            ours=ours,
            bridge=PytorchGradCAM(method=name),
            explainer=mine,
            why=why,
            stretched=True,
            single=True,
        )
        for name, ours, mine, why in same
    ]


def of_lime() -> list[Row]:
    """The one."""
    theirs = LimeImage(segments=4, samples=500, arguments=("hide_color=0",))
    mine = removal.LIME(samples=500, **FOUR)
    return [
        Row(
            theirs="LimeImageExplainer(hide_color=0)",
            ours="lime",
            bridge=theirs,
            explainer=mine,
            why=DRAWN,
        )
    ]


def of_dianna() -> list[Row]:
    """By our ONNX file; of one image, since each image takes many passes."""
    rise = removal.RISE(imputer=BLACK, masks=4000, cells=4, keep=0.5, centred=False)
    held: Any = {"single": True, "count": 1}
    lime = removal.LIME(samples=500, **FOUR)
    return [
        Row(
            theirs="RISE(n_masks=4000, feature_res=4, p_keep=0.5)",
            ours="rise centred=false",
            bridge=Dianna(arguments=("n_masks=4000", "feature_res=4", "p_keep=0.5")),
            explainer=rise,
            why=DRAWN,
            **held,
        ),
        Row(
            theirs="KernelSHAP(n_segments=4)",
            ours="kernel_shap",
            bridge=Dianna(method="KernelSHAP", arguments=("n_segments=4", "nsamples=500")),
            explainer=removal.KernelSHAP(**FOUR),
            why="it cuts superpixels of its own",
            **held,
        ),
        Row(
            theirs="LIME(num_samples=500)",
            ours="lime",
            bridge=Dianna(method="LIME", arguments=("num_samples=500",)),
            explainer=lime,
            why="it cuts superpixels of its own, and both draw",
            **held,
        ),
    ]
