"""Which methods of each tool are tried, and which of ours each is held against."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from xai_exp.bridges import captum, dianna, grad_cam, lime, quantus, shap, xplique, zennit
from xai_exp.bridges.library import Library
from xai_exp.explainers import activation, deeplift, gradients, lrp
from xai_exp.explainers.modified import DeconvNet, GuidedBackprop
from xai_exp.explainers.perturbation import KernelSHAP, Occlusion, PartitionSHAP
from xai_exp.removal import Border, Constant

BLACK = Constant(value=0.0)
SQUARES: dict[str, Any] = {"cut": "grid", "segments": 9, "shared": False}
FEW: Any = {"references": 8}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One of a tool's.

    Args:
        name: as the tool has it.
        theirs: the bridge.
        ours: of the same meaning; None where both draw at random or we have none.
        sums: what the heatmap must add up to, f(x) less that of black or of the references.
        stretched: whether the tool stretches heatmaps to 0..1.
        elsewhere: whether it works outside of torch, whose memory says nothing then.
        layered: whether it reads the last convolution's map, which in a transformer ours does not.
    """

    name: str
    theirs: Any
    ours: Any = None
    sums: Literal["black", "references"] | None = None
    stretched: bool = False
    layered: bool = False
    elsewhere: bool = False


def ours() -> list[Method]:
    """Those of this package, for comparison."""
    return [
        Method(name="lrp", theirs=lrp.LRP()),
        Method(name="deeplift", theirs=deeplift.DeepLIFT(), sums="black"),
        Method(
            name="integrated_gradients", theirs=gradients.IntegratedGradients(most=1024),
            sums="black",
        ),
        Method(name="deeplift, border", theirs=deeplift.DeepLIFT(baseline="border")),
        Method(
            name="kernel_shap",
            theirs=KernelSHAP(cut="grid", segments=64, shared=False, imputer=Border()),
        ),
    ]  # fmt: skip


def of_captum() -> list[Method]:
    """Gradients, differences, rules, maps and removal."""

    def one(name: str, mine: Any, *given: str, **beside: Any) -> Method:  # noqa: ANN401
        made = captum.Captum(method=name, arguments=given, segments=9)
        return Method(name=name, theirs=made, ours=mine, **beside)

    steps = ("n_steps=32", "method=gausslegendre")
    signed = ("relu_attributions=True", "attr_dim_summation=True")
    return [
        one("Saliency", gradients.Gradient(absolute=True)),
        one("InputXGradient", gradients.InputXGradient()),
        one(
            "IntegratedGradients", gradients.IntegratedGradients(steps=32), *steps, sums="black"
        ),
        one("DeepLift", deeplift.DeepLIFT(), sums="black"),
        Method(
            name="DeepLiftShap", theirs=captum.CaptumReferences(method="DeepLiftShap", **FEW),
            ours=deeplift.DeepLIFTSHAP(**FEW), sums="references",
        ),
        one("LRP", lrp.LRP(rule="z")),
        one("GuidedBackprop", GuidedBackprop()),
        one("Deconvolution", DeconvNet()),
        one("LayerGradCam", activation.GradCAM(), *signed, layered=True),
        one("Occlusion", Occlusion(imputer=BLACK, size=8, stride=8, shared=False)),
    ]  # fmt: skip


def of_zennit() -> list[Method]:
    """Composites."""
    exact = ("stabilizer=1e-12",)
    rules = (
        ("EpsilonPlusFlat", lrp.LRP(rule="epsilon_plus_flat"), exact),
        ("EpsilonGammaBox", lrp.LRP(rule="epsilon_gamma_box"), exact),
        ("EpsilonAlpha2Beta1", lrp.LRP(rule="epsilon_alpha2_beta1"), exact),
    )
    found = [
        Method(
            name=f"{name}{', merged' if merged else ''}", ours=mine,
            theirs=zennit.Zennit(composite=name, arguments=given, canonizer=merged),
        )
        for name, mine, given in rules
        for merged in (None, "SequentialMergeBatchNorm")
    ]  # fmt: skip
    for name, mine in (("GuidedBackprop", GuidedBackprop()), ("DeconvNet", DeconvNet())):
        theirs = zennit.Zennit(composite=name, start="one")
        found.append(Method(name=name, theirs=theirs, ours=mine))
    return found


