"""Write docs/equals.md: every statement of docs/aliases.md that two methods are equal, measured.

`make docs` runs it. Each row is computed anew with captum and zennit, which the development
environment holds; what iNNvestigate and DeepExplain made is read from tests/golden, as
explainer_table.py measured it; a library that is not installed has a row that says so.
"""

import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import explainer_measures as measures
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional
from zennit import composites, rules
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import LayerMapComposite
from zennit.types import Linear

from xai_exp.explainers import activation, deeplift, gradients, lrp
from xai_exp.explainers.lrp.excitation import ExcitationBackprop
from xai_exp.explainers.modified import BetaSmooth, DeconvNet, GuidedBackprop
from xai_exp.explainers.perturbation import KernelSHAP, Occlusion, ShapleySampling
from xai_exp.removal.imputers import Constant
from xai_exp.types import Explainer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "equals.md"
TINY = 1e-12
HEAD = """# Equal to what others call by the name

Written by `scripts/equals_table.py` from what it measures; what the names mean stands in
[aliases](aliases.md). *apart* is the largest difference as a share of the largest value, over six
images, in float64. The network is that of tests/golden (two convolutions with max pooling, two
linear layers, large biases); where a row names another one it is the same with that change.

| ours | theirs | apart | |
| --- | --- | ---: | --- |
"""
ABSENT = {
    "saliency (PAIR)": ("saliency", "blur_ig, guided_ig, occlusion"),
    "shap": ("shap", "deeplift_shap, kernel_shap, shapley_sampling, partition_shap, gradient_shap"),
    "lime": ("lime", "lime"),
    "DIANNA": ("dianna", "rise, lime, kernel_shap"),
    "pytorch-grad-cam": ("pytorch_grad_cam", "grad_cam and its kin, full_grad"),
    "TorchRay": ("torchray", "extremal_perturbation"),
    "LXT": ("lxt", "attn_lrp"),
    "tf-explain": ("tf_explain", "grad_cam"),
}


@dataclass(frozen=True)
class Setting:
    """A network, its images and their targets."""

    network: nn.Module
    images: Tensor
    targets: Tensor


Theirs = Callable[[Setting], Tensor]


@dataclass(frozen=True)
class Row:
    """One statement: what is called how, and what is known of the difference."""

    ours: str
    explainer: Explainer
    theirs: str
    compute: Theirs
    note: str = ""
    change: str = ""


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


def of_captums_lrp(one: Setting, rule: Any = None) -> Tensor:  # noqa: ANN401
    """Captum's relevance, with one rule in all layers with weights; flattening needs one, too."""
    from captum.attr._utils.lrp_rules import EpsilonRule

    for module in one.network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and rule is not None:
            module.rule = rule()  # pyright: ignore
        if isinstance(module, nn.Flatten):
            module.rule = EpsilonRule()  # pyright: ignore
    made = attr.LRP(one.network)
    return made.attribute(one.images.clone(), target=one.targets).detach().sum(1)


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


def of_zennit(composite: Callable[[], Any], *, logit: bool = True) -> Theirs:
    """What a composite of zennit sends back from the target's logit, or from one."""

    def compute(one: Setting) -> Tensor:
        chosen = torch.eye(3, dtype=one.images.dtype)[one.targets]
        start = chosen * one.network(one.images).detach() if logit else chosen
        with ZennitGradient(one.network, composite()) as attributor:
            _, found = attributor(  # pyright: ignore[reportGeneralTypeIssues]
                one.images.clone(), start
            )
        return found.sum(1)

    return compute


def everywhere(rule: Any) -> Callable[[], Any]:  # noqa: ANN401
    """One of zennit's rules in all layers with weights."""
    return lambda: LayerMapComposite([*composites.layer_map_base(TINY), (Linear, rule)])


def rows() -> list[Row]:
    """Every statement that can be measured here."""
    return [*_gradients(), *_differences(), *_removal(), *_relevance(), *_modified(), *_maps()]


def _gradients() -> list[Row]:
    integrated = of_captum("IntegratedGradients", n_steps=32, method="gausslegendre")
    return [
        Row("gradient", gradients.Gradient(), "captum `Saliency(abs=False)`", saliency),
        Row(
            "sensitivity",
            gradients.Gradient(absolute=True),
            "captum Saliency",
            of_captum("Saliency"),
        ),
        Row(
            "input_x_gradient",
            gradients.InputXGradient(),
            "captum InputXGradient",
            of_captum("InputXGradient"),
        ),
        Row(
            "integrated_gradients",
            gradients.IntegratedGradients(steps=32),
            "captum IntegratedGradients",
            integrated,
        ),
    ]