def of_shap() -> list[Method]:
    """By references and by players."""
    exact = KernelSHAP(imputer=Border(), **SQUARES)
    kernel = shap.Shap(segments=9, arguments=("l1_reg=0",))
    every = shap.Shap(method="ExactExplainer", segments=9)
    parts = shap.Shap(method="PartitionExplainer", arguments=("max_evals=100",))
    return [
        Method(
            name="DeepExplainer", theirs=shap.ShapReferences(**FEW),
            ours=deeplift.DeepLIFTSHAP(**FEW), sums="references",
        ),
        Method(
            name="GradientExplainer",
            theirs=shap.ShapReferences(method="GradientExplainer", **FEW),
        ),
        Method(name="KernelExplainer", theirs=kernel, ours=exact),
        Method(name="ExactExplainer", theirs=every, ours=exact),
        Method(
            name="PartitionExplainer", theirs=parts,
            ours=PartitionSHAP(imputer=BLACK, evaluations=100, together=1, smallest=1),
        ),
    ]  # fmt: skip


def of_grad_cam() -> list[Method]:
    """Activation maps."""
    pairs = (
        ("GradCAM", activation.GradCAM()),
        ("GradCAMPlusPlus", activation.GradCAMPlusPlus()),
        ("LayerCAM", activation.LayerCAM()),
        ("HiResCAM", activation.LayerCAM(positive=False)),
        ("EigenCAM", None),
    )
    return [
        Method(
            name=name, theirs=grad_cam.PytorchGradCAM(method=name), ours=mine,
            stretched=True, layered=True,
        )
        for name, mine in pairs
    ]  # fmt: skip


def of_lime() -> list[Method]:
    """The one."""
    return [Method(name="LimeImageExplainer", theirs=lime.LimeImage(segments=36, samples=300))]


def of_dianna() -> list[Method]:
    """RISE and KernelSHAP."""
    both: Any = (("RISE", ("n_masks=200",)), ("KernelSHAP", ("nsamples=64", "n_segments=16")))
    return [
        Method(name=name, theirs=dianna.Dianna(method=name, arguments=given), elsewhere=True)
        for name, given in both
    ]


def of_xplique() -> list[Method]:
    """Those that its wrapper of torch networks allows, and one that it doesn't."""

    def one(name: str, mine: Any = None, *given: str, **beside: Any) -> Method:  # noqa: ANN401
        return Method(
            name=name,
            theirs=xplique.Xplique(method=name, arguments=given),
            ours=mine,
            elsewhere=True,
            **beside,
        )

    return [
        one("Saliency"),
        one("GradientInput", gradients.InputXGradient()),
        one("IntegratedGradients", None, "steps=32", sums="black"),
        one("Occlusion", None, "patch_size=8", "patch_stride=8"),
        one("Rise", None, "nb_samples=200"),
        one("SobolAttributionMethod", None, "nb_design=8", "grid_size=6"),
        one("HsicAttributionMethod", None, "nb_design=100", "grid_size=6"),
        one("GuidedBackprop", GuidedBackprop()),
    ]


def _classes(library: Library, part: str, kind: str, but: tuple[str, ...] = ()) -> list[str]:
    """Public classes of a module that are of a kind and can be used."""
    place = library.part(part)
    base = getattr(place, kind) if kind else object
    return sorted(
        name
        for name, one in vars(place).items()
        if isinstance(one, type) and issubclass(one, base) and one is not base
        and not name.startswith(("_", *but))
    )  # fmt: skip


def offered(name: str) -> int | None:
    """How many methods (of quantus metrics) a tool has for images; None if it is not counted."""
    base = (
        "Attribution",
        "Neuron",
        "Perturbation",
        "Gradient",
        "Internal",
        "LLM",
        "Remote",
        "Data",
    )
    counts: dict[str, Callable[[], int]] = {
        "captum": lambda: len(_classes(captum.LIBRARY, "attr", "Attribution", base)),
        "zennit": lambda: len(_classes(zennit.LIBRARY, "composites", "Composite")),
        "shap": lambda: len(_classes(shap.LIBRARY, "explainers", "", ("other",))),
        "grad_cam": lambda: len(_classes(grad_cam.LIBRARY, "", "", ("Abl", "Guided"))),
        "lime": lambda: 1,
        "dianna": lambda: 3,
        "xplique": lambda: len(xplique.LIBRARY.part("attributions").__all__) - 1,
        "quantus": lambda: len(_classes(quantus.LIBRARY, "metrics", "")),
    }
    return counts[name]() if name in counts else None


METHODS: dict[str, Callable[[], list[Method]]] = {
    "xai_exp": ours, "captum": of_captum, "zennit": of_zennit, "shap": of_shap,
    "grad_cam": of_grad_cam, "lime": of_lime, "dianna": of_dianna, "xplique": of_xplique,
}  # fmt: skip