def _differences() -> list[Row]:
    lift = of_captum("DeepLift")
    plain = deeplift.DeepLIFT()
    return [
        Row(
            "`deeplift pooling=gradient`",
            deeplift.DeepLIFT(pooling="gradient"),
            "captum DeepLift",
            lift,
            "captum passes the plain gradient where max pooling stands behind an activation",
        ),
        Row("deeplift", plain, "captum DeepLift", lift, "differs: ours sums to f(x) - f(x')"),
        Row("deeplift", plain, "captum DeepLift", lift, "", "average pooling"),
    ]


def _removal() -> list[Row]:
    black = Constant(value=0.0)
    window = {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4), "baselines": 0.0}
    cells = torch.arange(16).view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    four = torch.arange(4).view(2, 2).repeat_interleave(8, 0).repeat_interleave(8, 1)
    grid: dict[str, Any] = {"imputer": black, "cut": "grid", "shared": False}
    return [
        Row(
            "`occlusion shared=false`",
            Occlusion(imputer=black, size=4, stride=4, shared=False),
            "captum Occlusion",
            of_captum("Occlusion", **window),
        ),
        Row(
            "`occlusion shared=false`",
            Occlusion(imputer=black, size=4, stride=4, shared=False),
            "captum FeatureAblation",
            of_captum("FeatureAblation", feature_mask=cells[None, None], baselines=0.0),
            "windows side by side",
        ),
        Row(
            "`shapley_sampling` of 4 segments",
            ShapleySampling(segments=4, **grid),
            "captum ShapleyValues",
            of_captum("ShapleyValues", feature_mask=four[None, None], baselines=0.0),
        ),
        Row(
            "`kernel_shap` of 4 segments",
            KernelSHAP(segments=4, **grid),
            "captum ShapleyValues",
            of_captum("ShapleyValues", feature_mask=four[None, None], baselines=0.0),
            "captum's KernelShap draws its sets",
        ),
    ]


def _relevance() -> list[Row]:
    from captum.attr._utils.lrp_rules import GammaRule

    def rule(name: str, **given: Any) -> Explainer:  # noqa: ANN401
        return lrp.LRP(rule=name, **given)  # pyright: ignore[reportArgumentType]

    def named(name: str, theirs: str, made: Callable[[], Any], **given: Any) -> Row:  # noqa: ANN401
        return Row(f"`rule={name}`", rule(name, **given), f"zennit {theirs}", of_zennit(made))

    both = "differs: captum gives all relevance to both of two summed inputs; here they share it"
    return [
        named("z", "`Epsilon(0)`", everywhere(rules.Epsilon(TINY))),
        named("epsilon", "`Epsilon`", everywhere(rules.Epsilon(0.1)), epsilon=0.1),
        named("gamma", "`Gamma`", everywhere(rules.Gamma(0.25, stabilizer=TINY))),
        named(
            "alpha2_beta1", "`AlphaBeta(2, 1)`", everywhere(rules.AlphaBeta(2, 1, stabilizer=TINY))
        ),
        named(
            "z_plus",
            '`ZPlus(zero_params="bias")`',
            everywhere(rules.ZPlus(stabilizer=TINY, zero_params="bias")),
        ),
        named("flat", "`Flat`", everywhere(rules.Flat(stabilizer=TINY))),
        named(
            "w_square",
            '`WSquare(zero_params="bias")`',
            everywhere(rules.WSquare(stabilizer=TINY, zero_params="bias")),
        ),
        *(
            named(name, theirs, partial(getattr(composites, theirs), stabilizer=TINY))
            for name, theirs in (
                ("epsilon_plus", "EpsilonPlus"),
                ("epsilon_plus_flat", "EpsilonPlusFlat"),
                ("epsilon_alpha2_beta1", "EpsilonAlpha2Beta1"),
                ("epsilon_alpha2_beta1_flat", "EpsilonAlpha2Beta1Flat"),
            )
        ),
        named(
            "epsilon_gamma_box",
            "EpsilonGammaBox",
            partial(composites.EpsilonGammaBox, low=0.0, high=1.0, stabilizer=TINY),
        ),
        Row("`rule=z`", rule("z"), "captum LRP", of_captums_lrp),
        Row(
            "`rule=z`",
            rule("z"),
            "captum LRP",
            of_captums_lrp,
            both,
            "a residual sum",
        ),
        Row(
            "`rule=gamma`",
            rule("gamma"),
            "captum GammaRule",
            partial(of_captums_lrp, rule=GammaRule),
            "differs: captum's has no negative side",
        ),
    ]


def _modified() -> list[Row]:
    excited = partial(composites.ExcitationBackprop, stabilizer=TINY, zero_params="bias")
    found = [
        Row(
            "excitation_backprop",
            ExcitationBackprop(),
            '`ExcitationBackprop(zero_params="bias")`',
            of_zennit(excited, logit=False),
        ),
        Row(
            "beta_smooth",
            BetaSmooth(beta=10.0),
            "zennit BetaSmooth",
            of_zennit(partial(composites.BetaSmooth, beta_smooth=10.0), logit=False),
        ),
    ]
    every = "here at every activation, there at ReLU only"
    for ours, explainer, theirs, made in (
        ("deconvnet", DeconvNet(), "Deconvolution", composites.DeconvNet),
        ("guided_backprop", GuidedBackprop(), "GuidedBackprop", composites.GuidedBackprop),
    ):
        of_peers = of_captum(theirs), of_zennit(made, logit=False)
        for name, compute in zip(
            (f"captum {theirs}", f"zennit {made.__name__}"), of_peers, strict=True
        ):
            found.append(Row(ours, explainer, name, compute))
            found.append(Row(ours, explainer, name, compute, f"differs: {every}", "tanh"))
    return found


def _maps() -> list[Row]:
    return [
        Row(
            "grad_cam",
            activation.GradCAM(),
            "captum `LayerGradCam(relu_attributions=True)`",
            grad_cam,
            "enlarged bilinearly",
        ),
        Row(
            "guided_grad_cam",
            activation.GuidedGradCAM(),
            'captum `GuidedGradCam(interpolate_mode="bilinear")`',
            guided_grad_cam,
        ),
    ]


class Doubled(nn.Module):
    """A network whose first maps are added to a convolution of them: a residual sum."""

    def __init__(self, first: nn.Module, again: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.first, self.again, self.rest = first, again, rest

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x)
        return self.rest(self.again(x) + x)


def setting(change: str = "") -> Setting:
    """The network of the golden heatmaps with a change, and six images; made anew each time."""
    golden = measures.library("innvestigate2")
    network: Any = measures.deepcopy(golden.network).double().eval().requires_grad_(False)
    images = ((golden.images + 1) / 2).double()
    for place, module in enumerate(network):
        if change == "average pooling" and isinstance(module, nn.MaxPool2d):
            network[place] = nn.AvgPool2d(2)
        if change == "tanh" and isinstance(module, nn.ReLU):
            network[place] = nn.Tanh()
    if change == "a residual sum":
        torch.manual_seed(0)
        again = nn.Conv2d(6, 6, 3, padding=1).double().requires_grad_(False)
        network = Doubled(network[:2], again, network[2:])
    return Setting(network.eval(), images, golden.targets)


def apart(row: Row) -> float:
    """The largest difference as a share of the largest value."""
    one = setting(row.change)
    ours = row.explainer(one.network, one.images, one.targets).double()
    theirs = row.compute(setting(row.change)).double()
    return float((ours - theirs).abs().max() / theirs.abs().max())


def line(row: Row) -> str:
    """One row of the table."""
    note = "; ".join(one for one in (row.change, row.note) if one)
    error = apart(row)
    return f"| {row.ours} | {row.theirs} | {f'{error:.0e}' if error else '0'} | {note} |"


def stored(found: Mapping[str, Any]) -> list[str]:
    """The rows of heatmaps that the original libraries made: in float32, against ours."""
    row = "| {} | {} | {:.0e} | golden heatmaps, float32 |"
    return [
        row.format(name, label.replace(": ", " ").replace("|", ", "), error)
        for name, one in sorted(found.items())
        for label, error in sorted(one["errors"].items())
    ]


def absent() -> list[str]:
    """A row for each library that is named in aliases.md and is not here."""
    return [
        f"| {names} | {library} | | "
        + ("installed, not measured |" if importlib.util.find_spec(module) else "not installed |")
        for library, (module, names) in ABSENT.items()
    ]


def main() -> int:
    """Write the page."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = [line(row) for row in rows()]
    kept = stored(json.loads(measures.STORED.read_text()))
    PAGE.write_text(HEAD + "\n".join([*found, *kept, *absent()]) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
